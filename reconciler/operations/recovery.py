"""What earlier runs could not write is taken in before an apply plans: what the state owns decides what may be unloaded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from reconciler.fleet import StateError
from reconciler.operations.reporter import Reporter, RescueTakenIn, StateWarning, ignore
from reconciler.state import RescueWriter, Store, find_rescues, put_away, read_rescue, take_in


def take_in_rescues(store: Store, lock_timeout: float, command: str = "apply", report: Reporter = ignore) -> None:
    """Takes in the rescue journals that wait for this state, and reports each; nothing where none does.

    Reading one in twice, or after a later run, harms nothing, so it needs no asking. Raises StateError, before anything is planned, for one
    that is damaged or of another state, and while the disk still takes no more; LockHeld when a run is on.
    """
    waiting = find_rescues(store.rescues)
    if not waiting or not store.exists():
        return
    rescued = [read_rescue(each) for each in waiting]
    with editing(store, command, lock_timeout, report) as state:
        take_in(state, rescued)
    for one in rescued:
        report(RescueTakenIn(one.head.run_id, len(one.entries), put_away(one.path)))


@contextmanager
def editing(store: Store, command: str, lock_timeout: float, report: Reporter = ignore) -> Iterator[RescueWriter]:
    """A writer of a state that is there; StateError where it is not."""
    if not store.exists():
        raise StateError.of("there is no state yet", str(store), "the first apply makes it")
    with store.writer(command=command, lock_timeout=lock_timeout) as state:
        if state.took_over:
            report(StateWarning(state.took_over))
        yield state
