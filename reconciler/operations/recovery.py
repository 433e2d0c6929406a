"""What earlier runs could not write is taken in before an apply plans: what the state owns decides what may be unloaded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reconciler.fleet import StateError
from reconciler.operations.reporter import Reporter, RescueTakenIn, StateWarning, ignore
from reconciler.state import RescueWriter, find_rescues, open_writer, put_away, read_rescue, take_in


def take_in_rescues(path: Path, lock_timeout: float, command: str = "apply", report: Reporter = ignore) -> None:
    """Takes in the rescue journals that wait for this state, and reports each; nothing where none does.

    Reading one in twice, or after a later run, harms nothing, so it needs no asking. Raises StateError, before anything is planned, for one
    that is damaged or of another state, and while the disk still takes no more; LockHeld when a run is on.
    """
    waiting = find_rescues(path)
    if not waiting or not path.exists():
        return
    rescued = [read_rescue(each) for each in waiting]
    with editing(path, command, lock_timeout, report) as state:
        take_in(state, rescued)
    for one in rescued:
        report(RescueTakenIn(one.head.run_id, len(one.entries), put_away(one.path)))


@contextmanager
def editing(path: Path, command: str, lock_timeout: float, report: Reporter = ignore) -> Iterator[RescueWriter]:
    """A writer of a state that is there; StateError where it is not."""
    if not path.exists():
        raise StateError.of("there is no state yet", str(path), "the first apply makes it")
    with open_writer(path, command=command, lock_timeout=lock_timeout) as state:
        if state.took_over:
            report(StateWarning(state.took_over))
        yield state
