"""What a check of a state finds, and what it must not mistake."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from reconciler.fleet import StateError
from reconciler.state import StateLevel, check_state, open_writer
from reconciler.state.sqlite import filesystem
from reconciler.state.sqlite.check import has_wal_reset_fault
from reconciler.state.sqlite.filesystem import network_filesystem

NEW = (3, 51, 3)
LOCAL = "21 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    folder.mkdir(0o700)
    with open_writer(folder / "s.db", command="apply") as state:
        state.begin_run("p", "c", "apply")
    return folder / "s.db"


def bad(path: Path, **how: object) -> dict[str, tuple[StateLevel, str]]:
    """What is not as it should be, by name."""
    found = check_state(path, **{"sqlite_version": NEW, "mounts": LOCAL, **how})  # type: ignore[arg-type]
    assert all(one.hint for one in found if one.level is not StateLevel.OK)
    return {one.name: (one.level, one.message) for one in found if one.level is not StateLevel.OK}


def test_a_sound_state_has_no_finding_and_is_left_as_it_is(path: Path) -> None:
    before = path.read_bytes()
    assert bad(path) == {}
    assert path.read_bytes() == before


def test_there_must_be_a_state(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="no state yet"):
        check_state(tmp_path / "none.db")


def test_a_file_or_folder_that_others_may_use_is_a_warning(path: Path) -> None:
    path.chmod(0o644)
    path.parent.chmod(0o777)
    level, message = bad(path)["permissions"]
    assert level is StateLevel.WARNING
    assert "s.db is open to others (mode 0644)" in message
    assert "folder can be written by others (mode 0777)" in message


def test_a_journal_row_without_its_run_is_an_error(path: Path) -> None:
    with closing(sqlite3.connect(path)) as conn:
        conn.execute(
            "INSERT INTO journal (run_id, step_id, address, action, status, started_at) VALUES (99, 's', 'a', 'load', 'done', 't')"
        )
        conn.commit()
    assert bad(path)["foreign keys"][0] is StateLevel.ERROR


def test_a_damaged_file_is_an_error_of_integrity(path: Path) -> None:
    with closing(sqlite3.connect(path)) as conn:
        (size,) = conn.execute("PRAGMA page_size").fetchone()
        (page,) = conn.execute("SELECT rootpage FROM sqlite_master WHERE name = 'journal'").fetchone()
    content = bytearray(path.read_bytes())
    content[size * (page - 1) : size * page] = os.urandom(size)
    path.write_bytes(content)
    assert bad(path)["integrity"][0] is StateLevel.ERROR


def test_a_newer_schema_is_an_error(path: Path) -> None:
    with closing(sqlite3.connect(path)) as conn:
        conn.execute("INSERT INTO migrations VALUES (99, 'later')")
        conn.commit()
    assert "newer gpurec" in bad(path)["schema"][1]


def test_another_journal_mode_is_a_warning(path: Path) -> None:
    with closing(sqlite3.connect(path)) as conn:
        conn.execute("PRAGMA journal_mode = DELETE")
    assert bad(path)["journal mode"][0] is StateLevel.WARNING


@pytest.mark.parametrize(
    ("version", "fault"),
    [
        ((3, 6, 23), False),
        ((3, 7, 0), True),
        ((3, 40, 1), True),
        ((3, 44, 5), True),
        ((3, 44, 6), False),
        ((3, 45, 0), True),
        ((3, 50, 6), True),
        ((3, 50, 7), False),
        ((3, 51, 0), True),
        ((3, 51, 2), True),
        ((3, 51, 3), False),
        ((3, 52, 0), False),
    ],
)
def test_an_sqlite_with_the_wal_reset_fault_is_a_warning(path: Path, version: tuple[int, ...], fault: bool) -> None:
    assert has_wal_reset_fault(version) is fault
    assert ("SQLite" in bad(path, sqlite_version=version)) is fault


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "fuse.glusterfs", "virtiofs"])
def test_a_network_file_system_is_a_warning_that_names_it(path: Path, kind: str) -> None:
    mounts = LOCAL + f"30 21 0:50 / {path.parent} rw - {kind} host:/x rw\n"
    level, message = bad(path, mounts=mounts)["file system"]
    assert level is StateLevel.WARNING
    assert f"({kind})" in message


@pytest.mark.parametrize(
    ("mounts", "kind"),
    [
        ("", None),
        ("not a line of mountinfo\n", None),
        (LOCAL, None),
        (LOCAL + "30 21 0:50 / /srv rw - nfs h:/x rw\n", "nfs"),
        (LOCAL + "30 21 0:50 / /srv rw - nfs h:/x rw\n31 30 0:51 / /srv/a rw - ext4 /dev/b rw\n", None),
        (LOCAL + "30 21 0:50 / /sr rw - nfs h:/x rw\n", None),
        (LOCAL + "30 21 0:50 / /srv rw - nfs h:/x rw\n31 30 0:51 / /srv rw - tmpfs t rw\n", None),
        (LOCAL + "30 21 0:50 / /srv/a\\040b rw - nfs h:/x rw\n", None),
        (LOCAL + "30 21 0:50 / /srv rw shared:1 master:2 - fuse.sshfs h:/x rw\n", "fuse.sshfs"),
        (LOCAL + "30 21 0:50 / /srv rw - fuse.ntfs /dev/c rw\n", None),
    ],
)
def test_the_innermost_mount_decides(mounts: str, kind: str | None) -> None:
    assert network_filesystem(Path("/srv/a/state/s.db"), mounts) == kind


def test_a_blank_in_the_name_of_a_mount_is_read(tmp_path: Path) -> None:
    assert network_filesystem(Path("/srv/a b/s.db"), LOCAL + "30 21 0:50 / /srv/a\\040b rw - nfs h:/x rw\n") == "nfs"


def test_a_writer_on_a_network_file_system_has_a_warning_and_no_other(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = tmp_path / "mountinfo"
    monkeypatch.setattr(filesystem, "_MOUNTS", mounts)
    for text, said in ((LOCAL, 0), (LOCAL + f"30 21 0:50 / {path.parent} rw - nfs4 host:/x rw\n", 1)):
        mounts.write_text(text)
        with open_writer(path, command="apply") as state:
            assert len(state.warnings) == said
            assert all("network file system (nfs4)" in warning for warning in state.warnings)
