"""The sections of a plan beside its steps: drift, what has no place, what is deferred, unmanaged or noteworthy, and the impact."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.fleet import format_bytes, format_duration, format_ratio
from reconciler.planning.plan import Deferred, Drift, Impact, Note, PlacementInfo, Refusal, UnmanagedResident, Unplaced, Value
from reconciler.views.style import Cell, Style, beside, bounded, columns, more, paragraph, plural

_CANDIDATES = 6


def value_text(value: Value) -> str:
    """A field's value for people: `unknown` for None, `yes` and `no`, numbers without a tail of zeros."""
    match value:
        case None:
            return "unknown"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.3f}".rstrip("0").rstrip(".")
        case _:
            return str(value)


def drift_lines(drift: Sequence[Drift], style: Style, heading: str = "Drift") -> list[str]:
    """What differs from what was applied, then what differs from what the files ask for, though no apply of ours can make it so."""
    applied = [one for one in without_restarts(drift) if not is_beyond_apply(one)]
    beyond = [one for one in drift if is_beyond_apply(one)]
    compared = any(one.kind != "unmanaged" for one in applied)
    lines = _drift_table(applied, style, f"{heading}, as last applied → as found" if compared else heading)
    return [*lines, *_drift_table(beyond, style, f"{heading}, as wanted → as found: no apply can change it")]


def _drift_table(drift: Sequence[Drift], style: Style, heading: str) -> list[str]:
    if not drift:
        return []
    shown, left = bounded(drift)
    rows = [
        [
            Cell(f"! {one.kind}", "yellow"),
            Cell(one.address),
            Cell(drift_words(one), sentence=True),
            Cell("" if one.klass == "managed" else f"({one.klass})", "dim"),
        ]
        for one in shown
    ]
    return [style.heading(heading), *columns(rows, style), *more(left, style)]


def without_restarts(drift: Sequence[Drift]) -> list[Drift]:
    """Without each replica that went with its engine's start: the engine's own line says it for all of them."""
    restarted = {one.address.removeprefix("engine.") for one in drift if one.kind == "restarted"}
    if not restarted:
        return list(drift)
    return [one for one in drift if not (one.kind == "missing" and one.field == "resident" and one.address.rpartition("@")[2] in restarted)]


def is_beyond_apply(one: Drift) -> bool:
    """Whether it is compared with what the files ask for, since gpurec never applied it and cannot: what an engine's own start decided, and
    other weights than the pinned ones."""
    return one.kind == "engine_fixed_options" or (one.kind == "digest" and one.klass == "managed")


def drift_words(one: Drift) -> str:
    """What is not as it was, in words where the two values alone would not say it."""
    match one.kind, one.applied, one.found:
        case "missing", True, False if one.field == "installed":
            return "was installed, is gone"
        case "missing", True, False:
            return "was resident, is gone" if one.field == "resident" else "was there, is gone"
        case "restarted", int() as held, _:
            return f"engine restarted: all {held} residents are gone"
        case "unmanaged", None, True:
            return "is resident, and nobody here asked for it"
        case "cpu_fallback", int() as said, int() as now if one.field == "card_bytes":
            return f"the engine says {format_bytes(said)} on the card, the card {format_bytes(now)}"
        case "cpu_fallback", float() | int() as before, float() | int() as now:
            return f"on the card: {format_ratio(before)} → {format_ratio(now)}"
        case "keep_alive", True, False:
            return "was pinned, now expires by itself"
        case "card_lost", True, False:
            return "was there, is not seen any more"
        case "foreign_vram", int() as allowed, int() as now:
            return f"other programs: {format_bytes(allowed)} allowed → {format_bytes(now)}"
        case "card_fault", _, str() as fault:
            return f"cannot be used any more: {fault}"
        case "card_changed", int() as before, int() as now:
            return f"memory: {format_bytes(before)} → {format_bytes(now)}"
        case _:
            return f"{one.field}: {value_text(one.applied)} → {value_text(one.found)}"


def unplaced_lines(unplaced: Sequence[Unplaced], style: Style, *, engines: bool = True) -> list[str]:
    """What has no place, with what the `engines` say, and what would help."""
    if not unplaced:
        return []
    shown, left = bounded(unplaced)
    lines = [style.heading("No place for")]
    for one in shown:
        lines += columns([[Cell(f"? {one.shown}", "red"), Cell(what_lacks(one))]], style)
        lines += _reasons(one, style) if engines else []
        for hint in one.would_fit_if:
            lines += paragraph(f"would fit if {hint}", style, "      → ", "        ")
    return [*lines, *more(left, style, "models")]


def asked_noun(one: Unplaced) -> str:
    """What was asked for room: engines, or the cards that an agent could be given."""
    return "card" if one.agent is not None and not one.model else "engine"


def what_lacks(one: Unplaced) -> str:
    """How many replicas or agents have no place, with what they need, or why."""
    if one.agent is not None:
        return f"{plural(one.count, 'agent')}: {one.reason}"
    need = "need unknown" if one.needed_bytes is None else f"needs {format_bytes(one.needed_bytes)}"
    found = "cannot be placed" if one.proved else "no place found"
    return f"{plural(one.count, 'replica')}, {need}{', best effort' if one.best_effort else ''}: {found}"


def _reasons(one: Unplaced, style: Style) -> list[str]:
    candidates = one.candidates[:_CANDIDATES]
    lines = columns(
        [
            [Cell(each.engine), Cell(each.message or each.reason, sentence=True), Cell(f"({each.reason})" if each.message else "", "dim")]
            for each in candidates
        ],
        style,
        "      ",
    )
    total = sum(one.candidate_counts.values())
    if total > len(candidates):
        counts = ", ".join(
            f"{reason} on {count:,}" for reason, count in sorted(one.candidate_counts.items(), key=lambda item: (-item[1], item[0]))
        )
        lines += paragraph(f"of {plural(total, asked_noun(one))}: {counts}", style, "      ", "        ")
    elif not total and not candidates and one.agent is None:
        lines.append("      no engine could serve it")
    return lines


def placement_lines(placement: PlacementInfo, unplaced: Sequence[Unplaced], style: Style) -> list[str]:
    """How good the placement is, where it is not all that anybody could wish: what has no place or moves, and what is known of the best.
    What nobody can size counts as a byte each there, and is told as what it is."""
    said = []
    if placement.objective:
        every = sum(one.count for one in placement.unplaced)
        unsized = min(every, sum(one.count for one in unplaced if one.needed_bytes is None and one.agent is None))
        sized = [f"{format_bytes(placement.objective - unsized)} ({plural(every - unsized, 'replica')})"] if every > unsized else []
        out = " and ".join([*sized, *([f"{plural(unsized, 'replica')} of unknown need"] if unsized else [])]) + " without a place"
        if _is_least(placement):
            said.append(f"{out}, and no placement leaves out less")
        elif placement.bound:
            said.append(f"{out}; the best placement leaves out {format_bytes(placement.bound)} or more")
        else:
            said.append(f"{out}; whether another placement has room for it is not known")
    if placement.moved:
        moves = f"{format_bytes(placement.moved_bytes)} ({plural(placement.moved, 'replica')}) moved for others"
        if placement.proved:
            said.append(f"{moves}, and no placement disturbs less")
        elif placement.moved_bytes == placement.moved_bound_bytes:
            said.append(f"{moves}, and no placement with room for all moves less")
        elif placement.moved_bound_bytes:
            said.append(f"{moves}; any placement with room for all moves {format_bytes(placement.moved_bound_bytes)} or more")
        else:
            said.append(moves)
    return paragraph(f"Placement: {'. '.join(said)}.", style, "", "  ") if said else []


def _is_least(placement: PlacementInfo) -> bool:
    """Whether it is known that as little is left out at every priority as can be."""
    bytes_so_far = 0
    for level in placement.unplaced:
        bytes_so_far += level.bytes
        if bytes_so_far > level.bound_bytes:
            return False
    return True


def deferred_lines(deferred: Sequence[Deferred], style: Style) -> list[str]:
    if not deferred:
        return []
    shown, left = bounded(deferred)
    rows = [
        [Cell(f"? {one.node}" + (f"/{one.engine}" if one.engine else ""), "yellow"), Cell(beside(f"{one.node}/{one.engine}", one.reason))]
        for one in shown
    ]
    return [style.heading("Deferred, since nothing is known about it now"), *columns(rows, style), *more(left, style)]


def unmanaged_lines(unmanaged: Sequence[UnmanagedResident], style: Style) -> list[str]:
    if not unmanaged:
        return []
    shown, left = bounded(unmanaged)
    rows = [
        [
            Cell(f"· {one.name}"),
            Cell(f"{one.node}/{one.engine}"),
            Cell("bytes unknown" if one.vram_bytes is None else format_bytes(one.vram_bytes), right=True),
            Cell({True: "pinned", False: "expires by itself", None: ""}[one.pinned], "dim"),
        ]
        for one in shown
    ]
    return [style.heading("Unmanaged residents, left alone with their bytes reserved"), *columns(rows, style), *more(left, style)]


def forgotten_lines(addresses: Sequence[str], style: Style) -> list[str]:
    """What an apply takes off the state without a step: not wanted any more and gone, or on an engine that left the inventory."""
    if not addresses:
        return []
    shown, left = bounded(addresses)
    lines = [style.heading("Forgotten by an apply: gone, or of an engine that left the inventory, where what runs goes on running")]
    return [*lines, *columns([[Cell("·", "dim"), Cell(address)] for address in shown], style), *more(left, style)]


def refusal_lines(refusals: Sequence[Refusal], style: Style) -> list[str]:
    if not refusals:
        return []
    lines = [style.heading("Refused")]
    for refusal in refusals:
        lines += paragraph(f"guard {refusal.guard}: {refusal.message}", style, "  ! ")
    return lines


def note_lines(notes: Sequence[Note], style: Style) -> list[str]:
    if not notes:
        return []
    shown, left = bounded(notes)
    lines = [style.heading("Warnings")]
    for note in shown:
        lines += paragraph(f"{note.address}: {note.message}" if note.address else note.message, style, "  ! ")
    return [*lines, *more(left, style)]


def away_words(seconds: float | None) -> str:
    return "away for an unknown time" if seconds is None else f"away for about {format_duration(seconds)}"


def away(impact: Impact) -> list[tuple[str, float | None]]:
    """Who is away for how long; without those that give way to another for good, of whom their eviction is told."""
    gone = {move.model for move in impact.moves if move.to is None and move.address in impact.evictions}
    told = sorted(impact.downtime_seconds.items())
    return [(model, seconds) for model, seconds in told if seconds != 0 and not (seconds is None and model in gone)]


def for_whom(evicted: str, impact: Impact) -> str:
    """For whom something leaves, and where it goes."""
    move = next((move for move in impact.moves if move.address == evicted), None)
    if move is None:
        return ""
    by = [f"for {move.by}"] if move.by is not None else []
    if move.to is not None:
        return ", ".join([*by, f"to {move.to.rpartition('@')[2]}"])
    return ", ".join([*by, *(["until there is room for it again"] if move.model in impact.downtime_seconds else [])])


def impact_lines(impact: Impact, style: Style) -> list[str]:
    rows = [[Cell(model), Cell(away_words(seconds))] for model, seconds in away(impact)]
    shown, left = bounded(rows)
    lines = [*columns(shown, style), *more(left, style, "models")]
    if impact.download_bytes is None:
        lines.append("  download of unknown size")
    elif impact.download_bytes:
        lines.append(f"  download of about {format_bytes(impact.download_bytes)}")
    evicted, rest = bounded(impact.evictions)
    lines += columns([[Cell(f"evicts {name}", "yellow"), Cell(for_whom(name, impact))] for name in evicted], style)
    lines += more(rest, style, "evictions")
    return [style.heading("Impact"), *lines] if lines else []
