"""Engines that gpurec owns: what each is started with, and what its being started, replaced or removed means for its models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import replace

from reconciler.fleet import (
    ADOPTED,
    Applied,
    CardFacts,
    ContainerSpec,
    EngineContainer,
    EngineId,
    EngineSpec,
    Fleet,
    FleetFacts,
    NodeSpec,
    PullPolicy,
    ResourceFacts,
    UnitSpec,
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
    as_json,
    container_fields,
    left_to_others,
    seen_as,
    shares_cards,
    shown_risks,
    starts_beside,
    told_order,
)
from reconciler.planning.kinds.engine.container import container_of
from reconciler.planning.kinds.engine.fields import CONTAINER, CONTENT, ENABLED, RUNTIME, UNIT, URL, unit_fields
from reconciler.planning.kinds.engine.preset import preset_of
from reconciler.planning.kinds.engine.replacing import beside_their_old
from reconciler.planning.kinds.engine.single import GivenModel, model_arguments, option_arguments, takes_one_model
from reconciler.planning.kinds.engine.unit import applied_unit, unit_of
from reconciler.planning.kinds.file.diff import changed_lines
from reconciler.planning.plan import Action, Json, Reason, Step
from reconciler.planning.resource import RESTART, AfterPlan, FieldRule, ResourceChange
from reconciler.value_class import value_class

ENGINE = "engine"


@value_class
class WantedEngine(WantedContainer):
    """An engine as it is to be started: in a container, or by systemd. `both_fit`: its cards have room for it and for the one that it
    replaces, as they have where it starts without a model."""

    engine: str = ""
    unit: UnitSpec | None = None


@value_class(kw_only=True)
class EngineStep(Step):
    """One change of an engine that gpurec owns: of its container, or of its unit."""

    engine: str  #: Name of the engine on its node.
    container: ContainerSpec | None = None  #: How its container is to be; null: it has none, or is removed.
    pull: PullPolicy = PullPolicy.MISSING  #: When the image is fetched.
    unit: UnitSpec | None = None  #: How its systemd unit is to be, or how a removed one was; null: it has none.
    diff: tuple[str, ...] = ()  #: What changes of its unit, as lines.
    restart: bool = False  #: It is as wanted and runs, and is started again all the same.
    both_fit: bool = False  #: Its cards have room for it and for the container that it replaces.
    starts_beside: bool = False  #: It runs before the container that it replaces ends.
    order: str = ""  #: Which of old and new starts or ends first, and why.

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
        if self.unit is not None and self.unit.address != self.address:
            return f"its unit is that of {self.unit.address!r}"
        if self.unit is not None and self.action is not Action.REMOVE and self.unit.digest != self.after.get(CONTENT, self.unit.digest):
            return "its unit is not that of its digest"
        return None

    def particulars(self) -> Mapping[str, Json]:
        container = as_json(self.container) if self.container is not None else None
        unit = as_json(self.unit) if self.unit is not None else None
        own: dict[str, Json] = {"engine": self.engine, "container": container, "pull": self.pull.value, "unit": unit}
        return {
            **own,
            "diff": list(self.diff),
            "restart": self.restart,
            "both_fit": self.both_fit,
            "starts_beside": self.starts_beside,
            "order": self.order,
        }

    def promise(self) -> Mapping[str, Json]:
        return {name: value for name, value in self.particulars().items() if name not in ("diff", "both_fit", "starts_beside", "order")}

    def compared(self) -> Mapping[str, Json]:
        return {}

    @property
    def unshown(self) -> Set[str]:
        unshown = (SPEC, COPIES, CONTENT)
        return frozenset(unshown if self.action is Action.WAIT else (*unshown, HEALTHY))

    def lines(self) -> Sequence[str]:
        risks = shown_risks(self.container) if self.container is not None and self.action in (Action.CREATE, Action.UPDATE) else ()
        return (*risks, *self.order.splitlines(), *self.diff)


class OwnedEngineKind:
    """The kind `engine`."""

    name = ENGINE
    marks_its_own = True
    fields: Sequence[FieldRule] = (
        *CONTAINER_RULES[:-1],
        *(FieldRule(name) for name in (RUNTIME, UNIT, CONTENT, ENABLED)),
        CONTAINER_RULES[-1],
    )
    step_form = EngineStep

    def wanted(self, after: AfterPlan) -> Sequence[WantedEngine]:
        """A server with one model runs only where `placed` gives it one."""
        every = list(owned_engines(after))
        single = {engine.id for _, engine in every if takes_one_model(engine)}
        models = given_models(after, single) if single else {}
        wanted = [
            wanted_engine(after, node, engine, models.get(engine.id))
            for node, engine in every
            if engine.id not in single or engine.id in models
        ]
        beside = beside_their_old(after, {at: one for one in wanted if (at := EngineId(one.node, one.engine)) in single})
        nodes = after.fleet.nodes
        return [
            replace(one, both_fit=shares_cards(one.container, nodes.get(one.node)))
            if one.address in beside and one.container is not None
            else one
            for one in wanted
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
            unit=wanted.unit if wanted is not None else applied_unit(change.applied),
            diff=_diff(change, wanted.unit) if wanted is not None and wanted.unit is not None else (),
            restart=wanted is not None and change.reason is wanted.restart,
            both_fit=wanted is not None and wanted.both_fit,
            starts_beside=starts_beside(change),
            order=told_order(change),
        )


def owned_engines(after: AfterPlan) -> Iterator[tuple[NodeSpec, EngineSpec]]:
    """Every engine that gpurec is to start, with its node."""
    for node in after.fleet.nodes.values():
        for engine in node.engines:
            if engine.owned is not None:
                yield node, engine


def urls_left(fleet: Fleet, applied: Applied) -> Mapping[EngineId, str]:
    """Where the last apply left each engine of gpurec's own that the files give another address now."""
    left = {}
    for node in fleet.nodes.values():
        for engine in node.engines:
            row = applied.resources.get(resource_address(ENGINE, engine.id.engine, node.name)) if engine.owned is not None else None
            url = row.fields.get(URL) if row is not None else None
            if isinstance(url, str) and url != engine.url:
                left[engine.id] = url
    return left


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
    row = after.applied.resources.get(address)
    if row is not None and row.fields.get(RUNTIME, engine.runtime.value) != engine.runtime.value:
        how = f"it was started as a {row.fields[RUNTIME]}: take it out of the inventory, apply, then declare it as {engine.runtime.value}"
        return WantedEngine(address, node.name, {}, unknown=how)
    if cards is None:
        return WantedEngine(address, node.name, {}, unknown="the cards of its node are not known, so it stays as it is")
    given = (*option_arguments(engine.options), *(model_arguments(engine, cards, model) if model is not None else ()))
    if not isinstance(start, EngineContainer):
        formerly = str(row.fields.get(ADOPTED, "")) if row is not None else ""
        unit = replace(unit_of(after.fleet.name, node, engine, cards, given), formerly=formerly)
        return WantedEngine(address, node.name, unit_fields(unit), engine=engine.id.engine, unit=unit, restart=_restart(after, engine))
    files, named = preset_of(engine, after.desired.models)
    adopts = (start.adopt or "") if row is None else str(row.fields.get(ADOPTED, ""))
    container = replace(container_of(after.fleet.name, node, engine, cards, (*given, *named), adopts), files=tuple(files))
    fields = {**container_fields(container), RUNTIME: CONTAINER}
    return WantedEngine(
        address,
        node.name,
        fields,
        restart=_restart(after, engine),
        engine=engine.id.engine,
        container=container,
        pull=start.pull,
        allow=after.desired.policy.allowed_containers,
        docker=node.docker,
        undecided=left_to_others(container, node),
        both_fit=not takes_one_model(engine) and shares_cards(container, node),
    )


def _restart(after: AfterPlan, engine: EngineSpec) -> Reason | None:
    """Why an engine that does not answer is started again: the policy lets it, and the last apply got no answer either."""
    since = after.applied.silent.get(engine.id)
    if since is None or not after.desired.policy.remediation.restart_engine:
        return None
    return Reason(RESTART, f"runs and has not answered since {since}: is started again, and loses what it holds")


def own_cards(facts: FleetFacts, engine: EngineSpec) -> tuple[CardFacts, ...] | None:
    """The cards that an engine is given; None while those of its node are unknown."""
    node = facts.nodes.get(engine.id.node)
    if node is None or node.cards is None:
        return None
    return tuple(card for card in node.cards if card.is_named_in(engine.gpus))


def _diff(change: ResourceChange[WantedEngine], unit: UnitSpec) -> tuple[str, ...]:
    """What was applied of the unit against what will be, by lines."""
    if change.action not in (Action.CREATE, Action.UPDATE):
        return ()
    return changed_lines(change.applied.written if change.applied is not None else None, unit.written, {}, False)
