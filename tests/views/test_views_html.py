"""The page of a plan: one file that asks for nothing, in which a name from a node is text and never markup."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from conftest import EMPTY_PLAN, FULL_PLAN, HOSTILE_PLAN, card, large_plan, step
from hypothesis import given, settings
from test_views_markdown import INVISIBLE, plans

from reconciler.planning.kinds.file.kind import FileStep
from reconciler.planning.plan import Action, Cause, Deferred, Impact, Note, Plan, Reason, UnmanagedResident, Unplaced
from reconciler.planning.schedule import schedule
from reconciler.views import plan_text
from reconciler.views.html import plan_html
from reconciler.views.markdown import plan_markdown

OURS = {
    "html", "head",
    "meta", "title", "style", "body", "main", "h1", "h2", "p", "dl", "dt", "dd", "div", "span", "strong", "ul", "li", "code",
    "table", "thead", "tbody", "tr", "th", "td", "details", "summary", "pre", "svg", "g", "rect", "line", "path", "text", "input", "script",
}  # fmt: skip
ATTRIBUTES = {
    "charset", "http-equiv", "content", "name", "lang", "class", "id", "type", "placeholder", "aria-label", "aria-hidden", "role", "hidden",
    "data-names", "tabindex", "scope", "open", "data-row", "width", "height", "viewbox", "x", "y", "x1", "x2", "y1", "y2", "rx", "d",
    "text-anchor",
}  # fmt: skip


class Reader(HTMLParser):
    """Elements, attributes and text of a document; fails where an element is not closed in order."""

    def __init__(self, document: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: dict[str, set[str]] = {}
        self.open: list[str] = []
        self.texts: list[str] = []
        self.rows = 0
        self.feed(document)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            self.attributes.setdefault(name, set()).add(value or "")
        self.rows += any(name == "data-row" for name, _ in attrs)
        if tag not in ("meta", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.texts.append(data)


def check(document: str) -> Reader:
    read = Reader(document)
    assert set(read.tags) <= OURS
    assert set(read.attributes) <= ATTRIBUTES, "no handler, no link, no source of anything"
    assert read.tags.count("script") == read.tags.count("style") == 1
    assert not INVISIBLE.search("".join(read.texts).replace("\n", ""))
    return read


@settings(max_examples=60, deadline=None)
@given(plans())
def test_nothing_foreign_is_markup(plan: Plan) -> None:
    check(plan_html(plan))


@pytest.mark.parametrize("plan", [FULL_PLAN, EMPTY_PLAN, HOSTILE_PLAN], ids=["full", "empty", "hostile"])
def test_the_page_lets_in_only_its_own_style_and_script_and_asks_for_nothing(plan: Plan) -> None:
    document = plan_html(plan)
    check(document)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', document)
    assert policy is not None
    for element in ("style", "script"):
        inside = re.search(rf"<{element}>(.*?)</{element}>", document, re.S)
        assert inside is not None
        digest = base64.b64encode(hashlib.sha256(inside[1].encode()).digest()).decode()
        assert f"{element}-src &#x27;sha256-{digest}&#x27;" in policy[1]
    assert policy[1].startswith("default-src &#x27;none&#x27;;")
    assert not re.search(r"https?:|url\(|@import|src=|href=", document)


def test_every_step_card_and_reason_is_on_the_page_without_script() -> None:
    read = check(plan_html(FULL_PLAN))
    said = " ".join("".join(read.texts).split())
    for step_ in FULL_PLAN.steps:
        assert step_.address in said
        assert step_.reason.message in said
    for words in ("a card of 44 GiB joins", "connection refused", "peak 7000 MiB", "phi3:mini", "away for about 4.5s", "sha256:d0"):
        assert words in said
    assert read.rows == 5 + 3 + 3 + 3 + 2 + 1 + 2 + 2, "steps, changing cards, impact, drift, unplaced, warnings, deferred, unmanaged"
    assert 'class="filter" hidden>' in plan_html(FULL_PLAN), "what only works with script is shown by it"


def test_a_card_is_drawn_to_one_scale_before_and_after() -> None:
    plan = replace(FULL_PLAN, gpus=(card("a", 0, 1000, 250, 500, usable_bytes=900 * 2**20, foreign_bytes=100 * 2**20),))
    document = plan_html(plan)
    bars = re.findall(r'<rect class="f-(\w+)" x="([\d.]+)" y="([\d.]+)" width="([\d.]+)"', document)
    drawn = {top: [(look, float(width)) for look, _, at, width in bars if at == top] for top in ("0", "14")}
    assert drawn["0"] == [("used", 65.0), ("foreign", 26.0), ("free", 143.0), ("reserve", 26.0)]
    assert drawn["14"] == [("used", 65.0), ("added", 65.0), ("foreign", 26.0), ("free", 78.0), ("reserve", 26.0)]


def test_a_step_is_drawn_after_what_it_waits_for_and_one_engine_does_one_load_at_a_time() -> None:
    steps = (
        step(Action.PULL, "a", "n", "o", "x", id="p", seconds=10.0),
        step(Action.LOAD, "a", "n", "o", "x", id="l1", seconds=4.0, needs=("p",)),
        step(Action.LOAD, "b", "n", "o", "x", id="l2", seconds=None),
        step(Action.LOAD, "b", "m", "o", "x", id="l3", seconds=2.0),
    )
    times = [(one.step.id, one.start, one.end, one.known) for one in schedule(steps)]
    assert times == [("p", 0.0, 10.0, True), ("l1", 10.0, 14.0, True), ("l2", 14.0, 18.0, False), ("l3", 0.0, 2.0, True)]


def test_steps_that_nobody_measured_are_drawn_in_their_order_without_times() -> None:
    guessed = tuple(step(Action.LOAD, name, name, "o", "x", id=name, seconds=None) for name in "ab")
    document = plan_html(replace(EMPTY_PLAN, steps=guessed))
    assert "No such step was measured before" in document
    assert 'class="tick"' not in document
    assert "About" not in document
    assert 'class="tick"' in plan_html(replace(EMPTY_PLAN, steps=(*guessed, step(Action.LOAD, "c", "c", "o", "x", id="c", seconds=4.0))))


NODES = [f"gpu{at:04}" for at in range(1000)]


def test_nodes_that_change_alike_share_a_fold_which_names_them_all() -> None:
    steps = [step(Action.LOAD, f"m{at}", node, "ollama", f"{node}/ollama lacks it", id=f"{at}{node}") for node in NODES for at in range(10)]
    plan = replace(EMPTY_PLAN, steps=tuple(steps), gpus=tuple(card(node, 0, 8192, 0, 700) for node in NODES))
    document = plan_html(plan)
    read = check(document)
    said = "".join(read.texts)
    assert document.count("<details open>") == 1
    assert "gpu0000 and 999 alike, each: 10 to load" in said
    assert ", ".join(NODES) in said
    assert read.rows == 10 + 10 + 1, "changes together, steps of one node, one card"
    assert "9,990 more steps are not drawn" in said
    assert "more nodes" not in said


def test_a_large_plan_has_the_changes_of_all_and_says_which_nodes_are_only_in_the_json() -> None:
    document = plan_html(large_plan())
    read = check(document)
    said = "".join(read.texts)
    assert "<details open>" not in document
    assert len(read.tags) < 8000
    assert document.count("<details>") == 39, "rows of 400 steps"
    assert said.index("gpu0999: 10 to load, 1 to unload") < said.index("gpu0000: 10 to load"), "what takes away comes first"
    assert "… and 961 more nodes with changes (9,610 to load): the plan's JSON has all of them (--format json)." in said
    assert "… and 899 more cards that change: the plan's JSON" in said
    assert "… and 4,900 more fields that drifted: the plan's JSON" in said


def test_long_diffs_of_many_files_are_shortened_and_counted() -> None:
    def file(node: str) -> FileStep:
        return FileStep(
            id=node, address=f"file./etc/x@{node}", action=Action.CREATE, reason=Reason("c", "is wanted"), cause=Cause.PENDING, node=node,
            path="/etc/x", content="", diff=tuple(f"+{node[-1]} {node[-3:]}: {line}" for line in range(1000)),
        )  # fmt: skip

    one = check(plan_html(replace(EMPTY_PLAN, steps=(file("a"),))))
    assert "+a a: 999" in "".join(one.texts)
    many = check(plan_html(replace(EMPTY_PLAN, steps=tuple(map(file, NODES[:100])))))
    assert "… and 970 more lines of the diff: the plan's JSON has all of them" in "".join(many.texts)
    assert len(many.tags) < 10_000


def test_every_list_of_a_large_plan_is_bounded() -> None:
    many = range(3000)
    plan = replace(
        EMPTY_PLAN,
        unplaced=tuple(Unplaced(f"m{at}", 1, 1, (), {}, ()) for at in many),
        notes=tuple(Note(f"m{at}", "c", "said") for at in many),
        deferred=tuple(Deferred(f"n{at}", None, "refused") for at in many),
        unmanaged=tuple(UnmanagedResident("n", "o", f"m{at}", None, None) for at in many),
        forgotten=tuple(f"model.m{at}@n/o" for at in many),
        impact=Impact({f"m{at}": 1.0 for at in many}, 0, tuple(f"model.e{at}@n/o" for at in many)),
    )
    read = check(plan_html(plan))
    assert read.rows == 6 * 100
    assert "".join(read.texts).count("the plan's JSON has all of them") == 6


def test_an_agent_without_a_place_is_told_as_an_agent_and_not_as_its_model() -> None:
    asked = Unplaced("m", 1, None, (), {"no_card": 9}, (), agent="desk", reason="waits for a card")
    for one, said in ((asked, "of 9 engines: no_card on 9"), (replace(asked, candidate_counts={}), "agent.desk")):
        plan = replace(EMPTY_PLAN, unplaced=(one,))
        page = "".join(check(plan_html(plan)).texts)
        for shown in (page, plan_text(plan, width=120), plan_markdown(plan, 65_536)):
            assert "agent.desk" in shown
            assert said in shown.replace("`", "")
            assert "no engine could serve it" not in shown
