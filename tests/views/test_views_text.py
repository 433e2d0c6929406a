"""What people read, as snapshots, and the rules that hold for each of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from syrupy.assertion import SnapshotAssertion

from reconciler.fleet import (
    GIB,
    MIB,
    CardFacts,
    CardSpec,
    Desired,
    EngineFacts,
    EngineId,
    EngineKind,
    EngineSpec,
    Fleet,
    FleetFacts,
    Installed,
    NodeFacts,
    NodeSpec,
    Resident,
    ResidentStatus,
)
from reconciler.planning import ModelStep, judge
from reconciler.planning.kinds.agent import AgentStep
from reconciler.planning.kinds.file.kind import FileStep
from reconciler.planning.plan import Action, CardBalance, Cause, Deferred, Drift, Impact, Move, Plan, Reason, Unplaced
from reconciler.views import (
    Detail,
    RunRow,
    RunStep,
    StepLine,
    drift_text,
    facts_text,
    history_text,
    inventory_text,
    outcome_text,
    plan_text,
    run_text,
    validate_text,
)


@pytest.fixture
def make_facts() -> Callable[..., FleetFacts]:
    return lambda *cards: FleetFacts("2026-01-01T00:00:00Z", {"gpu-a": NodeFacts("gpu-a", cards)})


ANSI = re.compile(r"\x1b\[[0-9;]*m")


def test_a_plan_with_everything(full_plan: Plan, snapshot: SnapshotAssertion) -> None:
    assert plan_text(full_plan, width=120) == snapshot


def test_what_an_apply_would_forget_is_shown_also_where_there_is_no_step(empty_plan: Plan) -> None:
    shown = plan_text(replace(empty_plan, forgotten=("model.m@gone/ollama\x1b[31m",)))
    assert "Forgotten by an apply: gone, or of an engine that left the inventory" in shown
    assert "model.m@gone/ollama\\x1b[31m" in shown


def test_an_empty_plan_begins_no_changes(empty_plan: Plan, snapshot: SnapshotAssertion) -> None:
    assert plan_text(empty_plan).startswith("No changes.")
    assert plan_text(empty_plan) == snapshot


def test_an_empty_plan_says_what_it_could_not_do(empty_plan: Plan, snapshot: SnapshotAssertion) -> None:
    plan = replace(
        empty_plan,
        unplaced=(Unplaced("big", 2, 40 * GIB, (), {"insufficient_vram": 4}),),
        deferred=(Deferred("gpu-c", "ollama", "connection refused"),),
    )
    assert plan_text(plan).startswith("No changes.")
    assert plan_text(plan) == snapshot


def test_hostile_names_are_inert(hostile_plan: Plan, snapshot: SnapshotAssertion) -> None:
    text = plan_text(hostile_plan, width=120)
    assert text == snapshot
    assert not [line for line in text.splitlines() if line.startswith("  + load")]
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069]", text)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\u200b\u202e]", drift_text(judge(hostile_plan)))


def test_colour_changes_nothing_but_colour(full_plan: Plan, hostile_plan: Plan) -> None:
    for plan in (full_plan, hostile_plan):
        coloured = plan_text(plan, colour=True, width=120)
        assert ANSI.search(coloured)
        assert ANSI.sub("", coloured) == plan_text(plan, width=120)


def test_the_table_of_cards_is_bounded(
    empty_plan: Plan, make_card: Callable[..., CardBalance], make_step: Callable[..., ModelStep]
) -> None:
    cards = tuple(make_card(f"node{i:05}", 0, 8192, 0, 700) for i in range(10_000))
    plan = replace(empty_plan, steps=(make_step(Action.LOAD, "m", "node00000", "ollama", "missing"),), gpus=cards)
    text = plan_text(plan)
    assert "… and 9,960 more cards that change" in text
    assert len(text.splitlines()) < 60


def test_quiet_cards_are_one_line(empty_plan: Plan, make_card: Callable[..., CardBalance], make_step: Callable[..., ModelStep]) -> None:
    cards = (make_card("gpu-a", 0, 8192, 0, 700), *(make_card(f"node{i:05}", 0, 8192, 700, 700) for i in range(9_999)))
    plan = replace(empty_plan, steps=(make_step(Action.LOAD, "m", "gpu-a", "ollama", "missing"),), gpus=cards)
    assert "9,999 cards stay as they are" in plan_text(plan)


@pytest.mark.parametrize(("count", "more"), [(41, None), (42, "… and 2 more")])
def test_lists_say_how_many_more_there_are(empty_plan: Plan, count: int, more: str | None) -> None:
    plan = replace(empty_plan, deferred=tuple(Deferred(f"n{i:03}", None, "timed out") for i in range(count)))
    text = plan_text(plan)
    assert (more in text) if more else ("more" not in text)


def test_the_bar_fills_its_width_for_any_card(make_card: Callable[..., CardBalance]) -> None:
    from reconciler.views.cards import bar

    odd = make_card("a", 0, 100, 0, 0, before_bytes=500 * MIB, after_bytes=900 * MIB, foreign_bytes=400 * MIB)
    for card in (make_card("a", 0, 8192, 0, 1), make_card("a", 0, 8192, 8192, 0), odd):
        cell = bar(card, 20)
        assert len(cell.text) == 20
        assert "".join(text for text, _ in cell.spans) == cell.text


def test_drift(full_plan: Plan, empty_plan: Plan, snapshot: SnapshotAssertion) -> None:
    assert drift_text(judge(full_plan)) == snapshot
    assert drift_text(judge(empty_plan)).startswith("No drift.")
    assert "Nothing was applied" in drift_text(judge(replace(empty_plan, lineage=None)))


def test_drift_is_said_in_words(empty_plan: Plan) -> None:
    def said(*drift: Drift, **plan: Any) -> str:
        return drift_text(judge(replace(empty_plan, drift=drift, **plan)), width=120)

    stray = Drift("model.x@gpu-a/ollama", "unmanaged", "resident", None, True)
    gone = Drift("model.y@gpu-a/ollama", "missing", "resident", True, False)
    new = said(stray, lineage=None, serial=0)
    assert new.startswith("1 field drifted. Nothing was applied to fleet lab yet.\n\nDrift\n")
    assert "model.x@gpu-a/ollama  is resident, and nobody here asked for it" in new
    both = said(stray, gone)
    assert both.startswith("2 fields drifted. Fleet lab is not as apply 12 left it.\n\nDrift, as last applied → as found\n")
    assert "model.y@gpu-a/ollama  was resident, is gone" in both
    found = said(
        Drift("model.y@gpu-a/ollama", "missing", "installed", True, False),
        Drift("model.z@gpu-a/ollama", "cpu_fallback", "card_bytes", 5 * 2**30, 2**30, "volatile"),
        Drift("gpu.gpu-a/0", "card_lost", "card", True, False, "observed"),
        Drift("gpu.gpu-a/1", "foreign_vram", "foreign_bytes", 0, 2**30, "volatile"),
        Drift("gpu.gpu-a/1", "card_changed", "total_bytes", 8 * 2**30, 12 * 2**30, "observed"),
    )
    for words in (
        "was installed, is gone",
        "the engine says 5120 MiB on the card, the card 1024 MiB",
        "was there, is not seen any more",
        "other programs: 0 B allowed → 1024 MiB",
        "memory: 8192 MiB → 12.0 GiB",
    ):
        assert words in found
    assert "was pinned, now expires by itself" in said(Drift("model.y@gpu-a/ollama", "keep_alive", "pinned", True, False))
    assert "unknown" not in new + both


def test_a_card_whose_use_is_known_has_a_bar_and_any_other_has_none(make_facts: Callable[..., FleetFacts]) -> None:
    known = CardFacts(0, name="A", total_bytes=8 * GIB, used_bytes=4 * GIB, foreign_bytes=GIB)
    line = next(line for line in facts_text(make_facts(known)).splitlines() if "gpu-a/0" in line)
    assert "████████▒▒░░░░░░░░░░  4096 MiB used  of 8192 MiB  1024 MiB foreign" in line
    unknown = facts_text(make_facts(CardFacts(0, name="A", total_bytes=8 * GIB)))
    assert "use unknown  of 8192 MiB" in unknown
    assert "░" not in unknown


def test_labels_and_addresses_of_the_inventory_are_escaped() -> None:
    text = inventory_text([NodeSpec("n", "\x1b[2Jaddress", labels={"site\u202e": "x\ny"})])
    assert not re.search(r"[\x1b\u202e]|\ny", text)
    assert "site\\u202e=x\\x0ay" in text


def test_facts(snapshot: SnapshotAssertion) -> None:
    a, b = EngineId("gpu-a", "ollama"), EngineId("gpu-b", "llama")
    residents = (
        Resident("llama3.1:latest", size_bytes=6 * GIB, vram_bytes=6 * GIB, context=8192, pinned=True),
        Resident("half\x1b[2J", size_bytes=2 * GIB, vram_bytes=GIB, pinned=False, expires_in=240.0),
        Resident("coming", status=ResidentStatus.LOADING),
    )
    facts = FleetFacts(
        "2026-01-01T00:00:00Z",
        {
            "gpu-a": NodeFacts(
                "gpu-a",
                (CardFacts(0, name="RTX 3060 Ti", total_bytes=8 * GIB, compute_capability=(8, 6)),),
                engines={
                    "ollama": EngineFacts(a, EngineKind.OLLAMA, True, build="0.34.0", installed=(Installed("x"),), residents=residents)
                },
            ),
            "gpu-b": NodeFacts("gpu-b", engines={"llama": EngineFacts(b, EngineKind.LLAMACPP, False, reason="connection refused")}),
        },
    )
    assert facts_text(facts) == snapshot


def test_inventory_and_validation(snapshot: SnapshotAssertion) -> None:
    engine = EngineSpec(EngineId("gpu-a", "gpu0"), EngineKind.OLLAMA, "http://gpu-a:11434", gpus=(0,), memory_limit=7 * GIB)
    node = NodeSpec(
        "gpu-a", "10.9.66.124", (engine,), (CardSpec(0, name="RTX 3060 Ti", vram=8 * GIB, foreign=300 * MIB),), labels={"site": "x"}
    )
    other = NodeSpec("gpu-b", "gpu-b")
    assert inventory_text([node, other]) == snapshot(name="inventory")
    text = validate_text(Fleet("lab", {"gpu-a": node, "gpu-b": other}), Desired(), ["a child's limits lose a parent's key"])
    assert text == snapshot(name="valid")


def test_the_end_of_an_apply(snapshot: SnapshotAssertion) -> None:
    good = [StepLine("model.a@x/y", "load", "done"), StepLine("model.b@x/y", "load", "satisfied")]
    bad = [
        *good,
        StepLine("model.c@x/y", "load", "failed", "out of memory\nApply complete!"),
        StepLine("model.d@x/y", "load", "skipped", ""),
    ]
    assert outcome_text(good, seconds=3.25, serial=13) == snapshot(name="complete")
    assert outcome_text(bad, seconds=90, serial=None, unplaced=1, deferred=2) == snapshot(name="incomplete")


def test_a_run_of_history_with_its_steps(snapshot: SnapshotAssertion) -> None:
    run = RunRow(
        11, 5, "2026-01-02T00:00:00Z", "ops@ci", "partial", "apply", "sha256:01", 200.4, {"failed": 1, "done": 1}, 2, 0, "https://ci/7"
    )
    steps = [
        RunStep("model.a@x/y", "load", "done", None, 4.5),
        RunStep("model.b@x/y", "load", "failed", "out_of_memory: no\x1b[2J", 200),
    ]
    assert run_text(run, steps) == snapshot(name="steps")
    assert run_text(run, ()) == snapshot(name="no steps")


def test_history(snapshot: SnapshotAssertion) -> None:
    digest = "sha256:0123456789abcdef"
    rows = [
        RunRow(12, 5, "2026-01-03T00:00:00Z", "ann@desk", "running", "apply", digest, steps={"started": 1}),
        RunRow(11, 5, "2026-01-02T00:00:00Z", "ops@ci", "partial", "apply", digest, 200.4, {"skipped": 1, "done": 1203}, 2, 1),
        RunRow(10, 4, "2026-01-01T00:00:00Z", "ann@desk", "done", "state rm model.x\x1b[2J@n/e", "", 0.02),
    ]
    assert history_text(rows) == snapshot
    assert history_text([]) == "Nothing was applied yet.\n"


def test_an_apply_is_complete_only_where_everything_has_a_place() -> None:
    done = [StepLine("model.a@x/y", "load", "done")]
    assert outcome_text(done, seconds=1.0, serial=2).startswith("Apply complete!")
    assert "Apply incomplete." in outcome_text(done, seconds=1.0, serial=2, unplaced=1)


def test_of_a_new_file_a_plan_shows_the_beginning_and_how_much_more_there_is_and_of_a_changed_one_all(empty_plan: Plan) -> None:
    diff = ("@@ -0,0 +1,60 @@", *(f"+line {at}" for at in range(60)))
    file = FileStep(
        id="f", address="file./etc/x@local", action=Action.CREATE, reason=Reason("c", "is wanted"), cause=Cause.PENDING, node="local",
        path="/etc/x", content="", diff=diff, validate=("nginx", "-t"),
    )  # fmt: skip
    new = plan_text(replace(empty_plan, steps=(file,)))
    assert "+line 19\n      … 40 more new lines: --format json, markdown or html\n      ! written only if" in new
    assert "+line 20" not in new
    assert "+line 59" in plan_text(replace(empty_plan, steps=(replace(file, action=Action.UPDATE),)))


def container_step(action: Action, before: dict[str, object], after: dict[str, object]) -> AgentStep:
    return AgentStep(
        id="a", address="agent.coder@gpu-a", action=action, reason=Reason("not_there", "is wanted and not there"), cause=Cause.PENDING,
        node="gpu-a", before=before, after=after,
    )  # fmt: skip


def test_of_a_new_container_the_image_and_what_it_is_given_are_told(empty_plan: Plan) -> None:
    after = {"image": "example/agent:1", "model": "m", "ports": "127.0.0.1:1->1/tcp", "mounts": "", "cards": None, "networks": "default"}
    text = plan_text(replace(empty_plan, steps=(container_step(Action.CREATE, {}, after),)), detail=Detail.CHANGES)
    assert "      image  example/agent:1\n      model  m\n      ports  127.0.0.1:1->1/tcp\n" in text
    assert "mounts" not in text


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("A=1 B=x 'KEY from env:K'", "A=1 B=y 'KEY from env:L'", ["env B    x → y", "env KEY  from env:K → from env:L"]),
        ("A=1", "B='two words' C=", ["env A  1 → not set", "env B  not set → two words", "env C  not set → empty"]),
        ("A='", "A=1", ["env  A=' → A=1"]),
    ],
)
def test_of_an_environment_only_the_variables_that_differ_are_told(empty_plan: Plan, before: str, after: str, told: list[str]) -> None:
    step = container_step(Action.UPDATE, {"env": before}, {"env": after})
    text = plan_text(replace(empty_plan, steps=(step,)))
    assert [line.strip() for line in text.splitlines() if line.startswith("      env")] == told


def test_what_gives_way_for_good_is_told_once_with_for_whom(empty_plan: Plan) -> None:
    address = "model.small@gpu-a/ollama"
    impact = Impact({"small": None, "other": None}, 0, (address,), (Move("small", address, None, "big", "s"),))
    text = plan_text(replace(empty_plan, impact=impact))
    assert f"  evicts {address}  for big, until there is room for it again\n" in text
    assert "  other  away for an unknown time\n" in text
    assert text.count("small") == 1
