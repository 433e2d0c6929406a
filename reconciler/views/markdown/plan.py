"""A plan as markdown, for the comment of a pull request: what it does and costs first, then the cards, then each node."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.fleet import LOCAL, format_bytes, format_duration
from reconciler.planning.plan import CardBalance, Impact, Plan, Step, Unplaced
from reconciler.views.alike import FEW_NODES, AlikeNodes, alike_cards, alike_nodes, alike_steps, and_alike
from reconciler.views.cards import LEGEND, bar, card_remarks, changes
from reconciler.views.document import plan_summary
from reconciler.views.markdown.budget import Folded, Listing, Part, Stack, Whole, share
from reconciler.views.markdown.layout import FOLDING, Flavour, cell_row, diff_fence, heading, left_out
from reconciler.views.markdown.neutral import code, html, prose
from reconciler.views.markdown.sections import deferred_part, drift_part, forgotten_part, notes_part, unmanaged_part
from reconciler.views.plan_text import NOT_TO_APPLY, made_words
from reconciler.views.sections import asked_noun, away, away_words, for_whom, what_lacks, without_restarts
from reconciler.views.step_words import SYMBOLS, cards_of, changed_fields, counts_words, reason_of, remarks, size_of, source_of
from reconciler.views.style import bounded, plural

LEAST_BYTES = 4096
"""No budget may be smaller: the summary and a line for each section fit in it."""
MOST_CARDS = 100
MOST_NAMES = 50
"""Of the nodes that share a fold."""
_BAR = 20
_CANDIDATES = 8


def plan_markdown(plan: Plan, max_bytes: int, flavour: Flavour = FOLDING) -> str:
    """The plan in at most `max_bytes` bytes of UTF-8. The summary is always whole; of the rest as much as there is room for, and for what
    is left out how much it is. Nothing from a node is anything but text in it.

    Raises ValueError for a budget below LEAST_BYTES.
    """
    if max_bytes < LEAST_BYTES:
        raise ValueError(f"a plan takes {LEAST_BYTES} bytes at least")
    parts: list[Part] = [
        Whole(_summary(plan)),
        _refusals(plan),
        _impact(plan.impact),
        _unplaced(plan.unplaced),
        _together(plan.steps),
        _cards(plan.gpus) if plan.steps else Whole(""),
        _nodes(plan.steps, flavour),
        drift_part(plan.drift),
        notes_part(plan.warnings),
        deferred_part(plan.deferred),
        unmanaged_part(plan.unmanaged),
        forgotten_part(plan.forgotten),
    ]
    texts, _ = share(parts, max_bytes)
    return "".join(texts).rstrip() + "\n"


def _summary(plan: Plan) -> str:
    """What reviewers read if they read only one thing."""
    fleet = code(plan.fleet, 64)
    does = counts_words(plan.steps) if plan.steps else "no changes"
    lines = [f"{heading(3)} gpurec plan for {fleet}: {does}", ""]
    if plan.supposing is not None:
        lines += [f"**What if** {prose(plan.supposing, 1000)}? {NOT_TO_APPLY}", ""]
    counts = plan_summary(plan) | {"drift": len(without_restarts(plan.drift))}  # as many as it shows
    facts = [
        f"{counts[name]:,} {words}"
        for name, words in (
            ("unchanged", "unchanged"),
            ("unplaced", "without a place"),
            ("held", "held"),
            ("deferred", "deferred"),
            ("drift", "drifted"),
            ("pending", "pending"),
        )
        if counts[name] or name == "unchanged"
    ]
    lines += [" · ".join(facts)]
    if plan.refusals:
        lines += ["", f"**Refused**: {plural(len(plan.refusals), 'guard')} will not let this be applied."]
    if cost := _cost(plan.impact):
        lines += ["", f"**Impact**: {cost}."]
    if plan.rollback is not None:
        lines += ["", f"It goes back to what was applied at serial {plan.rollback}."]
    asked = [f"{code(f'--{name} {pattern}', 60)}" for name, pattern in (("limit", plan.limit), ("exclude", plan.exclude)) if pattern]
    if asked:
        lines += ["", f"Only with {' '.join(asked)}: everything else counts where it is."]
    lines += ["", f"Plan {prose(made_words(plan), 100)}{f' · digest {code(plan.digest, 80)}' if plan.steps else ''}", ""]
    return "\n".join(lines) + "\n"


def _cost(impact: Impact) -> str:
    times = [seconds for _, seconds in away(impact)]
    unknown = times.count(None)
    longest = max((seconds for seconds in times if seconds is not None), default=None)
    said = []
    if times:
        how = [f"{format_duration(longest)} at most"] if longest is not None else []
        how += [f"{unknown:,} for an unknown time"] if unknown else []
        said.append(f"{plural(len(times), 'model')} away ({', '.join(how)})")
    if impact.evictions:
        said.append(f"{plural(len(impact.evictions), 'eviction')}")
    if impact.download_bytes is None:
        said.append("a download of unknown size")
    elif impact.download_bytes:
        said.append(f"a download of about {format_bytes(impact.download_bytes)}")
    return ", ".join(said)


def _refusals(plan: Plan) -> Part:
    rows = [Whole(f"- guard {code(one.guard)}: {prose(one.message)}\n") for one in plan.refusals]
    return Listing(f"{heading(4)} Refused\n\n", rows, left_out("refusal"), "\n")


def _impact(impact: Impact) -> Part:
    rows = [Whole(f"- {code(model)} {prose(away_words(seconds))}\n") for model, seconds in away(impact)]
    evicted = set(impact.evictions)
    rows += [Whole(f"- evicts {code(name)} {prose(for_whom(name, impact))}".rstrip() + "\n") for name in impact.evictions]
    rows += [
        Whole(f"- moves {code(move.model)} from {code(move.address.rpartition('@')[2])} to {code(move.to.rpartition('@')[2])}\n")
        for move in impact.moves
        if move.to is not None and move.address not in evicted
    ]
    return Listing(f"{heading(4)} Impact\n\n", rows, left_out("line", "of the impact"), "\n")


def _unplaced(unplaced: Sequence[Unplaced]) -> Part:
    rows: list[Part] = []
    for one in unplaced:
        first = f"- {code(one.shown)}: {prose(what_lacks(one))}\n"
        below: list[Part] = [Whole(f"  - would fit if {prose(hint)}\n") for hint in one.would_fit_if]
        below += [Whole(f"  - {code(each.engine)}: {prose(each.message or each.reason)}\n") for each in one.candidates[:_CANDIDATES]]
        total = sum(one.candidate_counts.values())
        if total > min(len(one.candidates), _CANDIDATES):
            counts = sorted(one.candidate_counts.items(), key=lambda item: (-item[1], item[0]))
            below.append(
                Whole(f"  - of {plural(total, asked_noun(one))}: {', '.join(f'{code(why)} on {count:,}' for why, count in counts)}\n")
            )
        elif not one.candidates and one.agent is None:
            below.append(Whole("  - no engine could serve it\n"))
        rows.append(Stack([Whole(first), *below]))
    return Listing(f"{heading(4)} No place for\n\n", rows, left_out("model", "without a place"), "\n")


def _cards(cards: Sequence[CardBalance]) -> Part:
    changing = [card for card in cards if changes(card)]
    if not changing:
        return Whole("")
    head = cell_row("card", "", "", "before", "after", "free then", "usable", "")
    head += "|:--|:--|:--|--:|--:|--:|--:|:--|\n"
    alike = alike_cards(changing)
    rows = [Whole(_card(card, count)) for card, count in alike[:MOST_CARDS]]
    rest = len(changing) - sum(count for _, count in alike[:MOST_CARDS])
    quiet = len(cards) - len(changing)
    notes = [prose(LEGEND)]
    if any(card.assumed for card in changing):
        notes.append("assumed: the card's own use cannot be read, so its declared size and foreign use count")
    if rest:
        notes.append(f"{plural(rest, 'more card changes', 'more cards change')}")
    if quiet:
        notes.append(f"{plural(quiet, 'card stays as it is', 'cards stay as they are')}")
    foot = f"\n{'; '.join(notes)}\n\n"
    return Listing(f"{heading(4)} Cards, before → after\n\n{head}", rows, left_out("card", "that change"), foot)


def _card(card: CardBalance, count: int) -> str:
    free = "unknown" if card.free_after_bytes is None else format_bytes(card.free_after_bytes)
    usable = "unknown" if card.usable_bytes is None else format_bytes(card.usable_bytes)
    said = [*card_remarks(card), *(["assumed"] if card.assumed else [])]
    return cell_row(
        code(f"{card.node}/{card.gpu}") + (f" and {count - 1:,} alike" if count > 1 else ""),
        prose(card.name or ""),
        code(bar(card, _BAR).text),
        format_bytes(card.before_bytes),
        format_bytes(card.after_bytes),
        free,
        usable,
        prose(", ".join(said)),
    )


def _together(steps: Sequence[Step]) -> Part:
    """What is done on many nodes, each change once."""
    if len({step.node for step in steps}) <= FEW_NODES:
        return Whole("")
    head = cell_row("", "", "steps", "nodes", "bytes each", "why") + "|:--|:--|--:|--:|--:|:--|\n"
    rows = [
        Whole(
            cell_row(
                _action(one.first),
                code(one.what),
                f"{one.count:,}",
                f"{one.nodes:,}",
                size_of(one.first),
                prose(reason_of(one.first)),
            )
        )
        for one in alike_steps(steps)
    ]
    return Listing(f"{heading(4)} Changes, alike ones together\n\n{head}", rows, left_out("change"), "\n")


def _nodes(steps: Sequence[Step], flavour: Flavour) -> Part:
    """A fold for each node, or for those that are alike, in the order of their first steps. Steps are numbered over the whole plan, so that
    a row can say what it waits for."""
    numbers = {step.id: number for number, step in enumerate(steps, 1)}
    nodes = alike_nodes(steps)
    rows = [_node(one, numbers, flavour) for one in nodes]
    tail = f"of {plural(sum(len(one.nodes) for one in nodes), 'node')} with changes"

    def left(folds: int) -> str:
        return left_out("node", tail)(sum(len(one.nodes) for one in nodes[len(nodes) - folds :]))

    return Listing(f"{heading(4)} Changes, by node\n\n", rows, left)


def _node(alike: AlikeNodes, numbers: dict[str, int], flavour: Flavour) -> Part:
    node, steps, others = alike.nodes[0], alike.steps, len(alike.nodes) - 1
    here = "this machine" if node == LOCAL else ""
    does = f"{and_alike(others)}: {counts_words(steps)}"
    table_head = cell_row("", "", "", "bytes", "where", "why", "after") + "|--:|:--|:--|--:|:--|:--|:--|\n"
    table = Listing(table_head, [Whole(_step(step, numbers)) for step in steps], left_out("step"), "\n")
    below: list[Part] = [
        part for step in steps if (lines := step.lines()) for part in (Whole(f"{code(step.address)}\n\n"), diff_fence(lines))
    ]
    below += [Whole(f"The same on each of {_names(alike.nodes)}.\n\n")] if others else []
    body = Stack([table, *below])
    first = f"- **{here or code(node)}**{does}\n"
    if not flavour.folds:
        return Folded(f"**{here or code(node)}**{does}\n\n", body, "", first)
    return Folded(f"<details><summary>{here or html(node)}{does}</summary>\n\n", body, "</details>\n\n", first)


def _names(nodes: Sequence[str]) -> str:
    shown, left = bounded(nodes, MOST_NAMES)
    return ", ".join(map(code, shown)) + (f" and {left:,} more" if left else "")


def _action(step: Step) -> str:
    return f"{code(SYMBOLS[step.action][0])} {step.action.value}"


def _step(step: Step, numbers: dict[str, int]) -> str:
    why = [prose(reason_of(step))]
    why += [f"{code(name)} {prose(words)}" for name, words in changed_fields(step)]
    why += [f"{prose(label)}: {prose(words)}" for label, words in remarks(step)]
    waits = sorted(numbers[need] for need in step.needs if need in numbers)
    shown = ", ".join(map(str, waits[:6])) + (f" and {len(waits) - 6} more" if len(waits) > 6 else "")
    source = source_of(step)
    bytes_ = size_of(step)
    return cell_row(
        str(numbers[step.id]),
        _action(step),
        code(step.address),
        f"{bytes_} {prose(source)}" if source else bytes_,
        prose(cards_of(step)),
        "; ".join(part for part in why if part),
        shown,
    )
