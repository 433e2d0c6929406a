"""Facts × desired × last applied → the Plan. The one entry of this room; everything it calls is pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from types import MappingProxyType

from reconciler.capacity import Card, CardAt, Charges, Occupancy, charge_given, largest, set_up, spare_bytes
from reconciler.capacity.rooms import grown, peaks
from reconciler.fleet import (
    AGENT,
    Answers,
    Applied,
    ContainerSpec,
    Desired,
    EngineId,
    EngineKind,
    Fleet,
    FleetFacts,
    ResourceFacts,
    parse_time,
    replica_address,
    resource_address,
)
from reconciler.placement import (
    HeldReplicas,
    Occupant,
    Placement,
    Target,
    place_most,
)
from reconciler.placement.agents import Hosts, place_agents
from reconciler.planning.containers import WantedContainer
from reconciler.planning.digest import plan_digest
from reconciler.planning.drift import find_drift, found_drift, repairable, unmanaged_drift
from reconciler.planning.edges import with_edges
from reconciler.planning.engine_files import engine_file_edges, with_file_hints
from reconciler.planning.guards import find_refusals
from reconciler.planning.impact import impact_of
from reconciler.planning.kinds import KINDS
from reconciler.planning.kinds.agent import agent_notes, away_of, edges_of, given_cards, hosts_of, leaving_cards, unplaced_agents
from reconciler.planning.kinds.engine import (
    ENGINE,
    away_with_their_server,
    joined,
    one_pull_at_a_time,
    restarts,
    starting,
    takes_one_model,
    waits_for_models,
)
from reconciler.planning.kinds.file.kind import RELOADING
from reconciler.planning.kinds.model.admission_notes import own_rules_notes
from reconciler.planning.kinds.model.change import Change
from reconciler.planning.kinds.model.changes import asked_of, find_changes
from reconciler.planning.kinds.model.deleting import add_deletions
from reconciler.planning.kinds.model.fixed_options import fixed_options
from reconciler.planning.kinds.model.holds import find_holds, incidents_to_note
from reconciler.planning.kinds.model.hot_cards import mark_hot
from reconciler.planning.kinds.model.hours import hours_at, outside_hours
from reconciler.planning.kinds.model.lost_engines import mark_lost
from reconciler.planning.kinds.model.notes import adopted_unseen, left_over, notes_on_models, other_weights, uncounted_caches
from reconciler.planning.kinds.model.rules import ENGINE_RESTARTS
from reconciler.planning.kinds.model.step import ModelStep
from reconciler.planning.kinds.model.variants import better_variants
from reconciler.planning.ordering import order, stop_first_notes
from reconciler.planning.plan import (
    FETCHES,
    Action,
    CardBalance,
    Cause,
    Deferred,
    Drift,
    Plan,
    PlannedResident,
    Precondition,
    Reason,
    Refusal,
    Step,
)
from reconciler.planning.resource import AfterPlan, AnyKind, KindPlan, plan_kind
from reconciler.planning.rollout import rollout_edges
from reconciler.planning.whole_cards import whole_cards
from reconciler.planning.worth import worth_of
from reconciler.vram import NO_CATALOGUE, Catalogue

NO_RESOURCES: Mapping[str, ResourceFacts] = MappingProxyType({})


def wanted_names(fleet: Fleet, desired: Desired, applied: Applied) -> Mapping[EngineId, Set[str]]:
    """The canonical names about which each engine is to be asked in detail: what is wanted there, then what was put there before. In that
    order: an engine with one model under several names is shown under the first."""
    names: dict[EngineId, list[str]] = defaultdict(list)
    shared: dict[tuple[str, ...], Set[str]] = {}
    for model in desired.models:
        every = model.alternatives()
        by_kind = {kind: tuple(name for one in every for name in (one.base_name(kind), one.engine_name(kind))) for kind in EngineKind}
        for node in model.nodes:
            spec = fleet.nodes.get(node)
            for engine in spec.engines if spec is not None else ():
                if model.engine is None or model.engine is engine.kind:
                    names[engine.id].extend(by_kind[engine.kind])
    for row in applied.replicas.values():
        names[row.at].append(row.engine_name)
    return {at: shared.setdefault(tuple(wanted), dict.fromkeys(wanted).keys()) for at, wanted in names.items()}


def make_plan(
    fleet: Fleet,
    desired: Desired,
    facts: FleetFacts,
    applied: Applied,
    *,
    config_digest: str,
    created_at: str,
    selected: frozenset[str] | None = None,
    recorded: FleetFacts | None = None,
    catalogue: Catalogue = NO_CATALOGUE,
    again: frozenset[str] = frozenset(),
    resources: Mapping[str, ResourceFacts] = NO_RESOURCES,
    kinds: Sequence[AnyKind] = KINDS,
) -> Plan:
    """The ordered steps from facts to desired, with everything that explains them.

    `selected` are the node names inside `--limit` and outside `--exclude`; None means all. `created_at` is ISO 8601 UTC and not part of the
    digest; holds are judged by it. `recorded` are the facts of the last apply, for drift of what is only observed and for who evicted
    what: no step comes of that. `catalogue` is the last source of needs. `again` are the addresses of `--replace`: what is held is let go,
    and what is resident is loaded again. `kinds` are the kinds of resources beside models, of which `resources` has what was seen by
    address. Raises GpurecError where a file cannot be rendered.
    """

    hours = hours_at(desired, facts)
    desired = desired.at(parse_time(facts.at)) if hours else desired
    with_one_model = frozenset(engine.id for node in fleet.nodes.values() for engine in node.engines if takes_one_model(engine))
    early = [kind for kind in kinds if kind.name == ENGINE]
    given = tuple(given_cards(desired, applied, resources))
    whole_of = whole_cards(fleet, facts, applied, given)
    resources = whole_of.seen(resources)

    def plan_engines(after: AfterPlan) -> list[KindPlan]:
        return [plan_kind(kind, after, resources, selected) for kind in early]

    first = [step for one in plan_engines(AfterPlan(fleet, desired, facts, {}, applied)) for step in one.steps]
    begun = starting(fleet, facts, first, applied, recorded, resources if early else NO_RESOURCES)

    def fresh_board() -> Occupancy:
        board = set_up(fleet, begun.facts, desired.limits, selected, catalogue, desired.policy.assumes_foreign)
        charge_given(board, given)
        mark_hot(board, desired.policy, applied)
        mark_lost(board, applied, desired.policy.lost_after, created_at)
        return board

    holds = find_holds(begun.facts, desired, applied, recorded, created_at, again)
    placement = place_most(fresh_board, desired, applied, HeldReplicas(holds.away(), holds.as_is()))
    board = placement.board
    lost = mark_lost(board, applied, desired.policy.lost_after, created_at)
    drift = find_drift(board, applied, desired, recorded)
    drifted = repairable(drift)
    changes = find_changes(placement, desired, applied, drifted, holds, again, begun.restarted.keys())
    undeleted = add_deletions(changes, placement, desired, applied)
    changes.every = ordered = order(changes.every)
    peak = peaks((change.takes, change.frees) for change in ordered)
    made_for = _made_for(ordered)
    agents = place_agents(placement, desired, applied, Hosts(hosts_of(fleet), away_of(fleet, resources), selected, whole_of.left))
    asks = Answers(room_needed)
    model_steps = tuple([_step(change, made_for.get(change), asks) for change in ordered])
    replaceable = with_one_model or any(place.card is not None for place in agents.places)
    spare = spare_bytes(board.cards, leaving_cards(agents.places, applied)) if replaceable else {}
    after = AfterPlan(fleet, desired, facts, changes.placed, applied, model_steps, agents, charges=changes.charges, spare=spare)
    others = plan_engines(after)
    engine_steps = [step for one in others for step in one.steps]
    kept = _kept(placement, with_one_model)
    whole = joined(engine_steps, waits_for_models(engine_steps, model_steps, kept), with_one_model)
    steps = with_edges(whole.steps, (*rollout_edges(whole.steps, desired.models), *one_pull_at_a_time(fleet, whole.steps)))
    frees = _freed(ordered) if any(place.card is not None for place in agents.places) else {}
    for kind in kinds:
        if kind in early:
            continue
        containers = containers_of(others)
        after = AfterPlan(fleet, desired, facts, changes.placed, applied, steps, agents, containers, spare=spare, frees=frees)
        others.append(plan_kind(kind, after, resources, selected))
        steps = (*steps, *others[-1].steps)
        if kind.name == AGENT:
            steps = with_edges(steps, edges_of(others[-1].steps, after))
        elif kind.name == RELOADING:
            steps = with_edges(steps, engine_file_edges(steps, after))
    config_drift, notes = fixed_options(changes.cannot_change, drifted)
    weights_drift, weights_notes = other_weights(changes)
    unsized = _unsized(placement)
    worth = worth_of(placement, desired, applied)
    plan = Plan(
        fleet=fleet.name,
        lineage=applied.lineage,
        serial=applied.serial,
        config_digest=config_digest,
        created_at=created_at,
        digest=plan_digest(applied.lineage, config_digest, desired.solver.value, steps, hours),
        steps=steps,
        unchanged=changes.unchanged + sum(one.unchanged for one in others),
        unchanged_others=sum(one.unchanged for one in others),
        pending=changes.pending + sum(one.pending for one in others),
        gpus=tuple(_balance(card, peak, card in unsized, agents.agents.get(card, 0)) for card in board.cards),
        drift=_in_order(
            _but_pinned(drift, weights_drift),
            found_drift(board, fleet, facts, recorded),
            unmanaged_drift(placement, desired),
            config_drift,
            weights_drift,
            *(one.drift for one in others),
        ),
        unplaced=(
            *with_file_hints(worth.unplaced, steps, after),
            *unplaced_agents(agents, {model.name for model in desired.models if model.outside_hours}),
        ),
        deferred=(*_deferred(board), *(entry for one in others for entry in one.deferred)),
        unmanaged=tuple(sorted(changes.unmanaged, key=lambda resident: (resident.node, resident.engine, resident.name))),
        refusals=(
            *find_refusals(changes, desired),
            *_protected(engine_steps, placement, with_one_model),
            *(refusal for one in others for refusal in one.refusals),
        ),
        notes=(
            *changes.held,
            *lost,
            *notes_on_models(desired, board),
            *uncounted_caches(placement, applied),
            *outside_hours(desired, hours),
            *undeleted,
            *better_variants(placement, applied),
            *notes,
            *weights_notes,
            *adopted_unseen(changes),
            *left_over(placement),
            *stop_first_notes(ordered),
            *own_rules_notes(ordered, {change: target.model for target, change in changes.wanted.items()}.get),
            *worth.waiting,
            *agent_notes(agents),
            *(note for one in others for note in one.notes),
        ),
        impact=impact_of(ordered, board, begun.restarted, away_with_their_server(engine_steps, kept, applied)),
        placement=worth.info,
        placed=changes.placed,
        charges=changes.charges,
        residents=_residents(placement),
        forgotten=tuple(sorted((*changes.forgotten, *whole.gone, *(address for one in others for address in one.forgotten)))),
        incidents=incidents_to_note(holds, changes.held, desired, created_at),
        replace=tuple(sorted(again)),
        hours=hours,
        containers=containers_of(others),
        wanted={address: one.fields for kind in others for address, one in kind.wanted.items()},
    )
    board.let_go()
    return plan


def _freed(ordered: Sequence[Change]) -> Mapping[str, frozenset[CardAt]]:
    """The cards of which each step gives anything back."""
    return {change.id: frozenset([(card.node, card.index) for card, _ in change.frees]) for change in ordered if change.frees}


def containers_of(kinds: Sequence[KindPlan]) -> tuple[tuple[str, ContainerSpec], ...]:
    """The containers that kinds of resources ask for, each with its node."""
    every = (one for kind in kinds for one in kind.wanted.values())
    return tuple((one.node, one.container) for one in every if isinstance(one, WantedContainer) and one.container is not None)


def _kept(placement: Placement, with_one_model: Set[EngineId]) -> Mapping[EngineId, ModelStep]:
    """For each server with one model the wait for that model, which a start of the server anew needs."""
    return {target.slot.id: _wait(target) for target in placement.targets if target.slot.id in with_one_model and not target.deferred}


def _protected(engine_steps: Sequence[Step], placement: Placement, with_one_model: Set[EngineId]) -> list[Refusal]:
    """What does not let a server be started anew with the protected model that it has."""
    anew = {step.address for step in engine_steps if restarts(step)}
    found = []
    for target in placement.targets if anew else ():
        at, name = target.slot.id, target.model.name
        if at not in with_one_model or not target.protected or resource_address(ENGINE, at.engine, at.node) not in anew:
            continue
        what = f"is protected, and its engine would be started anew; `{name}: {{protect: false}}` under `models` would allow it"
        found.append(Refusal("protect", replica_address(name, at), f"{replica_address(name, at)} {what}"))
    return found


def _wait(target: Target) -> ModelStep:
    model, slot = target.model, target.slot
    address = replica_address(model.name, slot.id)
    charges = target.charges or (target.found.charges if target.found is not None else ())
    return ModelStep(
        id=f"{Action.WAIT.value}:{address}",
        address=address,
        action=Action.WAIT,
        reason=Reason(ENGINE_RESTARTS, "its engine is started anew"),
        cause=Cause.PENDING,
        model=model.name,
        node=slot.id.node,
        engine=slot.id.engine,
        engine_name=model.engine_name(slot.kind),
        base_name=model.base_name(slot.kind),
        gpus=tuple(card.index for card, _ in charges if not card.is_ram),
        vram_bytes=largest(charges),
        after=asked_of(model),
    )


def _but_pinned(drift: Sequence[Drift], pinned: Sequence[Drift]) -> tuple[Drift, ...]:
    """Without what is told as other weights than the pinned ones."""
    told = {entry.address for entry in pinned}
    return tuple(entry for entry in drift if not (entry.kind == "digest" and entry.address in told))


def _in_order(*parts: Sequence[Drift]) -> tuple[Drift, ...]:
    return tuple(sorted((entry for part in parts for entry in part), key=lambda entry: (entry.address, entry.field, entry.kind)))


def _made_for(ordered: Sequence[Change]) -> Mapping[Change, str]:
    """The step that a pull brings something to, or that an unload makes room for: the first in order that waits for it."""
    found: dict[Change, str] = {}
    for change in ordered:
        for needed in change.needs:
            brings = needed.action in FETCHES and needed.address == change.address
            if brings or (needed.made_room and change.action is not Action.UNLOAD):
                found.setdefault(needed, change.id)
    return found


def _step(change: Change, made_for: str | None, asks: Mapping[Charges, tuple[Precondition, ...]]) -> ModelStep:
    cards = change.takes or change.frees
    gpus = tuple([card.index for card, _ in cards if not card.is_ram])
    several = change.slot.cards is not None and len(change.slot.cards) > 1 and not change.spread and "split.cards" not in change.after
    charged = change.takes if change.action is not Action.UNLOAD else change.frees
    return ModelStep(
        id=change.id,
        address=change.address,
        action=change.action,
        reason=change.reason,
        cause=change.cause,
        model=change.model,
        node=change.slot.id.node,
        engine=change.slot.id.engine,
        engine_name=change.engine_name,
        base_name=change.base_name,
        needs=tuple(sorted(needed.id for needed in change.needs)),
        made_for=made_for,
        gpus=() if several else gpus,
        gpu_candidates=gpus if several else None,
        vram_bytes=largest(charged),
        vram_source=change.need.source if change.need is not None else None,
        measured_bytes=change.need.measured if change.need is not None else None,
        reported_bytes=change.need.reported if change.need is not None else None,
        predicted_bytes=change.need.predicted if change.need is not None else None,
        seconds=change.seconds,
        preconditions=_preconditions(change, asks),
        before=change.before,
        after=change.after,
        variant=change.variant,
    )


def _preconditions(change: Change, asks: Mapping[Charges, tuple[Precondition, ...]]) -> tuple[Precondition, ...]:
    """Inequalities over just the facts that the step depends on, each for the moment before it with the earlier steps done. `asks` is
    `room_needed`, asked once for what is charged alike."""
    at = change.slot.id
    match change.action:
        case Action.LOAD | Action.RELOAD:
            return asks[grown(change.takes, change.frees)]
        case Action.UNLOAD | Action.UPDATE:
            return (Precondition(f"{at}.resident:{change.engine_name}", equals=True),) if change.action is Action.UNLOAD else ()
        case Action.REMOVE:
            return (Precondition(f"{at}.installed:{change.engine_name}", equals=True),)
        case Action.PULL | Action.TAG:
            return (Precondition(f"{at}.installed:{change.engine_name}", equals=False),)
        case _:
            return ()


def room_needed(grows: Charges) -> tuple[Precondition, ...]:
    """The free bytes that each card of known size must have for what it gains."""
    return tuple([Precondition(card.free_fact, count) for card, count in grows if card.usable is not None and count > 0])


def _residents(placement: Placement) -> Mapping[str, PlannedResident]:
    """What is there by address, also what is wanted by another name than that under which the state has it."""
    alike: Answers[tuple[str, int | None], PlannedResident] = Answers(lambda seen: PlannedResident(*seen))
    found: dict[str, PlannedResident] = {}
    for target in placement.targets:
        one = target.found
        if one is not None:
            row = one.owned
            own = row is not None and row.model == target.model.name
            address = row.address if row is not None and own else replica_address(target.model.name, target.slot.id)
            found[address] = alike[_seen(one)]
    for one in placement.unwanted:
        address = one.owned.address if one.owned is not None else replica_address(one.resident.name, one.slot.id)
        found.setdefault(address, alike[_seen(one)])
    return found


def _seen(found: Occupant) -> tuple[str, int | None]:
    return found.resident.name, found.slot.most_on_a_card(found.charges) if found.sized else None


def _unsized(placement: Placement) -> set[Card]:
    """The cards that hold a resident whose bytes nobody can tell."""
    there = (*placement.unwanted, *(target.found for target in placement.targets if target.found is not None))
    return {card for found in there if not found.sized for card, _ in found.charges}


def _balance(card: Card, peak: Mapping[Card, int], unsized: bool, agents: int) -> CardBalance:
    return CardBalance(
        node=card.node,
        gpu=card.index,
        total_bytes=card.total,
        usable_bytes=card.usable,
        foreign_bytes=card.foreign,
        assumed=card.assumed,
        before_bytes=card.before,
        after_bytes=card.held,
        peak_bytes=max(peak.get(card, card.before), card.held),
        name=card.facts.name if card.facts is not None else None,
        unsized=unsized,
        free_after_bytes=None if unsized or card.usable is None else max(0, card.free),
        agents=agents,
    )


def _deferred(board: Occupancy) -> tuple[Deferred, ...]:
    return tuple(
        Deferred(slot.id.node, slot.id.engine, (slot.facts.reason if slot.facts is not None else None) or "nothing is known about it")
        for slot in board
        if slot.selected and not slot.reachable
    )
