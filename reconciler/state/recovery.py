"""Taking rescue journals into the state, each as a run of history that stands for the plan whose run it was."""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.state.sql.rescue import Rescued, RescueWriter

COMMAND = "state recover"


def take_in(state: RescueWriter, rescued: Iterable[Rescued]) -> int:
    """Reads each in, in a run of its own, and returns the serial. Doing it twice changes nothing more.

    The run has the digest of the plan that was being carried out, so that a plan made without a state still is all that this state has
    done, and can be resumed. Raises StateError for the journal of another state; those before it are in then.
    """
    for one in rescued:
        known = state.run(one.head.run_id)
        run, result = state.begin_run(known.plan_digest if known else "", known.config_digest if known else "", COMMAND), "failed"
        try:
            state.read_in(one)
            result = "done"
        finally:
            state.finish_run(run, result)
    return state.applied().serial
