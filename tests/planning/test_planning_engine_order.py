"""No engine evicts anybody for a plan of ours: loads that its own rules would not take are placed elsewhere, ordered, or explained."""

from __future__ import annotations

import math
from dataclasses import replace

from fleets import GIB, actions, applied, desired, facts, fleet, loaded, model, node, owned, plan
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pretend import carry_out, do, some_order
from test_planning_properties import ROUNDS, situations

from reconciler.admission import CardSeen, EngineResident, ModelToLoad, Rules, admit
from reconciler.fleet import EngineFacts, EngineKind, FleetFacts, Policy, Unmanaged
from reconciler.planning import Action


def with_files(seen: FleetFacts, sizes: dict[str, int], build: str = "0.34.0") -> FleetFacts:
    """The same fleet, whose engines tell the sizes of their files: at least so much is predicted of each."""

    def told(engine: EngineFacts) -> EngineFacts:
        known = tuple(replace(one, size_bytes=sizes.get(one.name)) for one in engine.installed or ())
        return replace(engine, build=build, installed=known) if engine.reachable else engine

    nodes = {name: replace(one, engines={key: told(engine) for key, engine in one.engines.items()}) for name, one in seen.nodes.items()}
    return FleetFacts(seen.at, nodes)


ONE = fleet(node("a", 10 * GIB))
TWO = fleet(node("a", 10 * GIB), node("b", 10 * GIB))


def test_a_model_that_ollama_would_evict_for_goes_where_nobody_leaves():
    want = desired(model("m:1", ["a"], 5 * GIB), model("k:1", ["a", "b"], 4 * GIB))
    seen = with_files(facts(TWO, {"a": [loaded("m:1", 5 * GIB)]}, ["m:1", "k:1"]), {"m:1": 5 * GIB, "k:1": 5 * GIB})
    result = plan(TWO, want, seen, applied(owned("m:1", "a"), owned("k:1", "a")))
    assert actions(result) == ["load model.k:1@b/ollama"]


def test_a_model_that_ollama_would_evict_for_has_no_place_and_says_why():
    want = desired(model("m:1", ["a"], 5 * GIB), model("k:1", ["a"], 4 * GIB))
    seen = with_files(facts(ONE, {"a": [loaded("m:1", 5 * GIB)]}, ["m:1", "k:1"]), {"m:1": 5 * GIB, "k:1": 5 * GIB})
    (lacking,) = plan(ONE, want, seen, applied(owned("m:1", "a"))).unplaced
    (candidate,) = lacking.candidates
    assert candidate.reason == "engine_would_evict"
    predicted, threshold = "it predicts at least 5120 MiB", "a further model must fit into 80% of the 5120 MiB that it believes free"
    assert candidate.message == f"would evict another model: {predicted}, and {threshold}"


def test_a_model_of_higher_priority_makes_the_engine_s_room_by_an_unload_of_its_own():
    want = desired(model("m:1", ["a"], 5 * GIB), model("k:1", ["a"], 4 * GIB, priority=1))
    seen = with_files(facts(ONE, {"a": [loaded("m:1", 5 * GIB)]}, ["m:1", "k:1"]), {"m:1": 5 * GIB, "k:1": 5 * GIB})
    result = plan(ONE, want, seen, applied(owned("m:1", "a")))
    assert actions(result) == ["unload model.m:1@a/ollama", "load model.k:1@a/ollama"]
    assert result.steps[1].needs == (result.steps[0].id,)


def test_of_two_loads_the_one_that_is_taken_only_first_comes_first():
    want = desired(model("a:1", ["a"], 2 * GIB, priority=5), model("z:1", ["a"], 7 * GIB))
    result = plan(ONE, want, with_files(facts(ONE, {}, ["a:1", "z:1"]), {"a:1": GIB, "z:1": 7 * GIB}))
    assert actions(result) == ["load model.z:1@a/ollama", "load model.a:1@a/ollama"]
    assert result.steps[1].needs == (result.steps[0].id,)


def test_loads_that_are_taken_in_any_order_do_not_wait_for_each_other():
    want = desired(model("a:1", ["a"], 2 * GIB), model("z:1", ["a"], 3 * GIB))
    result = plan(ONE, want, with_files(facts(ONE, {}, ["a:1", "z:1"]), {"a:1": 2 * GIB, "z:1": 3 * GIB}))
    assert [step.needs for step in result.steps] == [(), ()]


def test_a_load_waits_for_one_that_leaves_though_the_card_had_room_for_both():
    want = desired(model("k:1", ["a"], 4 * GIB))
    seen = with_files(facts(ONE, {"a": [loaded("m:1", 5 * GIB)]}, ["m:1", "k:1"]), {"m:1": 5 * GIB, "k:1": 5 * GIB})
    result = plan(ONE, want, seen, applied(owned("m:1", "a")))
    assert actions(result) == ["unload model.m:1@a/ollama", "load model.k:1@a/ollama"]
    assert result.steps[1].needs == (result.steps[0].id,)


def test_a_fourth_model_on_one_card_needs_another_place():
    names = ["m1:1", "m2:1", "m3:1", "m4:1"]
    want = desired(*(model(name, ["a"], GIB) for name in names))
    (lacking,) = plan(ONE, want, with_files(facts(ONE, {}, names), dict.fromkeys(names, GIB))).unplaced
    assert lacking.candidates[0].reason == "engine_would_evict"
    assert lacking.would_fit_if == (
        "a/ollama takes 4 models: OLLAMA_MAX_LOADED_MODELS=4 for its process, and `env: {OLLAMA_MAX_LOADED_MODELS: 4}` of that engine in "
        "the inventory says so",
    )


def test_a_server_whose_limit_is_raised_and_told_takes_more():
    of = fleet(node("a", 10 * GIB))
    spec = of.nodes["a"]
    of = fleet(replace(spec, engines=tuple(replace(one, env={"OLLAMA_MAX_LOADED_MODELS": "4"}) for one in spec.engines)))
    names = ["m1:1", "m2:1", "m3:1", "m4:1"]
    want = desired(*(model(name, ["a"], GIB) for name in names))
    assert plan(of, want, with_files(facts(of, {}, names), dict.fromkeys(names, GIB))).unplaced == ()


def test_a_router_at_its_limit_would_evict_and_the_line_that_helps_names_its_flag():
    of = fleet(node("a", 24 * GIB, kind=EngineKind.LLAMACPP))
    seen = facts(of, {"a": [loaded("m", GIB)]}, ["m", "k"])
    engine = replace(seen.nodes["a"].engines["llamacpp"], max_residents=1)
    seen = FleetFacts(seen.at, {"a": replace(seen.nodes["a"], engines={"llamacpp": engine})})
    want = desired(model("m", ["a"], GIB), model("k", ["a"], GIB))
    (lacking,) = plan(of, want, seen, applied(owned("m", "a", kind=EngineKind.LLAMACPP))).unplaced
    assert lacking.candidates[0].reason == "engine_would_evict"
    assert lacking.would_fit_if == ("a/llamacpp takes 2 models: `--models-max 2` for its process",)


def test_nothing_is_refused_for_what_is_not_known():
    want = desired(model("m:1", ["a"], 5 * GIB), model("k:1", ["a"], 4 * GIB))
    there = facts(ONE, {"a": [loaded("m:1", 5 * GIB)]}, ["m:1", "k:1"])
    sizes = {"m:1": 5 * GIB, "k:1": 5 * GIB}
    before = applied(owned("m:1", "a"))
    assert plan(ONE, want, there, before).unplaced == ()
    assert plan(ONE, want, with_files(there, sizes, build="0.5.7"), before).unplaced == ()
    assert plan(ONE, want, with_files(there, {"k:1": 4 * GIB}), before).unplaced == ()
    assert plan(ONE, want, with_files(there, sizes), before).unplaced[0].candidates[0].reason == "engine_would_evict"


class Server:
    """One Ollama with one card that decides by the pure rules, for itself: who sits there, with which weights."""

    def __init__(self, size: int, engine: EngineFacts, files: dict[str, int], blobs: dict[str, str]) -> None:
        self.card, self.files, self.blobs = CardSeen(0, size), files, blobs
        self.most = max(3, len(engine.residents or ()))
        self.seats = {one.blob: seat(one.blob, one.vram_bytes, one.pinned) for one in engine.residents or ()}

    def step(self, action: Action, name: str, bytes_taken: int) -> tuple[str, ...]:
        """Who it evicts for this step."""
        blob = self.blobs[name]
        if action in (Action.UNLOAD, Action.RELOAD):
            self.seats.pop(blob, None)
        if action not in (Action.LOAD, Action.RELOAD) or blob in self.seats:
            return ()
        load = ModelToLoad(self.files[name], 0, 4096, need=bytes_taken)
        verdict = admit(load, list(self.seats.values()), [self.card], Rules(True, self.most, memory=True, fit_margin=0))
        self.seats[blob] = seat(blob, bytes_taken, True)
        return verdict.evicts


def seat(blob: str | None, size: int | None, pinned: bool | None) -> EngineResident:
    return EngineResident(blob or "", ((0, size or 0),), math.inf if pinned else 300.0, blob or "")


@st.composite
def servers(draw):
    """A situation with one card a node, in which every server tells its files: some smaller than what they take, some larger."""
    of, want, seen, before, blobs = draw(situations(cards=1, missing=False))
    sizes = {one.name: one.vram or 0 for one in want.models}
    sizes |= {one.name: one.vram_bytes or 0 for at in seen.nodes.values() for one in at.engines["ollama"].residents or ()}
    files = {name: size * draw(st.sampled_from([7, 10, 10, 12])) // 10 for name, size in sorted(sizes.items())}
    files["m5:1"] = files["m4:1"] = max(files.get("m4:1", 0), files.get("m5:1", 0))
    return of, want, with_files(seen, files), before, blobs, files


@settings(parent=ROUNDS, max_examples=150)
@given(servers(), st.integers(0, 2**32))
def test_no_server_evicts_anybody_whatever_order_the_needs_of_a_plan_allow(situation, seed):
    of, want, seen, before, blobs, files = situation
    result = plan(of, want, seen, before)
    servers_of = {name: Server(spec.gpus[0].vram, seen.nodes[name].engines["ollama"], files, blobs) for name, spec in of.nodes.items()}
    for step in some_order(result, seed):
        gone = servers_of[step.node].step(step.action, step.engine_name, step.vram_bytes or 0)
        assert gone == (), (step.id, [(one.id, one.needs) for one in result.steps])


@settings(parent=ROUNDS, max_examples=150)
@given(servers())
def test_after_a_complete_apply_on_servers_with_rules_the_plan_is_empty(situation):
    of, want, seen, before, blobs, _ = situation
    first = plan(of, want, seen, before)
    assume(not first.refusals)
    facts_after, state_after = carry_out(first, seen, before, blobs)
    assert [step.id for step in plan(of, want, facts_after, state_after).steps] == []


def test_a_resident_that_yields_is_unloaded_by_a_step_and_not_by_the_engine():
    want = desired(model("k:1", ["a"], 4 * GIB), policy=Policy(Unmanaged.YIELD))
    seen = with_files(facts(ONE, {"a": [loaded("m:1", 5 * GIB, pinned=False)]}, ["m:1", "k:1"]), {"m:1": 5 * GIB, "k:1": 5 * GIB})
    result = plan(ONE, want, seen)
    assert actions(result) == ["unload model.m:1@a/ollama", "load model.k:1@a/ollama"]
    assert do(result.steps[0], seen).nodes["a"].engines["ollama"].residents == ()
