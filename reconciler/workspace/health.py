"""`policy.health` and `policy.breaker`: how an apply judges an engine that does not answer, or that keeps failing."""

from __future__ import annotations

from reconciler.fleet import USUAL_HEALTH, Breaker, Health
from reconciler.workspace.forms import Form, duration, integer
from reconciler.workspace.problems import Problems
from reconciler.workspace.table import Field, Table
from reconciler.workspace.tree import Node

MOST_LOOKS = 1000

INTERVAL = Field("interval", duration)
TIMEOUT = Field("timeout", duration)
UNHEALTHY_AFTER = Field("unhealthy_after", integer(1, MOST_LOOKS))
HEALTHY_AFTER = Field("healthy_after", integer(1, MOST_LOOKS))
HEALTH = Table("health", (INTERVAL, TIMEOUT, UNHEALTHY_AFTER, HEALTHY_AFTER))
FAILURES = Field("failures", integer(1, MOST_LOOKS))
RESET = Field("reset", duration)
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
