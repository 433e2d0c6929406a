"""What an apply does about a load that failed."""

from __future__ import annotations

from reconciler.value_class import value_class


@value_class
class Remediation:
    """A failed load is tried again `retries` times, the first time after `backoff` seconds and then after twice as many as before. Of one
    that ran out of memory the measured need is corrected, and the plan made again once. No more of either than `per_hour` on a node,
    counted with the loads that failed there within the last hour; 0 is none at all. `restart_engine`: an engine that gpurec owns, and that
    runs and answered neither now nor at the last apply, is started again."""

    retries: int = 2
    backoff: float = 1.0
    per_hour: int = 10
    restart_engine: bool = False


USUAL_REMEDIATION = Remediation()
