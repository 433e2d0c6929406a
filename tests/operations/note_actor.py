"""The I/O of the toy kind, its form in the files, and both registered as one type."""

from __future__ import annotations

from collections.abc import Mapping

from note_kind import NOTES, NoteKind, NoteStep

from reconciler.execution.actor import Progress
from reconciler.execution.resource import ActorContext, Surroundings
from reconciler.fleet import AppliedResource, ResourceFacts, parse_resource_address, resource_address
from reconciler.operations.resource_types import ResourceType
from reconciler.planning import Action, Step
from reconciler.planning.resource import owned
from reconciler.workspace.forms import map_of, text
from reconciler.workspace.sections import SectionForm


class NoteActor:
    def __init__(self, context: ActorContext) -> None:
        self.kind, self._root = NoteKind(), context.root

    async def observe(self, around: Surroundings) -> Mapping[str, ResourceFacts]:
        wanted = {resource_address("note", name, "local") for name in NOTES.of(around.desired)}
        return {address: self._seen(parse_resource_address(address)[1]) for address in wanted | set(owned(self.kind, around.applied))}

    async def look(self, step: Step) -> ResourceFacts:
        assert isinstance(step, NoteStep)
        return self._seen(step.name)

    async def act(self, step: Step, progress: Progress) -> None:
        assert isinstance(step, NoteStep)
        if step.action is Action.REMOVE:
            (self._root / step.name).unlink()
        else:
            (self._root / step.name).write_text(str(step.after["value"]))

    async def wait(self, step: Step) -> ResourceFacts:
        return await self.look(step)

    def applied(self, step: Step, found: ResourceFacts) -> AppliedResource:
        return AppliedResource(step.address, {name: value for name, value in step.after.items() if value is not None})

    async def aclose(self) -> None:
        """Nothing is left open."""

    def _seen(self, name: str) -> ResourceFacts:
        path = self._root / name
        return ResourceFacts(True, {"value": path.read_text()}) if path.exists() else ResourceFacts(False)


_FORM = map_of(text)
NOTE = ResourceType(
    NoteKind(), (SectionForm(NOTES, lambda node, context: _FORM.read(node, context.problems, "'notes'"), _FORM.schema),), NoteActor
)
