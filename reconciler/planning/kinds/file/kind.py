"""Files of the desired state: a template, where it goes, and what its text is after the plan.

Three states of one file are told apart: what it is to be (rendered), what it is (probed), and what we wrote last (the state). Only what we
wrote, or would write, is ever shown.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

from reconciler.fleet import LOCAL, Scalar, Section, resource_address
from reconciler.planning.plan import Action, Json, Step
from reconciler.planning.resource import AfterPlan, FieldRule, ResourceChange, Wanted
from reconciler.rendering import Template, render, used_names, values_of
from reconciler.rendering.values import FROM_PLACEMENT

MOST_LINES = 200
"""Lines of a diff that a plan shows."""
MOST_COMPARED = 10_000
"""Lines, before and after together, that are compared: what is longer costs more than linear time, and nobody reads it."""
CONTENT, MODE, OWNER = "content", "mode", "owner"


@dataclass(frozen=True, slots=True)
class FileSpec:
    """A file as declared: `to` is its path (a relative one is below the workspace), `mode` as in `0644`."""

    template: Template
    to: str
    mode: str = "0644"
    vars: Mapping[str, Scalar] = field(default_factory=dict)


FILES: Section[tuple[FileSpec, ...]] = Section("files", ())


@dataclass(frozen=True, slots=True)
class WantedFile(Wanted):
    """A file with the text that it is to have."""

    path: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileStep(Step):
    """`content` is the text to write (None: it is removed), `diff` what changes of what we wrote last, as lines."""

    path: str
    content: str | None = None
    diff: tuple[str, ...] = ()

    @property
    def contradiction(self) -> str | None:
        if self.address != resource_address("file", self.path, self.node):
            return f"it is not about its address {self.address!r}"
        if self.content is not None and digest_of(self.content) != self.after.get(CONTENT):
            return "its content is not that of its digest"
        return None

    def particulars(self) -> Mapping[str, Json]:
        return {"path": self.path, "content": self.content, "diff": list(self.diff)}

    def promise(self) -> Mapping[str, Json]:
        return {"path": self.path, "content": self.content}

    def compared(self) -> Mapping[str, Json]:
        return {"path": self.path}

    @property
    def unshown(self) -> Set[str]:
        return frozenset((CONTENT,))

    def lines(self) -> Sequence[str]:
        return self.diff


class FileKind:
    """The kind `file`."""

    name = "file"
    marks_its_own = False
    fields = (FieldRule(CONTENT), FieldRule(MODE), FieldRule(OWNER, remembered=True))
    step_form = FileStep

    def wanted(self, after: AfterPlan) -> Sequence[WantedFile]:
        specs = FILES.of(after.desired)
        if not specs:
            return ()
        values = values_of(after.fleet, after.desired, after.facts, after.placed)
        brought = tuple(sorted(step.id for step in after.steps if step.action in (Action.LOAD, Action.RELOAD, Action.WAIT)))
        found = []
        for spec in specs:
            text = render(spec.template, values.named(vars=spec.vars))
            needs = brought if used_names(spec.template) & FROM_PLACEMENT else ()
            fields = {CONTENT: digest_of(text), MODE: spec.mode}
            found.append(WantedFile(resource_address(self.name, spec.to, LOCAL), LOCAL, fields, needs, spec.to, text))
        return found

    def step(self, change: ResourceChange[WantedFile]) -> FileStep:
        wanted, row = change.wanted, change.applied
        path = wanted.path if wanted is not None else change.address.partition(".")[2].rpartition("@")[0]
        text = wanted.text if wanted is not None else None
        return FileStep(
            id=change.id,
            address=change.address,
            action=change.action,
            reason=change.reason,
            cause=change.cause,
            node=change.node,
            needs=wanted.needs if wanted is not None and change.action is not Action.ADOPT else (),
            before=change.before,
            after=change.after,
            path=path,
            content=text,
            diff=_diff(change, row.written if row is not None else None, text),
        )


def digest_of(text: str) -> str:
    """`sha256:…` of a text as UTF-8."""
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _diff(change: ResourceChange[WantedFile], written: str | None, text: str | None) -> tuple[str, ...]:
    """What we wrote last against what we would write. Of a file that somebody else wrote only its size and mode are told."""
    if change.action is Action.ADOPT:
        return ()
    notes = []
    found, last = change.found.fields.get(CONTENT), digest_of(written) if written is not None else None
    if change.found.exists and found is not None and found != last:
        size, mode = change.found.fields.get("size"), change.found.fields.get(MODE)
        whose = "changed since gpurec wrote it" if written is not None else "not written by gpurec"
        notes.append(f"! the file that is there was {whose}: {size} bytes, mode {mode}; its content is not shown")
    before, after = (written or "").splitlines(), (text or "").splitlines()
    if before != after and len(before) + len(after) > MOST_COMPARED:
        return (*notes, f"! {len(before):,} lines become {len(after):,}: too many to show what changes")
    changed = list(difflib.unified_diff(before, after, lineterm="", n=2))[2:] if before != after else []
    lines = [*notes, *changed]
    return (*lines[:MOST_LINES], f"… {len(lines) - MOST_LINES:,} more lines") if len(lines) > MOST_LINES else tuple(lines)
