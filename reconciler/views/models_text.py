"""The needs of models for people and as JSON: what each source says, and which engine of the fleet could hold a model."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence

from reconciler.fleet import ModelSpec, format_bytes
from reconciler.placement import Candidate, Card, ModelNeeds
from reconciler.views.escape import escape
from reconciler.views.style import Cell, Style, bounded, columns, joined, more, plural
from reconciler.vram import Need

_LOOKS = {"fits": "green", "resident": "green"}


def source_words(need: Need) -> str:
    """A source as people read it: the rough rule shows its factor."""
    return "file size × 1.2" if need.source == "file_size" else need.source


def measured_words(measured: int, predicted: int) -> str:
    """A measured figure beside the predicted one, and how far that is off."""
    return f"{format_bytes(measured)}, predicted {format_bytes(predicted)} ({(predicted - measured) / measured * 100:+.1f}%)"


def models_json(found: Sequence[ModelNeeds]) -> str:
    """One JSON document: a row a model and engine kind, `needs` in the order in which they count."""
    rows = [
        {
            "model": one.model.name,
            "variant": one.model.variant,
            "engine": one.kind.value,
            "context": one.model.context,
            "engines": one.engines,
            "installed": one.installed,
            "vram_bytes": one.needs[0].bytes if one.needs else None,
            "vram_source": one.needs[0].source if one.needs else None,
            "needs": _sources(one.needs),
        }
        for one in found
    ]
    return json.dumps({"format_version": "1.0", "models": rows}, indent=2) + "\n"


def models_text(found: Sequence[ModelNeeds], *, colour: bool = False, width: int = 100) -> str:
    """A line a model and engine kind: what counts and what other sources say; what nobody knows is said with what to write."""
    style = Style(colour, width)
    if not found:
        return "No model is wanted.\n"
    shown, left = bounded(found)
    rows = [[Cell("model", "dim"), Cell("engine", "dim"), Cell("needs", "dim", right=True), Cell("from", "dim"), Cell("", "dim")]]
    rows += [_model(one) for one in shown]
    lines = [style.heading("Needs"), *columns(rows, style), *more(left, style)]
    unknown = sorted({_named(one.model) for one in found if not one.needs})
    if unknown:
        each = "it" if len(unknown) == 1 else "each"
        lines.append(style.paint(f"Nobody knows the need of {plural(len(unknown), 'model')}: write `vram: 5GiB` for {each}.", "yellow"))
    return joined(lines)


def _named(model: ModelSpec) -> str:
    """A model by its name, with the variant that is meant."""
    return model.name if model.variant is None else f"{model.name} ({model.variant})"


def _model(one: ModelNeeds) -> list[Cell]:
    if not one.needs:
        return [
            Cell(f"? {_named(one.model)}", "yellow"),
            Cell(one.kind.value),
            Cell("unknown", "yellow", right=True),
            Cell(""),
            Cell(_installed(one), "dim"),
        ]
    others = ", ".join(f"{source_words(need)} says {format_bytes(need.bytes)}" for need in one.needs[1:])
    first = one.needs[0]
    seen = measured_words(first.seen, first.predicted) if first.seen and first.predicted else ""
    note = "; ".join(part for part in (seen and f"measured {seen}", others, _installed(one)) if part)
    return [
        Cell(f"  {_named(one.model)}"),
        Cell(one.kind.value),
        Cell(format_bytes(first.bytes), right=True),
        Cell(source_words(first)),
        Cell(note, "dim"),
    ]


def _installed(one: ModelNeeds) -> str:
    return f"installed on {one.installed:,} of {plural(one.engines, 'engine')}"


def _sources(needs: Sequence[Need]) -> list[dict[str, object]]:
    return [
        {"source": need.source, "bytes": need.bytes}
        | ({} if need.seen is None else {"measured_bytes": need.seen, "predicted_bytes": need.predicted})
        for need in needs
    ]


def candidates_json(model: ModelSpec, found: Sequence[Candidate], wanted: bool) -> str:
    """One JSON document: every engine with its answer, what the model needs there by source, and its cards."""
    rows = [
        {
            "engine": str(one.slot.id),
            "kind": one.slot.kind.value,
            "fits": one.code in _LOOKS,
            "reason": one.code,
            "variant": one.model.variant,
            "message": one.message,
            "vram_bytes": one.needs[0].bytes if one.needs else None,
            "vram_source": one.needs[0].source if one.needs else None,
            "needs": _sources(one.needs),
            "gpus": [_card_json(card) for card in one.cards],
        }
        for one in found
    ]
    fits = sum(one.code in _LOOKS for one in found)
    document = {"format_version": "1.0", "model": model.name, "wanted": wanted, "context": model.context, "fits": fits, "engines": rows}
    return json.dumps(document, indent=2) + "\n"


def _card_json(card: Card) -> dict[str, object]:
    return {
        "node": card.node,
        "gpu": card.index,
        "name": card.facts.name if card.facts is not None else None,
        "total_bytes": card.total,
        "usable_bytes": card.usable,
        "foreign_bytes": card.foreign,
        "held_bytes": card.held,
        "free_bytes": None if card.usable is None else max(0, card.free),
        "assumed": card.assumed,
    }


def candidates_text(model: ModelSpec, found: Sequence[Candidate], wanted: bool, *, colour: bool = False, width: int = 100) -> str:
    """Where a model could go as the fleet stands: engines where it fits first, then the others with their reasons."""
    style = Style(colour, width)
    fits = sum(one.code in _LOOKS for one in found)
    about = [] if model.context is None else [f"context {model.context}"]
    about += [] if wanted else ["not in the desired state"]
    lines = [
        f"{style.heading(escape(model.name))}{' (' + ', '.join(about) + ')' if about else ''} fits on "
        f"{fits:,} of {plural(len(found), 'engine')}"
    ]
    ordered = sorted(found, key=lambda one: one.code not in _LOOKS)
    shown, left = bounded(ordered)
    lines += [*columns([_candidate(one) for one in shown], style), *more(left, style)]
    if left:
        reasons = Counter(one.code for one in found)
        lines.append(style.paint("  " + ", ".join(f"{code} {count:,}" for code, count in sorted(reasons.items())), "dim"))
    if found and not any(one.needs for one in found):
        lines.append(style.paint("Nobody knows how much it needs: write `vram: 5GiB` for it, or load it once.", "yellow"))
    return joined(lines)


def _candidate(one: Candidate) -> list[Cell]:
    need = one.needs[0] if one.needs else None
    free = max((card.free for card in one.cards if card.usable is not None), default=None)
    usable = max((card.usable for card in one.cards if card.usable is not None), default=None)
    room = "" if free is None or usable is None else f"{format_bytes(max(0, free))} free of {format_bytes(usable)} usable"
    if any(card.assumed for card in one.cards) and room:
        room += ", assumed"
    return [
        Cell(f"{'✓' if one.code in _LOOKS else '✗'} {one.slot.id}", _LOOKS.get(one.code, "red")),
        Cell(one.slot.kind.value),
        Cell("unknown" if need is None else format_bytes(need.bytes), None if need else "yellow", right=True),
        Cell("" if need is None else source_words(need), "dim"),
        Cell(room),
        Cell(" ".join(part for part in (one.model.variant or "", one.message) if part), "dim"),
    ]
