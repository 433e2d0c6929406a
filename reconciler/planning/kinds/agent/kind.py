"""Agents and services as resources: their containers at the places that placement chose."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import field, replace

from reconciler.fleet import (
    AGENT,
    DEPENDS_ON,
    OWN_BYTES,
    OWN_CARD,
    USES,
    ContainerSpec,
    Fields,
    PullPolicy,
    ResourceFacts,
    Scalar,
    parse_agent_address,
)
from reconciler.placement.agents import AgentPlace, AgentPlacement
from reconciler.planning.containers import (
    CONTAINER_RULES,
    SPEC,
    WantedContainer,
    container_fields,
    container_json,
    left_to_others,
    seen_as,
    shares_cards,
    shown_risks,
    starts_beside,
    told_order,
)
from reconciler.planning.kinds.agent.container import cannot_reach, container_of
from reconciler.planning.kinds.agent.replacing import beside_their_old
from reconciler.planning.plan import Action, Json, Note, Step
from reconciler.planning.resource import AfterPlan, FieldRule, ResourceChange
from reconciler.value_class import value_class

MODEL, CONFIG, LLM = "model", "config", "llm"
_PLACED = (USES, MODEL, OWN_CARD, CONFIG, LLM)
"""Fields that no container tells: they are compared with what was applied."""
_KEPT = (OWN_BYTES, DEPENDS_ON)
"""Fields that are nothing of a container: where they change, only the state has to learn it."""


@value_class
class WantedAgent(WantedContainer):
    """An agent at its place. `applied` are its fields as they were applied (None: it was not); `both_fit`: its card has room for it and the
    one that it replaces."""

    applied: Fields | None = field(default=None, kw_only=True)
    both_fit: bool = field(default=True, kw_only=True)

    def seen(self, found: ResourceFacts) -> ResourceFacts:
        """What only gpurec knows of it is as it was applied."""
        told = WantedContainer.seen(self, found)
        if not told.exists or self.applied is None:
            return told
        return replace(told, fields={**told.fields, **{name: self.applied.get(name) for name in _PLACED}})


@value_class(kw_only=True)
class AgentStep(Step):
    """One change of an agent's container."""

    container: ContainerSpec | None = None  #: How its container is to be; null: it is removed.
    pull: PullPolicy = PullPolicy.MISSING  #: When the image is fetched.
    both_fit: bool = False  #: Its card has room for it and for the container that it replaces.
    starts_beside: bool = False  #: It runs before the container that it replaces ends.
    order: str = ""  #: Which of old and new starts or ends first, and why.

    def seen(self, found: ResourceFacts) -> ResourceFacts:
        return seen_as(self.container, found, self.address)

    @property
    def contradiction(self) -> str | None:
        try:
            _, _, node = parse_agent_address(self.address)
        except ValueError as error:
            return str(error)
        if node != self.node:
            return f"it is not about its address {self.address!r}"
        if self.container is not None and self.container.address != self.address:
            return f"its container is that of {self.container.address!r}"
        if self.container is not None and self.container.hash != self.after.get(SPEC, self.container.hash):
            return "its container is not that of its hash"
        return None

    def particulars(self) -> Mapping[str, Json]:
        container = container_json(self.container) if self.container is not None else None
        return {
            "container": container,
            "pull": self.pull.value,
            "both_fit": self.both_fit,
            "starts_beside": self.starts_beside,
            "order": self.order,
        }

    def promise(self) -> Mapping[str, Json]:
        return {name: value for name, value in self.particulars().items() if name not in ("both_fit", "starts_beside", "order")}

    def compared(self) -> Mapping[str, Json]:
        return {}

    @property
    def unshown(self) -> Set[str]:
        return frozenset((SPEC, CONFIG, LLM, *_KEPT))

    def lines(self) -> Sequence[str]:
        risks = shown_risks(self.container) if self.container is not None and self.action in (Action.CREATE, Action.UPDATE) else ()
        return (*risks, *self.order.splitlines())


class AgentKind:
    """The kind `agent`."""

    name = AGENT
    marks_its_own = True
    fields: Sequence[FieldRule] = (*map(FieldRule, (*_PLACED, *_KEPT)), *CONTAINER_RULES)
    step_form = AgentStep

    def wanted(self, after: AfterPlan) -> Sequence[WantedAgent]:
        fitting = beside_their_old(after)
        return [_wanted(after, place, place.address in fitting) for place in after.agents.places]

    def step(self, change: ResourceChange[WantedAgent]) -> AgentStep:
        wanted = change.wanted
        return AgentStep(
            id=change.id,
            address=change.address,
            action=change.action,
            reason=change.reason,
            cause=change.cause,
            node=change.node,
            before=change.before,
            after=change.after,
            container=wanted.container if wanted is not None else None,
            pull=wanted.pull if wanted is not None else PullPolicy.MISSING,
            both_fit=wanted is not None and wanted.both_fit,
            starts_beside=starts_beside(change),
            order=told_order(change),
        )


def agent_notes(placement: AgentPlacement) -> Iterator[Note]:
    """Agents that will not reach their engine."""
    for place in placement.places:
        engine = place.offer.slot.spec if place.offer is not None and place.offer.slot is not None else None
        if engine is not None and cannot_reach(place.spec.container, engine):
            what = f"{engine.url} of {engine.id} is loopback, which a container with a network of its own does not reach"
            advice = "give the engine an address of its node, or the agent `networks: [host]`"
            yield Note(place.address, "loopback_engine", f"{what}; {advice}")


def _wanted(after: AfterPlan, place: AgentPlace, both_fit: bool) -> WantedAgent:
    container = container_of(after.fleet.name, place)
    row = after.applied.resources.get(place.address)
    fields: dict[str, Scalar] = {**_placed_fields(place), **container_fields(container)}
    node = after.fleet.nodes.get(place.node)
    return WantedAgent(
        place.address,
        place.node,
        fields,
        container=container,
        pull=place.spec.pull,
        allow=after.desired.policy.allowed_containers,
        docker=node.docker if node is not None else None,
        undecided=left_to_others(container, node),
        applied=row.fields if row is not None else None,
        both_fit=both_fit and shares_cards(container, node),
    )


def _placed_fields(place: AgentPlace) -> Mapping[str, Scalar]:
    spec = place.spec
    found: dict[str, Scalar] = {}
    if place.offer is not None:
        found |= {USES: place.offer.where, MODEL: spec.model or ""}
    if place.card is not None and place.card.facts is not None and place.card.facts.uuid is not None:
        found |= {OWN_CARD: place.card.facts.uuid, OWN_BYTES: place.card_bytes}
    if spec.depends_on:
        found[DEPENDS_ON] = " ".join(spec.depends_on)
    for name, text in ((CONFIG, spec.config), (LLM, spec.llm)):
        if text is not None:
            found[name] = hashlib.sha256(text.encode()).hexdigest()[:16]
    return found
