"""`policy.health` and `policy.breaker`: how an apply judges an engine that does not answer, or that keeps failing."""

from __future__ import annotations

from reconciler.fleet import USUAL_HEALTH, Breaker, Health
from reconciler.workspace.forms import Form, duration, integer
from reconciler.workspace.problems import Problems
from reconciler.workspace.table import Field, Table
from reconciler.workspace.tree import Node

MOST_LOOKS = 1000

INTERVAL = Field("interval", duration, says="How often an apply looks at an engine for which it waits; the default is 0.5s.")
TIMEOUT = Field("timeout", duration, says="How long one such look may take; the default is the engine's own `timeout`.")
UNHEALTHY_AFTER = Field(
    "unhealthy_after",
    integer(1, MOST_LOOKS),
    says="After so many failed looks in a row the engine counts as unreachable; the default is 3.",
)
HEALTHY_AFTER = Field(
    "healthy_after",
    integer(1, MOST_LOOKS),
    says="After a failed look, so many in a row must succeed before it is believed again; the default is 1.",
)
HEALTH = Table("health", (INTERVAL, TIMEOUT, UNHEALTHY_AFTER, HEALTHY_AFTER))
FAILURES = Field(
    "failures", integer(1, MOST_LOOKS), says="After so many failed steps in a row the rest there is skipped; the default is 5."
)
RESET = Field("reset", duration, says="For so long; then one step is tried; the default is 60s.")
BREAKER = Table("breaker", (FAILURES, RESET))


def _health(node: Node, problems: Problems, name: str) -> Health:
    values, usual = HEALTH.read(node, problems, name), USUAL_HEALTH
    return Health(
        values.get(INTERVAL),
        values.get(TIMEOUT),
        values.get(UNHEALTHY_AFTER) or usual.unhealthy_after,
        values.get(HEALTHY_AFTER) or usual.healthy_after,
    )


def _breaker(node: Node, problems: Problems, name: str) -> Breaker:
    values, usual = BREAKER.read(node, problems, name), Breaker()
    return Breaker(values.get(FAILURES) or usual.failures, values.get(RESET) or usual.reset)


health = Form(_health, HEALTH.schema())
breaker = Form(_breaker, BREAKER.schema())
