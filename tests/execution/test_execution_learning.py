"""What a run learns of its loads, and what it does not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from placement.test_placement_knowledge import BLOB, HEADER, NAME, ONE, PLAIN, told
from planning.fleets import desired, model, plan

from reconciler.execution.kinds.model.learning import learned_needs
from reconciler.execution.outcome import StepResult
from reconciler.fleet import GIB, MIB, Applied, CardFacts, CardProcess, FleetFacts, Measured, MeasuredKey, ModelHeader, Resident
from reconciler.planning import Action, Plan
from reconciler.state import Learned, StepStatus

KEY = MeasuredKey(f"sha256:{BLOB}", "0.34.0", "", 4096, 1, "f16", True)
WANT = desired(model(NAME, ["a"]))
BEFORE = told(ONE, header=PLAIN)


def there(vram: int | None = 700 * MIB, size: int | None = 700 * MIB, context: int = 4096, header: ModelHeader = PLAIN) -> FleetFacts:
    return told(
        ONE, header=header, residents={"a": [Resident(NAME, size_bytes=size, vram_bytes=vram, context=context, pinned=True, blob=BLOB)]}
    )


def used(count: int | None, *processes: CardProcess) -> tuple[CardFacts, ...]:
    return (CardFacts(0, total_bytes=8 * GIB, used_bytes=count, processes=processes or None, assumed=count is None),)


def with_cards(facts: FleetFacts, cards: tuple[CardFacts, ...]) -> FleetFacts:
    return replace(facts, nodes={name: replace(node, cards=cards) for name, node in facts.nodes.items()})


def learn(
    after: FleetFacts,
    *,
    before: FleetFacts = BEFORE,
    cards: tuple[CardFacts, ...] | None = None,
    status: StepStatus = StepStatus.DONE,
    of: Plan | None = None,
) -> list[Learned]:
    made = of or plan(ONE, WANT, BEFORE)
    results = {step.id: StepResult(step.id, step.address, step.action, status) for step in made.steps}
    seen = {} if cards is None else {"a": cards}
    return list(learned_needs(made, ONE, WANT, before, after, seen, Applied, results))


def test_a_load_that_was_done_teaches_what_the_engine_reports() -> None:
    assert learn(there()) == [Learned(KEY, Measured(700 * MIB, None))]


@pytest.mark.parametrize("status", [StepStatus.FAILED, StepStatus.SATISFIED, StepStatus.SKIPPED, StepStatus.INTERRUPTED])
def test_nothing_is_learned_of_what_this_run_did_not_load(status: StepStatus) -> None:
    assert learn(there(), status=status) == []


@pytest.mark.parametrize("vram", [0, 300 * MIB])
def test_a_model_that_is_not_wholly_on_cards_teaches_nothing(vram: int) -> None:
    assert learn(there(vram=vram)) == []


def test_a_model_that_did_not_stay_teaches_nothing() -> None:
    assert learn(told(ONE)) == []


def test_the_figure_is_of_the_context_that_the_engine_really_gave() -> None:
    assert learn(there(context=2048)) == [Learned(replace(KEY, context=2048), Measured(700 * MIB, None))]


def test_what_the_card_lost_is_learned_where_it_agrees_and_nothing_where_it_does_not() -> None:
    before = with_cards(BEFORE, used(GIB))
    assert learn(there(), before=before, cards=used(GIB + 1000 * MIB)) == [Learned(KEY, Measured(700 * MIB, 1000 * MIB))]
    assert learn(there(), before=before, cards=used(5 * GIB)) == []
    assert learn(there(), before=before, cards=used(GIB)) == []


def test_a_card_whose_use_is_unknown_before_or_after_is_not_seen() -> None:
    for before, after in ((None, GIB), (GIB, None)):
        assert learn(there(), before=with_cards(BEFORE, used(before)), cards=used(after)) == [Learned(KEY, Measured(700 * MIB, None))]


def test_the_engines_own_processes_count_whoever_else_came() -> None:
    stranger = CardProcess(9, "game", 3 * GIB)
    runner = CardProcess(7, "llama-server", 950 * MIB, engine="ollama")
    before = with_cards(BEFORE, used(GIB, CardProcess(1, "x", GIB)))
    found = learn(there(), before=before, cards=used(6 * GIB, CardProcess(1, "x", GIB), runner, stranger))
    assert found == [Learned(KEY, Measured(700 * MIB, 950 * MIB))]


def test_a_card_on_which_more_than_this_load_happened_says_nothing_of_it() -> None:
    made = plan(ONE, WANT, BEFORE)
    (step,) = made.steps
    other = replace(step, id="unload:other", action=Action.UNLOAD, address="model.other:1@a/ollama", model="other:1", engine_name="other:1")
    both = replace(made, steps=(other, step))
    found = learn(there(), before=with_cards(BEFORE, used(GIB)), cards=used(GIB + 1000 * MIB), of=both)
    assert found == [Learned(KEY, Measured(700 * MIB, None))]


def test_the_report_of_a_model_with_sliding_layers_teaches_nothing_and_its_processes_do() -> None:
    assert learn(there(header=HEADER)) == []
    runner = CardProcess(7, "llama-server", 950 * MIB, engine="ollama")
    before = with_cards(BEFORE, used(GIB, CardProcess(1, "x", GIB)))
    found = learn(there(header=HEADER), before=before, cards=used(2 * GIB, CardProcess(1, "x", GIB), runner))
    assert found == [Learned(KEY, Measured(None, 950 * MIB))]
