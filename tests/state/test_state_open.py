"""A state by its URL."""

from __future__ import annotations

import resource
import socket
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from reconciler.fleet import StateError
from reconciler.state import copy_state, open_state, open_writer
from reconciler.state.lease import OwnLease
from reconciler.state.postgres.address import parse
from reconciler.state.postgres.writer import PostgresWriter
from reconciler.state.sql.rescue import RescueHead, RescueJournal, RescuePlace


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("state/lab.db", "state/lab.db"),
        ("sqlite:///state/lab.db", "state/lab.db"),
        ("sqlite:////srv/lab.db", "/srv/lab.db"),
        ("/srv/lab.db", "/srv/lab.db"),
    ],
)
def test_a_path_is_below_the_workspace_unless_it_is_absolute(tmp_path: Path, url: str, path: str) -> None:
    assert open_state(url, tmp_path).file == tmp_path / path


def test_what_is_opened_reads_and_writes(tmp_path: Path) -> None:
    store = open_state("s.db", tmp_path)
    with closing(store.reader()) as state:
        assert state.applied().lineage is None
    with store.writer(command="apply", fleet="lab") as state:
        state.begin_run("p", "c", "apply")
        assert not state.takes_no_more
    with closing(store.reader()) as state:
        assert state.applied().lineage is not None


@pytest.mark.parametrize("url", ["postgresql://ops@db/gpurec", "postgres://ops@db/gpurec"])
def test_postgresql_without_its_extra_is_one_sentence_that_says_how_to_get_it(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("reconciler.state.postgres")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(StateError, match=r"needs the extra `postgres`.*in a clone of gpurec: pip install '\.\[postgres\]'") as caught:
        open_state(url, fleet="lab")
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ops:HUSH@db/gpurec",
        "postgres://ops:HUSH@db/gpurec?fleet=lab",
        "postgresql://ops@db/gpurec?password=HUSH",
        "postgresql://ops@db/gpurec?sslpassword=HUSH",
        "postgresql://ops:a/HUSH@db/gpurec",
        "postgresql://ops:a?HUSH@db/gpurec",
        "postgresql://ops:a?b=HUSH@db/gpurec",
    ],
)
def test_a_password_in_the_url_is_refused_with_the_reason_and_not_repeated(url: str) -> None:
    with pytest.raises(StateError, match=r"holds a password.*PGPASSFILE") as caught:
        open_state(url, fleet="lab")
    assert "HUSH" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "settings"),
    [
        ("postgresql://ops@db.example/gpurec", {"sslmode": "verify-full", "sslrootcert": "system"}),
        ("postgresql://ops@10.1.2.3,db.example/gpurec", {"sslmode": "verify-full", "sslrootcert": "system"}),
        ("postgresql://ops@127.0.0.1,db.example/gpurec", {"sslmode": "verify-full", "sslrootcert": "system"}),
        ("postgresql://ops@db.example/gpurec?sslrootcert=/etc/ca.pem", {"sslmode": "verify-full", "sslrootcert": "/etc/ca.pem"}),
        ("postgresql://ops@db.example/gpurec?sslmode=require", {"sslmode": "require"}),
        ("postgresql://ops@localhost/gpurec", {}),
        ("postgresql://ops@[::1]:5433/gpurec", {}),
        ("postgresql:///gpurec?host=/run/postgresql", {}),
        ("postgresql:///gpurec", {}),
    ],
)
def test_tls_is_verified_away_from_this_machine_unless_the_url_says_otherwise(tmp_path: Path, url: str, settings: dict[str, str]) -> None:
    found = parse(url, "lab", {}, tmp_path)
    assert {key: value for key, value in found.settings.items() if key.startswith("ssl")} == settings


def test_the_environment_names_the_server_the_mode_and_the_authority_as_for_every_tool_of_postgresql(tmp_path: Path) -> None:
    assert "sslmode" not in parse("postgresql:///gpurec", "lab", {"PGHOST": "/run/postgresql"}, tmp_path).settings
    away = parse("postgresql:///gpurec", "lab", {"PGHOST": "db.example", "PGSSLROOTCERT": "/etc/ca.pem"}, tmp_path)
    assert (away.settings["sslmode"], away.settings.get("sslrootcert")) == ("verify-full", None)
    assert parse("postgresql:///gpurec", "lab", {"PGHOST": "db", "PGSSLMODE": "verify-ca"}, tmp_path).settings["sslmode"] == "verify-ca"


@pytest.mark.parametrize(
    ("url", "environment"),
    [
        ("postgresql:///gpurec", {"PGHOSTADDR": "10.1.2.3"}),
        ("postgresql://localhost/gpurec", {"PGHOSTADDR": "10.1.2.3"}),
        ("postgresql:///gpurec", {"PGSERVICE": "team"}),
    ],
)
def test_tls_is_verified_where_only_the_environment_leads_away_from_this_machine(
    tmp_path: Path, url: str, environment: dict[str, str]
) -> None:
    assert parse(url, "lab", environment, tmp_path).settings.get("sslmode") == "verify-full"


def test_a_database_fleet_is_not_renamed_while_a_rescue_journal_waits_under_its_old_name(tmp_path: Path) -> None:
    address = parse("postgresql://db/gpurec", "lab", {}, tmp_path)
    place = RescuePlace(str(address), (tmp_path,))
    journal = RescueJournal(RescueHead(str(address), "l", 1, 1, "t", "w"), place.folders)
    journal.close()
    writer = PostgresWriter(address, None, OwnLease("o", 1, None), lambda: datetime.now(UTC), place)  # type: ignore[arg-type]
    with pytest.raises(StateError, match="waits to be read in") as caught:
        writer.rename_fleet("lab", "chat")
    assert str(journal.path) in str(caught.value)


def test_what_people_read_of_a_database_names_its_place_and_its_fleet_but_no_user(tmp_path: Path) -> None:
    assert str(parse("postgresql://ops@db:5433/gpurec?sslmode=require", "lab", {}, tmp_path)) == "postgresql://db:5433/gpurec?fleet=lab"
    assert str(parse("postgresql://ops@db/gpurec?fleet=chat", "lab", {}, tmp_path)) == "postgresql://db/gpurec?fleet=chat"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://db", "names no database"),
        ("postgresql://ops@db/", "names no database"),
        ("postgresql://db/gpurec?options=-c%20a=b", "a setting that is not known: 'options'"),
        ("postgresql://db:port/gpurec", "cannot be read|not known|port"),
    ],
)
def test_a_url_that_leaves_something_out_or_says_too_much_is_one_sentence(url: str, said: str) -> None:
    with pytest.raises(StateError, match=said):
        open_state(url, fleet="lab").exists()


def test_a_server_that_is_not_there_is_one_sentence_with_its_place(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        with pytest.raises(StateError, match=r"cannot be used: .*efused") as caught:
            open_state(f"postgresql://ops@127.0.0.1:{port}/gpurec", fleet="lab").reader()
    assert f"postgresql://127.0.0.1:{port}/gpurec?fleet=lab" in str(caught.value)


def test_the_name_of_a_fleet_that_is_too_long_for_a_schema_is_refused() -> None:
    with pytest.raises(StateError, match="longer than 56 bytes"):
        open_state("postgresql://127.0.0.1:1/gpurec", fleet="l" * 57).exists()


def test_another_kind_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="kind 'mysql' cannot be opened"):
        open_state("mysql://x/y", tmp_path)


@pytest.mark.parametrize("url", ["postgresql:/u:hunter2@h/d", "postgres:u:hunter2@h/d", "sqlite:/state.db", "PostgreSQL:/u:hunter2@h/d"])
def test_a_url_with_a_slash_too_few_is_no_path_and_its_password_is_not_repeated(url: str) -> None:
    with pytest.raises(StateError, match="begins as a URL and is none") as raised:
        open_state(url)
    assert "hunter2" not in str(raised.value)


def test_a_state_is_not_copied_onto_itself(tmp_path: Path) -> None:
    with open_writer(tmp_path / "s.db", command="apply", fleet="lab"):
        pass
    (tmp_path / "link.db").symlink_to(tmp_path / "s.db")
    for other in ("s.db", "link.db", f"sqlite:///{tmp_path / 's.db'}"):
        with pytest.raises(StateError, match="this is the state that is to be copied"):
            copy_state(open_state("s.db", tmp_path), open_state(other, tmp_path))


def test_a_limit_of_this_process_is_no_fault_of_the_disk(tmp_path: Path) -> None:
    def short_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    write = """
import sys
from pathlib import Path
from reconciler.state import open_writer
with open_writer(Path(sys.argv[1]), command="x"):
    pass
"""
    command = [sys.executable, "-c", write, tmp_path / "s.db"]
    ran = subprocess.run(command, preexec_fn=short_files, capture_output=True, text=True, check=False)
    assert "this process may write files of at most 4,096 bytes (ulimit -f); raise that limit" in ran.stderr
