"""All findings of a fleet, in order."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence, Set

from reconciler.fleet import CardId, Desired, EngineId, Fleet, FleetFacts, ModelSpec, Residency, format_bytes, parse_replica_address
from reconciler.health.asking import asking_findings
from reconciler.health.cards import card_findings
from reconciler.health.engines import engine_findings
from reconciler.health.finding import Finding, error, warning
from reconciler.health.joining import cards_of, joining_findings
from reconciler.health.sharing import sharing_findings
from reconciler.health.status import ReplicaStatus
from reconciler.planning import Plan
from reconciler.planning.plan import Unplaced


def find(
    fleet: Fleet,
    desired: Desired,
    facts: FleetFacts,
    plan: Plan,
    recorded: FleetFacts | None = None,
    only: Collection[str] | None = None,
    replicas: Sequence[ReplicaStatus] = (),
) -> tuple[Finding, ...]:
    """Everything that is wrong: errors first, then by address. `only` some nodes; then models that have no place anywhere are left out.
    `replicas` tell of loads that failed."""
    may_be_there = _may_be_on_cpu(desired, plan, facts)
    found: list[Finding] = []
    by_node: dict[str, list[ModelSpec]] = {}
    for model in desired.models:
        if model.requires.driver is not None or model.requires.compute_capability is not None:
            for name in model.nodes:
                by_node.setdefault(name, []).append(model)
    usable: dict[str, dict[CardId, int]] = {}
    for card in plan.gpus:
        if card.usable_bytes is not None:
            usable.setdefault(card.node, {})[card.gpu] = card.usable_bytes
    for name, seen in facts.nodes.items():
        node = fleet.nodes.get(name)
        if node is None or (only is not None and name not in only):
            continue
        found.extend(asking_findings(node, seen))
        found.extend(card_findings(node, seen, by_node.get(name, ()), desired.policy))
        for spec in node.engines:
            engine = seen.engines.get(spec.id.engine)
            if engine is not None:
                found.extend(engine_findings(spec, engine))
        found.extend(sharing_findings(node, seen, usable.get(name, {})))
        found.extend(joining_findings(node, seen, recorded.nodes.get(name) if recorded is not None else None, may_be_there))
    found.extend(_failed(replicas, only))
    found.extend(_held(plan, only))
    found.extend(_of_weights(plan, only))
    if only is None:
        found.extend(_without_a_place(fleet, desired, facts, usable, plan))
    return tuple(sorted(found, key=lambda one: one.order))


def _failed(replicas: Sequence[ReplicaStatus], only: Collection[str] | None) -> Iterator[Finding]:
    """Loads that failed and that none has made good since."""
    for one in replicas:
        if one.failed and (only is None or _node_of(one.address) in only):
            yield error("load_failed", one.address, f"its last load failed: {one.failed}", "mend that, then gpurec apply loads it again")


def _held(plan: Plan, only: Collection[str] | None) -> Iterator[Finding]:
    """What is not as wanted and is left alone for now, since mending it did not last."""
    for note in plan.held:
        if only is None or _node_of(note.address) in only:
            yield warning("held", note.address, note.message, f"mend what undoes it, then gpurec apply --replace {note.address}")


def _of_weights(plan: Plan, only: Collection[str] | None) -> Iterator[Finding]:
    """Weights on an engine's disk that are other than pinned, or gone. What runs goes on as if nothing were, so nobody else tells it."""
    for one in plan.drift:
        if one.klass != "managed" or (only is not None and _node_of(one.address) not in only):
            continue
        if one.kind == "digest":
            mend = "pull the pinned weights under that name, or gpurec pin takes on what is there"
            yield warning("digest_differs", one.address, "other weights are installed under its name than the files pin", mend)
        elif (one.kind, one.field) == ("missing", "installed"):
            mend = "gpurec apply pulls it again; until then its engine cannot load it after a restart"
            yield warning("not_on_disk", one.address, "its files are gone from the disk of its engine", mend)


def _node_of(address: str) -> str:
    return address.rpartition("@")[2].partition("/")[0].removeprefix("engine.")


def _may_be_on_cpu(desired: Desired, plan: Plan, facts: FleetFacts) -> Set[tuple[EngineId, str]]:
    """Residents, by engine and name, that the files let be where they are, wholly or in part beside the card."""
    models = {model.name: model for model in desired.models}
    shares = {
        (engine.id, one.name): one.gpu_fraction
        for node in facts.nodes.values()
        for engine in node.engines.values()
        for one in engine.residents or ()
    }
    found = set()
    for address, resident in plan.residents.items():
        name, at = parse_replica_address(address)
        model, share = models.get(name), shares.get((at, resident.name))
        if model is not None and share is not None and (model.residency is Residency.CPU or share >= model.min_gpu_fraction):
            found.add((at, resident.name))
    return found


def _without_a_place(
    fleet: Fleet, desired: Desired, facts: FleetFacts, usable: Mapping[str, Mapping[CardId, int]], plan: Plan
) -> Iterator[Finding]:
    """What the plan has no place for, each with why: a model that no card could hold even if it were empty, nor all the cards of one engine
    together, is too large; one that is asked for on the CPU is held to no card. What is only best effort is a warning."""
    places = [
        (sum(sizes), len(sizes))
        for name, seen in facts.nodes.items()
        if name in fleet.nodes
        for spec in fleet.nodes[name].engines
        if (sizes := [usable.get(name, {}).get(card.index, 0) for card in cards_of(spec, seen.cards or ())])
    ]
    known = all(card.usable_bytes is not None for card in plan.gpus)
    most, cards = max(places, default=(0, 0)) if known else (0, 0)
    where = "the largest card has" if cards == 1 else f"the {cards} cards of the largest engine together have"
    on_cpu = {model.name for model in desired.models if model.residency is Residency.CPU}
    for one in plan.unplaced:
        address = f"model.{one.model}" if one.agent is None else one.shown
        finding = warning if one.best_effort else error
        if most and one.agent is None and one.model not in on_cpu and one.needed_bytes is not None and one.needed_bytes > most:
            what = f"it needs {format_bytes(one.needed_bytes)}, and {where} {format_bytes(most)} usable"
            yield finding("model_too_large", address, what, f"gpurec check {one.model} (a smaller context or quantization)")
            continue
        mend = "gpurec plan shows every place" if one.agent is not None else f"gpurec explain {address}"
        mend = f"it would fit if {one.would_fit_if[0]}; {mend}" if one.would_fit_if else mend
        yield finding("unplaced", address, f"{one.count} without a place: {one.reason or _why(one)}", mend)


def _why(one: Unplaced) -> str:
    """The reason that most candidates have, in the words of the first of them."""
    if not one.candidate_counts:
        return "none of its nodes has an engine for it"
    code, count = min(one.candidate_counts.items(), key=lambda item: (-item[1], item[0]))
    first = next((each for each in one.candidates if each.reason == code), None)
    if first is None:
        return f"{code} on {count}"
    others = sum(one.candidate_counts.values()) - 1
    return f"{first.engine}: {first.message or code}" + (f" (and {others} more)" if others else "")
