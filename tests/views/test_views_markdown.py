"""Markdown for a forge: within its budget, whole in its parts, and without anything in it that a node could make the forge do."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from conftest import EMPTY_PLAN, FULL_PLAN, HOSTILE_PLAN, card, step
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token
from syrupy.assertion import SnapshotAssertion

from reconciler.fleet import MIB
from reconciler.planning import judge
from reconciler.planning.kinds.file.kind import FileStep
from reconciler.planning.plan import (
    Action,
    Candidate,
    Cause,
    Deferred,
    Drift,
    Impact,
    Move,
    Note,
    Plan,
    Reason,
    Refusal,
    UnmanagedResident,
    Unplaced,
)
from reconciler.views.markdown import FLAT, FOLDING, LEAST_BYTES, code, drift_markdown, plan_markdown, prose

PARSER = MarkdownIt("commonmark").enable("table").enable("strikethrough")
TAG = re.compile(
    r"<details><summary>(?:this machine|<code>[^<>]*?</code>(?: and [0-9,]+ alike, each)?): [0-9a-z, ]+</summary>\n|</details>\n?"
)
MEANINGFUL = re.compile(r"[@#<>\[\]$~&*_\\|`{}^]|://|www\.|:[a-z]+:|\b[0-9a-f]{7,}\b|[A-Z]+-[0-9]")
"""What a forge could take for a mention, a reference, a link, HTML, an emoji, a commit or a ticket."""
INVISIBLE = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\xa0\xad\u200b-\u200f\u2028-\u202f\u2060-\u206f\ufe00-\ufe0f\ufeff]")
SNARES = (
    "@octocat", "#1", "!2", "$3", "%4", "&5", "GH-6", "PROJ-7", "owner/repo#8", "deadbeef", "<img src=x onerror=alert(1)>", "</details>",
    "</code>", "<!--", "-->", "[a](http://evil)", "![i](//x)", "https://evil.example/x", "www.evil.example", "me@evil.example", ":smile:",
    "`", "``", "```", "~~~", "~~~~diff", "|", "\\|", "*b*", "__i__", "~~s~~", "&lt;", "/merge", "> [!NOTE]", "- [ ] x", "===", "# h",
    "\u202egnp", "\u200b", "\x1b[2J", "\r\n", "\u2028", "اللغة", "x" * 300, " ", "plain", "needs", "7.5", "GiB,", "(as", "x)",
)  # fmt: skip
FOREIGN = st.lists(st.sampled_from(SNARES) | st.text(max_size=8), min_size=1, max_size=6).map(
    lambda parts: "".join(parts) if len(parts) % 2 else " ".join(parts)
)
BUDGETS = st.integers(LEAST_BYTES, 30_000)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Plans in which every text is foreign, of some nodes and every section."""
    name = draw(st.lists(FOREIGN, min_size=4, max_size=4))
    count = draw(st.integers(0, 40))
    nodes = [f"{name[0]}{at % 7}" for at in range(count)]
    steps = [
        step(
            Action.RELOAD, name[1], node, name[2], name[3], id=str(at), engine_name=name[0], vram_source=name[2], needs=("0",),
            before={name[3]: name[1]}, after={name[3]: "x"},
        )
        for at, node in enumerate(nodes)
    ]  # fmt: skip
    diff = tuple(draw(st.lists(FOREIGN, max_size=30)))
    file = FileStep(
        id="f", address=f"file.{name[1]}@local", action=Action.CREATE, reason=Reason(name[2], name[3]), cause=Cause.PENDING, node="local",
        path=name[1], content="", diff=diff,
    )  # fmt: skip
    many = draw(st.integers(0, 30))
    return replace(
        EMPTY_PLAN,
        fleet=name[0],
        created_at=name[1],
        limit=name[2],
        steps=(*steps, file) if diff else tuple(steps),
        gpus=tuple(card(node, at, 8192, 0, 100, name=name[1]) for at, node in enumerate(nodes)),
        drift=tuple(Drift(name[at % 4], name[1], str(at), name[2], name[3], name[0]) for at in range(many)),
        unplaced=tuple(
            Unplaced(name[at % 4], 1, at, (Candidate(name[1], name[2], name[3]),), {name[0]: 9}, (name[2],)) for at in range(many)
        ),
        deferred=tuple(Deferred(name[at % 4], name[2], name[3]) for at in range(many)),
        unmanaged=tuple(UnmanagedResident(name[at % 4], name[2], name[3], 1, True) for at in range(many)),
        notes=tuple(Note(name[at % 4], "held" if at % 2 else name[1], name[2]) for at in range(many)),
        refusals=tuple(Refusal(name[at % 4], name[1], name[2]) for at in range(many % 5)),
        impact=Impact({name[0]: 1.0, name[1]: None}, 1, (name[2],), (Move(name[0], name[1], name[2], name[3], "1"),)),
        forgotten=(name[3],) * many,
    )


def tokens(document: str) -> list[Token]:
    return [child for token in PARSER.parse(document) for child in ((token, *token.children) if token.children else (token,))]


def check(document: str) -> None:
    """What holds of every document."""
    assert not INVISIBLE.search(document.replace("\n", ""))
    assert not [line for line in document.splitlines() if line.startswith("/")]
    found = tokens(document)
    assert not {one.type for one in found} & {"link_open", "image", "em_open", "s_open", "html_inline", "hr", "code_block", "lheading_open"}
    folds, fenced = 0, set[int]()
    for one in found:
        if one.type == "html_block":
            rest = TAG.sub("", one.content)
            assert not rest.strip(), one.content
            folds += one.content.count("<details>") - one.content.count("</details>")
            assert folds in (0, 1)
        elif one.type == "text":
            assert not MEANINGFUL.search(one.content), one.content
        elif one.type == "fence":
            assert one.map is not None
            fenced |= set(range(*one.map))
            lines = document.splitlines()[one.map[0] : one.map[1]]
            assert lines[0] == f"{one.markup}diff"
            assert lines[-1] == one.markup
    assert folds == 0
    rows = [line.count("|") for at, line in enumerate(document.splitlines()) if line.startswith("|") and at not in fenced]
    assert set(rows) <= {5, 7, 8, 9}, "a cell broke its row"


@settings(max_examples=120, deadline=None)
@given(plans(), BUDGETS, st.booleans())
def test_a_plan_keeps_to_its_budget_and_nothing_in_it_is_cut_or_comes_alive(plan: Plan, budget: int, folds: bool) -> None:
    flavour = FOLDING if folds else FLAT
    document = plan_markdown(plan, budget, flavour)
    assert len(document.encode()) <= budget
    check(document)
    summary = plan_markdown(plan, 10_000_000, flavour).split("\n#### ")[0]
    assert document.startswith(summary.rstrip())
    assert folds or not [one for one in tokens(document) if one.type == "html_block"], "Bitbucket shows HTML as text"


@settings(max_examples=40, deadline=None)
@given(plans(), BUDGETS)
def test_a_drift_report_does_so_too(plan: Plan, budget: int) -> None:
    document = drift_markdown(judge(plan), budget)
    assert len(document.encode()) <= budget
    check(document)


@settings(max_examples=300, deadline=None)
@given(FOREIGN)
def test_foreign_text_is_one_line_of_text(text: str) -> None:
    for shown in (code(text), prose(text)):
        found = [one for one in tokens(f"x {shown} y") if one.type not in ("paragraph_open", "paragraph_close", "inline")]
        assert {one.type for one in found} <= {"text", "code_inline"}
        assert not [one.content for one in found if one.type == "text" and MEANINGFUL.search(one.content)]


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("desired, not resident", "desired, not resident"),
        ("needs 39.0 GiB, 7372 MiB usable", "needs 39.0 GiB, 7372 MiB usable"),
        ("its need is unknown; declare `vram`", "its need is unknown; declare `vram`"),
        ("held by llama3.1:8b 4400 MiB and 2 more", "held by `llama3.1:8b` 4400 MiB and 2 more"),
        ("resident (as mistral:7b-c8192)", "resident (as `mistral:7b-c8192`)"),
        ("on the card: 100% → 15.2%", "on the card: 100% → 15.2%"),
        ("ask @ops about #12", "ask `@ops` about `#12`"),
        ("a|b", "`a\\x7cb`"),
        ("a``b", "```a``b```"),
    ],
)
def test_plain_words_stay_prose_and_names_become_code(said: str, shown: str) -> None:
    assert prose(said) == shown


def test_a_plan_with_everything(snapshot: SnapshotAssertion) -> None:
    assert plan_markdown(FULL_PLAN, 65_536) == snapshot(name="folding")
    assert plan_markdown(FULL_PLAN, 65_536, FLAT) == snapshot(name="flat")
    assert drift_markdown(judge(FULL_PLAN), 65_536) == snapshot(name="drift")


def test_a_hostile_plan(snapshot: SnapshotAssertion) -> None:
    document = plan_markdown(HOSTILE_PLAN, 65_536)
    check(document)
    assert document == snapshot


def test_an_empty_plan_says_so_first() -> None:
    assert plan_markdown(EMPTY_PLAN, 65_536).splitlines()[0] == "### gpurec plan for `lab`: no changes"


def test_what_there_is_no_room_for_is_counted() -> None:
    nodes = [f"gpu{at:04}" for at in range(2000)]
    plan = replace(
        EMPTY_PLAN,
        steps=tuple(step(Action.LOAD, f"m{at}", node, "ollama", "missing", id=node) for at, node in enumerate(nodes)),
        gpus=tuple(card(node, 0, 8192, at, 700) for at, node in enumerate(nodes)),
    )
    for budget in (LEAST_BYTES, 32_768, 65_536):
        document = plan_markdown(plan, budget)
        assert len(document.encode()) <= budget
        shown = document.count("<details>") + document.count("\n- **`gpu")
        left = re.search(r"… ([\d,]+) more nodes? of 2,000 nodes with changes", document)
        assert left is not None
        assert shown + int(left[1].replace(",", "")) == 2000
    assert shown > 400
    assert "2,000 to load" in document.splitlines()[0]


def test_nodes_that_change_alike_share_a_fold_and_each_change_is_told_once() -> None:
    nodes = [f"gpu{at:04}" for at in range(2000)]
    steps = [step(Action.LOAD, "m", node, "ollama", f"{node}/ollama lacks it", id=node, vram_bytes=700 * MIB) for node in nodes]
    odd = step(Action.UNLOAD, "old", "gpu0007", "ollama", "is not wanted", id="odd")
    plan = replace(EMPTY_PLAN, steps=(*steps, odd), gpus=tuple(card(node, 0, 8192, 0, 700) for node in nodes))
    document = plan_markdown(plan, 65_536)
    check(document)
    assert "more node" not in document
    assert "| `+` load | `model.m@*/ollama` | 2,000 | 2,000 | 700 MiB | gpu0000/ollama lacks it |" in document.replace(
        "`gpu0000/ollama`", "gpu0000/ollama"
    )
    assert "| `-` unload | `model.old@*/ollama` | 1 | 1 |" in document
    assert "<code>gpu0000</code> and 1,998 alike, each: 1 to load" in document
    assert "<code>gpu0007</code>: 1 to load, 1 to unload" in document
    assert "`gpu0000/0` and 1,999 alike" in document
    assert "The same on each of `gpu0000`, `gpu0001`, " in document


def test_a_long_diff_is_shortened_by_whole_lines_inside_of_its_fence() -> None:
    diff = tuple(f"+line {at} of the file" for at in range(2000))
    file = FileStep(
        id="f", address="file./etc/x@local", action=Action.CREATE, reason=Reason("c", "is wanted"), cause=Cause.PENDING, node="local",
        path="/etc/x", content="", diff=diff,
    )  # fmt: skip
    document = plan_markdown(replace(EMPTY_PLAN, steps=(file,)), 8192)
    check(document)
    fence = next(one for one in tokens(document) if one.type == "fence")
    shown = fence.content.splitlines()
    assert shown == list(diff[: len(shown)])
    assert f"… {2000 - len(shown):,} more lines of the diff" in document


def test_less_room_than_the_summary_takes_is_refused() -> None:
    with pytest.raises(ValueError, match="4096 bytes at least"):
        plan_markdown(FULL_PLAN, LEAST_BYTES - 1)


def test_the_bytes_of_a_card_are_told_with_what_is_free_then() -> None:
    plan = replace(FULL_PLAN, gpus=(card("a", 0, 8192, 100, 4096, free_after_bytes=3000 * MIB, foreign_bytes=300 * MIB),))
    assert "| 100 MiB | 4096 MiB | 3000 MiB | 7372 MiB | 300 MiB foreign |" in plan_markdown(plan, 65_536)
