"""What runs on a fleet, expressed as desired state: models such that the plan after them has nothing to do but to adopt.

Only what can be seen is asked for. A fleet shows no priorities, no runner options and no keep-alive but for ever against finite; options
of what the state owns are taken from there. The context that runs is asked for, so that a restart brings it back.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from operator import attrgetter

from reconciler.fleet import (
    FOREVER,
    Applied,
    AppliedReplica,
    ContextVia,
    Desired,
    Each,
    EngineId,
    EngineKind,
    Ensure,
    Fleet,
    FleetFacts,
    ModelSpec,
    Residency,
    Resident,
    ResidentStatus,
    Scalar,
    context_tag,
)
from reconciler.placement import EngineState, Occupancy, set_up
from reconciler.placement.eligibility import refusal
from reconciler.planning.kinds.model.step import ModelStep, model_steps
from reconciler.planning.plan import Action
from reconciler.planning.planner import make_plan
from reconciler.value_class import value_class

LONGEST_NAME = 255
CARDS_UNKNOWN = "the cards of its engine are not known; declare them, with their `vram`, in the inventory"
LEFT_OVER = "its name means other weights by now, so it is gone at the engine's next start"
_TAG = re.compile(r"(.+)-c([1-9][0-9]{0,9})")
PatternOf = Callable[[frozenset[str]], str | None]
"""A pattern that names just these nodes, None where none does."""


@value_class
class SeenReplica:
    """A resident and where it is, with the row of the state that owns it."""

    slot: EngineState
    resident: Resident
    row: AppliedReplica | None

    @property
    def on_cpu(self) -> bool:
        """Wholly on the CPU, by what an engine that can choose says, or since its engine has no card."""
        return self.slot.cards == () or (self.slot.kind is EngineKind.OLLAMA and self.resident.gpu_fraction == 0.0)


@value_class
class Imported:
    """A model to ask for, where it was seen, and what people should know of it."""

    spec: ModelSpec
    seen: tuple[SeenReplica, ...]
    remarks: tuple[str, ...] = ()


@value_class
class LeftOut:
    """Something that is not asked for, and why, as a sentence without its subject."""

    what: str
    why: str


@value_class
class FleetAsFound:
    """`models` in the order of their priorities. `left` are steps that a plan would still have: they come from what the state owns and the
    models do not name."""

    models: tuple[Imported, ...]
    left_out: tuple[LeftOut, ...]
    left: tuple[ModelStep, ...]

    @property
    def desired(self) -> Desired:
        return Desired(tuple(one.spec for one in self.models))


@value_class
class _Asked:
    """What makes residents one model: two that differ in any of it cannot be asked for in one entry."""

    kind: EngineKind
    name: str
    base: str
    context: int | None
    via: ContextVia
    options: tuple[tuple[str, Scalar], ...]
    ensure: Ensure


def import_fleet(fleet: Fleet, facts: FleetFacts, applied: Applied, pattern_of: PatternOf) -> FleetAsFound:
    """The models that are resident, so that the plan for them is to adopt what is there and, once that is applied, empty.

    What would come to a step nevertheless is left out, with the step's reason.
    """
    left_out: list[LeftOut] = []
    board = set_up(fleet, facts, Desired().limits, None)
    seen = _residents(board, applied, left_out)
    models = _in_order(_models(seen, applied, board, pattern_of, left_out))
    while True:
        plan = make_plan(fleet, Desired(tuple(one.spec for one in models)), facts, applied, config_digest="", created_at=facts.at)
        steps = tuple(step for step in model_steps(plan.steps) if step.action is not Action.ADOPT)
        stray = {step.model: step for step in reversed(steps)}
        kept = [one for one in models if one.spec.name not in stray]
        if len(kept) == len(models):
            return FleetAsFound(tuple(models), tuple(sorted(left_out, key=attrgetter("what"))), steps)
        for one in models:
            if (step := stray.get(one.spec.name)) is not None:
                why = f"a plan would {step.action.value} it: {step.reason.message}"
                left_out.extend(LeftOut(_words(each), why) for each in one.seen)
        models = _in_order(kept)


def _residents(board: Occupancy, applied: Applied, left_out: list[LeftOut]) -> list[SeenReplica]:
    rows = {(row.at, row.engine_name): row for row in applied.replicas.values()}
    found = []
    for slot in board:
        residents = slot.facts.residents if slot.facts is not None and slot.reachable else None
        if residents is None:
            why = slot.facts.reason if slot.facts is not None else None
            left_out.append(LeftOut(str(slot.id), why or "it does not tell what it holds"))
            continue
        for resident in residents:
            one = SeenReplica(slot, resident, rows.get((slot.id, resident.name)))
            why = LEFT_OVER if slot.identity.is_left_over(resident) else _unusable(one)
            if why is None:
                found.append(one)
            else:
                left_out.append(LeftOut(_words(one), why))
    return found


def _words(one: SeenReplica) -> str:
    return f"{one.resident.name} on {one.slot.id}"


def _unusable(one: SeenReplica) -> str | None:
    name = one.resident.name
    if not name or not name.isprintable() or name != name.strip() or len(name) > LONGEST_NAME:
        return "this cannot be the name of a model"
    if one.resident.status is ResidentStatus.LOADING:
        return "it is being loaded; import again when it is there"
    return _refused(one, ModelSpec(name, (), residency=Residency.CPU if one.on_cpu else Residency.GPU))


def _refused(one: SeenReplica, spec: ModelSpec) -> str | None:
    match refusal(one.slot, spec):
        case None:
            return None
        case "cards_unknown" | "vram_unknown":
            return CARDS_UNKNOWN
        case code:
            return f"it could not be placed there ({code})"


def _models(
    seen: Sequence[SeenReplica], applied: Applied, board: Occupancy, pattern_of: PatternOf, left_out: list[LeftOut]
) -> Iterable[Imported]:
    groups = _grouped(seen)
    asleep_of: dict[str, list[EngineId]] = defaultdict(list)
    for row in applied.replicas.values():
        if row.at in board.slots and not board.slots[row.at].reachable:
            asleep_of[row.model].append(row.at)
    taken: set[str] = set()
    asked_on: dict[tuple[EngineKind, str], dict[str, _Asked]] = defaultdict(dict)
    first = sorted(groups.items(), key=lambda item: (item[0].ensure is not Ensure.LOADED, -len(item[1]), repr(item[0])))
    for asked, members in first:
        spec = _spec(asked, members, taken)
        used = asked_on[asked.kind, spec.engine_name(asked.kind)]
        placed = []
        for one in members:
            other = used.get(one.slot.id.node)
            why = _refused(one, spec) if other is None else _beside(asked, other)
            if why is None:
                placed.append(one)
            else:
                left_out.append(LeftOut(_words(one), why))
        nodes = frozenset(one.slot.id.node for one in placed)
        pattern = pattern_of(nodes) if nodes else None
        if pattern is None:
            if nodes:
                why = f"no pattern of the inventory names just {', '.join(sorted(nodes))}"
                left_out.extend(LeftOut(_words(one), why) for one in placed)
            continue
        used |= dict.fromkeys(nodes, asked)
        taken.add(spec.name)
        spec = replace(spec, nodes=tuple(sorted(nodes)), on=pattern)
        yield Imported(_counted(spec, placed, asleep_of), tuple(placed), _remarks(asked, spec, placed))


def _beside(asked: _Asked, other: _Asked) -> str:
    """Why what another engine of the node is asked for too is left out: models have hosts, and no engines, that they are on."""
    if asked.ensure is not other.ensure:
        how = "keeps it for ever" if other.ensure is Ensure.LOADED else "loads it on demand"
    elif asked.context != other.context:
        how = f"runs it with {'a context of its own' if other.context is None else f'context {other.context}'}"
    else:
        how = "runs it with other options"
    alike = "run it alike on both"
    if asked.kind is EngineKind.OLLAMA:
        alike += f", or load it here by a name of its own (ollama cp {asked.base} NAME)"
    return f"another engine of its node {how}, and one entry asks for one of the two; {alike}, then import again"


def _grouped(seen: Sequence[SeenReplica]) -> Mapping[_Asked, list[SeenReplica]]:
    plain: dict[tuple[EngineKind, str], set[int | None]] = defaultdict(set)
    for one in seen:
        base, context = _without_tag(one)
        plain[one.slot.kind, base].add(context)
    on_demand = {(one.slot.kind, one.slot.id.node, one.resident.name) for one in seen if one.resident.pinned is False}
    groups: dict[_Asked, list[SeenReplica]] = defaultdict(list)
    for one in seen:
        kind, name, row = one.slot.kind, one.resident.name, one.row
        ensure = Ensure.PRESENT if (kind, one.slot.id.node, name) in on_demand else Ensure.LOADED
        base, context = _without_tag(one)
        runs_with = _own_to_set(one) if ensure is Ensure.LOADED else None
        if row is not None:
            runs_with = row.context if runs_with is None else runs_with
            by_tag = runs_with is not None and row.engine_name.endswith(f"-c{runs_with}")
            base = row.engine_name.removesuffix(f"-c{runs_with}") if by_tag else row.engine_name
            via = ContextVia.TAG if by_tag or runs_with is None else ContextVia.REQUEST
            options = tuple(sorted(row.options.items()))
            groups[_Asked(kind, row.model, base, runs_with, via, options, ensure)].append(one)
        elif context is not None and len(plain[kind, base]) == 1:
            groups[_Asked(kind, base, base, context, ContextVia.TAG, (), ensure)].append(one)
        else:
            via = ContextVia.TAG if runs_with is None else ContextVia.REQUEST
            groups[_Asked(kind, name, name, runs_with, via, (), ensure)].append(one)
    return groups


def _own_to_set(one: SeenReplica) -> int | None:
    """The context that it runs with, where only asking for it brings it back: a load sets it, and no file of its own has it baked in."""
    if one.slot.kind is not EngineKind.OLLAMA:
        return None
    installed = one.slot.installed(one.resident.name)
    baked = installed.context if installed is not None else None
    return one.resident.context if one.resident.context != baked else None


def _without_tag(one: SeenReplica) -> tuple[str, int | None]:
    """The base and the context of a tag as gpurec makes them: it holds the context that its name says, and its base is there too."""
    name = one.resident.name
    match = _TAG.fullmatch(name) if one.slot.kind is EngineKind.OLLAMA else None
    if match is None or int(match[2]) != one.resident.context or context_tag(match[1], int(match[2])) != name:
        return name, None
    base = one.slot.installed(match[1])
    if base is None or (base.blob is not None and one.resident.blob not in (None, base.blob)):
        return name, None
    return match[1], int(match[2])


def _spec(asked: _Asked, members: Sequence[SeenReplica], taken: set[str]) -> ModelSpec:
    on_cpu = {one.on_cpu for one in members}
    residency = Residency.GPU_PREFERRED if len(on_cpu) > 1 else Residency.CPU if True in on_cpu else Residency.GPU
    shares = [share for one in members if (share := one.resident.gpu_fraction) is not None]
    least = math.floor(min(shares, default=1.0) * 100) / 100
    name = _free_name(asked, taken)
    spec = ModelSpec(
        name=name,
        nodes=(),
        engine=asked.kind,
        ensure=asked.ensure,
        context=asked.context,
        context_via=asked.via,
        options=dict(asked.options),
        keep_alive=FOREVER if asked.ensure is Ensure.LOADED else None,
        residency=residency,
        min_gpu_fraction=0.0 if residency is not Residency.GPU else least if asked.ensure is Ensure.LOADED else 1.0,
    )
    return spec if spec.base_name(asked.kind) == asked.base else replace(spec, names={asked.kind: asked.base})


def _free_name(asked: _Asked, taken: set[str]) -> str:
    """The model's own name, or one beside it where another entry has that."""
    word = "on-demand" if asked.ensure is Ensure.PRESENT else asked.kind.value
    number, name = 1, asked.name
    while name in taken:
        name = f"{asked.name}.{word}" if number == 1 else f"{asked.name}.{word}-{number}"
        number += 1
    return name


def _counted(spec: ModelSpec, placed: Sequence[SeenReplica], asleep_of: Mapping[str, Sequence[EngineId]]) -> ModelSpec:
    """With as many replicas as are there; those that the state owns on engines of these nodes that cannot be asked count as there."""
    asleep = sum(1 for at in asleep_of.get(spec.name, ()) if at.node in spec.nodes)
    one_each = len(spec.nodes) == len(placed) > 1 and not asleep and "," not in spec.on
    return replace(spec, replicas=None, each=Each.NODE) if one_each else replace(spec, replicas=len(placed) + asleep)


def _remarks(asked: _Asked, spec: ModelSpec, placed: Sequence[SeenReplica]) -> tuple[str, ...]:
    remarks = []
    if asked.ensure is Ensure.PRESENT:
        remarks.append("it has a finite keep-alive, so the engine loads it on demand")
    elif spec.residency is Residency.GPU and spec.min_gpu_fraction < 1.0:
        remarks.append("a part of it is on the CPU")
    if spec.residency is Residency.GPU_PREFERRED:
        remarks.append("it is on the CPU in some places and on a card in others")
    return tuple(remarks)


def _in_order(models: Iterable[Imported]) -> list[Imported]:
    """Loaded ones first, with priorities that fall: a fleet does not show them, so they follow the number of replicas, then the name."""
    ordered = sorted(models, key=lambda one: (one.spec.ensure is not Ensure.LOADED, -len(one.seen), one.spec.name))
    return [
        replace(one, spec=replace(one.spec, priority=1000 - index if one.spec.ensure is Ensure.LOADED else 0))
        for index, one in enumerate(ordered)
    ]
