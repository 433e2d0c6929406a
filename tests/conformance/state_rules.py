"""What every state promises, wherever it is kept; asked of the one in a file and, unchanged, of the one in a real PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from typing import Protocol

import pytest
import ticket_rules

from reconciler.fleet import (
    FIVE_MINUTES,
    LOOK,
    NOTHING_APPLIED,
    AllocatedAgent,
    Applied,
    AppliedReplica,
    AppliedResource,
    CardFacts,
    CardSample,
    EngineFacts,
    EngineId,
    EngineKind,
    FleetFacts,
    Frame,
    Heat,
    HistoryBounds,
    Incident,
    Installed,
    LoadKey,
    LockHeld,
    Measured,
    MeasuredKey,
    ModelHeader,
    ModelSample,
    NodeFacts,
    Resident,
    StateError,
    Ticket,
    TicketKept,
    Tickets,
    replica_address,
    with_last_known,
)
from reconciler.state import (
    Learned,
    Measurement,
    OtherFleet,
    SettledStep,
    Standing,
    StateLevel,
    StateWriter,
    StepStatus,
    Store,
    copy_state,
    node_move,
    refuse_if_locked,
)

AT, OTHER = EngineId("a", "ollama"), EngineId("b", "ollama")
NEED = MeasuredKey("sha256:w", "0.34.0", "NVIDIA A40", 4096, 1, "f16", True)
LOADED = LoadKey(EngineKind.OLLAMA, "m", None)
MANY = 700
"""More than either kind writes or looks up one by one."""
ODD = "naïve 😀 'quoted' \"twice\" 100% ? \\ %s {x}\n\ttab"
"""Text that a statement which was put together from it would stumble over."""


class Subject(Protocol):
    """A kind of state, with nothing in it yet."""

    def store(self, fleet: str = "lab") -> Store:
        """Always the same one for the same fleet."""
        ...

    def renamed(self, old: str, new: str) -> Store:
        """The state of the fleet `old` as it is to be asked for after it was renamed."""
        ...

    def behind(self, statement: str) -> None:
        """Does something to the tables of the fleet `lab` behind gpurec's back."""
        ...


StateRule = Callable[[Subject], None]


def row(name: str = "m", at: EngineId = AT, **fields: object) -> AppliedReplica:
    return replace(AppliedReplica(replica_address(name, at), name, at, name, keep_alive=-1.0, vram_bytes=5), **fields)  # type: ignore[arg-type]


def read(store: Store) -> Applied:
    with closing(store.reader()) as state:
        return state.applied()


def apply(store: Store, rows: list[AppliedReplica], gone: list[str] | None = None) -> int:
    with store.writer(command="apply", fleet="lab") as state:
        run = state.begin_run("sha256:p", "sha256:c", "apply")
        state.record(rows, gone or [])
        return state.finish_run(run, "done")


def seen(at: EngineId = AT, *, reachable: bool = True, header: ModelHeader | None = None) -> NodeFacts:
    installed = (Installed("m:latest", 7, blob="sha256-1", header=header),)
    residents = (Resident("m:latest", size_bytes=5, vram_bytes=4, context=4096, pinned=False, expires_in=12.5),)
    engine = EngineFacts(at, EngineKind.OLLAMA, reachable, build="0.34.0", installed=installed, residents=residents)
    return NodeFacts(at.node, (CardFacts(0, total_bytes=8, compute_capability=(8, 6)),), 9, {at.engine: engine})


def what_is_not_there_yet_reads_as_nothing_applied(subject: Subject) -> None:
    store = subject.store()
    assert not store.exists()
    with closing(store.reader()) as state:
        assert state.applied() == NOTHING_APPLIED
        assert (state.recorded_facts(), state.lease(), state.run(1)) == (None, None, None)
        assert (list(state.runs()), list(state.journal(1)), dict(state.tags()), dict(state.failed_loads())) == ([], [], {}, {})
        assert (list(state.renames()), list(state.frames((LOOK,))), list(state.changed_since(0, ["x"]))) == ([], [], [])
        with pytest.raises(StateError, match="nothing was applied yet"):
            state.applied_at(1)
    assert store.lock() is None
    assert not store.exists(), "reading sets nothing up"


def the_first_apply_sets_it_up_and_says_so(subject: Subject) -> None:
    store = subject.store()
    with store.writer(command="apply", fleet="lab") as state:
        assert state.notices == (f"set up a new state for the fleet lab: {store}",)
        state.begin_run("p", "c", "apply")
    assert store.exists()
    with store.writer(command="apply", fleet="lab") as state:
        assert state.notices == ()


def all_that_is_kept_is_read_back_as_it_was(subject: Subject) -> None:
    store = subject.store()
    observed = {"observed_context": 8192, "observed_gpu_fraction": 0.5, "observed_pinned": False}
    whole = row("m", context=8192, options={"num_batch": 512, "use_mmap": True, "x": 0.25}, residency="cpu", ensure="present", protect=True)
    whole = replace(whole, **observed, vram_bytes=2**45, charges=((0, 5), ("amd0", 7), (-1, 2**40)))
    odd = row("m-odd", OTHER, engine_name=ODD, options={"stop": ODD}, keep_alive=None, vram_bytes=None)
    file = AppliedResource("file.out/a@local", {"content": "sha256:1", "mode": "0644"}, ODD)
    with store.writer(command="apply", fleet="lab") as state:
        run = state.begin_run("sha256:p", "sha256:c", "apply")
        state.record([whole, odd])
        state.record_resources([file])
        state.measure([Measurement(LOADED, 7.0), Measurement(LOADED, 2.5), Measurement(LoadKey(EngineKind.VLLM, "m", 4096), 9.0)])
        state.learn([Learned(NEED, Measured(5, 9)), Learned(NEED, Measured(7, None))])
        state.record_heat({("a", 0): Heat.CRITICAL, ("a", 1): Heat.NORMAL, ("b", "amd0"): Heat.WARNING})
        state.record_heat({("a", 0): Heat.WARNING})
        state.record_incident(whole.address, "evicted", "w", at="2026-01-01T11:00:00Z", evictor="y")
        state.record_incident(whole.address, "evicted", "w", at="2026-01-01T11:00:00Z", evictor="y")
        state.own_tag(AT, "m-c4096", "m")
        state.record_facts(FleetFacts("2026-01-01T09:00:00Z", {"a": seen(), "b": seen(OTHER, reachable=False)}))
        assert state.finish_run(run, "done") == 1
    found = read(store)
    assert found.replicas == {one.address: replace(one, serial=1) for one in (whole, odd)}
    assert list(found.replicas) == sorted(found.replicas)
    assert found.resources == {file.address: replace(file, serial=1)}
    assert found.load_seconds == {LOADED: 2.5, LoadKey(EngineKind.VLLM, "m", 4096): 9.0}
    assert found.measured == {NEED: Measured(7, 9)}
    assert found.heat == {("a", 0): Heat.WARNING, ("b", "amd0"): Heat.WARNING}
    assert found.incidents == (Incident(whole.address, "evicted", "2026-01-01T11:00:00Z", "w", "y"),)
    assert found.silent == {OTHER: "2026-01-01T09:00:00Z"}
    assert (found.serial, found.lineage is not None) == (1, True)


def an_incident_is_kept_for_a_day(subject: Subject) -> None:
    with subject.store().writer(command="apply", fleet="lab") as state:
        for at in ("2026-01-01T10:59:59Z", "2026-01-01T11:00:00.000001Z", "2026-01-02T11:00:00.000001Z"):
            state.record_incident("model.m@a/ollama", "evicted", "w", at=at)
        kept = [one.at for one in state.applied().incidents]
    assert kept == ["2026-01-01T11:00:00.000001Z", "2026-01-02T11:00:00.000001Z"]


def the_serial_moves_once_a_run_and_only_when_something_was_recorded(subject: Subject) -> None:
    store = subject.store()
    lineages = set()
    serials = []
    for rows in ([row()], [row()], [row(vram_bytes=6), row("n")], [row("n")]):
        serials.append(apply(store, rows))
        lineages.add(read(store).lineage)
    assert serials == [1, 1, 2, 2]
    assert len(lineages) == 1, "made by the first run, and it stays"


def many_replicas_are_written_at_once_and_the_later_of_two_counts(subject: Subject) -> None:
    store = subject.store()
    rows = [row(f"m{number:04}", options={"n": number}) for number in range(MANY)]
    apply(store, [*rows, replace(rows[3], vram_bytes=77)])
    found = read(store).replicas
    assert (len(found), found[rows[3].address].vram_bytes) == (MANY, 77)
    assert apply(store, [rows[3], *rows[:3], *rows[4:]], [rows[9].address]) == 2
    assert apply(store, rows[:9] + rows[10:]) == 2, "nothing of it is new"
    assert len(read(store).replicas) == MANY - 1


def what_a_run_recorded_before_it_died_is_there_and_its_steps_are_interrupted(subject: Subject) -> None:
    store = subject.store()
    with store.writer(command="apply", fleet="lab") as state:
        dead = state.begin_run("p", "c", "apply")
        state.step_started(dead, "load:x", "x", "load")
        state.record([row()])
    with store.writer(command="apply", fleet="lab") as state:
        assert state.applied().serial == 1
        run = state.begin_run("p2", "c2", "apply --keep-going")
        assert [(one.id, one.result, one.plan_digest) for one in state.runs()] == [(run, "running", "p2"), (dead, "interrupted", "p")]
        assert [one.status for one in state.journal(dead)] == [StepStatus.INTERRUPTED]
        assert state.finish_run(run, "done") == 1


def the_journal_says_started_before_and_the_end_after_in_the_order_of_the_steps(subject: Subject) -> None:
    store = subject.store()
    with store.writer(command="apply", fleet="lab") as state:
        run = state.begin_run("p", "c", "apply")
        state.step_started(run, "z", "model.x@a/o", "load")
        with closing(store.reader()) as reader:
            assert [one.status for one in reader.journal(run)] == [StepStatus.STARTED], "a reader sees it before anything is sent"
        state.step_started(run, "a", "y", "load")
        state.step_finished(run, "z", StepStatus.FAILED, ODD)
        state.steps_settled(run, [SettledStep("b", "w", "load", StepStatus.SKIPPED, "need_not_met")])
        state.step_finished(run, "a", StepStatus.DONE)
        state.step_started(run, "z", "model.x@a/o", "load")
        state.step_finished(run, "z", StepStatus.FAILED, ODD)
        with pytest.raises(StateError, match="never started"):
            state.step_finished(run, "c", StepStatus.DONE)
        assert [(one.step_id, one.status, one.reason) for one in state.journal(run)] == [
            ("z", StepStatus.FAILED, ODD),
            ("a", StepStatus.DONE, None),
            ("b", StepStatus.SKIPPED, "need_not_met"),
        ]
        state.step_started(run, "r", "reload.nginx -s reload@a", "reload")
        state.step_finished(run, "r", StepStatus.FAILED, ODD)
        assert dict(state.failed_loads()) == {"model.x@a/o": next(one for one in state.journal(run) if one.step_id == "z")}
        state.finish_run(run, "done", unplaced=1, deferred=2)
        record = state.run(run)
        assert record is not None
        assert (record.result, record.unplaced, record.deferred) == ("partial", 1, 2)
        assert record.steps == {"done": 1, "failed": 2, "skipped": 1}


def every_serial_gives_back_what_was_asked_then_and_who_changed_it(subject: Subject) -> None:
    store = subject.store()
    assert apply(store, [row("m", options={"n": 1}, context=8192), row("n")]) == 1
    assert apply(store, [row("m", context=4096)], [row("n").address]) == 2
    assert apply(store, [row("n", ensure="present", keep_alive=None)]) == 3
    with closing(store.reader()) as state:
        assert dict(state.applied_at(0)) == {}
        was = {one.model: one for one in state.applied_at(1).values()}
        assert was == {"m": row("m", options={"n": 1}, context=8192, serial=1), "n": row("n", serial=1)}
        assert {one.model: one.serial for one in state.applied_at(2).values()} == {"m": 2}
        assert {one.model: one.ensure for one in state.applied_at(3).values()} == {"m": "loaded", "n": "present"}
        with pytest.raises(StateError, match="knows no serial 4; it knows serials 0 to 3"):
            state.applied_at(4)
        changes = state.changed_since(1, [row("m").address, row("n").address, "model.x@y/z"])
        assert [(one.address, one.serial, one.run) for one in changes] == [
            (row("m").address, 2, 2),
            (row("n").address, 2, 2),
            (row("n").address, 3, 3),
        ]


def facts_come_back_without_what_changes_at_every_look_and_a_header_once(subject: Subject) -> None:
    store = subject.store()
    header = ModelHeader({"general.architecture": "x", "x.a": (1, 2.5, True), "x.b": 1e-6}, (("blk.0.w", "q4_k", (256, 2)),))
    told = FleetFacts("2026-01-01T00:00:00Z", {"a": seen(header=header), "b": seen(OTHER, header=header)})
    with store.writer(command="apply", fleet="lab") as state:
        state.begin_run("p", "c", "apply")
        state.record_facts(FleetFacts("2025-01-01T00:00:00Z", {"gone": seen(EngineId("gone", "e"))}))
        state.record_facts(told)
    with closing(store.reader()) as reader:
        found = reader.recorded_facts()
    assert found is not None
    assert (found.at, sorted(found.nodes)) == (told.at, ["a", "b"])
    for node in found.nodes.values():
        (engine,) = node.engines.values()
        assert engine.installed is not None
        assert engine.installed[0].header == header
        assert engine.residents is not None
        assert engine.residents[0].expires_in is None


def what_was_last_known_of_an_engine_that_is_away_is_kept_beside_since_when_it_is(subject: Subject) -> None:
    with subject.store().writer(command="apply", fleet="lab") as state:
        state.begin_run("p", "c", "apply")
        state.record_facts(FleetFacts("2026-01-01T09:00:00Z", {"a": seen()}))
        for at in ("2026-01-01T10:00:00Z", "2026-01-01T11:00:00Z"):
            away = replace(seen(), engines={AT.engine: EngineFacts(AT, EngineKind.OLLAMA, False)})
            state.record_facts(with_last_known(FleetFacts(at, {"a": away}), state.recorded_facts, ["a"], frozenset()))
        facts = state.recorded_facts()
        assert facts is not None
        engine = facts.nodes["a"].engines["ollama"]
        assert (engine.reachable, engine.build, [one.name for one in engine.residents or ()]) == (False, "0.34.0", ["m:latest"])
        assert state.applied().silent == {AT: "2026-01-01T10:00:00Z"}


def a_renamed_node_takes_everything_along(subject: Subject) -> None:
    with subject.store().writer(command="apply", fleet="lab") as state:
        run = state.begin_run("p", "c", "apply")
        state.record([row(engine_name="m-c4096", context=4096), row(at=OTHER)])
        state.record_resources([AppliedResource("file./etc/x@a", {"mode": "0644"}, "text")])
        for at in (AT, OTHER):
            state.own_tag(at, "m-c4096", "m")
            state.record_incident(row(at=at).address, "evicted", "w")
        state.step_started(run, "load", row().address, "load")
        state.step_finished(run, "load", StepStatus.FAILED, "load_failed")
        state.record_heat({("a", 0): Heat.CRITICAL, ("b", 1): Heat.WARNING})
        state.record_facts(FleetFacts("2026-01-01T09:00:00Z", {at.node: seen(at, reachable=False) for at in (AT, OTHER)}))
        state.finish_run(run, "done")
        state.begin_run("", "", "state mv")
        state.rename_node(node_move(state.applied(), state.recorded_facts(), "a", "z"))
        there = EngineId("z", "ollama")
        applied, facts = state.applied(), state.recorded_facts()
        assert sorted(applied.replicas) == [row(at=OTHER).address, row(at=there).address]
        assert list(applied.resources) == ["file./etc/x@z"]
        assert [one.address for one in applied.incidents] == [row(at=OTHER).address, row(at=there).address]
        assert applied.silent == {there: "2026-01-01T09:00:00Z", OTHER: "2026-01-01T09:00:00Z"}
        assert applied.heat == {("z", 0): Heat.CRITICAL, ("b", 1): Heat.WARNING}
        assert state.tags() == {there: {"m-c4096": "m"}, OTHER: {"m-c4096": "m"}}
        assert facts is not None
        assert sorted(facts.nodes) == ["b", "z"]
        assert list(state.failed_loads()) == [row(at=there).address]
        assert sorted(state.applied_at(1)) == [row(at=OTHER).address, row(at=there).address]
        assert [(one.old, one.new) for one in state.renames()] == [("a", "z")]
        state.forget([row(at=there).address, "file./etc/x@z"])
        applied = state.applied()
        assert (sorted(applied.replicas), dict(applied.resources), len(applied.incidents)) == ([row(at=OTHER).address], {}, 1)
        assert there not in state.tags()


def a_state_is_of_one_fleet_until_that_is_renamed(subject: Subject) -> None:
    store = subject.store()
    apply(store, [row()])
    store.check_fleet("lab")
    for ask in (lambda: store.check_fleet("chat"), lambda: store.writer(command="apply", fleet="chat").__enter__()):
        with pytest.raises(OtherFleet, match=r"the fleet lab, and the command is for the fleet chat.*rename-fleet lab chat"):
            ask()
    with store.writer(command="state rename-fleet") as state:
        with pytest.raises(OtherFleet):
            state.rename_fleet("other", "chat")
        run = state.begin_run("", "", "state rename-fleet lab chat")
        state.rename_fleet("lab", "chat")
        state.prove_held()
        state.finish_run(run, "done")
    now = subject.renamed("lab", "chat")
    now.check_fleet("chat")
    assert list(read(now).replicas) == [row().address]
    assert now.lock() is None
    with now.writer(command="apply", fleet="chat") as state:
        assert (state.took_over, state.notices) == (None, ())


def fleets_know_nothing_of_each_other(subject: Subject) -> None:
    apply(subject.store(), [row()])
    other = subject.store("chat")
    assert not other.exists()
    with subject.store().writer(command="apply", fleet="lab"), other.writer(command="apply", fleet="chat") as state:
        state.begin_run("p", "c", "apply")
        state.record([row("n")])
    assert (list(read(subject.store()).replicas), list(read(other).replicas)) == ([row().address], [row("n").address])
    assert read(subject.store()).lineage != read(other).lineage


def a_schema_of_a_newer_gpurec_is_refused_and_left_alone(subject: Subject) -> None:
    store = subject.store()
    apply(store, [row()])
    subject.behind("INSERT INTO migrations (version, applied_at) VALUES (99, 'later')")
    for ask in (store.reader, lambda: store.writer(command="apply").__enter__()):
        with pytest.raises(StateError, match=r"newer gpurec \(schema 99"):
            ask()


def a_second_writer_is_told_who_where_when_and_what(subject: Subject) -> None:
    store = subject.store()
    with store.writer(command="gpurec apply postgresql://u:HUSH@h/d", fleet="lab"):
        with pytest.raises(LockHeld) as caught, store.writer(command="second", fleet="lab"):
            pass
        lock = store.lock()
        assert lock is not None
        assert lock.standing is Standing.RUNNING
        for word in (lock.lease.process.who, lock.lease.process.host, str(lock.lease.process.pid), "`gpurec apply", str(store)):
            assert word in str(caught.value)
        assert "HUSH" not in str(caught.value)
        with pytest.raises(LockHeld):
            refuse_if_locked(store)
        read(store)
    refuse_if_locked(store)
    with pytest.raises(RuntimeError), store.writer(command="apply", fleet="lab"):
        raise RuntimeError
    assert store.lock() is None, "given back also where the block failed"


def of_two_that_begin_at_once_one_gets_the_lock(subject: Subject) -> None:
    store = subject.store()
    apply(store, [row()])
    gate, done = threading.Barrier(5), threading.Barrier(5)
    held: list[str] = []

    def begin(name: str) -> None:
        gate.wait(20)
        try:
            with store.writer(command=name, fleet="lab"):
                held.append(name)
                done.wait(20)
        except LockHeld:
            done.wait(20)

    threads = [threading.Thread(target=begin, args=(f"apply {number}",)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(held) == 1


def a_holder_that_is_gone_is_replaced_at_once_and_told(subject: Subject) -> None:
    store = subject.store()
    with store.writer(command="gpurec apply --keep-going", fleet="lab") as state:
        run = state.begin_run("p", "c", "apply")
        subject.behind("UPDATE lease SET process_started = process_started - 1")  # its id was used again
        with store.writer(command="apply", fleet="lab") as next_one:
            assert next_one.took_over is not None
            assert "gpurec apply --keep-going" in next_one.took_over
            assert "that process is gone" in next_one.took_over
            refused(state, run)
            next_one.begin_run("p", "c", "apply")


def refused(state: StateWriter, run: int) -> None:
    """All that a writer could write is refused, and nothing may be sent."""
    writes: tuple[Callable[[], object], ...] = (
        state.prove_held,
        lambda: state.begin_run("p", "c", "apply"),
        lambda: state.step_started(run, "t", "a", "load"),
        lambda: state.steps_settled(run, [SettledStep("u", "u", "load", StepStatus.SKIPPED)]),
        lambda: state.record([row("late")]),
        lambda: state.record_resources([AppliedResource("file.late@local")]),
        lambda: state.measure([Measurement(LOADED, 1.0)]),
        lambda: state.record_incident("late", "evicted", "w"),
        lambda: state.record_heat({("late", 0): Heat.CRITICAL}),
        lambda: state.record_facts(FleetFacts("2026-01-01T09:00:00Z", {"late": seen()})),
        lambda: state.forget([row().address]),
        lambda: state.own_tag(AT, "late", "m"),
        lambda: state.finish_run(run, "done"),
    )
    for write in writes:
        with pytest.raises(StateError, match="taken over by another"):
            write()


def whoever_lost_the_lock_writes_nothing_more(subject: Subject) -> None:
    store = subject.store()
    with store.writer(command="apply", fleet="lab") as state:
        run = state.begin_run("p", "c", "apply")
        state.record([row()])
        state.prove_held()
        lock = store.lock()
        assert lock is not None
        store.break_lock(lock)
        refused(state, run)
        with pytest.raises(StateError, match="changed hands"):
            store.break_lock(lock)
        with closing(store.reader()) as reader:
            applied = reader.applied()
            assert (list(applied.replicas), dict(applied.resources), applied.heat, applied.incidents) == ([row().address], {}, {}, ())
            assert [one.result for one in reader.runs()] == ["running"]
            assert dict(reader.tags()) == {}


def a_state_that_became_another_one_meanwhile_is_left_alone(subject: Subject) -> None:
    with subject.store().writer(command="apply", fleet="lab") as state:
        run = state.begin_run("p", "c", "apply")
        subject.behind("UPDATE meta SET value = 'another' WHERE key = 'lineage'")
        for write in (state.prove_held, lambda: state.step_started(run, "t", "a", "load")):
            with pytest.raises(StateError, match="overwritten with another one"):
                write()


def a_row_that_gpurec_did_not_write_is_one_sentence_and_check_names_it(subject: Subject) -> None:
    store = subject.store()
    apply(store, [row()])
    assert [one for one in store.check() if one.level is StateLevel.ERROR] == []
    subject.behind("UPDATE replicas SET options = 'x'")
    with pytest.raises(StateError, match=r"holds what gpurec did not write: table replicas.* not JSON"):
        read(store)
    (bad,) = [one for one in store.check() if one.level is StateLevel.ERROR]
    assert row().address in bad.message


def looks_are_kept_without_the_lock_and_their_means_with_them(subject: Subject) -> None:
    store, bounds, start = subject.store(), HistoryBounds(86400), 1_767_225_600
    looks = [
        Frame(start + 60 * minute, LOOK, {("a", 0): CardSample(minute, 8, 0.5)}, {row().address: ModelSample(1.0, 5)})
        for minute in range(7)
    ]
    assert f"set up a new state for the fleet lab: {store}" in (store.keep_looks(looks[:1], fleet="lab", bounds=bounds) or "")
    assert store.keep_looks(looks[1:], fleet="lab", bounds=bounds) is None
    with closing(store.reader()) as state:
        assert list(state.frames((LOOK,))) == looks
        assert [(one.at, one.cards["a", 0].used_bytes) for one in state.frames((FIVE_MINUTES,))] == [(start, 2)]
    with pytest.raises(OtherFleet):
        store.keep_looks(looks, fleet="chat", bounds=bounds)


def an_agent_is_allocated_once_and_released_and_history_tells_who(subject: Subject) -> None:
    store = subject.store()
    agent = AllocatedAgent("bot", "chat", "m", '{"x": 1}', True, ODD, "2026-01-01T09:00:00Z")
    bare = AllocatedAgent("a-bot", "chat", None, None, None, "ops", "2026-01-01T09:00:01Z")
    other = replace(agent, type="code", who="eve")
    assert store.allocate(agent, fleet="lab", command="serve: agent bot allocated by ops") is None
    assert store.allocate(other, fleet="lab", command="again") == agent, "what is there stays"
    store.allocate(bare, fleet="lab", command="serve: agent a-bot allocated by ops")
    with closing(store.reader()) as state:
        assert list(state.allocated()) == [bare, agent]
        assert [(run.command, run.result, run.plan_digest, run.serial) for run in state.runs()] == [
            ("serve: agent a-bot allocated by ops", "done", "", 0),
            ("serve: agent bot allocated by ops", "done", "", 0),
        ]
    assert store.release("bot", fleet="lab", command="serve: agent bot released by ops")
    assert not store.release("bot", fleet="lab", command="again")
    with closing(store.reader()) as state:
        assert list(state.allocated()) == [bare]
        assert [run.command for run in state.runs(1)] == ["serve: agent bot released by ops"]
    with pytest.raises(OtherFleet):
        store.allocate(agent, fleet="chat", command="x")
    assert apply(store, [row()]) == 1
    store.allocate(agent, fleet="lab", command="x")
    with closing(store.reader()) as state:
        assert state.runs(1)[0].serial == 1, "what is wanted is no part of what is applied"


def agents_that_come_and_go_hide_no_run_of_a_plan(subject: Subject) -> None:
    store, address = subject.store(), row().address
    with store.writer(command="apply", fleet="lab") as state:
        killed = state.begin_run("p", "c", "apply")
        state.record([row()])
        state.step_started(killed, "load:x", address, "load")
        state.step_finished(killed, "load:x", StepStatus.FAILED, ODD)
    for number in range(101):
        agent = AllocatedAgent(f"bot-{number}", "chat", None, None, None, "ops", "2026-01-01T09:00:00Z")
        store.allocate(agent, fleet="lab", command="serve")
    with closing(store.reader()) as state:
        assert killed not in [run.id for run in state.runs(100)]
        assert [run.id for run in state.runs(100, of_plans=True)] == [killed]
        assert list(state.failed_loads()) == [address]
        assert [change.run for change in state.changed_since(0, [address])] == [killed]


def a_ticket_counts_once_and_sums_are_of_any_size(subject: Subject) -> None:
    store = subject.store()
    with closing(store.reader()) as state:
        assert state.tickets() == Tickets()
    large = Ticket("0x1", None, 10**30 + 1, 7, "2026-01-01T09:00:00Z")
    assert store.record_ticket(large, fleet="lab") is TicketKept.RECORDED
    assert store.record_ticket(replace(large, face_value=5, sender=ODD), fleet="lab") is TicketKept.KNOWN
    assert store.record_ticket(Ticket(ODD, ODD, 10**30, 10**29, "2026-01-01T09:00:00Z"), fleet="lab") is TicketKept.RECORDED
    with closing(store.reader()) as state:
        assert state.tickets() == Tickets(2, 2 * 10**30 + 1, 10**29 + 7)
    subject.behind("UPDATE tickets SET face_value = 'lots' WHERE id = '0x1'")
    with closing(store.reader()) as state, pytest.raises(StateError, match="'lots' is no number of wei"):
        state.tickets()


def a_ticket_that_comes_while_a_run_holds_the_state_counts_at_once_and_once(subject: Subject) -> None:
    store, at = subject.store(), "2026-01-01T09:00:00Z"
    tickets = [Ticket(f"{ODD}{number}", ODD, 10**30, 10**29, at) for number in range(3)]
    assert store.record_ticket(tickets[0], fleet="lab") is TicketKept.RECORDED
    with store.writer(command="apply", fleet="lab"):
        for ticket in (*tickets, *tickets):
            assert store.record_ticket(ticket, fleet="lab") in TicketKept
            assert store.tickets().count in (1, 2, 3)
        assert store.tickets() == Tickets(3, 3 * 10**30, 3 * 10**29)
    if store.file is not None:
        with pytest.raises(StateError, match="tickets wait to be taken into this state"):
            copy_state(store, subject.store("copy"))
        with (
            store.writer(command="state rename-fleet") as state,
            pytest.raises(StateError, match="tickets wait to be taken into this state"),
        ):
            state.rename_fleet("lab", "chat")
    look = Frame(1_767_225_600, LOOK, {("a", 0): CardSample(1, 8, 0.5)}, {})
    store.keep_looks([look], fleet="lab", bounds=HistoryBounds(86400))
    with closing(store.reader()) as state:
        assert store.tickets() == state.tickets() == Tickets(3, 3 * 10**30, 3 * 10**29)
    assert [store.record_ticket(ticket, fleet="lab") for ticket in tickets] == [TicketKept.KNOWN] * 3
    assert not list(store.rescues.folders[0].glob("*.tickets"))


def old_tickets_are_forgotten_one_by_one_and_not_their_sums(subject: Subject) -> None:
    store = subject.store()
    for number, month in enumerate(("01", "01", "02", "04", "06")):
        store.record_ticket(Ticket(str(number), ODD, 10**30, 10, f"2026-{month}-01T09:00:00Z"), fleet="lab")
        assert store.tickets() == Tickets(number + 1, (number + 1) * 10**30, (number + 1) * 10)
    assert store.record_ticket(Ticket("3", ODD, 1, 1, "2026-06-01T10:00:00Z"), fleet="lab") is TicketKept.KNOWN
    assert store.record_ticket(Ticket("2", ODD, 1, 1, "2026-06-01T10:00:00Z"), fleet="lab") is TicketKept.RECORDED
    assert [one for one in store.check() if one.level is StateLevel.ERROR] == []
    subject.behind("UPDATE meta SET value = '[1, 2]' WHERE key = 'tickets_added_up'")
    with pytest.raises(StateError, match="tickets_added_up is no sum of tickets"):
        store.tickets()
    assert "tickets_added_up is no sum of tickets" in " ".join(one.message for one in store.check())


def a_copy_holds_the_same_and_goes_on_from_there(subject: Subject) -> None:
    """Into a state of the same kind; from one kind to the other is asked of the real database."""
    store, other = subject.store(), subject.store("copy")
    fill(store)
    if other.file is None:
        with pytest.raises(StateError, match=r"the place of the fleet copy.*rename-fleet lab copy"):
            copy_state(store, other)
        with store.writer(command="state rename-fleet") as state:
            state.begin_run("", "", "state rename-fleet")
            state.rename_fleet("lab", "copy")
            state.rename_fleet("copy", "lab")
        return
    verify_copy(store, other)


def fill(store: Store) -> None:
    """Something of every kind, of two runs."""
    with store.writer(command="apply", fleet="lab") as state:
        run = state.begin_run("p", "c", "apply")
        for step in ("z", "a"):
            state.step_started(run, step, row().address, "load")
            state.step_finished(run, step, StepStatus.FAILED, ODD)
        state.record([row("m", engine_name="m-c4096", context=4096, options={"stop": ODD}), row("n", OTHER, observed_gpu_fraction=0.1)])
        state.record([row(f"many{number}") for number in range(MANY)])
        state.record_resources([AppliedResource("file./etc/x@a", {"mode": "0644"}, "text")])
        state.measure([Measurement(LOADED, 2.5)])
        state.learn([Learned(NEED, Measured(5, None))])
        state.record_incident(row().address, "evicted", "w")
        state.record_heat({("a", 0): Heat.CRITICAL, ("b", "amd0"): Heat.WARNING})
        header = ModelHeader({"general.architecture": "x"}, (("blk.0.w", "q4_k", (256, 2)),))
        state.record_facts(FleetFacts("2026-01-01T09:00:00Z", {"a": seen(header=header), "b": seen(OTHER, reachable=False)}))
        state.finish_run(run, "done", unplaced=1)
        run = state.begin_run("", "", "state mv")
        state.rename_node(node_move(state.applied(), state.recorded_facts(), "b", "z"))
        state.finish_run(run, "done")
    store.allocate(AllocatedAgent("bot", "chat", ODD, "{}", False, ODD, "2026-01-01T09:00:00Z"), fleet="lab", command=ODD)
    store.record_ticket(Ticket("1", ODD, 10**30, 1, "2026-01-01T09:00:00Z"), fleet="lab")
    look = Frame(1_767_225_600, LOOK, {("a", 0): CardSample(1, 8, 0.5)}, {})
    store.keep_looks([look], fleet="lab", bounds=HistoryBounds(86400))


def verify_copy(store: Store, other: Store) -> None:
    done = copy_state(store, other)
    assert (done.fleet, done.serial, done.digest[:7]) == ("lab", read(store).serial, "sha256:")
    with closing(store.reader()) as one, closing(other.reader()) as two:
        assert two.applied() == one.applied()
        assert two.recorded_facts() == one.recorded_facts()
        assert [(run.id, run.command) for run in two.runs()] == [(4, "state copy"), *((run.id, run.command) for run in one.runs())]
        assert list(two.journal(1)) == list(one.journal(1))
        assert two.applied_at(1) == one.applied_at(1)
        assert (list(two.allocated()), two.tickets()) == (list(one.allocated()), one.tickets())
        assert (list(two.frames((LOOK,))), two.tags(), list(two.renames())) == (list(one.frames((LOOK,))), one.tags(), list(one.renames()))
    assert (store.lock(), other.lock()) == (None, None)
    with pytest.raises(StateError, match="there is a state already, and a copy overwrites nothing"):
        copy_state(store, other)
    assert apply(other, [row("later")]) == done.serial + 1


def what_is_locked_or_not_there_is_not_copied(subject: Subject) -> None:
    store, other = subject.store(), subject.store("copy")
    with pytest.raises(StateError, match="there is no state to copy"):
        copy_state(store, other)
    with store.writer(command="gpurec apply") as state:
        state.begin_run("p", "c", "apply")
        with pytest.raises(LockHeld):
            copy_state(store, other)
    assert not other.exists()


RULES: tuple[StateRule, ...] = (
    what_is_not_there_yet_reads_as_nothing_applied,
    the_first_apply_sets_it_up_and_says_so,
    all_that_is_kept_is_read_back_as_it_was,
    an_incident_is_kept_for_a_day,
    the_serial_moves_once_a_run_and_only_when_something_was_recorded,
    many_replicas_are_written_at_once_and_the_later_of_two_counts,
    what_a_run_recorded_before_it_died_is_there_and_its_steps_are_interrupted,
    the_journal_says_started_before_and_the_end_after_in_the_order_of_the_steps,
    every_serial_gives_back_what_was_asked_then_and_who_changed_it,
    facts_come_back_without_what_changes_at_every_look_and_a_header_once,
    what_was_last_known_of_an_engine_that_is_away_is_kept_beside_since_when_it_is,
    a_renamed_node_takes_everything_along,
    a_state_is_of_one_fleet_until_that_is_renamed,
    fleets_know_nothing_of_each_other,
    a_schema_of_a_newer_gpurec_is_refused_and_left_alone,
    a_second_writer_is_told_who_where_when_and_what,
    of_two_that_begin_at_once_one_gets_the_lock,
    a_holder_that_is_gone_is_replaced_at_once_and_told,
    whoever_lost_the_lock_writes_nothing_more,
    a_state_that_became_another_one_meanwhile_is_left_alone,
    a_row_that_gpurec_did_not_write_is_one_sentence_and_check_names_it,
    looks_are_kept_without_the_lock_and_their_means_with_them,
    an_agent_is_allocated_once_and_released_and_history_tells_who,
    agents_that_come_and_go_hide_no_run_of_a_plan,
    a_ticket_counts_once_and_sums_are_of_any_size,
    a_ticket_that_comes_while_a_run_holds_the_state_counts_at_once_and_once,
    old_tickets_are_forgotten_one_by_one_and_not_their_sums,
    a_copy_holds_the_same_and_goes_on_from_there,
    what_is_locked_or_not_there_is_not_copied,
    *ticket_rules.RULES,
)
