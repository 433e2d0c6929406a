"""The kind `file`: a template, where it goes, and what its text is after the plan.

Three states of one file are told apart: what it is to be (rendered), what it is (probed), and what we wrote last (the state). Only what we
wrote, or would write, is ever shown.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Mapping, Sequence, Set

from reconciler.fleet import AppliedResource, resource_address
from reconciler.planning.kinds.file.diff import changed_lines
from reconciler.planning.kinds.file.spec import FILES, KIND, destinations
from reconciler.planning.plan import Action, Json, Step
from reconciler.planning.resource import AfterPlan, FieldRule, ResourceChange, Wanted
from reconciler.rendering import used_names, values_of
from reconciler.rendering.values import FROM_PLACEMENT
from reconciler.value_class import value_class

CONTENT, MODE, OWNER = "content", "mode", "owner"
RELOAD = "reload"
"""Of a row of the state: the command that reads the file again, as JSON, for when it is removed."""
RELOADING = "reload"
"""The kind of what comes after files: a command that is run once they are there."""
_BRINGS = frozenset((Action.LOAD, Action.RELOAD, Action.WAIT, Action.CREATE, Action.UPDATE))


def reload_address(command: Sequence[str], node: str) -> str:
    """`reload.COMMAND@NODE`: what is to be done on a node once its files are written."""
    return resource_address(RELOADING, shlex.join(command), node)


@value_class
class WantedFile(Wanted):
    """A file with the text that it is to have."""

    path: str = ""
    text: str = ""
    validate: tuple[str, ...] = ()
    reload: tuple[str, ...] = ()


@value_class(kw_only=True)
class FileStep(Step):
    """One change of a file."""

    path: str  #: Absolute path on its node.
    content: str | None = None  #: Text to write; null: the file is removed.
    diff: tuple[str, ...] = ()  #: What changes of what was written last, as lines.
    validate: tuple[str, ...] = ()  #: Command that must approve the new content; empty: none.
    reload: tuple[str, ...] = ()  #: Command that makes its program read it, a step of its own; empty: none.

    @property
    def contradiction(self) -> str | None:
        if self.address != resource_address(KIND, self.path, self.node):
            return f"it is not about its address {self.address!r}"
        if self.content is not None and digest_of(self.content) != self.after.get(CONTENT):
            return "its content is not that of its digest"
        return None

    @property
    def lane(self) -> tuple[str, str]:
        """A node takes one file after the other: so many at once are too many for one connection."""
        return (KIND, self.node)

    @property
    def makes_due(self) -> tuple[str, ...]:
        return (reload_address(self.reload, self.node),) if self.reload and self.action is not Action.ADOPT else ()

    def particulars(self) -> Mapping[str, Json]:
        return {**self.promise(), "diff": list(self.diff)}

    def promise(self) -> Mapping[str, Json]:
        return {"path": self.path, "content": self.content, "validate": list(self.validate), "reload": list(self.reload)}

    def compared(self) -> Mapping[str, Json]:
        return {"path": self.path, "validate": list(self.validate), "reload": list(self.reload)}

    @property
    def unshown(self) -> Set[str]:
        return frozenset((CONTENT,))

    def lines(self) -> Sequence[str]:
        return (*self.diff, *([f"! written only if this approves of it: {shlex.join(self.validate)}"] if self.validate else []))


class FileKind:
    """The kind `file`."""

    name = KIND
    marks_its_own = False
    fields = (FieldRule(CONTENT), FieldRule(MODE), FieldRule(OWNER, remembered=True))
    step_form = FileStep

    def wanted(self, after: AfterPlan) -> Sequence[WantedFile]:
        if not FILES.of(after.desired):
            return ()
        values = values_of(after.fleet, after.desired, after.facts, after.placed, after.containers)
        brought = tuple(sorted(step.id for step in after.steps if step.action in _BRINGS))
        found = []
        for one in destinations(after.desired, after.fleet, after.facts):
            spec, text = one.spec, one.text(values)
            needs = brought if one.engine is None and used_names(spec.template) & FROM_PLACEMENT else ()
            fields = {CONTENT: digest_of(text), MODE: spec.mode, OWNER: spec.owner}
            found.append(WantedFile(one.address, one.node, fields, needs, one.path, text, spec.validate, spec.reload))
        return found

    def step(self, change: ResourceChange[WantedFile]) -> FileStep:
        wanted, row = change.wanted, change.applied
        path = wanted.path if wanted is not None else change.address.partition(".")[2].rpartition("@")[0]
        text = wanted.text if wanted is not None else None
        writes = wanted is not None and change.action is not Action.ADOPT
        return FileStep(
            id=change.id,
            address=change.address,
            action=change.action,
            reason=change.reason,
            cause=change.cause,
            node=change.node,
            needs=wanted.needs if wanted is not None and writes else (),
            before=change.before,
            after=change.after,
            path=path,
            content=text,
            diff=_diff(change, row, text),
            validate=wanted.validate if wanted is not None and writes else (),
            reload=wanted.reload if wanted is not None else _reload_of(row),
        )


def digest_of(text: str) -> str:
    """`sha256:…` of a text as UTF-8."""
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _reload_of(row: AppliedResource | None) -> tuple[str, ...]:
    """The command that a file had when it was last applied."""
    kept = row.fields.get(RELOAD) if row is not None else None
    try:
        command = json.loads(kept) if isinstance(kept, str) else []
    except ValueError:
        return ()
    return tuple(command) if isinstance(command, list) and all(isinstance(word, str) for word in command) else ()


def _diff(change: ResourceChange[WantedFile], row: AppliedResource | None, text: str | None) -> tuple[str, ...]:
    if change.action is Action.ADOPT:
        return ()
    written = row.written if row is not None else None
    found, last = change.found.fields.get(CONTENT), digest_of(written) if written is not None else None
    strange = change.found.exists is True and found is not None and found != last
    return changed_lines(written, text, change.found.fields, strange)
