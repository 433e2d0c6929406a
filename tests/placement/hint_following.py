"""Does in a drawn world what a line under `would fit if` says, as somebody does who edits the files."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "planning"))
from planning.fleets import GIB
from planning.wide_fleets import World

from reconciler.fleet import (
    MIB,
    CardFacts,
    CardSpec,
    Desired,
    EngineId,
    EngineSpec,
    Installed,
    ModelSpec,
    NodeFacts,
    NodeSpec,
    Unmanaged,
    Variant,
)

NEW = "zz-new"
"""The node that a line about a card asks for."""
NUMBER = re.compile(r"`(priority|context|replicas): (\d+)` under models\.(\S+)$")
VARIANT = re.compile(r"`variants: \[\S+, \{name: NAME, vram: (\d+)MiB\}\]` under models\.(\S+)$")
CARD = re.compile(r"there is a card of (\d+) GiB .* at an engine like (\S+)/(\S+)$")
STRANGERS = re.compile(r"`policy: \{unmanaged: (\w+)\}`$")
PROTECTED = re.compile(r"^\d+ protected replicas of lower priority may go")
START = re.compile(r"^(\S+)/(\S+) keeps a smaller cache: .*`env: \{OLLAMA_FLASH_ATTENTION: \"1\", OLLAMA_KV_CACHE_TYPE: (\w+)\}`")
MOST = re.compile(r"^(\S+)/(\S+) takes (\d+) models: (OLLAMA\w+)=")


def changed(world: World, name: str, **fields: object) -> World:
    models = tuple(replace(one, **fields) if one.name == name else one for one in world.desired.models)
    return replace(world, desired=replace(world.desired, models=models))


def followed(world: World, line: str, model: str) -> World | None:
    """The world in which this line about a model was done; None for a line that only makes something known, or asks for another engine."""
    found = NUMBER.search(line)
    if found is not None:
        return changed(world, found[3], **{found[1]: int(found[2])})
    found = VARIANT.search(line)
    if found is not None:
        return changed(world, found[2], variants=(Variant(found[2]), Variant("zz-variant:1", int(found[1]) * MIB)))
    found = CARD.search(line)
    if found is not None:
        return with_a_card(world, model, EngineId(found[2], found[3]), int(found[1]) * GIB)
    found = STRANGERS.search(line)
    if found is not None:
        policy = replace(world.desired.policy, unmanaged=Unmanaged(found[1]))
        return replace(world, desired=replace(world.desired, policy=policy))
    if PROTECTED.search(line) is not None:
        return without_protection(world, model)
    found = START.search(line)
    if found is not None:
        return started(world, EngineId(found[1], found[2]), {"OLLAMA_FLASH_ATTENTION": "1", "OLLAMA_KV_CACHE_TYPE": found[3]})
    found = MOST.search(line)
    if found is not None:
        return started(world, EngineId(found[1], found[2]), {found[4]: found[3]})
    return None


def started(world: World, at: EngineId, env: Mapping[str, str]) -> World:
    """With the environment of an engine declared so."""

    def one(spec: EngineSpec) -> EngineSpec:
        return replace(spec, env={**spec.env, **env}) if spec.id == at else spec

    node = world.fleet.nodes[at.node]
    node = replace(node, engines=tuple(map(one, node.engines)))
    return replace(world, fleet=replace(world.fleet, nodes={**world.fleet.nodes, at.node: node}))


def without_protection(world: World, model: str) -> World:
    priority = next(one.priority for one in world.desired.models if one.name == model)

    def one(spec: ModelSpec) -> ModelSpec:
        return replace(spec, protect=False) if spec.priority < priority else spec

    desired: Desired = replace(world.desired, models=tuple(map(one, world.desired.models)))
    rows = {address: replace(row, protect=False) for address, row in world.applied.replicas.items()}
    return replace(world, desired=desired, applied=replace(world.applied, replicas=rows))


def with_a_card(world: World, model: str, like: EngineId, size: int) -> World:
    """With one more node: an engine like another one, and one card of so many bytes."""
    old, seen = world.fleet.nodes[like.node], world.facts.nodes[like.node]
    spec = next(one for one in old.engines if one.id == like)
    facts = seen.engines[like.engine]
    card = (seen.cards or ())[0]
    at = EngineId(NEW, like.engine)
    node: NodeSpec = replace(
        old,
        name=NEW,
        address=NEW,
        engines=(replace(spec, id=at, url="http://zz:1", gpus=None),),
        gpus=(CardSpec(0, vram=size, compute_capability=card.compute_capability),),
    )
    new = NodeFacts(
        NEW,
        (CardFacts(0, None, card.name, size, None, 0, card.compute_capability, card.driver),),
        None,
        {like.engine: replace(facts, id=at, residents=())},
    )
    installed: tuple[Installed, ...] = tuple(facts.installed or ())
    assert new.engines[like.engine].installed == installed or not installed
    more = changed(world, model, nodes=(*next(one.nodes for one in world.desired.models if one.name == model), NEW))
    return replace(
        more,
        fleet=replace(world.fleet, nodes={**world.fleet.nodes, NEW: node}),
        facts=replace(world.facts, nodes={**world.facts.nodes, NEW: new}),
        selected=None if world.selected is None else world.selected | {NEW},
    )


def in_vain(world: World) -> list[str]:
    """The lines of a world's plan that give no replica a place when they are followed, one at a time; those that were are counted first."""
    wrong = []
    for entry in world.plan().unplaced:
        for line in entry.would_fit_if:
            then = followed(world, line, entry.model)
            if then is None:
                continue
            left = sum(one.count for one in then.plan().unplaced if (one.model, one.agent) == (entry.model, entry.agent))
            if left >= entry.count:
                wrong.append(f"{entry.model}: {line}")
    return wrong
