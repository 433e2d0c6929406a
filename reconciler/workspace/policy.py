"""`policy` of the desired state: what plans and applies may do to a fleet, all of it off or harmless by default."""

from __future__ import annotations

from reconciler.fleet import USUAL_HEALTH, USUAL_REMEDIATION, Guards, Policy, Unmanaged
from reconciler.workspace.forms import Form, choice, count_or_share, duration, flag, integer
from reconciler.workspace.health import breaker, health
from reconciler.workspace.problems import Problems
from reconciler.workspace.remediation import remediation
from reconciler.workspace.table import Field, Table, later
from reconciler.workspace.tree import Node

UNMANAGED = Field("unmanaged", choice(Unmanaged))
MAX_UNLOAD = Field("max_unload", count_or_share)
MAX_EVICTIONS = Field("max_evictions", integer(0))
MAX_DELETE = Field("max_delete", integer(0))
ALLOW_EMPTY = Field("allow_empty", flag)
GUARDS = Table("guards", (MAX_UNLOAD, MAX_EVICTIONS, MAX_DELETE, ALLOW_EMPTY))


def _guards(node: Node, problems: Problems, name: str) -> Guards:
    values = GUARDS.read(node, problems, name)
    return Guards(values.get(MAX_UNLOAD), values.get(MAX_EVICTIONS), values.get(ALLOW_EMPTY) or False, values.get(MAX_DELETE) or 0)


GUARDS_FIELD = Field("guards", Form(_guards, GUARDS.schema()))
HEALTH_FIELD = Field("health", health)
REMEDIATION_FIELD = Field("remediation", remediation)
DRAIN = Field("drain", duration)
LOST_AFTER = Field("lost_after", duration)
BREAKER_FIELD = Field("breaker", breaker)
POLICY = Table(
    "policy",
    (UNMANAGED, GUARDS_FIELD, HEALTH_FIELD, BREAKER_FIELD, REMEDIATION_FIELD, LOST_AFTER, DRAIN),
    later("thermal", "memory_pressure", "unknown_vram", "unknown_foreign"),
)


def _policy(node: Node, problems: Problems, name: str) -> Policy:
    values = POLICY.read(node, problems, name)
    return Policy(
        values.get(UNMANAGED) or Unmanaged.LEAVE,
        values.get(GUARDS_FIELD) or Guards(),
        values.get(HEALTH_FIELD) or USUAL_HEALTH,
        values.get(BREAKER_FIELD),
        values.get(REMEDIATION_FIELD) or USUAL_REMEDIATION,
        values.get(LOST_AFTER),
        values.get(DRAIN),
    )


policy = Form(_policy, POLICY.schema())
