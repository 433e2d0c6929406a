"""Is a resident as its model is wanted? One row a field, read by the rule table, by what is kept in place, by the look right before a step
and by the wait after it, so that none of them calls wrong what another one calls right.

A field whose fact is unknown never speaks against a resident, and nothing does while it is still being loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from reconciler.fleet.applied import AskedBefore
from reconciler.fleet.desired import FOREVER, ContextVia, ModelSpec, Residency
from reconciler.fleet.facts import Resident, ResidentStatus, ResidentView
from reconciler.fleet.names import EngineKind
from reconciler.fleet.units import format_ratio
from reconciler.value_class import value_class

FRACTION, CONTEXT, KEEP_ALIVE = "gpu_fraction", "context", "keep_alive"
Seen = Resident | ResidentView


@value_class
class Mismatch:
    """What is wrong with a resident: a reason code and a sentence."""

    code: str
    message: str


@value_class
class FieldRow:
    """One way in which a field can be wrong. `wrong` gets what is wanted, what is there, and whether there are cards to judge it by: not
    where the engine has none, or nobody knows."""

    field: str
    code: str
    wrong: Callable[[ModelSpec, Seen, bool], bool]
    says: Callable[[ModelSpec, Seen], str]


def _too_little(model: ModelSpec, resident: Seen, has_cards: bool) -> bool:
    fraction = resident.gpu_fraction
    return has_cards and fraction is not None and model.residency is not Residency.CPU and fraction < model.min_gpu_fraction


def _too_much(model: ModelSpec, resident: Seen, has_cards: bool) -> bool:
    fraction = resident.gpu_fraction
    return has_cards and fraction is not None and model.residency is Residency.CPU and fraction > 0.0


def _part(fraction: float | None) -> str:
    return "an unknown part" if fraction is None else format_ratio(fraction)


ROWS: Sequence[FieldRow] = (
    FieldRow(
        FRACTION,
        "cpu_fallback",
        _too_little,
        lambda model, found: f"{_part(found.gpu_fraction)} of {found.name} is on the card, wanted {_part(model.min_gpu_fraction)}",
    ),
    FieldRow(
        FRACTION,
        "not_on_cpu",
        _too_much,
        lambda model, found: f"{_part(found.gpu_fraction)} of {found.name} is on the card, wanted on the CPU",
    ),
    FieldRow(
        CONTEXT,
        "context_differs",
        lambda model, found, has_cards: model.other_context(found.context),
        lambda model, found: f"{found.name} runs with context {found.context}, wanted {model.wanted_context}",
    ),
    FieldRow(
        KEEP_ALIVE,
        "keep_alive_differs",
        lambda model, found, has_cards: model.keep_alive == FOREVER and found.pinned is False,
        lambda model, found: f"{found.name} would expire, must stay loaded (keep_alive -1)",
    ),
)

_OF_FIELD = {field: tuple(row for row in ROWS if row.field == field) for field in (FRACTION, CONTEXT, KEEP_ALIVE)}
"""The rows of each field: a plan asks for one field of every resident several times."""


def mismatch(model: ModelSpec, resident: Seen, has_cards: bool, *fields: str) -> Mismatch | None:
    """The first of `fields` that is known and not as wanted."""
    if resident.status is ResidentStatus.LOADING:
        return None
    for row in ROWS:
        if row.field in fields and row.wrong(model, resident, has_cards):
            return Mismatch(row.code, row.says(model, resident))
    return None


def is_wrong(field: str, model: ModelSpec, resident: Seen | None, has_cards: bool) -> bool:
    """Whether a field of a resident is known and not as wanted."""
    if resident is None or resident.status is ResidentStatus.LOADING:
        return False
    for row in _OF_FIELD[field]:  # noqa: SIM110 (a generator for each question costs as much as its answer)
        if row.wrong(model, resident, has_cards):
            return True
    return False


def settable(model: ModelSpec, kind: EngineKind) -> Sequence[str]:
    """The fields that a load through an engine's API can bring about; of the others a difference is only told.

    Only Ollama takes a context and a device; with `context_via: engine` its own start decides the context.
    """
    ollama = kind is EngineKind.OLLAMA
    device = (FRACTION,) if ollama or model.residency is not Residency.CPU else ()
    context = (CONTEXT,) if ollama and model.context_via is not ContextVia.ENGINE else ()
    return (*device, *context, KEEP_ALIVE)


class Loaded(NamedTuple):
    """A resident that may stay for a model; `asked` is what was asked when it was loaded (None: others did)."""

    model: ModelSpec
    kind: EngineKind
    has_cards: bool
    resident: ResidentView
    asked: AskedBefore | None


def as_loaded(seen: Loaded) -> tuple[bool, bool]:
    """Whether a resident is what is wanted, as far as it can be seen, apart from where it sits: then it needs no second space. And whether
    it sits where it should: wholly (or enough) on cards, or on the CPU. Unknown counts as right."""
    model, kind, has_cards, resident, asked = seen
    on_asked_device = not is_wrong(FRACTION, model, resident, has_cards)
    if CONTEXT in settable(model, kind):
        before = asked.context if asked is not None else None
        if is_wrong(CONTEXT, model, resident, has_cards) or model.dropped_context(before, resident.context):
            return False, on_asked_device
    same_options = asked is None or dict(asked.options) == dict(model.options) or kind is not EngineKind.OLLAMA
    return same_options, on_asked_device


@value_class
class WantedResident:
    """What a load is to bring about: `model` under `name` on an engine, as far as `fields` go."""

    name: str
    model: ModelSpec
    has_cards: bool
    fields: Sequence[str]

    def mismatch(self, resident: Resident) -> Mismatch | None:
        """The first field that is known and not as wanted."""
        return mismatch(self.model, resident, self.has_cards, *self.fields)

    def pinned_only(self) -> WantedResident:
        """The same with nothing asked for but how long it is kept."""
        return replace(self, fields=tuple(field for field in self.fields if field == KEEP_ALIVE))


def wanted_resident(model: ModelSpec, kind: EngineKind, engine_name: str, has_cards: bool) -> WantedResident:
    """How `model` is to be resident after a load on an engine of `kind`. `has_cards` False: none, or nobody knows."""
    return WantedResident(engine_name, model, has_cards, settable(model, kind))
