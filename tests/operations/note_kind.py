"""A toy kind of resource: a value that is kept in a file. What it takes to add a kind: this file and `note_actor.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reconciler.fleet import LOCAL, Section, resource_address
from reconciler.planning.plan import Json, Step
from reconciler.planning.resource import AfterPlan, FieldRule, ResourceChange, Wanted
from reconciler.value_class import value_class

NOTES: Section[Mapping[str, str]] = Section("notes", {})


@value_class(kw_only=True)
class NoteStep(Step):
    name: str

    def particulars(self) -> Mapping[str, Json]:
        return {"name": self.name}


class NoteKind:
    name = "note"
    marks_its_own = False
    fields = (FieldRule("value"),)
    step_form = NoteStep

    def wanted(self, after: AfterPlan) -> Sequence[Wanted]:
        return [
            Wanted(resource_address(self.name, name, LOCAL), LOCAL, {"value": value}) for name, value in NOTES.of(after.desired).items()
        ]

    def step(self, change: ResourceChange[Wanted]) -> NoteStep:
        return NoteStep(
            id=change.id,
            address=change.address,
            action=change.action,
            reason=change.reason,
            cause=change.cause,
            node=change.node,
            before=change.before,
            after=change.after,
            name=change.address.removeprefix("note.").removesuffix(f"@{LOCAL}"),
        )
