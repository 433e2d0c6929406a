"""The inventory and the check of the workspace's files, for people."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.fleet import CardSpec, Desired, Fleet, NodeSpec, format_bytes
from reconciler.views.escape import escape
from reconciler.views.style import LONGEST_CELL, Cell, Style, columns, joined, paragraph, plural


def inventory_text(nodes: Sequence[NodeSpec], *, colour: bool = False, width: int = 100) -> str:
    """One block a node: its engines with their URL and cards, and its declared cards."""
    style = Style(colour, width)
    if not nodes:
        return "No node.\n"
    lines: list[str] = []
    for node in nodes:
        at = "" if node.address == node.name else f"  {node.address}"
        lines.append(style.heading(node.name) + style.paint(*_tail(at, node)))
        lines += columns(
            [
                [
                    Cell(engine.id.engine),
                    Cell(engine.kind.value),
                    Cell(engine.url),
                    Cell(_on(engine.gpus)),
                    Cell(_limit(engine.memory_limit), "dim"),
                ]
                for engine in node.engines
            ],
            style,
        )
        lines += columns([_card(card) for card in node.gpus or ()], style)
        if node.gpus is None:
            lines.append(style.paint("  cards not declared", "dim"))
    return joined(lines)


def validate_text(fleet: Fleet, desired: Desired, warnings: Sequence[str], *, colour: bool = False, width: int = 100) -> str:
    """What was read and that it is right, with the warnings of the files."""
    style = Style(colour, width)
    engines = sum(len(node.engines) for node in fleet.nodes.values())
    cards = sum(len(node.gpus or ()) for node in fleet.nodes.values())
    counts = (
        plural(len(fleet.nodes), "node"),
        plural(engines, "engine"),
        plural(cards, "declared card"),
        plural(len(desired.models), "model"),
    )
    lines = [f"{style.paint('Valid.', 'green')} Fleet {style.heading(fleet.name)}: {', '.join(counts)}."]
    for warning in warnings:
        lines += paragraph(warning, style, "  ! ")
    return joined(lines)


def _tail(at: str, node: NodeSpec) -> tuple[str, str]:
    labels = "".join(f"  {key}={value}" for key, value in sorted(node.labels.items()))
    return escape(at + labels, LONGEST_CELL), "dim"


def _on(gpus: tuple[int | str, ...] | None) -> str:
    if gpus is None:
        return "all cards"
    return "no card" if not gpus else f"{'card' if len(gpus) == 1 else 'cards'} {','.join(map(str, gpus))}"


def _limit(limit: int | None) -> str:
    return "" if limit is None else f"at most {format_bytes(limit)} a card"


def _card(card: CardSpec) -> list[Cell]:
    size = "size not declared" if card.vram is None else format_bytes(card.vram)
    foreign = f"{format_bytes(card.foreign)} foreign" if card.foreign else ""
    return [Cell(f"card {card.index}"), Cell(card.name or ""), Cell(size, right=True), Cell(foreign, "dim")]
