"""How an apply judges an engine that does not answer, and when it leaves one alone that keeps failing. Durations are seconds."""

from __future__ import annotations

from reconciler.value_class import value_class


@value_class
class Health:
    """Looks at an engine while an apply waits for it.

    One every `interval`, each taking at most `timeout` (None: the run's own interval, the engine's own timeout). `unhealthy_after` failed
    looks make it unreachable; after a failed one it takes `healthy_after` good ones in a row before it is believed again.
    """

    interval: float | None = None
    timeout: float | None = None
    unhealthy_after: int = 3
    healthy_after: int = 1


USUAL_HEALTH = Health()


@value_class
class Breaker:
    """After `failures` failed steps in a row an engine (or, where nobody answers, its node) gets no step for `reset`; then one on trial."""

    failures: int = 5
    reset: float = 60.0
