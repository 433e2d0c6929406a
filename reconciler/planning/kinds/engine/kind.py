"""Engines that gpurec owns: what each is started with, and what its being started, replaced or removed means for its models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass

from reconciler.fleet import (
    CardFacts,
    ContainerSpec,
    EngineContainer,
    EngineId,
    EngineSpec,
    FleetFacts,
    NodeSpec,
    PullPolicy,
    ResourceFacts,
    parse_replica_address,
    parse_resource_address,
    resource_address,
)
from reconciler.planning.containers import (
    CONTAINER_RULES,
    COPIES,
    HEALTHY,
    SPEC,
    WantedContainer,
    container_fields,
    container_json,
    seen_as,
    shown_risks,
)
from reconciler.planning.containers_guard import container_refusals
from reconciler.planning.kinds.engine.container import container_of
from reconciler.planning.kinds.engine.single import GivenModel, model_arguments, takes_one_model
from reconciler.planning.plan import Action, Json, Step
from reconciler.planning.resource import AfterPlan, FieldRule, ResourceChange

ENGINE = "engine"
RUNTIME = "runtime"


@dataclass(frozen=True, slots=True)
class WantedEngine(WantedContainer):
    """An engine as it is to be started."""

    engine: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStep(Step):
    """`engine` is its name on its node; `container` how it is to be (None: it is removed)."""

    engine: str
    container: ContainerSpec | None = None
    pull: PullPolicy = PullPolicy.MISSING

    def seen(self, found: ResourceFacts) -> ResourceFacts:
        return seen_as(self.container, found, self.address)

    @property
    def contradiction(self) -> str | None:
        if self.address != resource_address(ENGINE, self.engine, self.node):
            return f"it is not about its address {self.address!r}"
        if self.container is not None and self.container.address != self.address:
            return f"its container is that of {self.container.address!r}"
        if self.container is not None and self.container.hash != self.after.get(SPEC, self.container.hash):
            return "its container is not that of its hash"
        return None

    def particulars(self) -> Mapping[str, Json]:
        container = container_json(self.container) if self.container is not None else None
        return {"engine": self.engine, "container": container, "pull": self.pull.value}

    def compared(self) -> Mapping[str, Json]:
        return {}

    @property
    def unshown(self) -> Set[str]:
        return frozenset((SPEC, COPIES) if self.action is Action.WAIT else (SPEC, COPIES, HEALTHY))

    def lines(self) -> Sequence[str]:
        return shown_risks(self.container) if self.container is not None and self.action in (Action.CREATE, Action.UPDATE) else ()


class EngineKind:
    """The kind `engine`."""

    name = ENGINE
    marks_its_own = True
    fields: Sequence[FieldRule] = (*CONTAINER_RULES[:-1], FieldRule(RUNTIME), CONTAINER_RULES[-1])
    step_form = EngineStep

    def wanted(self, after: AfterPlan) -> Sequence[WantedEngine]:
        """A server with one model runs only where `placed` gives it one."""
        every = list(owned_engines(after))
        single = {engine.id for _, engine in every if takes_one_model(engine)}
        models = given_models(after, single) if single else {}
        return [
            wanted_engine(after, node, engine, models.get(engine.id))
            for node, engine in every
            if engine.id not in single or engine.id in models
        ]

    def declared(self, after: AfterPlan) -> Sequence[WantedEngine]:
        """Every engine that may be there, as far as its files alone say how."""
        return [wanted_engine(after, node, engine, None) for node, engine in owned_engines(after)]

    def step(self, change: ResourceChange[WantedEngine]) -> EngineStep:
        wanted = change.wanted
        _, engine, _ = parse_resource_address(change.address)
        return EngineStep(
            id=change.id,
            address=change.address,
            action=change.action,
            reason=change.reason,
            cause=change.cause,
            node=change.node,
            needs=wanted.needs if wanted is not None and change.action is not Action.ADOPT else (),
            before=change.before,
            after=change.after,
            engine=engine,
            container=wanted.container if wanted is not None else None,
            pull=wanted.pull if wanted is not None else PullPolicy.MISSING,
        )


def owned_engines(after: AfterPlan) -> Iterator[tuple[NodeSpec, EngineSpec]]:
    """Every engine that gpurec is to start, with its node."""
    for node in after.fleet.nodes.values():
        for engine in node.engines:
            if engine.owned is not None:
                yield node, engine


def given_models(after: AfterPlan, engines: Set[EngineId]) -> Mapping[EngineId, GivenModel]:
    """The models that are placed on servers with one, with what each is granted: by this plan, else as it was when it was placed there."""
    specs = {model.name: model for model in after.desired.models}
    found: dict[EngineId, GivenModel] = {}
    for address, name in sorted(after.placed.items()):
        model, at = parse_replica_address(address)
        if at in engines and model in specs:
            row = after.applied.replicas.get(address)
            charges = after.charges.get(address) or (row.charges if row is not None else None)
            found.setdefault(at, GivenModel(specs[model], name, charges))
    return found


def wanted_engine(after: AfterPlan, node: NodeSpec, engine: EngineSpec, model: GivenModel | None) -> WantedEngine:
    """How an engine is to be, by its files and the cards of its node."""
    address = resource_address(ENGINE, engine.id.engine, node.name)
    cards = own_cards(after.facts, engine)
    assert engine.owned is not None
    start = engine.owned.start
    if cards is None:
        return WantedEngine(address, node.name, {}, unknown="the cards of its node are not known, so it stays as it is")
    if not isinstance(start, EngineContainer):
        return WantedEngine(address, node.name, {}, unknown="units are not started yet")
    given = model_arguments(engine, cards, model) if model is not None else ()
    container = container_of(after.fleet.name, node, engine, cards, given)
    refusals = container_refusals(container, after.desired.policy.allowed_containers, start.privileged)
    fields = {**container_fields(container), RUNTIME: "container"}
    return WantedEngine(address, node.name, fields, refusals=refusals, engine=engine.id.engine, container=container, pull=start.pull)


def own_cards(facts: FleetFacts, engine: EngineSpec) -> tuple[CardFacts, ...] | None:
    """The cards that an engine is given; None while those of its node are unknown."""
    node = facts.nodes.get(engine.id.node)
    if node is None or node.cards is None:
        return None
    return tuple(card for card in node.cards if card.is_named_in(engine.gpus))
