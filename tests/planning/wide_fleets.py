"""Fleets of every kind by seed: several engines a card, bounds, admission rules, shared weights, variants, derived tags, a state of earlier
applies that the world has moved on from. Wider than `situations()` of the properties, and without shrinking."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import UTC

from agents_of_worlds import Containers, carried, seen_of_agents, with_agents, with_daemons, without_forgotten
from fleets import ALL_OF_IT, GIB, NOW

from reconciler.execution.kinds.model.recording import ReplicaPlaces, addresses_to_forget, replica_row, rows_as_found, was_unloaded
from reconciler.execution.lookup import find_resident
from reconciler.fleet import (
    NO_LIMITS,
    Applied,
    AppliedReplica,
    CardFacts,
    CardSpec,
    ContextVia,
    Desired,
    Each,
    EngineFacts,
    EngineId,
    EngineKind,
    EngineSpec,
    Ensure,
    Fleet,
    FleetFacts,
    Guards,
    Hours,
    Installed,
    ModelSpec,
    NodeFacts,
    NodeSpec,
    Policy,
    Prefer,
    Residency,
    Resident,
    RunOptions,
    SplitBy,
    Spread,
    Strategy,
    Unmanaged,
    Variant,
    Weights,
    When,
    replica_address,
)
from reconciler.planning import Action, ModelStep, Plan, Step, make_plan, model_steps
from reconciler.planning.kinds.agent import AgentStep
from reconciler.vram import FILE_SIZE_FACTOR

MODELS = [f"m{n}:1" for n in range(6)]
TWINS = ("m4:1", "m5:1")
"""Two names on the same weights."""
DEFAULT_CONTEXT = 4096
OPEN, CLOSED = (Hours(start, start + 60, frozenset(range(7)), UTC, "then") for start in (0, 12 * 60))
"""Hours that hold at `NOW`, which is midnight, and hours that do not."""


@dataclass(frozen=True)
class World:
    """A fleet, what is wanted, what is seen, what was applied. `sizes` has the bytes of each name when it is resident, `containers` what
    runs by address."""

    fleet: Fleet
    desired: Desired
    facts: FleetFacts
    applied: Applied
    sizes: Mapping[str, int]
    selected: frozenset[str] | None = None
    containers: Containers = field(default_factory=dict)

    def plan(self) -> Plan:
        return make_plan(
            self.fleet,
            self.desired,
            self.facts,
            self.applied,
            config_digest="sha256:c",
            created_at=NOW,
            selected=self.selected,
            resources=seen_of_agents(self.fleet, self.applied, self.containers),
        )


def blob_of(name: str) -> str:
    base = name.split("-c")[0]
    return "sha256:twins" if base in TWINS else f"sha256:{base}"


def file_bytes(resident: int) -> int:
    """The file of which the stated factor makes just these bytes, so that a need that is not declared is what is seen later."""
    return int(resident / FILE_SIZE_FACTOR)


def wide_world(seed: int) -> World:
    """The world of a seed. In half of them the state is what an apply of other wishes left, else rows and residents are drawn freely."""
    chance = random.Random(seed)
    sizes = {name: chance.randint(2, 20) * GIB // 2 for name in MODELS}
    sizes[TWINS[1]] = sizes[TWINS[0]]
    nodes = [_node(chance, name) for name in "abcd"[: chance.randint(1, 4)]]
    fleet = Fleet("test", {node.name: node for node in nodes})
    facts = FleetFacts(NOW, {node.name: _facts(chance, node, sizes) for node in nodes})
    world = World(fleet, _wishes(chance, fleet, sizes), facts, Applied("lineage", 1, _rows(chance, facts, sizes)), sizes)
    if chance.random() < 0.5:
        settled = apply_all(replace(world, applied=Applied("lineage", 1, {})))
        world = replace(settled, desired=_wishes(chance, fleet, sizes, settled.desired), facts=_perturbed(chance, settled.facts, sizes))
    if chance.random() < 0.15:
        names = sorted(fleet.nodes)
        world = replace(world, selected=frozenset(chance.sample(names, chance.randint(1, len(names)))))
    world = _with_a_split_model(random.Random(f"split {seed}"), world)
    return _with_agents(random.Random(f"agents {seed}"), world)


def _with_agents(chance: random.Random, world: World) -> World:
    """In four of ten worlds there are agents; in half of those the state has others, or these in other places, from an apply before."""
    if chance.random() < 0.6:
        return world
    fleet, facts = with_daemons(world.fleet, world.facts)
    world = replace(world, fleet=fleet, facts=facts)
    if chance.random() < 0.5:
        before = replace(world, desired=with_agents(chance, fleet, world.desired, MODELS))
        plan = before.plan()
        if not plan.refusals:
            left = apply_all(before, plan)
            world = replace(left, facts=_perturbed(chance, left.facts, world.sizes)) if chance.random() < 0.5 else left
    return replace(world, desired=with_agents(chance, fleet, world.desired, MODELS))


def _with_a_split_model(chance: random.Random, world: World) -> World:
    """Where a router of llama.cpp has several cards, in most worlds one model is split over them."""
    cards = {
        engine.id: len(node.gpus or ()) if engine.gpus is None else len(engine.gpus)
        for node in world.fleet.nodes.values()
        for engine in node.engines
        if engine.kind is EngineKind.LLAMACPP
    }
    routers = sorted(at for at, count in cards.items() if count > 1)
    plain = [one for one in world.desired.models if one.ensure is Ensure.LOADED and one.residency is Residency.GPU and not one.variants]
    if not routers or not plain or chance.random() < 0.3:
        return world
    model = chance.choice(plain)
    runs = RunOptions(split_cards=cards[chance.choice(routers)], split_by=chance.choice(list(SplitBy)))
    split = replace(model, engine=EngineKind.LLAMACPP, runs=runs, context=None)
    models = tuple(split if one is model else one for one in world.desired.models)
    return replace(world, desired=replace(world.desired, models=models))


def _node(chance: random.Random, name: str) -> NodeSpec:
    sizes = [chance.choice([4, 8, 12, 24]) * GIB for _ in range(chance.choice([0, 1, 1, 1, 2, 2, 4]))]
    engines = []
    for number in range(chance.choice([1, 1, 2, 3])):
        kind = chance.choice([EngineKind.OLLAMA] * 8 + [EngineKind.LLAMACPP])
        gpus = None
        if sizes and chance.random() < 0.5:
            gpus = tuple(sorted(chance.sample(range(len(sizes)), chance.randint(1, len(sizes)))))
        env = {"OLLAMA_MAX_LOADED_MODELS": str(chance.randint(1, 3))} if kind is EngineKind.OLLAMA and chance.random() < 0.2 else {}
        engines.append(
            EngineSpec(
                EngineId(name, f"e{number}"),
                kind,
                f"http://{name}:{number}",
                gpus=gpus,
                memory_limit=chance.choice([None, None, None, 6 * GIB, 10 * GIB]),
                env=env,
            )
        )
    cards = tuple(CardSpec(index, vram=size, compute_capability=(8, 6)) for index, size in enumerate(sizes))
    ram = chance.choice([None, 16 * GIB, 64 * GIB])
    return NodeSpec(name=name, address=name, engines=tuple(engines), gpus=cards, ram=ram, limits=NO_LIMITS, labels={})


def _facts(chance: random.Random, node: NodeSpec, sizes: Mapping[str, int]) -> NodeFacts:
    foreign = chance.choice([0, 0, 0, GIB])
    cards = tuple(CardFacts(c.index, c.uuid, c.name, c.vram, None, foreign, c.compute_capability, c.driver) for c in node.gpus or ())
    return NodeFacts(node.name, cards, None, {engine.id.engine: _engine(chance, engine, bool(cards), sizes) for engine in node.engines})


def _engine(chance: random.Random, spec: EngineSpec, cards: bool, sizes: Mapping[str, int]) -> EngineFacts:
    if chance.random() < 0.08:
        return EngineFacts(spec.id, spec.kind, False, "connection refused", "refused")
    ollama = spec.kind is EngineKind.OLLAMA
    there = set(chance.sample(MODELS, chance.randint(2, 6))) | set(TWINS)
    installed = tuple(Installed(name, file_bytes(sizes[name]), blob=blob_of(name) if ollama else None) for name in sorted(there))
    residents: dict[str, Resident] = {}
    for name in chance.sample(sorted(there), chance.randint(0, 2)):
        residents.setdefault(blob_of(name), _resident(chance, name, sizes, cards, ollama))
    return EngineFacts(
        spec.id,
        spec.kind,
        True,
        build=chance.choice(["0.34.0", "0.34.0", "0.12.0", None]) if ollama else "b10760",
        mode=None if ollama else "router",
        installed=installed,
        residents=tuple(residents.values()),
        max_residents=None if ollama else chance.choice([None, 1, 4]),
    )


def _resident(chance: random.Random, name: str, sizes: Mapping[str, int], cards: bool, ollama: bool) -> Resident:
    size = sizes[name.split("-c")[0]]
    if not ollama:
        return Resident(name)
    part = chance.choice([0.0, 0.5]) if chance.random() < 0.15 else 1.0
    return Resident(
        name,
        size_bytes=size,
        vram_bytes=int(size * part) if cards else 0,
        context=chance.choice([DEFAULT_CONTEXT, DEFAULT_CONTEXT, 8192]),
        pinned=chance.random() < 0.6,
        blob=blob_of(name),
    )


def _rows(chance: random.Random, facts: FleetFacts, sizes: Mapping[str, int]) -> dict[str, AppliedReplica]:
    rows = {}
    for node in facts.nodes.values():
        for engine in node.engines.values():
            names = [resident.name for resident in engine.residents or () if chance.random() < 0.6]
            names += [chance.choice(MODELS)] if chance.random() < 0.2 else []
            for name in names:
                ensure = "present" if chance.random() < 0.1 else "loaded"
                row = AppliedReplica(
                    replica_address(name, engine.id), name, engine.id, name, ensure, keep_alive=-1.0, vram_bytes=sizes[name]
                )
                rows[row.address] = replace(row, protect=chance.random() < 0.05)
    return rows


def _wishes(chance: random.Random, fleet: Fleet, sizes: Mapping[str, int], before: Desired | None = None) -> Desired:
    """What is wanted. After `before` every model is as it was with some chance: people change a few lines at a time."""
    old = {model.name: model for model in before.models} if before is not None else {}
    names = sorted(fleet.nodes)
    models = []
    for name in chance.sample(MODELS, chance.randint(0, 5)):
        same = old.get(name)
        models.append(same if same is not None and chance.random() < 0.6 else _model(chance, name, names, sizes))
    if before is not None and chance.random() < 0.3:
        models = [*old.values()]
    absent = {model.name for model in models if model.ensure is Ensure.ABSENT}
    models = [  # no file may ask for a name to be deleted that is a variant of another model
        replace(model, variants=()) if any(one.name in absent for one in model.variants) else model for model in models
    ]
    loaded = {model.name for model in models if model.ensure is Ensure.LOADED}
    models = [
        replace(
            model,
            with_models=tuple(name for name in model.with_models if name in loaded),
            never_with=tuple(name for name in model.never_with if name in loaded),
        )
        for model in models
    ]
    policy = Policy(chance.choice(list(Unmanaged)), guards=Guards(max_delete=9))
    strategy = chance.choice([one for one in Strategy if one is not Strategy.WEIGHTED])
    aside = random.Random(f"[{', '.join(map(_text_of, models))}]")
    if aside.random() < 0.2:
        strategy = Strategy.WEIGHTED
    weights = Weights(load=aside.choice([0.0, 1.0]), temperature=0.5, speed=aside.choice([0.0, 2.0]))
    return Desired(models=tuple(models), limits=ALL_OF_IT, strategy=strategy, weights=weights, policy=policy)


def _model(chance: random.Random, name: str, names: list[str], sizes: Mapping[str, int]) -> ModelSpec:
    nodes = sorted(chance.sample(names, chance.randint(1, len(names)))) if chance.random() < 0.5 else names
    fields: dict[str, object] = dict(
        chance.choice([{"replicas": 1}, {"replicas": 2}, {"replicas": 3}, {"each": Each.NODE}, {"each": Each.GPU}, {"each": Each.ENGINE}])
    )
    if "each" in fields:
        fields["replicas"] = None
    elif chance.random() < 0.25:
        fields.update(spread=chance.choice(list(Spread)), spread_hard=True)
    roll = chance.random()
    if roll < 0.1:
        fields.update(ensure=Ensure.PRESENT, keep_alive=None)
    elif roll < 0.14:
        fields.update(ensure=Ensure.ABSENT)
    elif roll < 0.22:
        fields.update(residency=chance.choice([Residency.CPU, Residency.GPU_PREFERRED]), min_gpu_fraction=0.0)
    if name not in TWINS:
        if chance.random() < 0.2:
            fields.update(context=8192, context_via=chance.choice([ContextVia.TAG, ContextVia.REQUEST]))
        if chance.random() < 0.1:
            fields.update(options={"num_batch": 512})
        if chance.random() < 0.12 and fields.get("ensure") is not Ensure.ABSENT:
            others = chance.sample([other for other in MODELS[:4] if other != name], 1)
            fields.update(variants=tuple(Variant(one, sizes[one]) for one in (name, *others)))
    model = ModelSpec(
        name=name,
        nodes=tuple(nodes),
        on=",".join(nodes),
        vram=sizes[name] if chance.random() < 0.9 else None,
        priority=chance.choice([0, 0, 1, 2]),
        protect=chance.random() < 0.05,
        best_effort=chance.random() < 0.1,
        **fields,  # type: ignore[arg-type]  # drawn by name
    )
    return _with_conditions(random.Random(_text_of(model)), model) if model.ensure is Ensure.LOADED and not model.protect else model


def _text_of(model: ModelSpec) -> str:
    """A drawn model as the text that seeds further chances: what `repr` made of it when the first seeds were told. It knows no other field,
    so that a new one leaves every world what it was."""
    fields = (
        f"name={model.name!r}, nodes={model.nodes!r}, on={model.on!r}, engine=None, names=mappingproxy({{}}), ensure={model.ensure!r}",
        f"priority={model.priority!r}, replicas={model.replicas!r}, each={model.each!r}, spread={model.spread!r}",
        f"spread_hard={model.spread_hard!r}, context={model.context!r}, context_via={model.context_via!r}, options={model.options!r}",
        f"keep_alive={model.keep_alive!r}, residency={model.residency!r}, min_gpu_fraction={model.min_gpu_fraction!r}",
        f"requires=Requirements(compute_capability=None, driver=None, vram=None, dtype=None, labels=()), vram={model.vram!r}",
        f"best_effort={model.best_effort!r}, digest=None, protect={model.protect!r}, variants={model.variants!r}, variant=None",
        "verify=Verify(embedding_length=None, min_tokens_per_second=None), own_context=None, aliases=(), fallback=()",
        f"with_models={model.with_models!r}, never_with={model.never_with!r}, prefer={model.prefer!r}, when={model.when!r}",
        "outside_hours=False",
        "runs=RunOptions(parallel=None, kv_cache=None, flash_attention=None, idle=None, split_cards=None, split_by=None)",
        "rollout=Rollout(max_unavailable=1, order=None, canary=False)",
    )
    return f"ModelSpec({', '.join(fields)})"


def _with_conditions(chance: random.Random, model: ModelSpec) -> ModelSpec:
    """The model with conditions for some: by chances of their own, so that the worlds without any are those of before."""
    if chance.random() < 0.15:
        first = frozenset(chance.sample(model.nodes, 1))
        model = replace(model, prefer=chance.choice([Prefer((first,)), Prefer(speed=True)]))
    roll = chance.random()
    if roll < 0.08:
        return replace(model, when=When(chance.randint(4, 24) * GIB // 2))
    if roll < 0.16:
        return replace(model, when=When(hours=chance.choice([OPEN, CLOSED])))
    if model.residency is Residency.CPU or model.name in TWINS:
        return model
    if roll < 0.3:
        others = [one for one in MODELS if one not in (model.name, *TWINS)]
        return replace(model, never_with=tuple(sorted(chance.sample(others, chance.randint(1, 2)))))
    before = MODELS[: MODELS.index(model.name)]
    return replace(model, with_models=(chance.choice(before),)) if before and roll < 0.38 else model


def _perturbed(chance: random.Random, facts: FleetFacts, sizes: Mapping[str, int]) -> FleetFacts:
    """What happens between two applies: residents go, clients bring others or undo options, engines stop answering."""
    nodes = {}
    for name, node in facts.nodes.items():
        engines = {}
        for key, engine in node.engines.items():
            residents = {resident.blob or resident.name: resident for resident in engine.residents or () if chance.random() < 0.85}
            if engine.reachable and engine.kind is EngineKind.OLLAMA and chance.random() < 0.3 and engine.installed:
                extra = chance.choice([model.name for model in engine.installed or ()])
                residents.setdefault(blob_of(extra), _resident(chance, extra, sizes, bool(node.cards), True))
            seen = replace(engine, residents=tuple(residents.values()) if engine.reachable else None)
            if chance.random() < 0.05:
                seen = EngineFacts(engine.id, engine.kind, False, "timed out", "timeout")
            engines[key] = seen
        nodes[name] = replace(node, engines=engines)
    return replace(facts, nodes=nodes)


def apply_all(world: World, plan: Plan | None = None, failed: Set[str] = frozenset(), order: Sequence[Step] = ()) -> World:
    """The world after every step of its plan worked but the `failed` ones (ids), with the rows that the executor records."""
    plan = plan if plan is not None else world.plan()
    before = world.applied
    for step in order or plan.steps:
        if step.id not in failed:
            world = carry(world, plan, step)
    places = ReplicaPlaces(world.fleet, world.desired, world.facts)
    engines = {engine.id: world.facts.engine(engine.id) for node in world.fleet.nodes.values() for engine in node.engines}
    stepped: dict[str, bool] = {}
    for step in model_steps(plan.steps):
        if step.action is not Action.UNLOAD:
            stepped[step.address] = stepped.get(step.address, True) and step.id not in failed
    rows = {row.address: row for row in rows_as_found(plan, places, engines, world.applied if failed else before, stepped)}
    unloads = [step for step in model_steps(plan.steps) if step.action is Action.UNLOAD and step.id not in failed]
    ended = {step.address for step in unloads if was_unloaded(before.replicas.get(step.address), step.engine_name, engines[step.at])}
    gone = addresses_to_forget(plan, ended)
    kept = {address: row for address, row in world.applied.replicas.items() if address not in gone}
    return replace(world, applied=without_forgotten(plan, replace(world.applied, replicas={**kept, **rows})))


def carry(world: World, plan: Plan, step: Step) -> World:
    """The world after one step worked, as the engine's API would have it and the executor's record at once."""
    if isinstance(step, AgentStep):
        applied, containers = carried(step, world.applied, world.containers)
        return replace(world, applied=applied, containers=containers)
    facts = _done(world, step)
    models = {model.name: model for model in world.desired.models}
    at = EngineId(step.node, step.engine)
    engine, rows = facts.engine(at), dict(world.applied.replicas)
    resident = find_resident(engine, step.engine_name) if engine is not None else None
    if step.action is Action.REMOVE:
        rows.pop(step.address, None)
    elif step.action is Action.UNLOAD and step.address not in plan.placed:
        if was_unloaded(rows.get(step.address), step.engine_name, engine):
            rows.pop(step.address, None)
    elif step.action in (Action.LOAD, Action.RELOAD, Action.UPDATE) and resident is not None:
        rows[step.address] = replica_row(
            models[step.model], at, step.address, step.engine_name, resident, step.vram_bytes, plan.charges.get(step.address)
        )
    tags = dict(world.applied.tags)
    if step.engine_name != step.base_name or "-c" in step.engine_name:
        tags[at] = {**tags.get(at, {}), step.engine_name: step.engine_name.split("-c")[0]}
    return replace(world, facts=facts, applied=replace(world.applied, replicas=rows, tags=tags))


def _done(world: World, step: ModelStep) -> FleetFacts:
    facts = world.facts
    node = facts.nodes[step.node]
    engine = node.engines[step.engine]
    installed = {model.name: model for model in engine.installed or ()}
    residents = {_key(engine, resident.name): resident for resident in engine.residents or ()}
    match step.action:
        case Action.PULL | Action.TAG:
            for name in (step.base_name, step.engine_name):
                installed.setdefault(name, Installed(name, file_bytes(world.sizes[step.base_name]), blob=blob_of(name)))
        case Action.REMOVE:
            installed = {name: model for name, model in installed.items() if name not in (step.engine_name, step.base_name)}
        case Action.UNLOAD:
            residents.pop(_key(engine, step.engine_name), None)
        case Action.UPDATE | Action.LOAD | Action.RELOAD:
            key = _key(engine, step.engine_name)
            found = residents.get(key)
            if step.action is Action.RELOAD or found is None:
                found = _loaded(world, step, engine)
            residents[key] = replace(found, pinned=True if engine.kind is EngineKind.OLLAMA else None)
        case _:
            pass
    changed = replace(engine, installed=tuple(installed.values()), residents=tuple(residents.values()))
    return replace(facts, nodes={**facts.nodes, step.node: replace(node, engines={**node.engines, step.engine: changed})})


def _key(engine: EngineFacts, name: str) -> str:
    return blob_of(name) if engine.kind is EngineKind.OLLAMA else name


def _loaded(world: World, step: ModelStep, engine: EngineFacts) -> Resident:
    if engine.kind is not EngineKind.OLLAMA:
        return Resident(step.engine_name)
    size = world.sizes[step.base_name]
    on_card = bool(step.gpus or step.gpu_candidates)
    context = dict(step.after).get("context")
    return Resident(
        step.engine_name,
        size_bytes=size,
        vram_bytes=size if on_card else 0,
        context=context if isinstance(context, int) else DEFAULT_CONTEXT,
        blob=blob_of(step.engine_name),
    )
