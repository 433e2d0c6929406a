"""Plans of a fleet as it would be, and what the loss of nodes would leave without a place. Nothing of it can be applied."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace

from reconciler.fleet import GpurecError, format_bytes
from reconciler.operations.observation import PROBE_ALL, Observation, PlanOptions, look
from reconciler.operations.proposal import Proposal, propose
from reconciler.operations.reporter import Reporter, ignore
from reconciler.operations.settings import WorkspaceSettings
from reconciler.planning import Plan, Unplaced
from reconciler.planning.what_if import AddedCard, World, losses, losses_count, with_card, without_models, without_nodes
from reconciler.value_class import value_class
from reconciler.views.style import plural

MOST_CASES = 2_000
MOST_WORK = 200_000
"""Nodes that are looked at over all cases: a plan for so many takes about a minute."""


@value_class
class WhatIf:
    """The fleet as it would be: `down` are patterns of nodes that are gone, `without` models that nobody asks for."""

    down: tuple[str, ...] = ()
    added: tuple[AddedCard, ...] = ()
    without: tuple[str, ...] = ()

    @property
    def asked(self) -> bool:
        return bool(self.down or self.added or self.without)

    @property
    def words(self) -> str:
        said = [f"{pattern} were gone" for pattern in self.down]
        said += [f"{one.node} had one more card of {format_bytes(one.total_bytes)}" for one in self.added]
        said += [f"nobody asked for {name}" for name in self.without]
        return " and ".join(said)


@value_class
class Loss:
    """What the loss of these nodes would leave without a place that has one now: replicas by model, those of best effort apart."""

    nodes: tuple[str, ...]
    unplaced: tuple[Unplaced, ...]

    @property
    def count(self) -> int:
        return sum(one.count for one in self.unplaced if not one.best_effort)


@value_class
class Survival:
    """Every loss of `lost` nodes of the `nodes`; `losses` are those that leave something without a place, the worst first. `before` counts
    what has no place already."""

    plan: Plan
    lost: int
    nodes: int
    cases: int
    before: int
    losses: tuple[Loss, ...]


async def plan_what_if(settings: WorkspaceSettings, what: WhatIf, options: PlanOptions = PROBE_ALL, report: Reporter = ignore) -> Proposal:
    """The plan for the fleet as it would be. Its config digest is over the question too, so that no apply takes it for a real one.

    Raises GpurecError for nodes and models that are not there, and a card that no engine would use.
    """
    seen = await look(settings, options, report)
    changed = _changed(seen, what)
    text = json.dumps(
        ["what if", what.down, [[one.node, one.total_bytes] for one in what.added], what.without, changed.workspace.config_digest]
    )
    digest = "sha256:" + hashlib.sha256(text.encode()).hexdigest()
    found = propose(replace(changed, workspace=replace(changed.workspace, config_digest=digest)), options)
    return replace(found, plan=replace(found.plan, supposing=what.words))


async def survive(
    settings: WorkspaceSettings, lost: int, what: WhatIf, options: PlanOptions = PROBE_ALL, report: Reporter = ignore
) -> Survival:
    """What the loss of any `lost` nodes with engines would leave without a place. Raises GpurecError where that is too many cases."""
    seen = _changed(await look(settings, options, report), what)
    now = propose(seen, options).plan
    nodes = [name for name, node in seen.workspace.fleet.nodes.items() if node.engines]
    if lost >= len(nodes):
        raise GpurecError.of(f"the fleet has {plural(len(nodes), 'node')} with engines", "--survive", "lose fewer than all of them")
    cases = losses_count(len(nodes), lost)
    if cases > MOST_CASES or cases * len(nodes) > MOST_WORK:
        raise GpurecError.of(
            f"the loss of any {lost} of {len(nodes)} nodes are {cases:,} cases, too many to look at", "--survive", "ask for fewer nodes"
        )
    found = []
    for gone in losses(nodes, lost):
        plan = propose(_in(seen, without_nodes(_world(seen), gone)), options).plan
        if worse := _worse(now.unplaced, plan.unplaced):
            found.append(Loss(tuple(sorted(gone)), worse))
    found.sort(key=lambda one: (-one.count, one.nodes))
    return Survival(now, lost, len(nodes), cases, sum(one.count for one in now.unplaced if not one.best_effort), tuple(found))


def _worse(before: Sequence[Unplaced], after: Sequence[Unplaced]) -> tuple[Unplaced, ...]:
    """What has no place, less what had none before."""
    had = {one.model: one.count for one in before}
    left = ((one, one.count - had.get(one.model, 0)) for one in after)
    return tuple(replace(one, count=count) for one, count in left if count > 0)


def _world(seen: Observation) -> World:
    return World(seen.workspace.fleet, seen.workspace.desired, seen.facts, seen.applied)


def _in(seen: Observation, world: World) -> Observation:
    space = replace(seen.workspace, fleet=world.fleet, desired=world.desired)
    return replace(seen, workspace=space, facts=world.facts, applied=world.applied)


def _changed(seen: Observation, what: WhatIf) -> Observation:
    world = _world(seen)
    if what.down:
        world = without_nodes(world, {name for pattern in what.down for name in seen.workspace.inventory.match(pattern)})
    for added in what.added:
        try:
            world = with_card(world, added)
        except KeyError:
            raise GpurecError.of(f"there is no node {added.node!r}", "--add-gpu", "gpurec inventory lists them") from None
        except ValueError as error:
            raise GpurecError.of(
                str(error), "--add-gpu", "declare the card and its engine in the inventory, and plan from there"
            ) from error
    known = {model.name for model in world.desired.models}
    for name in what.without:
        if name not in known:
            raise GpurecError.of(f"the files ask for no model {name!r}", "--without", "gpurec models lists what is wanted")
    return _in(seen, without_models(world, frozenset(what.without)))
