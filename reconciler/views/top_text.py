"""Cards and models at one moment, as a screen: what is full, hot and busy, and what is where."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from reconciler.fleet import Activity, CardFacts, EngineFacts, EngineId, FleetFacts, Resident, format_bytes, format_ratio
from reconciler.views.style import Cell, Style, bounded, columns, joined, more

_WIDE = 20
_FULL, _FULLER = 0.85, 0.95


def top_text(
    fleet: str, facts: FleetFacts, activity: Mapping[tuple[EngineId, str], Activity], *, colour: bool = False, width: int = 100
) -> str:
    """Every card with its bar, every resident with its engine; what cannot be asked last."""
    style = Style(colour, width)
    lines = [style.heading(f"Fleet {fleet}, {facts.at}")]
    cards = [(name, card) for name, node in sorted(facts.nodes.items()) for card in node.cards or ()]
    shown, left = bounded(cards)
    if shown:
        heads = [Cell(name, "dim", right=place > 1) for place, name in enumerate(("card", "", "used", "of", "busy", "°C", "W", ""))]
        lines += [*columns([heads, *(_card(node, card) for node, card in shown)], style), *more(left, style, "cards"), ""]
    engines = [engine for _, node in sorted(facts.nodes.items()) for _, engine in sorted(node.engines.items())]
    models = [(engine, one) for engine in engines for one in engine.residents or ()]
    few, left = bounded(models)
    names = ("model", "engine", "on cards", "context", "running", "waiting", "")
    heads = [Cell(name, "dim", right=2 <= place < 6) for place, name in enumerate(names)]
    rows = [_model(engine, one, activity.get((engine.id, one.name), Activity())) for engine, one in few]
    lines += [*columns([heads, *rows], style), *more(left, style, "models")] if few else ["  nothing is resident"]
    lines += _silent(facts, style)
    return joined(lines)


def _card(node: str, card: CardFacts) -> list[Cell]:
    part = card.used_bytes / card.total_bytes if card.used_bytes is not None and card.total_bytes else None
    filled = 0 if part is None else min(_WIDE, round(part * _WIDE))
    look = None if part is None else "red" if part >= _FULLER else "yellow" if part >= _FULL else "green"
    said = ", ".join(filter(None, ("assumed" if card.assumed else "", "throttled" if card.throttle else "", card.fault or "")))
    return [
        Cell(f"{node}/{card.index}"),
        Cell("?" * _WIDE if part is None else "█" * filled + "░" * (_WIDE - filled), look),
        *(
            Cell(text, right=True)
            for text in (
                "" if card.used_bytes is None else format_bytes(card.used_bytes),
                "" if card.total_bytes is None else format_bytes(card.total_bytes),
                "" if card.utilisation is None else format_ratio(card.utilisation),
                _number(card.temperature),
                _number(card.power),
            )
        ),
        Cell(said, "yellow"),
    ]


def _model(engine: EngineFacts, one: Resident, doing: Activity) -> list[Cell]:
    part = one.gpu_fraction
    beside = [f"{format_ratio(part)} on cards" if part is not None and part < 1 else "", one.status.value if one.status != "loaded" else ""]
    return [
        Cell(one.shown),
        Cell(str(engine.id)),
        *(
            Cell(text, right=True)
            for text in (
                "" if one.vram_bytes is None else format_bytes(one.vram_bytes),
                "" if one.context is None else f"{one.context:,}",
                _number(doing.running),
                _number(doing.waiting),
            )
        ),
        Cell(", ".join(filter(None, beside)), "yellow"),
    ]


def _silent(facts: FleetFacts, style: Style) -> Iterator[str]:
    rows = [[Cell(f"✗ {one.id}", "red"), Cell(one.reason or "cannot be asked")] for one in facts.silent]
    shown, left = bounded(rows)
    if shown:
        yield ""
        yield from columns(shown, style)
        yield from more(left, style, "engines")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
