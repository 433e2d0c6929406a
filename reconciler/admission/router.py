"""A llama.cpp router at its limit (tools/server/server-models.cpp, `unload_lru`): the idle model used least recently is stopped."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.admission.rules import Rules
from reconciler.admission.verdict import EngineResident, Verdict


def admit_by_router(seats: Sequence[EngineResident], rules: Rules) -> Verdict:
    """What a router does with one more model. Loading and sleeping ones count, and only requests make a model used.

    Where nobody is idle it evicts nobody: the load is refused or waits, `unknown` says so. A router does not look at memory at all.
    """
    if rules.most is None or len(seats) < rules.most:
        return Verdict(None, spills=None)
    idle = [seat for seat in seats if seat.idle]
    if not idle:
        return Verdict(None, spills=None, unknown=("when one of its models is idle",))
    return Verdict(None, (min(idle, key=lambda seat: (seat.used, seat.path)).name,), spills=None)
