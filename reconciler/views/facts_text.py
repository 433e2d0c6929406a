"""What probing saw, for people: every engine with its build, then its residents, then the cards with who holds them."""

from __future__ import annotations

from collections import Counter

from reconciler.fleet import CardFacts, EngineFacts, FleetFacts, Resident, format_bytes, format_duration, format_ratio
from reconciler.views.card_facts import card_blocks
from reconciler.views.style import Cell, Style, beside, bounded, columns, joined, more, plural


def facts_text(facts: FleetFacts, *, colour: bool = False, width: int = 100) -> str:
    """Engines, residents and cards of a fleet as probed at one time; what is not known is said to be unknown."""
    style = Style(colour, width)
    engines = [node.engines[name] for _, node in sorted(facts.nodes.items()) for name in sorted(node.engines)]
    silent = len(facts.silent)
    opening = f"{style.heading(plural(len(facts.nodes), 'node'))}, {plural(len(engines), 'engine')}, probed at {facts.at}"
    if silent:
        opening += style.paint(f", {silent:,} unreachable", "yellow")
    cards, *more_of_cards = card_blocks(facts, style)
    blocks = [[opening], _engines(engines, style), _residents(engines, style), cards, _drivers(facts, style), *more_of_cards]
    return joined("\n".join(block) + "\n" for block in blocks if block)


def _drivers(facts: FleetFacts, style: Style) -> list[str]:
    """What the cards of each node compute with, those that are alike in one row; nothing of cards that tell none of it."""
    rows = []
    for name, node in sorted(facts.nodes.items()):
        alike = Counter(map(_computes_with, node.cards or ()))
        rows += [
            [Cell(f"  {name}"), Cell(plural(count, "card"), right=True), *map(Cell, words)] for words, count in alike.items() if any(words)
        ]
    shown, left = bounded(rows)
    return [style.heading("Drivers"), *columns(shown, style), *more(left, style)] if rows else []


def _computes_with(card: CardFacts) -> tuple[str, str, str]:
    precisions = {"float16": card.float16, "bfloat16": card.bfloat16}
    return (
        "" if card.driver is None else f"driver {'.'.join(map(str, card.driver))}",
        "" if card.cuda is None else f"CUDA {'.'.join(map(str, card.cuda))}",
        ", ".join(name if has else f"no {name}" for name, has in precisions.items() if has is not None),
    )


def _engines(engines: list[EngineFacts], style: Style) -> list[str]:
    if not engines:
        return []
    shown, left = bounded(engines)
    return [style.heading("Engines"), *columns([_engine(engine) for engine in shown], style), *more(left, style)]


def _engine(engine: EngineFacts) -> list[Cell]:
    kind = engine.kind.value + (f" {engine.mode}" if engine.mode else "")
    if not engine.reachable:
        glyph, state, look = ("?", "unknown", "yellow") if engine.silent else ("·", "", "dim")
        reason = beside(str(engine.id), engine.reason or engine.reason_code or "")
        return [Cell(f"{glyph} {engine.id}", look), Cell(kind), Cell(state, look), Cell(reason)]
    installed = "installed unknown" if engine.installed is None else f"{len(engine.installed):,} installed"
    residents = "residents unknown" if engine.residents is None else plural(len(engine.residents), "resident")
    return [Cell(f"  {engine.id}"), Cell(kind), Cell(engine.build or "build unknown"), Cell(f"{installed}, {residents}")]


def _residents(engines: list[EngineFacts], style: Style) -> list[str]:
    found = [(engine, resident) for engine in engines for resident in engine.residents or ()]
    if not found:
        return []
    shown, left = bounded(found)
    return [style.heading("Residents"), *columns([_resident(*one) for one in shown], style), *more(left, style)]


def _resident(engine: EngineFacts, resident: Resident) -> list[Cell]:
    fraction = resident.gpu_fraction
    share = "share unknown" if fraction is None else f"{format_ratio(fraction)} on card"
    stay = {True: "pinned", None: ""}.get(resident.pinned, "")
    if resident.pinned is False:
        stay = "expires" if resident.expires_in is None else f"expires in {format_duration(resident.expires_in)}"
    return [
        Cell(f"  {resident.shown}"),
        Cell(str(engine.id)),
        Cell("bytes unknown" if resident.vram_bytes is None else format_bytes(resident.vram_bytes), right=True),
        Cell(share, "yellow" if fraction is not None and fraction < 1 else None),
        Cell("context unknown" if resident.context is None else f"context {resident.context}"),
        Cell(stay, "dim"),
        Cell("" if resident.status.value == "loaded" else resident.status.value, "cyan"),
    ]
