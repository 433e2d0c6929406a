"""`split`: one replica over several cards of its engine, where that can."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fleets import GIB, actions, applied, desired, facts, fleet, loaded, model, node, owned, plan

from reconciler.fleet import (
    CardFacts,
    EngineContainer,
    EngineId,
    EngineKind,
    EngineSpec,
    Ensure,
    Fleet,
    FleetFacts,
    Guards,
    ModelSpec,
    NodeSpec,
    OwnedEngine,
    Policy,
    Resident,
    RunOptions,
    Solver,
    SplitBy,
    told_by_options,
    with_asked_environment,
)
from reconciler.planning import ModelStep, Plan
from reconciler.planning.kinds.engine.preset import preset_of
from reconciler.planning.kinds.engine.single import GivenModel, model_arguments
from reconciler.views.step_words import cards_of, size_of

LLAMACPP, OLLAMA, VLLM = EngineKind.LLAMACPP, EngineKind.OLLAMA, EngineKind.VLLM
PAIR = RunOptions(split_cards=2, split_by=SplitBy.LAYER)


def only_step(of: Plan) -> ModelStep:
    (step,) = of.steps
    assert isinstance(step, ModelStep)
    return step


def after(of: Plan) -> list[int | None]:
    return [card.after_bytes for card in of.gpus]


def with_env(of: NodeSpec, **env: str) -> NodeSpec:
    return replace(of, engines=tuple(replace(engine, env=env) for engine in of.engines))


def started(kind: EngineKind, *args: str, gpus: tuple[int, ...] | None = (0, 1)) -> EngineSpec:
    return EngineSpec(EngineId("a", "e"), kind, "", gpus=gpus, owned=OwnedEngine(EngineContainer("image:1"), 8080, args=args))


def test_it_takes_its_part_of_every_card_of_its_engine_also_where_one_card_would_hold_it() -> None:
    of = fleet(node("a", 24 * GIB, 24 * GIB, kind=LLAMACPP))
    made = plan(of, desired(model("m", ["a"], 10 * GIB, runs=PAIR)), facts(of, installed=["m"]))
    step = only_step(made)
    assert (step.gpus, step.gpu_candidates, step.vram_bytes) == ((0, 1), None, 5 * GIB)
    assert after(made) == [5 * GIB, 5 * GIB]
    assert (step.after["split.cards"], step.after["split.by"]) == (2, "layer")
    assert [(one.fact, one.at_least) for one in step.preconditions] == [("a/0.free_bytes", 5 * GIB), ("a/1.free_bytes", 5 * GIB)]


def test_without_it_the_whole_counts_on_each_card_that_may_get_it() -> None:
    of = fleet(node("a", 24 * GIB, 24 * GIB, kind=LLAMACPP))
    made = plan(of, desired(model("m", ["a"], 10 * GIB)), facts(of, installed=["m"]))
    assert (only_step(made).gpus, only_step(made).gpu_candidates) == ((), (0, 1))
    assert after(made) == [10 * GIB, 10 * GIB]


def test_a_card_without_room_for_its_part_keeps_it_away_whatever_the_others_have() -> None:
    of = fleet(node("a", 24 * GIB, 8 * GIB, kind=LLAMACPP))
    made = plan(of, desired(model("m", ["a"], 20 * GIB, runs=PAIR)), facts(of, installed=["m"]))
    (entry,) = made.unplaced
    (candidate,) = entry.candidates
    assert entry.would_fit_if[-1] == "there are 2 cards of 12 GiB with nothing on them, at an engine like a/llamacpp"
    assert (candidate.reason, candidate.message) == (
        "insufficient_vram",
        "needs 10.0 GiB on each of its 2 cards > 7372 MiB free of one",
    )


@pytest.mark.parametrize("cards", [1, 3])
def test_an_engine_of_another_number_of_cards_is_no_candidate_and_what_to_do_is_said(cards: int) -> None:
    of = fleet(node("a", *[24 * GIB] * cards, kind=LLAMACPP))
    ((candidate,),) = [
        entry.candidates for entry in plan(of, desired(model("m", ["a"], GIB, runs=PAIR)), facts(of, installed=["m"])).unplaced
    ]
    assert candidate.reason == "split_cards"
    assert candidate.message.endswith("`split` asks for 2; bind an engine to 2 cards with `gpus`")
    assert plan(of, desired(model("m", ["a"], GIB, runs=PAIR, each="engine")), facts(of, installed=["m"])).unplaced == ()


def test_of_two_engines_the_one_with_as_many_cards_gets_it() -> None:
    of = fleet(node("a", 48 * GIB, kind=LLAMACPP), node("b", 12 * GIB, 12 * GIB, kind=LLAMACPP))
    assert actions(plan(of, desired(model("m", ["a", "b"], 20 * GIB, runs=PAIR)), facts(of, installed=["m"]))) == [
        "load model.m@b/llamacpp"
    ]


@pytest.mark.parametrize("solver", list(Solver))
def test_others_make_room_for_its_parts(solver: Solver) -> None:
    """On each of the two cards stands something that has another place."""
    both = node("a", 12 * GIB, 12 * GIB, kind=LLAMACPP)
    single = [EngineSpec(EngineId("a", f"e{index}"), OLLAMA, f"http://a:{index}", gpus=(index,)) for index in (0, 1)]
    of = fleet(replace(both, engines=(*both.engines, *single)), node("b", 24 * GIB))
    small = [model(f"s{index}:1", ["a", "b"], 6 * GIB, engine=OLLAMA) for index in (0, 1)]
    want = replace(desired(model("m", ["a"], 20 * GIB, engine=LLAMACPP, runs=PAIR, names={LLAMACPP: "m"}), *small), solver=solver)
    seen = facts(of, installed=["m", "s0:1", "s1:1"])
    there = {engine.id.engine: (loaded(f"s{engine.id.engine[1:]}:1", 6 * GIB),) for engine in single}
    at_a = seen.nodes["a"]
    engines = {name: replace(one, residents=there.get(name, ())) for name, one in at_a.engines.items()}
    seen = replace(seen, nodes={**seen.nodes, "a": replace(at_a, engines=engines)})
    rows = [
        replace(owned(f"s{index}:1", "a", 6 * GIB), at=EngineId("a", f"e{index}"), address=f"model.s{index}:1@a/e{index}")
        for index in (0, 1)
    ]
    made = plan(of, want, seen, applied(*rows))
    assert made.unplaced == ()
    assert {place.rpartition("@")[2] for place in made.placed} == {"a/llamacpp", "b/ollama"}


def test_what_runs_split_and_is_adopted_is_charged_in_parts() -> None:
    of = fleet(node("a", 24 * GIB, 24 * GIB, kind=LLAMACPP))
    told = Resident("m", size_bytes=20 * GIB, vram_bytes=20 * GIB, context=4096, options=("split-mode=layer", "tensor-split=1,1"))
    made = plan(of, desired(model("m", ["a"], 20 * GIB, runs=PAIR)), facts(of, {"a": [told]}, ["m"]))
    assert actions(made) == ["adopt model.m@a/llamacpp"]
    assert (made.drift, after(made)) == ((), [10 * GIB, 10 * GIB])


def test_a_llama_cpp_that_tells_another_split_is_drift_that_no_step_mends() -> None:
    of = fleet(node("a", 24 * GIB, 24 * GIB, kind=LLAMACPP))
    told = Resident("m", context=4096, options=("split-mode=row", "tensor-split=1,1,1"))
    made = plan(of, desired(model("m", ["a"], 20 * GIB, runs=PAIR)), facts(of, {"a": [told]}, ["m"]))
    assert [(one.kind, one.field, one.applied, one.found) for one in made.drift] == [
        ("engine_fixed_options", "split.by", "layer", "row"),
        ("engine_fixed_options", "split.cards", 2, 3),
    ]


def test_parts_of_nothing_are_no_cards() -> None:
    assert told_by_options(LLAMACPP, ["LLAMA_ARG_TENSOR_SPLIT=3,0,1.0,0.00"]).split_cards == 2
    assert told_by_options(LLAMACPP, ["parallel=1"]).split_cards is None


def test_an_ollama_takes_it_only_where_it_is_known_to_spread_its_models() -> None:
    cards = 24 * GIB, 24 * GIB
    of = fleet(
        node("a", *cards), with_env(node("b", *cards), OLLAMA_SCHED_SPREAD="1"), with_env(node("c", *cards), OLLAMA_SCHED_SPREAD="0")
    )
    made = plan(of, desired(model("m:1", ["a", "b", "c"], 20 * GIB, runs=PAIR, replicas=3)), facts(of, installed=["m:1"]))
    assert actions(made) == ["load model.m:1@b/ollama"]
    assert [card.after_bytes for card in made.gpus if card.node == "b"] == [10 * GIB, 10 * GIB]
    ((first, second),) = [entry.candidates for entry in made.unplaced]
    assert (first.reason, first.message) == ("engine_fixed_options", "its start does not set OLLAMA_SCHED_SPREAD, wanted 1")
    assert second.message == "its start sets OLLAMA_SCHED_SPREAD 0, wanted 1"
    assert made.unplaced[0].would_fit_if == ('a/ollama is started so: `env: {OLLAMA_SCHED_SPREAD: "1"}` of the engine',)


def test_an_ollama_cannot_cut_by_tensor_and_a_llama_swap_not_at_all() -> None:
    by_tensor = RunOptions(split_cards=2, split_by=SplitBy.TENSOR)
    assert by_tensor.refused_by(OLLAMA) == PAIR.refused_by(EngineKind.LLAMASWAP) == "split"
    assert [by_tensor.refused_by(kind) for kind in (LLAMACPP, VLLM)] == [None, None]
    assert PAIR.refused_by(OLLAMA) is None


@pytest.mark.parametrize(
    ("gpus", "runs", "spreads"), [((0, 1), PAIR, True), ((0,), PAIR, False), (None, PAIR, True), ((0, 1), RunOptions(), False)]
)
def test_an_ollama_of_ours_with_as_many_cards_is_started_so_that_it_spreads(
    gpus: tuple[int, ...] | None, runs: RunOptions, spreads: bool
) -> None:
    of = replace(node("a", 24 * GIB, 24 * GIB), engines=(started(OLLAMA, gpus=gpus),))
    made: Fleet = with_asked_environment(fleet(of), [(("a",), runs)])
    assert (made.nodes["a"].engines[0].env.get("OLLAMA_SCHED_SPREAD") == "1") is spreads


def arguments(engine: EngineSpec, runs: RunOptions) -> tuple[str, ...]:
    cards = tuple(CardFacts(index, None, None, 24 * GIB) for index in (0, 1))
    charges = ((0, 6 * GIB), (1, 6 * GIB))
    return model_arguments(engine, cards, GivenModel(ModelSpec("m", ("a",), runs=runs), "m", charges))[4:]


def test_a_server_with_one_model_is_told_how_to_cut_it() -> None:
    by_tensor = replace(PAIR, split_by=SplitBy.TENSOR)
    assert arguments(started(LLAMACPP), PAIR) == ("--split-mode", "layer", "--tensor-split", "1,1")
    assert arguments(started(LLAMACPP), by_tensor) == ("--split-mode", "tensor", "--tensor-split", "1,1")
    assert arguments(started(VLLM), PAIR) == ("--gpu-memory-utilization", "0.25", "--pipeline-parallel-size", "2")
    assert arguments(started(VLLM), by_tensor) == ("--gpu-memory-utilization", "0.25", "--tensor-parallel-size", "2")
    assert arguments(started(VLLM), replace(PAIR, split_by=None)) == ("--gpu-memory-utilization", "0.25", "--tensor-parallel-size", "2")
    assert arguments(started(VLLM), RunOptions()) == ("--gpu-memory-utilization", "0.25", "--tensor-parallel-size", "2")


def test_a_router_of_ours_is_told_by_its_preset() -> None:
    ((file,), _) = preset_of(started(LLAMACPP, "--models-dir", "/models"), [ModelSpec("m", ("a",), runs=PAIR)])
    assert file.content == "version = 1\n\n[m]\nsplit-mode = layer\ntensor-split = 1,1\n"


def test_an_engine_whose_own_arguments_cut_otherwise_gets_no_such_model() -> None:
    engine = replace(started(LLAMACPP, "--models-dir", "/models", "-ts", "3,1"), id=EngineId("a", "llamacpp"))
    of = fleet(replace(node("a", 24 * GIB, 24 * GIB, kind=LLAMACPP), engines=(engine,)))
    ((candidate,),) = [
        entry.candidates for entry in plan(of, desired(model("m", ["a"], GIB, runs=PAIR)), facts(of, installed=["m"])).unplaced
    ]
    assert (candidate.reason, candidate.message) == ("engine_fixed_options", "its start sets --tensor-split 3,1, wanted 1,1")


def test_the_need_that_is_written_as_an_example_has_room_in_parts() -> None:
    of = fleet(node("a", 3 * GIB, 2 * GIB, kind=LLAMACPP))
    (entry,) = plan(of, desired(model("m", ["a"], runs=PAIR)), facts(of, installed=["m"])).unplaced
    assert entry.would_fit_if[0].endswith("`vram: 3686MiB` under models.m")
    assert plan(of, desired(model("m", ["a"], 3686 * 2**20, runs=PAIR)), facts(of, installed=["m"])).unplaced == ()


def sliced(seen: FleetFacts) -> FleetFacts:
    """With the cards of every node as slices of one card."""
    nodes = {
        name: replace(there, cards=tuple(replace(card, mig_parent=f"GPU-{name}") for card in there.cards or ()))
        for name, there in seen.nodes.items()
    }
    return replace(seen, nodes=nodes)


def test_nothing_is_split_over_slices_of_a_card_nor_spread_by_the_engine_itself() -> None:
    of = fleet(node("a", 24 * GIB, 24 * GIB, kind=LLAMACPP))
    seen = sliced(facts(of, installed=["m"]))
    (entry,) = plan(of, desired(model("m", ["a"], 10 * GIB, runs=PAIR)), seen).unplaced
    assert [one.reason for one in entry.candidates] == ["split_slices"]
    assert "a process sees one of them" in entry.candidates[0].message
    assert actions(plan(of, desired(model("m", ["a"], 20 * GIB)), seen)) == ["load model.m@a/llamacpp"]
    (entry,) = plan(of, desired(model("m", ["a"], 30 * GIB)), seen).unplaced
    assert [one.reason for one in entry.candidates] == ["too_large"]


def test_of_what_an_engine_spreads_by_itself_each_card_is_named_with_its_part() -> None:
    of = fleet(node("a", 24 * GIB, 24 * GIB, kind=LLAMACPP))
    step = only_step(plan(of, desired(model("m", ["a"], 30 * GIB)), facts(of, installed=["m"])))
    assert (cards_of(step), size_of(step)) == ("each of cards 0,1", "15.0 GiB")
    pool = fleet(node("a", 24 * GIB, 24 * GIB))
    there = facts(pool, {"a": [loaded("m:1", 30 * GIB)]}, ["m:1"])
    made = plan(pool, desired(model("m:1", ["a"], ensure=Ensure.ABSENT), policy=Policy(guards=Guards(max_delete=1))), there)
    step = next(one for one in made.steps if isinstance(one, ModelStep) and one.action == "unload")
    assert (step.action, cards_of(step), size_of(step)) == ("unload", "each of cards 0,1", "15.0 GiB")
    whole = only_step(plan(of, desired(model("m", ["a"], 10 * GIB)), facts(of, installed=["m"])))
    assert (cards_of(whole), size_of(whole)) == ("a card of 0,1", "10.0 GiB")
