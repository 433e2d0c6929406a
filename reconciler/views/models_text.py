"""The needs of models for people and as JSON: what each source says."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from reconciler.fleet import EngineId, ModelSpec, format_bytes
from reconciler.placement import ModelNeeds
from reconciler.views.style import Cell, Style, bounded, columns, joined, more, paragraph, plural
from reconciler.vram import Need


def source_words(need: Need) -> str:
    """A source as people read it: the rough rule shows its factor."""
    return "file size × 1.2" if need.source == "file_size" else need.source


def measured_words(measured: int, reported: int | None, predicted: int | None) -> str:
    """All that a load took, of what that is made up, and how far a prediction is off."""
    if reported is None:
        seen = f"{format_bytes(measured)} lost by its cards"
    else:
        seen = f"{format_bytes(reported)} reported by its engine + {format_bytes(measured - reported)} for its process"
    return seen if predicted is None else f"{seen}; predicted {format_bytes(predicted)} ({(predicted - measured) / measured * 100:+.1f}%)"


NO_TAGS: Mapping[EngineId, Sequence[str]] = {}


def models_json(found: Sequence[ModelNeeds], unused: Mapping[EngineId, Sequence[str]] = NO_TAGS) -> str:
    """One JSON document: a row a model and engine kind, `needs` in the order in which they count; `unused_tags` are ours."""
    tags = [{"engine": str(at), "name": name} for at, names in unused.items() for name in names]
    return json.dumps({"format_version": "1.0", "models": models_document(found), "unused_tags": tags}, indent=2) + "\n"


def models_document(found: Sequence[ModelNeeds]) -> list[dict[str, object]]:
    """A row a model and engine kind."""
    return [
        {
            "model": one.model.name,
            "variant": one.model.variant,
            "engine": one.kind.value,
            "context": one.model.context,
            "engines": one.engines,
            "installed": one.installed,
            "runs_elsewhere": one.elsewhere,
            "vram_bytes": one.needs[0].bytes if one.needs else None,
            "vram_source": one.needs[0].source if one.needs else None,
            "needs": sources_json(one.needs),
        }
        for one in found
    ]


def models_text(
    found: Sequence[ModelNeeds], unused: Mapping[EngineId, Sequence[str]] = NO_TAGS, *, colour: bool = False, width: int = 100
) -> str:
    """A line a model and engine kind: what counts and what other sources say; what nobody knows is said with what to write. Then the
    derived tags of ours that nobody uses any more."""
    style = Style(colour, width)
    if not found:
        return joined(["No model is wanted.", *_unused(unused, style)])
    shown, left = bounded(found)
    rows = [[Cell("model", "dim"), Cell("engine", "dim"), Cell("needs", "dim", right=True), Cell("from", "dim"), Cell("", "dim")]]
    rows += [_model(one) for one in shown]
    lines = [style.heading("Needs"), *columns(rows, style), *more(left, style)]
    unknown = sorted({_named(one.model) for one in found if not one.needs and not one.elsewhere})
    if unknown:
        each = "it" if len(unknown) == 1 else "each"
        lines.append(style.paint(f"Nobody knows the need of {plural(len(unknown), 'model')}: write `vram: 5GiB` for {each}.", "yellow"))
    return joined([*lines, *_unused(unused, style)])


def _unused(unused: Mapping[EngineId, Sequence[str]], style: Style) -> list[str]:
    rows = [[Cell(f"  {name}"), Cell(str(at))] for at, names in unused.items() for name in names]
    if not rows:
        return []
    shown, left = bounded(rows)
    heading = style.heading("Derived tags that gpurec made and nobody uses any more")
    words = "They hold no weights of their own, and go with their model (`ensure: absent`); `ollama rm` takes one alone."
    return [heading, *columns(shown, style), *more(left, style), *paragraph(words, style, "", "")]


def _named(model: ModelSpec) -> str:
    """A model by its name, with the variant that is meant."""
    return model.name if model.variant is None else f"{model.name} ({model.variant})"


def _model(one: ModelNeeds) -> list[Cell]:
    if not one.needs and one.elsewhere:
        return [
            Cell(f"  {_named(one.model)}"),
            Cell(one.kind.value),
            Cell("none", right=True),
            Cell("a cloud runs it"),
            Cell(_installed(one), "dim"),
        ]
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
    seen = measured_words(first.measured, first.reported, first.predicted) if first.measured else ""
    note = "; ".join(part for part in (seen, others, _installed(one)) if part)
    return [
        Cell(f"  {_named(one.model)}"),
        Cell(one.kind.value),
        Cell(format_bytes(first.bytes), right=True),
        Cell(source_words(first)),
        Cell(note, "dim"),
    ]


def _installed(one: ModelNeeds) -> str:
    return f"installed on {one.installed:,} of {plural(one.engines, 'engine')}"


def sources_json(needs: Sequence[Need]) -> list[dict[str, object]]:
    """What each source says, the one that counts first; of a measured one also what the engine reported and what is predicted."""
    return [{"source": need.source, "bytes": need.bytes} | _measured(need) for need in needs]


def _measured(need: Need) -> dict[str, object]:
    if need.measured is None:
        return {}
    return {"measured_bytes": need.measured, "reported_bytes": need.reported, "predicted_bytes": need.predicted}
