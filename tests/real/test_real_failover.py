"""A state in a PostgreSQL with a standby that follows by streaming replication, and the standby is promoted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from postgres import Postgres
from state_rules import apply, read, row
from waiting import wait_until

from reconciler.fleet import StateError
from reconciler.state import SqliteStore, StateWriter, StepStatus, Store, copying, find_rescues, open_state
from reconciler.state.postgres import connection
from reconciler.state.sql.connection import Connection


class Pair:
    """A primary, and a standby that has all of it so far; `store` names both."""

    def __init__(self, primary: Postgres, standby: Postgres, folder: Path) -> None:
        self.primary, self.standby = primary, standby
        hosts, ports = f"{primary.home},{standby.home}", f"{primary.port},{standby.port}"
        self.store: Store = open_state(
            f"postgresql://gpurec@/postgres?host={hosts}&port={ports}&target_session_attrs=read-write", folder, "lab"
        )

    def wait_for_standby(self) -> None:
        """Until it has all that the primary has."""
        ((at,),) = self.primary.query("SELECT pg_current_wal_lsn()::text")
        asked = f"SELECT pg_last_wal_replay_lsn() >= '{at}'::pg_lsn"
        wait_until(lambda: self.standby.query(asked) == [(True,)] or None, 30, "the standby has all of it")

    def cut(self) -> None:
        """The standby hears nothing more of the primary, as where the network between them is down."""
        self.standby.query("ALTER SYSTEM SET primary_conninfo = ''")
        self.standby.query("SELECT pg_reload_conf()")
        wait_until(lambda: self.standby.query("SELECT count(*) FROM pg_stat_wal_receiver") == [(0,)] or None, 30, "it is cut off")

    def fail_over(self) -> None:
        self.primary.stop()
        self.standby.promote()


@contextmanager
def replicated(folder: Path) -> Iterator[Pair]:
    primary = Postgres(replicated=True)
    standby: Postgres | None = None
    try:
        primary.start()
        standby = primary.standby()
        standby.start()
        yield Pair(primary, standby, folder)
    finally:
        primary.remove()
        if standby is not None:
            standby.remove()


def test_a_run_goes_on_at_a_standby_that_has_all_of_it(tmp_path: Path) -> None:
    with replicated(tmp_path) as pair:
        apply(pair.store, [row("before")])
        with pair.store.writer(command="apply", fleet="lab") as state:
            run = state.begin_run("p", "c", "apply")
            state.step_started(run, "s", "m", "load")
            pair.wait_for_standby()
            pair.fail_over()
            state.prove_held()
            state.record([row("after")])
            state.step_finished(run, "s", StepStatus.DONE)
            state.finish_run(run, "done")
        assert sorted(read(pair.store).replicas) == [row("after").address, row("before").address]
        assert find_rescues(pair.store.rescues) == []


def test_a_standby_that_lacks_the_last_second_of_a_run_is_told_and_not_written_to(tmp_path: Path) -> None:
    with replicated(tmp_path) as pair:
        apply(pair.store, [row("before")])

        def ends_elsewhere(state: StateWriter) -> None:
            run = state.begin_run("p", "c", "apply")
            pair.wait_for_standby()
            pair.cut()
            state.record([row("lost")])
            pair.fail_over()
            for write in (state.prove_held, lambda: state.step_started(run, "s", "m", "load")):
                with pytest.raises(StateError, match="is behind what this run wrote to it"):
                    write()
            state.record([row("late")])

        with pytest.raises(StateError, match="kept in a rescue journal"), pair.store.writer(command="apply", fleet="lab") as state:
            ends_elsewhere(state)
        assert list(read(pair.store).replicas) == [row("before").address]
        (rescue,) = find_rescues(pair.store.rescues)
        assert len(rescue.name.encode()) < 255


def test_a_server_that_only_follows_is_refused_with_the_setting_that_finds_the_primary(tmp_path: Path) -> None:
    with replicated(tmp_path) as pair:
        apply(pair.store, [row("before")])
        pair.wait_for_standby()
        url = f"postgresql://gpurec@/postgres?host={pair.standby.home}&port={pair.standby.port}"
        store = open_state(url, tmp_path, "lab")
        assert list(read(store).replicas) == [row("before").address], "it can be read"
        with pytest.raises(StateError, match=r"only reads, as a standby does.*target_session_attrs=read-write"):
            apply(store, [])


def test_what_could_not_be_written_to_one_of_many_hosts_has_a_name_that_a_file_can_have(tmp_path: Path) -> None:
    hosts = ",".join(f"database-{number}.of-a-region-with-a-long-name.example" for number in range(9))
    store = open_state(f"postgresql://gpurec@{hosts}/gpurec", tmp_path, "lab")
    other = open_state(f"postgresql://gpurec@{hosts}/gpurec", tmp_path, "other")
    from reconciler.state.sql.rescue import RescueHead, RescueJournal

    journal = RescueJournal(RescueHead(store.rescues.state, None, 1, 0, "2026-01-01T00:00:00Z", "it is away"), store.rescues.folders)
    journal.close()
    assert find_rescues(store.rescues) == [journal.path]
    assert find_rescues(other.rescues) == []


def test_a_copy_waits_for_the_other_side_longer_than_an_apply_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Postgres()
    try:
        server.start()
        store = open_state(server.url, tmp_path, "lab")
        apply(store, [row()])
        monkeypatch.setitem(connection._BOUNDS, "idle_in_transaction_session_timeout", "300ms")

        def idles_for_a_second(source: Connection, to: Connection) -> None:
            copy(source, to)
            asked = (
                "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction' AND state_change < now() - interval '1 second'"
            )
            wait_until(lambda: server.query(asked) != [(0,)] or None, 30, "it has waited")

        copy = copying.copy_rows
        monkeypatch.setattr(copying, "copy_rows", idles_for_a_second)
        back = SqliteStore(tmp_path / "back.db")
        copying.copy_state(store, back)
        assert read(back).replicas == read(store).replicas
    finally:
        server.remove()
