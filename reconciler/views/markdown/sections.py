"""The sections that a plan and a drift report share."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.fleet import format_bytes
from reconciler.planning.plan import Deferred, Drift, Note, UnmanagedResident
from reconciler.views.markdown.budget import Listing, Part, Stack, Whole
from reconciler.views.markdown.layout import cell_row, heading, left_out
from reconciler.views.markdown.neutral import code, prose
from reconciler.views.sections import drift_words, is_beyond_apply, without_restarts
from reconciler.views.style import beside


def drift_part(drift: Sequence[Drift], title: str = "Drift") -> Part:
    """What is not as it was applied, then what no apply can change."""
    applied = [one for one in without_restarts(drift) if not is_beyond_apply(one)]
    beyond = [one for one in drift if is_beyond_apply(one)]
    parts: list[Part] = []
    if applied:
        parts.append(_drift_table(applied, f"{title}, as last applied → as found"))
    if beyond:
        parts.append(_drift_table(beyond, f"{title}, as wanted → as found: no apply can change it"))
    return Stack(parts)


def _drift_table(drift: Sequence[Drift], title: str) -> Part:
    head = cell_row("kind", "where", "what", "") + "|:--|:--|:--|:--|\n"
    rows = [
        Whole(cell_row(code(one.kind), code(one.address), prose(drift_words(one)), "" if one.klass == "managed" else prose(one.klass)))
        for one in drift
    ]
    return Listing(f"{heading(4)} {title}\n\n{head}", rows, left_out("field", "that drifted"), "\n")


def notes_part(notes: Sequence[Note], title: str = "Warnings") -> Part:
    rows = [Whole(f"- {f'{code(one.address)}: ' if one.address else ''}{prose(one.message)}\n") for one in notes]
    return Listing(f"{heading(4)} {title}\n\n", rows, left_out("warning"), "\n")


def deferred_part(deferred: Sequence[Deferred]) -> Part:
    rows = []
    for one in deferred:
        where = f"{one.node}/{one.engine}" if one.engine else one.node
        rows.append(Whole(f"- {code(where)}: {prose(beside(f'{one.node}/{one.engine}', one.reason))}\n"))
    return Listing(f"{heading(4)} Deferred, since nothing is known about it now\n\n", rows, left_out("node or engine", "deferred"), "\n")


def unmanaged_part(unmanaged: Sequence[UnmanagedResident]) -> Part:
    rows = []
    for one in unmanaged:
        size = "bytes unknown" if one.vram_bytes is None else format_bytes(one.vram_bytes)
        pinned = {True: ", pinned", False: ", expires by itself", None: ""}[one.pinned]
        rows.append(Whole(f"- {code(one.name)} on {code(f'{one.node}/{one.engine}')}: {size}{pinned}\n"))
    title = "Unmanaged residents, left alone with their bytes reserved"
    return Listing(f"{heading(4)} {title}\n\n", rows, left_out("unmanaged resident"), "\n")


def forgotten_part(addresses: Sequence[str]) -> Part:
    title = "Forgotten by an apply: gone, or of an engine that left the inventory, where what runs goes on running"
    return Listing(f"{heading(4)} {title}\n\n", [Whole(f"- {code(one)}\n") for one in addresses], left_out("address", "forgotten"), "\n")
