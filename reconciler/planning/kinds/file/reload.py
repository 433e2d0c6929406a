"""The kind `reload`: a command that makes a program read its files again, once after all files of a node that name it.

The state knows that one is due from the moment the first of its files is begun until it was run, so one that failed, or that a run never
came to, is made up for by the next.
"""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Mapping, Sequence

from reconciler.fleet import Desired, Fleet, FleetFacts, parse_resource_address
from reconciler.planning.kinds.file.kind import RELOADING, FileStep, reload_address
from reconciler.planning.kinds.file.spec import destinations
from reconciler.planning.plan import Action, Json, Reason, Step
from reconciler.planning.resource import AfterPlan, FieldRule, ResourceChange, Wanted, owned
from reconciler.value_class import value_class

DONE = "done"


@value_class(kw_only=True)
class ReloadStep(Step):
    """Runs `command` on its node."""

    command: tuple[str, ...]  #: Command that is run on its node, by words.

    @property
    def contradiction(self) -> str | None:
        return None if self.address == reload_address(self.command, self.node) else f"it is not about its address {self.address!r}"

    @property
    def lane(self) -> tuple[str, str]:
        return ("file", self.node)

    @property
    def only_while_due(self) -> bool:
        return True

    def particulars(self) -> Mapping[str, Json]:
        return {"command": list(self.command)}

    @property
    def unshown(self) -> frozenset[str]:
        return frozenset((DONE,))


def reload_addresses(desired: Desired, fleet: Fleet, facts: FleetFacts) -> set[str]:
    """The addresses of every command that a file names."""
    return {reload_address(one.spec.reload, one.node) for one in destinations(desired, fleet, facts) if one.spec.reload}


class ReloadKind:
    """The kind `reload`. There is one only where it is due."""

    name = RELOADING
    marks_its_own = False
    fields = (FieldRule(DONE),)
    step_form = ReloadStep

    def wanted(self, after: AfterPlan) -> Sequence[Wanted]:
        needs: dict[str, list[str]] = defaultdict(list)
        for step in after.steps:
            for address in step.makes_due if isinstance(step, FileStep) else ():
                needs[address].append(step.id)
        due = owned(self, after.applied)
        for address in reload_addresses(after.desired, after.fleet, after.facts) & set(due) if due else ():
            needs[address] += []
        return [Wanted(at, parse_resource_address(at)[2], {DONE: True}, tuple(sorted(ids))) for at, ids in needs.items()]

    def step(self, change: ResourceChange[Wanted]) -> ReloadStep:
        _, command, node = parse_resource_address(change.address)
        needs = change.wanted.needs if change.wanted is not None else ()
        files = "1 file changes" if len(needs) == 1 else f"{len(needs)} files change"
        return ReloadStep(
            id=f"{Action.RELOAD.value}:{change.address}",
            address=change.address,
            action=Action.RELOAD,
            reason=Reason("files_change", f"{files} that it reads") if needs else Reason("due", "files that it reads were written before"),
            cause=change.cause,
            node=node,
            needs=needs,
            before=change.before,
            after=change.after,
            command=tuple(shlex.split(command)),
        )
