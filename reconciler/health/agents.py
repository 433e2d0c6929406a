"""How agents stand: every wanted or owned one, with what it uses and what is still to be done. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.fleet import AGENT, OWN_CARD, USES, Applied, ResourceFacts, parse_agent_address
from reconciler.planning import Plan
from reconciler.planning.plan import Action, kind_of
from reconciler.planning.resource import seen_of
from reconciler.value_class import value_class


@value_class
class AgentStatus:
    """One agent. `standing` is as that of a replica: `running`, `changing`, `leaving`, `unplaced`, `held` or `unknown`; `uses` is its
    engine as NODE/ENGINE, or the UUID of its card ("": neither)."""

    address: str
    standing: str
    detail: str = ""
    uses: str = ""
    owned: bool = False


def agents_of(plan: Plan, resources: Mapping[str, ResourceFacts], applied: Applied) -> tuple[AgentStatus, ...]:
    """In address order; those without a place last."""
    steps = {step.address: step for step in plan.steps if step.kind == AGENT}
    held = {note.address: note.message for note in plan.held}
    rows = {address: row for address, row in applied.resources.items() if kind_of(address) == AGENT}
    found = []
    for address in sorted({*rows, *steps, *(one for one in plan.wanted if kind_of(one) == AGENT)}):
        fields = plan.wanted.get(address) or (rows[address].fields if address in rows else {})
        uses = str(fields.get(USES) or fields.get(OWN_CARD) or "")
        step, seen = steps.get(address), seen_of(resources, address, parse_agent_address(address)[2])
        if seen.exists is None:
            standing, detail = "unknown", seen.reason or "its daemon could not be asked"
        elif step is not None and step.action is Action.REMOVE:
            standing, detail = "leaving", step.reason.message
        elif step is not None and step.action is not Action.ADOPT:
            standing, detail = "changing", f"{step.action.value}: {step.reason.message}"
        elif address in held:
            standing, detail = "held", held[address]
        elif seen.exists:
            standing, detail = "running", "to be adopted" if step is not None else ""
        else:
            continue
        found.append(AgentStatus(address, standing, detail, uses, address in rows))
    homeless = (AgentStatus(one.shown, "unplaced", f"{one.count} without a place: {one.reason}") for one in plan.unplaced if one.agent)
    return (*found, *homeless)
