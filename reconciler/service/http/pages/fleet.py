"""The fleet at a glance: what is wrong, every node as a square, cards a page at a time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from reconciler.fleet import CardId, Topic, format_bytes
from reconciler.health import Holder, cards_of, holders_by_card
from reconciler.operations.proposal import Proposal
from reconciler.planning import CardBalance
from reconciler.service.conditions import Conditions
from reconciler.service.http.pages.frame import facts, table
from reconciler.views.html.elements import Content, Html, address, code, tag
from reconciler.views.step_words import counts_words
from reconciler.views.style import plural

MOST_SHOWN = 100
"""Conditions, and cards on one page; the API has all."""
AT_A_GLANCE = 8
"""Conditions that are not folded."""
_CELL, _GAP, _ACROSS = 12.0, 3.0, 50
Holders = Mapping[tuple[str, CardId], tuple[Holder, ...]]
_STATES = (("n-well", "as wanted"), ("n-wrong", "with something wrong"), ("n-gone", "not to be reached"))


def fleet_body(seen: Proposal, holding: Conditions, words: str, number: int) -> Content:
    """`words` are what a card must have in its name, node or models to be shown; `number` is the page of cards, from 1."""
    plan = seen.plan
    return [
        tag("h1", f"Fleet {plan.fleet}"),
        facts(
            ("looked at", plan.created_at),
            ("as wanted", f"{plan.unchanged:,}"),
            ("serial", str(plan.serial)),
            ("plan", tag("a", counts_words(plan.steps) if plan.steps else "no changes", href="/plan")),
        ),
        _nodes(seen, holding),
        conditions_section(holding),
        _cards(seen, words, number),
    ]


def conditions_section(holding: Conditions) -> Content:
    if not holding:
        return tag("p", "All is as it should be.")
    shown = list(holding.values())[:MOST_SHOWN]
    left = len(holding) - len(shown)
    rows = [tag("li", tag("strong", one.topic.value), " ", _subject(one.subject), ": ", one.message) for one in shown]
    return [
        tag("h2", "1 thing is not as it should be" if len(holding) == 1 else f"{len(holding):,} things are not as they should be"),
        tag("ul", *rows[:AT_A_GLANCE]),
        tag("details", tag("summary", f"{plural(len(rows) - AT_A_GLANCE, 'more thing')}"), tag("ul", *rows[AT_A_GLANCE:]), id="more")
        if len(rows) > AT_A_GLANCE
        else None,
        tag("p", f"and {left:,} more: /v1/conditions") if left else None,
    ]


def _subject(subject: str) -> Html:
    return why_link(subject) if subject.startswith(("model.", "agent.", "engine.", "file.")) else code(subject)


def why_link(subject: str) -> Html:
    """An address that leads to why it is where it is."""
    return tag("a", code(subject), href=address("why", subject))


def _nodes(seen: Proposal, holding: Conditions) -> Content:
    names = sorted(seen.workspace.fleet.nodes)
    gone = {one.at[0] for one in holding.values() if one.topic is Topic.UNREACHABLE and one.at is not None}
    wrong = {one.at[0] for one in holding.values() if one.at is not None} - gone
    looks = ["n-gone" if name in gone else "n-wrong" if name in wrong else "n-well" for name in names]
    counts = [(look, said, looks.count(look)) for look, said in _STATES if look in looks]
    words = f"{plural(len(names), 'node')}: " + ", ".join(f"{count:,} {said}" for _, said, count in counts)
    squares = [_square(place, look, name) for place, (look, name) in enumerate(zip(looks, names, strict=True))]
    across = min(_ACROSS, len(names))
    height = (_CELL + _GAP) * -(-len(names) // _ACROSS)
    width = (_CELL + _GAP) * across
    drawn = tag("svg", *squares, role="img", aria_label=words, width=width, height=height, viewBox=f"0 0 {width:g} {height:g}")
    legend = (
        tag("span", tag("svg", tag("rect", class_=look, width=10.0, height=10.0), width=10.0, height=10.0, aria_hidden="true"), text)
        for look, said, count in counts
        for text in [f"{count:,} {said}"]
    )
    return [
        tag("h2", "Nodes"),
        tag("p", *legend, class_="legend quiet"),
        tag("div", drawn, class_="scroll", tabindex="0", role="region", aria_label="Nodes") if names else None,
    ]


def _square(place: int, look: str, name: str) -> Html:
    x, y = (place % _ACROSS) * (_CELL + _GAP), (place // _ACROSS) * (_CELL + _GAP)
    return tag("rect", tag("title", name), class_=look, x=x, y=y, width=_CELL, height=_CELL, rx=2.0)


def _cards(seen: Proposal, words: str, number: int) -> Content:
    """Cards as they are now, as the plan counts."""
    models = models_on(seen)
    asked = words.lower().split()
    found = [card for card in seen.plan.gpus if all(word in _searched(card, models) for word in asked)]
    pages = max(1, -(-len(found) // MOST_SHOWN))
    number = min(number, pages)
    shown = found[(number - 1) * MOST_SHOWN : number * MOST_SHOWN]
    field = tag("input", type="search", name="q", id="q", value=words or None)
    label = tag("label", "Node, card or model", field, for_="q")
    form = tag("form", label, tag("button", "Show", type="submit"), class_="line", action="/")
    heads = ("card", "models", "held", "foreign", "usable", "free")
    ways = [tag("a", text, href=_page(words, at)) for text, at in (("earlier", number - 1), ("later", number + 1)) if 1 <= at <= pages]
    return [
        tag("h2", "Cards now"),
        form,
        tag("p", f"{plural(len(found), 'card')} of {len(seen.plan.gpus):,}, page {number} of {pages} ", *_apart(ways)),
        table("Cards now", heads, [_card(seen, one, models) for one in shown], heads[2:]) if shown else None,
    ]


def _apart(links: Sequence[Html]) -> Iterable[Content]:
    for link in links:
        yield from (" ", link)


def _page(words: str, number: int) -> Html:
    from urllib.parse import urlencode

    return Html("/?" + urlencode({"q": words, "page": number}).replace("&", "&amp;"))


def models_on(seen: Proposal) -> Holders:
    """What is resident on each card, or could be on it."""
    return holders_by_card(seen.workspace.fleet, seen.facts, seen.plan)


def holder_words(seen: Proposal, one: Holder) -> Content:
    """A model of a card, with the way to why it is there where it is ours."""
    ours = one.address is not None and one.address in seen.applied.replicas
    name = why_link(one.address) if one.address is not None and ours else [code(one.model), tag("span", " not ours", class_="quiet")]
    return tag("div", name, None if one.certain else tag("span", " could be on it", class_="quiet"))


def silent_on(seen: Proposal, card: CardBalance) -> list[str]:
    """The engines of a card that should answer and did not: what they hold there is unknown, and not nothing."""
    node, facts = seen.workspace.fleet.nodes.get(card.node), seen.facts.nodes.get(card.node)
    engines = facts.engines if facts is not None else {}
    found = []
    for spec in node.engines if node is not None else ():
        engine = engines.get(spec.id.engine)
        if engine is None or engine.silent:
            cards = cards_of(spec, (facts.cards if facts is not None else None) or ())
            found.extend([spec.id.engine] if any(one.index == card.gpu for one in cards) else [])
    return found


def silent_words(engine: str) -> Html:
    return tag("div", code(engine), " does not answer: what it holds is unknown", class_="quiet")


def _searched(card: CardBalance, models: Holders) -> str:
    there = (text for one in models.get((card.node, card.gpu), ()) for text in (one.model, one.address or ""))
    return " ".join((f"{card.node}/{card.gpu}", card.name or "", *there)).lower()


def _card(seen: Proposal, card: CardBalance, models: Holders) -> Html:
    free = None if card.usable_bytes is None else max(0, card.usable_bytes - card.before_bytes - (card.foreign_bytes or 0))
    there = models.get((card.node, card.gpu), ())
    name = tag("a", code(f"{card.node}/{card.gpu}"), href=address("card", card.node, str(card.gpu)))
    silent = silent_on(seen, card)
    held = card.before_bytes or (None if silent else 0)
    sizes = (held, card.foreign_bytes, card.usable_bytes, None if silent else free)
    return tag(
        "tr",
        tag("td", name, tag("div", (card.name or "") + (" (assumed)" if card.assumed else ""), class_="quiet")),
        tag("td", *(holder_words(seen, one) for one in there), *map(silent_words, silent)),
        *(tag("td", "unknown" if size is None else format_bytes(size), class_="number") for size in sizes),
        data_row=True,
    )
