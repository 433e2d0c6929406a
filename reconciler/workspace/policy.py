"""`policy` of the desired state: what plans and applies may do to a fleet, all of it off or harmless by default."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum
from fractions import Fraction
from itertools import pairwise
from typing import TypeVar

from reconciler.fleet import USUAL_HEALTH, USUAL_REMEDIATION, Guards, MemoryPressure, Policy, Thermal, Unmanaged
from reconciler.fleet.service import NOBODY
from reconciler.workspace.forms import Form, choice, count_or_share, duration, flag, integer, list_of, number, ratio, text
from reconciler.workspace.health import breaker, health
from reconciler.workspace.notify import notify, numbered
from reconciler.workspace.problems import Problems
from reconciler.workspace.remediation import remediation
from reconciler.workspace.service import service
from reconciler.workspace.table import Field, Table
from reconciler.workspace.tree import Node

T = TypeVar("T", float, Fraction)
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
HEATS = (Field("warning", number), Field("throttling", number), Field("critical", number))
HYSTERESIS = Field("hysteresis", number)
THERMAL = Table("thermal", (*HEATS, HYSTERESIS))
PRESSURES = (Field("normal", ratio), Field("high", ratio), Field("critical", ratio))
PRESSURE = Table("memory_pressure", PRESSURES)


def _rising(found: Sequence[tuple[Field[T], T | None]], node: Node, problems: Problems, name: str) -> None:
    """The levels of a policy must come one after the other."""
    given = [(field.key, value) for field, value in found if value is not None]
    for (lower, low), (upper, high) in pairwise(given):
        if not low < high:
            raise problems.refuse(f"{name}: {upper} is not above {lower}", node, f"make {upper} larger than {lower}")


def _thermal(node: Node, problems: Problems, name: str) -> Thermal:
    values = THERMAL.read(node, problems, name)
    levels = tuple(values.get(field) for field in HEATS)
    _rising(tuple(zip(HEATS, levels, strict=True)), node, problems, name)
    warning, throttling, critical = levels
    return Thermal(warning, throttling, critical, values.get(HYSTERESIS) or 0.0)


def _memory_pressure(node: Node, problems: Problems, name: str) -> MemoryPressure:
    values = PRESSURE.read(node, problems, name)
    levels = tuple(values.get(field) for field in PRESSURES)
    _rising(tuple(zip(PRESSURES, levels, strict=True)), node, problems, name)
    normal, high, critical = levels
    return MemoryPressure(normal, high, critical)


NOTIFY_FIELD = Field("notify", notify)
SERVICE_FIELD = Field("service", service)
THERMAL_FIELD = Field("thermal", Form(_thermal, THERMAL.schema()))
PRESSURE_FIELD = Field("memory_pressure", Form(_memory_pressure, PRESSURE.schema()))
_ALLOWED = re.compile(r"privileged|/.*")


def _allowed(node: Node, problems: Problems, name: str) -> str:
    found = text.read(node, problems, name)
    if _ALLOWED.fullmatch(found) is None:
        raise problems.refuse(
            f"{name} is {found!r}, which no container can have", node, "write `privileged`, or a path as a volume names it"
        )
    return found


ALLOW = Field("allow", list_of(Form(_allowed, {"type": "string", "pattern": f"^({_ALLOWED.pattern})$"})), required=True)
CONTAINERS = Table("containers", (ALLOW,))


def _containers(node: Node, problems: Problems, name: str) -> tuple[str, ...]:
    return CONTAINERS.read(node, problems, name).get(ALLOW) or ()


CONTAINERS_FIELD = Field("containers", Form(_containers, CONTAINERS.schema()))


class UnknownForeign(StrEnum):
    ASSUME = "assume"
    REFUSE = "refuse"


def _unknown_vram(node: Node, problems: Problems, name: str) -> str:
    word = text.read(node, problems, name)
    if word == "try":
        what = f"{name} cannot be 'try': on a card of unknown size no plan could promise that it holds what it is given"
        raise problems.refuse(what, node, "declare the size: `gpus: [{index: 0, vram: 24GiB}]` on its host")
    if word != "refuse":
        raise problems.refuse(f"{name} cannot be {word!r}", node, "write `refuse`, which is the default")
    return word


UNKNOWN_VRAM = Field("unknown_vram", Form(_unknown_vram, {"enum": ["refuse"]}))
UNKNOWN_FOREIGN = Field("unknown_foreign", choice(UnknownForeign))
POLICY = Table(
    "policy",
    (
        UNMANAGED,
        GUARDS_FIELD,
        HEALTH_FIELD,
        BREAKER_FIELD,
        REMEDIATION_FIELD,
        LOST_AFTER,
        DRAIN,
        THERMAL_FIELD,
        PRESSURE_FIELD,
        CONTAINERS_FIELD,
        NOTIFY_FIELD,
        SERVICE_FIELD,
        UNKNOWN_VRAM,
        UNKNOWN_FOREIGN,
    ),
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
        values.get(THERMAL_FIELD),
        values.get(PRESSURE_FIELD),
        values.get(CONTAINERS_FIELD) or (),
        numbered(values.get(NOTIFY_FIELD) or ()),
        values.get(SERVICE_FIELD) or NOBODY,
        values.get(UNKNOWN_FOREIGN) is not UnknownForeign.REFUSE,
    )


policy = Form(_policy, POLICY.schema())
