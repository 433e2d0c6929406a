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
UNMANAGED = Field(
    "unmanaged",
    choice(Unmanaged),
    says="A resident that nobody here asked for stays (default), yields to what needs its room, is drift, or is unloaded.",
)
MAX_UNLOAD = Field(
    "max_unload",
    count_or_share,
    says="A plan that takes away more residents of gpurec than this is refused (7); a move or a reload counts once.",
)
MAX_EVICTIONS = Field("max_evictions", integer(0), says="A plan that takes away more residents that nobody here asked for is refused (7).")
MAX_DELETE = Field("max_delete", integer(0), says="A plan that deletes more models from disk than this is refused (7); the default is 0.")
ALLOW_EMPTY = Field(
    "allow_empty", flag, says="Whether a desired state without any model may unload all that gpurec owns; the default is false."
)
GUARDS = Table("guards", (MAX_UNLOAD, MAX_EVICTIONS, MAX_DELETE, ALLOW_EMPTY))


def _guards(node: Node, problems: Problems, name: str) -> Guards:
    values = GUARDS.read(node, problems, name)
    return Guards(values.get(MAX_UNLOAD), values.get(MAX_EVICTIONS), values.get(ALLOW_EMPTY) or False, values.get(MAX_DELETE) or 0)


GUARDS_FIELD = Field("guards", Form(_guards, GUARDS.schema()), says="Bounds of what one plan may take away.")
HEALTH_FIELD = Field("health", health, says="How an apply judges an engine for which it waits.")
REMEDIATION_FIELD = Field(
    "remediation", remediation, says="What an apply does about a load that failed, and about an engine that does not answer."
)
DRAIN = Field("drain", duration, says="How long a busy model is given before it is unloaded or reloaded; unset: not at all.")
LOST_AFTER = Field(
    "lost_after", duration, says="How long an engine cannot be reached before its replicas are placed elsewhere; unset: they are never."
)
BREAKER_FIELD = Field(
    "breaker",
    breaker,
    says="After so many failed steps in a row on one engine its next ones are skipped for a while; off where it is not written.",
)
HEATS = (
    Field("warning", number, says="From so many °C on, the card's engines are chosen last."),
    Field("throttling", number, says="From so many °C on, nothing new is loaded there either."),
    Field("critical", number, says="From so many °C on, nothing at all is loaded there."),
)
HYSTERESIS = Field("hysteresis", number, says="How many °C below a level a card must be before it has left it.")
THERMAL = Table("thermal", (*HEATS, HYSTERESIS))
PRESSURES = (
    Field("normal", ratio, says="A level that is only shown."),
    Field("high", ratio, says="From this share on, the card's engines are chosen last."),
    Field("critical", ratio, says="From this share on, nothing new is loaded there either."),
)
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


NOTIFY_FIELD = Field("notify", notify, says="Webhooks that `gpurec watch` and `serve` tell what is news.")
SERVICE_FIELD = Field("service", service, says="Who may ask `gpurec serve` what, and how much history it keeps.")
THERMAL_FIELD = Field(
    "thermal",
    Form(_thermal, THERMAL.schema()),
    says="Temperatures of a card, in °C, and what they mean for loads there; unset: none.",
)
PRESSURE_FIELD = Field(
    "memory_pressure",
    Form(_memory_pressure, PRESSURE.schema()),
    says="Shares of a card's memory in use, and what they mean for loads there; unset: none.",
)
_ALLOWED = re.compile(r"privileged|/.*")


def _allowed(node: Node, problems: Problems, name: str) -> str:
    found = text.read(node, problems, name)
    if _ALLOWED.fullmatch(found) is None:
        raise problems.refuse(
            f"{name} is {found!r}, which no container can have", node, "write `privileged`, or a path as a volume names it"
        )
    return found


ALLOW = Field(
    "allow",
    list_of(Form(_allowed, {"type": "string", "pattern": f"^({_ALLOWED.pattern})$"})),
    says="`privileged`, or paths of the host that containers may mount though it makes them root there.",
    required=True,
)
CONTAINERS = Table("containers", (ALLOW,))


def _containers(node: Node, problems: Problems, name: str) -> tuple[str, ...]:
    return CONTAINERS.read(node, problems, name).get(ALLOW) or ()


CONTAINERS_FIELD = Field(
    "containers", Form(_containers, CONTAINERS.schema()), says="What containers may have of their nodes beyond what is safe."
)


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


UNKNOWN_VRAM = Field(
    "unknown_vram", Form(_unknown_vram, {"enum": ["refuse"]}), says="A card of unknown size keeps what it has and gets nothing more."
)
UNKNOWN_FOREIGN = Field(
    "unknown_foreign",
    choice(UnknownForeign),
    says="Where a card's own use cannot be read its declared `foreign` counts (`assume`, default), or nothing is added there (`refuse`).",
)
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
