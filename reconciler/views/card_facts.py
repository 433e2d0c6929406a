"""Cards as they are now: a bar each, heat and power, who holds their memory, and what could not be read or contradicts the inventory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from reconciler.fleet import CardFacts, CardId, FleetFacts, format_bytes, format_capability, format_ratio
from reconciler.health import Holder
from reconciler.planning.plan import CardBalance
from reconciler.views.cards import bar
from reconciler.views.style import Cell, Style, bounded, columns, more

Holders = Mapping[tuple[str, CardId], Sequence[Holder]]
"""The models on each card, by node and index."""
NO_HOLDERS: Holders = MappingProxyType({})
_BAR = 20
_LEGEND = "█ used  ▒ foreign  ░ free"
_HOT = 85.0
"""°C from which a temperature is painted; what a card may have is its own affair."""
_HOLDERS = 4


def card_blocks(facts: FleetFacts, style: Style, models: Holders = NO_HOLDERS) -> list[list[str]]:
    """The table of cards, the processes and `models` that hold them, and what is to be said of the asking; each without lines where there
    is nothing."""
    return [_cards(facts, style), _holders(facts, style, models), _said(facts, style)]


def _cards(facts: FleetFacts, style: Style) -> list[str]:
    rows: list[list[Cell]] = []
    for name, node in sorted(facts.nodes.items()):
        if node.cards is None:
            rows.append([Cell(f"? {name}", "yellow"), Cell("cards not known")])
        rows += [_card(name, card) for card in node.cards or ()]
    if not rows:
        return []
    shown, left = bounded(rows)
    read = any(card.used_bytes is not None for node in facts.nodes.values() for card in node.cards or ())
    heading = style.heading("Cards") + ("  " + style.paint(_LEGEND, "dim") if read else "")
    return [heading, *columns(shown, style), *more(left, style)]


def use_bar(node: str, card: CardFacts, width: int = _BAR) -> Cell:
    """The card as it is now; empty where its use cannot be read, since a bar would be a guess."""
    if card.used_bytes is None or not card.total_bytes:
        return Cell("")
    foreign = min(card.used_bytes, card.foreign_bytes or 0)
    ours = card.used_bytes - foreign
    return bar(CardBalance(node, card.index, card.total_bytes, card.total_bytes, foreign, card.assumed, ours, ours, ours), width)


def _card(node: str, card: CardFacts) -> list[Cell]:
    total = "size unknown" if card.total_bytes is None else format_bytes(card.total_bytes)
    used = "use unknown" if card.used_bytes is None else f"{format_bytes(card.used_bytes)} used"
    foreign = f"{format_bytes(card.foreign_bytes)} foreign" if card.foreign_bytes else ""
    capability = "" if card.compute_capability is None else f"compute {format_capability(card.compute_capability)}"
    source = f"{card.source}, assumed" if card.assumed else card.source
    return [
        Cell(f"  {node}/{card.index}", "red" if card.fault is not None else None),
        Cell(card.name or ""),
        use_bar(node, card),
        Cell(used, right=True),
        Cell(f"of {total}" if card.total_bytes is not None else total),
        Cell(foreign),
        Cell("" if card.utilisation is None else f"{format_ratio(card.utilisation)} busy", right=True),
        Cell(
            "" if card.temperature is None else f"{card.temperature:.0f} °C",
            "red" if (card.temperature or 0) >= _HOT else None,
            right=True,
        ),
        Cell(_watts(card), right=True),
        Cell(capability),
        Cell(source, "dim"),
    ]


def _watts(card: CardFacts) -> str:
    if card.power is None:
        return ""
    return f"{card.power:.0f} W" if card.power_limit is None else f"{card.power:.0f} of {card.power_limit:.0f} W"


def _troubles(card: CardFacts) -> str:
    found = [card.fault] if card.fault is not None else []
    found += [f"XID {card.xid}"] if card.xid else []
    found += [f"{card.ecc_errors} ECC errors"] if card.ecc_errors else []
    found += [f"throttled: {', '.join(card.throttle)}"] if card.throttle else []
    return "; ".join(found)


def _holders(facts: FleetFacts, style: Style, models: Holders) -> list[str]:
    rows = []
    for name, node in sorted(facts.nodes.items()):
        for card in node.cards or ():
            there = models.get((name, card.index), ())
            if card.processes or there:
                rows.append([Cell(f"  {name}/{card.index}"), Cell(models_of(there)), Cell(holders_of(card))])
    shown, left = bounded(rows)
    return [style.heading("On the cards"), *columns(shown, style, widest=200), *more(left, style)] if rows else []


def models_of(holders: Sequence[Holder]) -> str:
    """The models on a card, the largest first; those that may be on another one are told as such."""
    parts = []
    for certain in (True, False):
        some = sorted((one for one in holders if one.certain is certain), key=lambda one: (-(one.vram_bytes or 0), one.engine, one.model))
        words = [
            f"{one.model} ({one.engine}) {'of unknown size' if one.vram_bytes is None else format_bytes(one.vram_bytes)}"
            for one in some[:_HOLDERS]
        ]
        if len(some) > _HOLDERS:
            words.append(f"{len(some) - _HOLDERS} more")
        if words:
            parts.append(("" if certain else "could be on: ") + ", ".join(words))
    return "; ".join(parts)


def holders_of(card: CardFacts) -> str:
    """Who holds a card, the largest first: an engine by its name, other processes by theirs."""
    processes = sorted(card.processes or (), key=lambda one: (-(one.used_bytes or 0), one.pid))
    words = []
    for one in processes[:_HOLDERS]:
        name = (one.name or "a process").split(" ")[0].rpartition("/")[2]
        size = "unknown bytes" if one.used_bytes is None else format_bytes(one.used_bytes)
        words.append(f"{f'{one.engine} ({name} {one.pid})' if one.engine is not None else f'{name} {one.pid}'} {size}")
    if len(processes) > _HOLDERS:
        words.append(f"{len(processes) - _HOLDERS} more")
    return ", ".join(words)


def _said(facts: FleetFacts, style: Style) -> list[str]:
    rows = []
    for name, node in sorted(facts.nodes.items()):
        for card in node.cards or ():
            troubles = _troubles(card)
            if troubles:
                rows.append([Cell(f"  {name}/{card.index}", "red"), Cell(card.source), Cell(troubles)])
        rows += [[Cell(f"  {name}/{card.index}"), Cell(card.source), Cell(card.total_from)] for card in node.cards or () if card.total_from]
        probe = node.card_probe
        if probe is None:
            continue
        if probe.reason is not None:
            rows.append([Cell(f"  {name}", "yellow"), Cell(probe.via), Cell(probe.reason)])
        rows += [[Cell(f"  {name}", "yellow"), Cell(probe.via), Cell(note)] for note in probe.notes]
    shown, left = bounded(rows)
    return [style.heading("Noted"), *columns(shown, style, widest=200), *more(left, style)] if rows else []
