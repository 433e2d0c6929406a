"""A load that failed: tried again after growing pauses, or its model reckoned with more; within what a node may have an hour."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from scripted import GIB, NOW, ListedState, Room, loaded, refused

from reconciler.execution import StepRetried, StepStarted
from reconciler.execution.remedies import failed_within_hour
from reconciler.fleet import Measured, Policy, Remediation
from reconciler.planning import Action
from reconciler.state import JournalRow, RunRecord, StepStatus


def room(*failures: str, policy: Remediation | None = None, **model: object) -> Room:
    made = Room(policy=Policy(remediation=policy or Remediation(retries=2, backoff=4.0, per_hour=10)))
    made.want("m:latest", **model)
    made.step(Action.LOAD, "m:latest", grows=5 * GIB)
    made.engine.fails["load", "m:latest"] = [refused(code) for code in failures]
    return made


def pauses(made: Room) -> list[float]:
    return [event.pause for event in made.events if isinstance(event, StepRetried)]


def test_a_load_that_failed_is_tried_again_after_growing_pauses() -> None:
    made = room("load_failed", "http_5xx")
    outcome = made.run()
    assert (outcome.done, outcome.exit_code, pauses(made)) == (1, 0, [4.0, 8.0])
    assert made.engine.log == [("load", "m:latest")] * 3
    assert made.time.now >= 12


def test_so_many_tries_and_no_more() -> None:
    made = room(*["load_failed"] * 5)
    outcome = made.run()
    assert ([result.code for result in outcome.results], len(made.engine.log)) == (["load_failed"], 3)
    assert made.state.order == [("started", "load:model.m:latest@a/e"), ("failed", "load:model.m:latest@a/e")]


@pytest.mark.parametrize("code", ["out_of_memory", "not_installed", "refused_by_engine", "timeout"])
def test_what_would_fail_again_is_not_tried_again(code: str) -> None:
    made = room(code)
    made.run()
    assert (len(made.engine.log), pauses(made)) == (1, [])


def test_a_try_that_finds_the_model_there_sends_nothing() -> None:
    made = room("cut")

    def bring_it(event: object) -> None:
        if isinstance(event, StepRetried):
            made.engine.residents["m:latest"] = loaded("m:latest")

    made.events = Heard(bring_it)  # type: ignore[assignment]  # only appended to
    outcome = made.run()
    assert (outcome.exit_code, len(made.engine.log)) == (0, 1)


def test_once_the_run_is_to_stop_nothing_is_tried_again() -> None:
    made = room("load_failed")
    made.events = Heard(lambda event: made.stop.request_stop() if isinstance(event, StepStarted) else None)  # type: ignore[assignment]  # only appended to
    outcome = made.run()
    assert (outcome.failed, len(made.engine.log)) == (1, 1)


class Heard:
    """Hears events in the place of a list."""

    def __init__(self, append: Callable[[object], None]) -> None:
        self.append = append


def test_a_retried_load_counts_its_bytes_once() -> None:
    made = room("load_failed", "load_failed")
    made.want("n:latest")
    made.step(Action.LOAD, "n:latest", grows=3 * GIB)
    assert made.run().done == 2


def test_out_of_memory_raises_the_measured_need_by_a_tenth() -> None:
    made = room("out_of_memory")
    outcome = made.run()
    (learned,) = made.state.learned
    assert (learned.value, learned.key.weights) == (Measured(card_bytes=5 * GIB * 11 // 10), "ollama:m:latest")
    (result,) = outcome.results
    assert result.corrected
    assert "later plans assume 5632 MiB" in (result.message or "")


def test_a_declared_need_is_not_corrected() -> None:
    made = room("out_of_memory", vram=5 * GIB)
    (result,) = made.run().results
    assert (made.state.learned, result.corrected) == ([], False)
    assert "its declared vram: of 5120 MiB counts before all that is measured: raise it, or take it out" in (result.message or "")


class Remembering(ListedState):
    """A state in which loads failed before, at these times."""

    def __init__(self, *failed_at: str) -> None:
        super().__init__()
        self._failed_at = failed_at

    def runs(self, last: int = 20, *, of_plans: bool = False) -> Sequence[RunRecord]:
        return [
            RunRecord(number, 1, "", "", "w", "h", "apply", at, at, "partial", steps={"failed": 1})
            for number, at in enumerate(self._failed_at)
        ]

    def journal(self, run_id: int) -> Sequence[JournalRow]:
        at = self._failed_at[run_id]
        return [JournalRow(run_id, "s", "model.m:latest@a/e", "load", StepStatus.FAILED, "load_failed", at, at)]


def test_loads_that_failed_on_a_node_within_the_hour_count_against_its_tries() -> None:
    state = Remembering("2026-01-01T11:59:00Z", "2026-01-01T11:00:01Z", "2026-01-01T10:59:59Z", "2026-01-01T10:00:00Z")
    assert failed_within_hour(state, "2026-01-01T12:00:00Z") == {"a": 2}  # type: ignore[arg-type]  # the half of a state that is asked


@pytest.mark.parametrize(("earlier", "loads"), [(0, 3), (1, 2), (2, 1), (9, 1)])
def test_a_node_has_so_many_tries_an_hour(earlier: int, loads: int) -> None:
    made = room(*["load_failed"] * 5, policy=Remediation(retries=5, backoff=1.0, per_hour=2))
    made.state = Remembering(*[NOW] * earlier)
    made.run()
    assert len(made.engine.log) == loads


def test_none_an_hour_puts_all_of_it_off() -> None:
    for code in ("load_failed", "out_of_memory"):
        made = room(code, policy=Remediation(per_hour=0))
        (result,) = made.run().results
        assert (result.status, len(made.engine.log), made.state.learned) == (StepStatus.FAILED, 1, [])
