"""Which engine of the fleet could hold a model, and what it takes there by term, for people and as JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence

from reconciler.fleet import format_bytes
from reconciler.placement import Card, EngineAnswer, Fitted, Question, Terms, best
from reconciler.views.escape import escape
from reconciler.views.fitted_text import fitted_cell, fitted_json, fitted_words
from reconciler.views.models_text import measured_words, source_words, sources_json
from reconciler.views.style import Cell, Style, bounded, columns, joined, more, paragraph, plural
from reconciler.views.terms_text import interval_words, row, run_words, settings_json, term_rows
from reconciler.vram import CardNeed, ListedShape, Need

MOST_TABLES = 5
"""Most tables of terms; engines of which the same is true share one."""


def candidates_json(question: Question, found: Sequence[EngineAnswer], wanted: bool) -> str:
    """One JSON document: of the engine that stands for all (`best`) the bytes on a card by term at the top level, an unknown one null, then
    every engine with its answer, the same terms, what each source says, and its cards."""
    rows = [
        {
            "engine": str(one.slot.id),
            "kind": one.slot.kind.value,
            "fits": one.fits,
            "reason": one.code,
            "variant": one.model.variant,
            "message": one.message,
            "vram_bytes": one.needs[0].bytes if one.needs else None,
            "vram_source": one.needs[0].source if one.needs else None,
            **_terms_json(one),
            **({} if question.search is None else {"fit": fitted_json(one.fitted)}),
            "needs": sources_json(one.needs),
            "gpus": [_card_json(card) for card in one.cards],
        }
        for one in found
    ]
    first = best(found)
    document: dict[str, object] = {
        "format_version": "1.0",
        "model": question.model.name,
        "wanted": wanted,
        "context": question.model.context if question.context is None else question.context,
        "fits": sum(one.fits for one in found),
        "best": None if first is None else str(first.slot.id),
        **({} if first is None else _terms_json(first)),
        **({} if question.search is None else {"fit": None if first is None else fitted_json(first.fitted)}),
        "engines": rows,
    }
    return json.dumps(document, indent=2) + "\n"


def _terms_json(one: EngineAnswer) -> dict[str, object]:
    """The keys of `check FILE`, of the engine that was asked; `split` has a row a card where all cards of the engine share the model."""
    terms = one.terms
    beside = None if terms.card is None or terms.card.extra else 0
    return {
        **_card_terms(terms.card),
        **({"weights_bytes": terms.weights} if terms.card is None else {}),
        "projector_bytes": beside,
        "adapter_bytes": beside,
        "draft_bytes": None if terms.card is None else 0,
        "beside_bytes": None if terms.card is None else terms.card.extra,
        "total_bytes": terms.total,
        "low_bytes": terms.low,
        "high_bytes": terms.high,
        "host_bytes": terms.host,
        "source": terms.source,
        "predicted_bytes": terms.predicted,
        "architecture": terms.architecture,
        "shape": None if terms.listed is None else _shape_json(terms.listed),
        "settings": None if terms.settings is None else settings_json(terms.settings),
        "split": [{"gpu": card.index, **_split_json(need)} for card, need in zip(one.cards, terms.split, strict=False)],
        "unknown": list(terms.unknown),
    }


def _shape_json(listed: ListedShape) -> dict[str, object]:
    shape = listed.shape
    return {"name": shape.name, "trust": shape.trust.value, "from": shape.origin, "quantisation": listed.quantisation.value}


def _card_terms(card: CardNeed | None) -> dict[str, object]:
    return {
        "weights_bytes": None if card is None else card.weights,
        "kv_bytes": None if card is None else card.kv,
        "state_bytes": None if card is None else card.state,
        "compute_bytes": None if card is None else card.compute,
        "fixed_bytes": None if card is None else card.fixed,
    }


def _split_json(card: CardNeed) -> dict[str, object]:
    return {**_card_terms(card), "beside_bytes": card.extra, "total_bytes": card.total, "low_bytes": card.low, "high_bytes": card.high}


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


def candidates_text(question: Question, found: Sequence[EngineAnswer], wanted: bool, *, colour: bool = False, width: int = 100) -> str:
    """Where a model could go as the fleet stands: engines where it fits first, then the others with their reasons; then what it takes by
    term, a table for all engines of which the same is true."""
    style = Style(colour, width)
    model, context = question.model, question.model.context if question.context is None else question.context
    about = [] if context is None or (question.search is not None and not question.search.requests) else [f"context {context}"]
    if question.search is not None:
        about.append("most requests at a time" if question.search.requests else "largest context")
    about += [] if wanted else ["not in the desired state"]
    lines = [
        f"{style.heading(escape(model.name))}{' (' + ', '.join(about) + ')' if about else ''} fits on "
        f"{sum(one.fits for one in found):,} of {plural(len(found), 'engine')}"
    ]
    ordered = sorted(found, key=lambda one: not one.fits)
    shown, left = bounded(ordered)
    lines += [*columns([_candidate(one, question.search is not None) for one in shown], style), *more(left, style)]
    if left:
        reasons = Counter(one.code for one in found)
        lines.append(style.paint("  " + ", ".join(f"{code} {count:,}" for code, count in sorted(reasons.items())), "dim"))
    lines += _tables(ordered, style)
    if question.otherwise and any(one.needs and one.terms.card is None for one in found):
        lines.append(
            style.paint("Where an engine does not tell the model's layers, the options of this command change no figure.", "yellow")
        )
    if any(one.code != "runs_elsewhere" for one in found) and not any(one.needs for one in found):
        lines.append(style.paint("Nobody knows how much it needs: write `vram: 5GiB` for it, or load it once.", "yellow"))
    return joined(lines)


def _candidate(one: EngineAnswer, searched: bool) -> list[Cell]:
    need = one.needs[0] if one.needs else None
    free = max((card.free for card in one.cards if card.usable is not None), default=None)
    usable = max((card.usable for card in one.cards if card.usable is not None), default=None)
    room = "" if free is None or usable is None else f"{format_bytes(max(0, free))} free of {format_bytes(usable)} usable"
    largest = fitted_cell(one.fitted) if searched and (one.fits or one.fitted is not None) else ""
    if any(card.assumed for card in one.cards) and room:
        room += ", assumed"
    return [
        Cell(f"{'✓' if one.fits else '✗'} {one.slot.id}", "green" if one.fits else "red"),
        Cell(one.slot.kind.value),
        Cell("unknown" if need is None else format_bytes(need.bytes), None if need else "yellow", right=True),
        Cell("" if need is None else source_words(need), "dim"),
        Cell(room),
        Cell(" ".join(part for part in (one.model.variant or "", largest, one.message) if part), "dim"),
    ]


def _tables(found: Sequence[EngineAnswer], style: Style) -> list[str]:
    """A table for each way in which engines would hold it, as far as its terms are known."""
    alike: dict[tuple[Terms, tuple[Need, ...], str | None, Fitted | None], list[EngineAnswer]] = {}
    for one in found:
        if one.terms.card is not None or one.terms.weights is not None:
            alike.setdefault((one.terms, one.needs, one.model.variant, one.fitted), []).append(one)
    shown, left = bounded(list(alike.items()), MOST_TABLES)
    lines = [line for (terms, needs, variant, _), there in shown for line in ("", *_table(terms, needs, variant, there, style))]
    if not shown and found and (need := next((one.needs[0] for one in found if one.needs), None)) is not None:
        lines += [
            "",
            style.paint(_WITHOUT_TERMS.get(need.source, f"No engine tells its layers, so there are no terms: {need.source}."), "dim"),
        ]
    return [*lines, *more(left, style, "ways to run it")]


_WITHOUT_TERMS = {
    "declared": "No engine tells its layers, so there are no terms: what counts is its `vram:`.",
    "measured": "No engine tells its layers, so there are no terms: what counts is what such a load took before.",
    "file_size": "No engine tells its layers, so there are no terms: file size × 1.2 is a rough rule that knows of no context or cache.",
    "catalogue": "No engine has its file, so there are no terms: the figure is what people report of it.",
}


def _table(terms: Terms, needs: Sequence[Need], variant: str | None, there: Sequence[EngineAnswer], style: Style) -> list[str]:
    names, left = bounded([str(one.slot.id) for one in there], 3)
    where = ", ".join(names) + (f" and {left:,} more" if left else "")
    lines = [style.heading(f"On {where}{': ' + variant if variant else ''}")]
    if terms.settings is not None and terms.architecture is not None:
        lines.append(f"  {run_words(terms.architecture, terms.layers, terms.settings)}")
    if terms.card is None:
        rows = [row("weights", [terms.weights], "of the whole file; its engine tells no more, so no other term is known")]
        return [*lines, *columns([*rows, *_counts(terms, needs)], style)]
    if terms.card.total == 0:
        return [*lines, *columns([row("on the host", [terms.host], "it runs on the CPU")], style)]
    cards = [terms.card, *terms.split]
    rows = term_rows(cards)
    if any(card.extra for card in cards):
        rows.append(row("beside it", [card.extra for card in cards], "weights of its projector and adapters"))
    ends = "computed" if terms.split else f"{interval_words(terms.card.low, terms.card.high)}, computed"
    rows.append(row("total" if terms.counts else "predicted", [card.total for card in cards], ends))
    if terms.split:
        rows += [row("at least", [card.low for card in cards]), row("at most", [card.high for card in cards])]
        heads = ("on one card", *(f"card {card.index}" for card in there[0].cards))
        rows.insert(0, [Cell(""), *(Cell(head, "dim", right=True) for head in heads)])
    host = [] if terms.host is None else [row("on the host", [terms.host])]
    apart = [Cell("")] * len(terms.split)
    lines += columns([*rows, *([name, one, *apart, *note] for name, one, *note in _counts(terms, needs)), *host], style)
    if terms.listed is not None:
        lines += paragraph(_of_shape(terms), style, "  ", "  ")
    if (most := there[0].fitted) is not None:
        lines += paragraph(fitted_words(most), style, "  ", "  ")
    warning = _warning(terms, needs)
    lines += [] if warning is None else [style.paint(f"  {warning}", "yellow")]
    return [*lines, *(style.paint(f"  Unknown: {escape(one)}.", "yellow") for one in terms.unknown)]


def _of_shape(terms: Terms) -> str:
    """From what the terms are where no engine has the file, and what of them is unsure; and what counts where nobody says a context."""
    listed = terms.listed
    if listed is None:
        return ""
    said = f"No engine tells of its file: computed for the shape {listed.shape.name} of the catalogue in {listed.quantisation.value}."
    if terms.source == "catalogue" and not terms.counts:
        said += " What people report of it counts as long as nobody says a context: say one (--context, or context: of the model)."
    return said


def _counts(terms: Terms, needs: Sequence[Need]) -> list[list[Cell]]:
    """What counts where that is not the sum of the terms, and what was measured where something else counts."""
    rows = []
    if needs and terms.total is not None and terms.source is not None and not terms.counts:
        rows.append(row(source_words(needs[0]), [terms.total], _note(needs[0])))
    rows += [row("measured", [one.bytes], _note(one)) for one in needs[1:] if one.measured is not None]
    return rows


def _note(need: Need) -> str:
    if need.measured is not None:
        return measured_words(need.measured, need.reported, need.predicted)
    return {
        "declared": "by `vram:` of the model; this counts",
        "file_size": "a rough rule, which knows nothing of context or cache",
        "catalogue": "what people report of it",
    }.get(need.source, "")


def _warning(terms: Terms, needs: Sequence[Need]) -> str | None:
    """What to say where less is declared than a load took, or would take at least."""
    if not needs or needs[0].source not in ("declared", "catalogue") or terms.counts:
        return None
    declared, said = needs[0].bytes, "declared" if needs[0].source == "declared" else "reported"
    took = next((one.bytes for one in needs if one.measured is not None), None)
    if took is not None and declared < took:
        return f"Less is {said} than such a load took: {format_bytes(declared)} against {format_bytes(took)}."
    least = terms.card.low if terms.card is not None and terms.card.total else None
    if took is None and least is not None and declared < least:
        by = "shape" if terms.listed else "file"
        return f"Less is {said} than the model takes at least by its {by}: {format_bytes(declared)} against {format_bytes(least)}."
    return None
