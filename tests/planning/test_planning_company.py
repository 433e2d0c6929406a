"""`with` and `never_with`: who is on one card with whom, whoever was there first."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fleets import GIB, actions, applied, desired, facts, fleet, loaded, model, node, owned, plan
from pretend import carry_out

from reconciler.fleet import EngineFacts, EngineId, EngineKind, EngineSpec, Ensure, RunOptions, SplitBy
from reconciler.placement import rearrange
from reconciler.planning import first_stale_step

ONE, TWO = fleet(node("a", 24 * GIB)), fleet(node("a", 24 * GIB), node("b", 24 * GIB))
BOTH = ["m:1", "n:1"]


@pytest.mark.parametrize("says", ["m:1", "n:1"])
def test_two_models_go_to_cards_of_their_own_whoever_says_so(says: str) -> None:
    models = [model(name, ["a", "b"], 4 * GIB, never_with=tuple({*BOTH} - {name}) if name == says else ()) for name in BOTH]
    found = plan(TWO, desired(*models), facts(TWO, installed=BOTH))
    assert len({address.rpartition("@")[2] for address in found.placed}) == 2


def test_where_there_is_one_card_only_the_more_important_is_placed_and_the_other_is_told_who_is_there() -> None:
    want = desired(model("m:1", ["a"], 4 * GIB, never_with=("n:1",)), model("n:1", ["a"], 2 * GIB, priority=1))
    found = plan(ONE, want, facts(ONE, installed=BOTH))
    assert list(found.placed) == ["model.n:1@a/ollama"]
    (one,) = found.unplaced
    assert [(candidate.reason, candidate.message) for candidate in one.candidates] == [
        ("never_with", "a model that it is never on one card with is there; held by n:1 2048 MiB")
    ]
    assert one.would_fit_if == ("the two may be on one card: take n:1 out of `never_with` under models.m:1",)


def test_of_two_residents_of_one_card_the_lesser_moves_and_is_loaded_there_before_it_leaves() -> None:
    want = desired(model("m:1", ["a", "b"], 4 * GIB, priority=1), model("n:1", ["a", "b"], 2 * GIB, never_with=("m:1",)))
    seen = facts(TWO, {"a": [loaded("m:1", 4 * GIB), loaded("n:1", 2 * GIB)]}, BOTH)
    before = applied(owned("m:1", "a", 4 * GIB), owned("n:1", "a", 2 * GIB))
    found = plan(TWO, want, seen, before)
    assert actions(found) == ["load model.n:1@b/ollama", "unload model.n:1@a/ollama"]
    assert (found.steps[1].reason.code, found.steps[1].reason.message) == ("never_with", "may not be on one card with m:1")
    assert first_stale_step(found, TWO, want, seen, before) is None
    assert not plan(TWO, want, *carry_out(found, seen, before)).steps


def test_a_resident_without_another_place_leaves_all_the_same() -> None:
    want = desired(model("m:1", ["a"], 4 * GIB, priority=1), model("n:1", ["a"], 2 * GIB, never_with=("m:1",)))
    seen = facts(ONE, {"a": [loaded("m:1", 4 * GIB), loaded("n:1", 2 * GIB)]}, BOTH)
    found = plan(ONE, want, seen, applied(owned("m:1", "a", 4 * GIB), owned("n:1", "a", 2 * GIB)))
    assert actions(found) == ["unload model.n:1@a/ollama"]
    assert [one.model for one in found.unplaced] == ["n:1"]


def test_a_model_of_higher_priority_displaces_what_it_is_never_with_and_comes_after_it_left() -> None:
    want = desired(model("m:1", ["a"], 4 * GIB, priority=1, never_with=("n:1",)), model("n:1", ["a"], 2 * GIB))
    seen = facts(ONE, {"a": [loaded("n:1", 2 * GIB)]}, BOTH)
    found = plan(ONE, want, seen, applied(owned("n:1", "a", 2 * GIB)))
    assert actions(found) == ["unload model.n:1@a/ollama", "load model.m:1@a/ollama"]
    assert found.steps[1].needs == ("unload:model.n:1@a/ollama",)


def test_what_nobody_here_loaded_is_left_and_keeps_others_away() -> None:
    want = desired(model("m:1", ["a", "b"], 4 * GIB, never_with=("n:1",)), model("n:1", ["b"], 2 * GIB, replicas=0))
    seen = facts(TWO, {"a": [loaded("n:1", 2 * GIB)]}, BOTH)
    assert list(plan(TWO, want, seen).placed) == ["model.m:1@b/ollama"]


def test_a_protected_one_that_breaks_it_refuses_the_plan() -> None:
    want = desired(model("m:1", ["a"], 4 * GIB, priority=1), model("n:1", ["a"], 2 * GIB, never_with=("m:1",), protect=True))
    seen = facts(ONE, {"a": [loaded("m:1", 4 * GIB), loaded("n:1", 2 * GIB)]}, BOTH)
    found = plan(ONE, want, seen, applied(owned("m:1", "a", 4 * GIB), owned("n:1", "a", 2 * GIB, protect=True)))
    assert [refusal.guard for refusal in found.refusals] == ["protect"]


@pytest.mark.parametrize("priority", [0, 5])
def test_what_is_only_with_another_goes_to_its_card_whatever_matters_more(priority: int) -> None:
    want = desired(model("m:1", ["a", "b"], 4 * GIB, with_models=("n:1",), priority=priority), model("n:1", ["b"], 2 * GIB))
    assert plan(TWO, want, facts(TWO, installed=BOTH)).placed.keys() == {"model.m:1@b/ollama", "model.n:1@b/ollama"}


def test_what_another_must_be_with_comes_to_where_that_is() -> None:
    want = desired(model("m:1", ["a", "b"], 4 * GIB, with_models=("n:1",)), model("n:1", ["a", "b"], 2 * GIB))
    seen = facts(TWO, {"b": [loaded("m:1", 4 * GIB)]}, BOTH)
    assert actions(plan(TWO, want, seen, applied(owned("m:1", "b", 4 * GIB)))) == ["load model.n:1@b/ollama"]


def test_without_the_other_it_has_no_place_and_what_is_loaded_leaves() -> None:
    want = desired(model("m:1", ["a"], 4 * GIB, with_models=("n:1",)), model("n:1", ["b"], 40 * GIB))
    seen = facts(TWO, {"a": [loaded("m:1", 4 * GIB)]}, BOTH)
    found = plan(TWO, want, seen, applied(owned("m:1", "a", 4 * GIB)))
    assert actions(found) == ["unload model.m:1@a/ollama"]
    assert (found.steps[0].reason.code, found.steps[0].reason.message) == ("with", "may only be beside n:1, which is not on its card")
    (one,) = (entry for entry in found.unplaced if entry.model == "m:1")
    assert [candidate.reason for candidate in one.candidates] == ["with"]
    assert one.would_fit_if == ("it may be without n:1 on its card: take that out of `with` under models.m:1",)


def test_what_is_displaced_takes_along_what_may_only_be_beside_it() -> None:
    want = desired(
        model("m:1", ["a"], 4 * GIB, with_models=("n:1",)),
        model("n:1", ["a"], 12 * GIB),
        model("o:1", ["a"], 14 * GIB, priority=1),
    )
    seen = facts(ONE, {"a": [loaded("m:1", 4 * GIB), loaded("n:1", 12 * GIB)]}, [*BOTH, "o:1"])
    found = plan(ONE, want, seen, applied(owned("m:1", "a", 4 * GIB), owned("n:1", "a", 12 * GIB)))
    assert list(found.placed) == ["model.o:1@a/ollama"]
    assert {step.address for step in found.steps if step.action == "unload"} == {"model.m:1@a/ollama", "model.n:1@a/ollama"}


def test_what_a_client_loaded_stays_where_that_leaves_beside_which_alone_it_is_wanted() -> None:
    want = desired(
        model("m:1", ["a"], 4 * GIB, with_models=("n:1",)),
        model("n:1", ["a"], 12 * GIB),
        model("o:1", ["a"], 14 * GIB, priority=1),
    )
    seen, before = (
        facts(ONE, {"a": [loaded("m:1", 4 * GIB), loaded("n:1", 12 * GIB)]}, [*BOTH, "o:1"]),
        applied(owned("n:1", "a", 12 * GIB)),
    )
    found = plan(ONE, want, seen, before)
    assert actions(found) == ["unload model.n:1@a/ollama", "load model.o:1@a/ollama"]
    assert found.gpus[0].after_bytes == 18 * GIB
    assert first_stale_step(found, ONE, want, seen, before) is None
    assert not plan(ONE, want, *carry_out(found, seen, before)).steps


def test_a_saved_plan_may_unload_what_stood_alone_for_that_beside_which_alone_it_is_wanted() -> None:
    want = desired(model("m:1", ["a"], 14 * GIB, with_models=("n:1",)), model("n:1", ["a"], 12 * GIB))
    seen, before = facts(ONE, {"a": [loaded("m:1", 14 * GIB)]}, BOTH), applied(owned("m:1", "a", 14 * GIB))
    found = plan(ONE, want, seen, before)
    assert actions(found) == ["unload model.m:1@a/ollama", "load model.n:1@a/ollama"]
    assert first_stale_step(found, ONE, want, seen, before) is None


def test_an_engine_over_several_cards_is_no_place_for_what_must_be_on_one_card_with_another() -> None:
    of = fleet(node("a", 24 * GIB, 24 * GIB))
    want = desired(model("m:1", ["a"], 4 * GIB, with_models=("n:1",)), model("n:1", ["a"], 4 * GIB))
    assert list(plan(of, want, facts(of, installed=BOTH)).placed) == ["model.n:1@a/ollama"]


def of_sizes(of, want, sizes: dict[str, int], on: str = "a"):
    """The plan where these models (GiB) are resident on one node and the state has them there, and that of after its apply."""
    seen = facts(of, {on: [loaded(name, size * GIB) for name, size in sizes.items()]}, BOTH)
    before = applied(*[owned(name, on, size * GIB) for name, size in sizes.items()])
    found = plan(of, want, seen, before)
    assert first_stale_step(found, of, want, seen, before) is None
    return found, plan(of, want, *carry_out(found, seen, before))


def test_what_is_wanted_elsewhere_and_has_no_place_there_stays_only_beside_what_it_must_be_with() -> None:
    of = fleet(node("a", 24 * GIB), node("b", 4 * GIB))
    want = desired(model("m:1", ["b"], 8 * GIB, with_models=("n:1",)), model("n:1", ["b"], 2 * GIB))
    found, after = of_sizes(of, want, {"m:1": 8})
    assert actions(found) == ["unload model.m:1@a/ollama", "load model.n:1@b/ollama"]
    assert found.steps[0].reason.message == "may only be beside n:1, which is not on its card"
    assert not after.steps
    both_too_large = desired(want.models[0], replace(want.models[1], vram=6 * GIB))
    found, after = of_sizes(of, both_too_large, {"m:1": 8, "n:1": 6})
    assert not found.steps, "both stay on a until b has room"
    assert found.placed.keys() == {"model.m:1@a/ollama", "model.n:1@a/ollama"}


def test_of_two_that_are_never_on_one_card_and_have_no_place_where_they_are_wanted_one_stays() -> None:
    of = fleet(node("a", 24 * GIB), node("b", 4 * GIB))
    want = desired(model("m:1", ["b"], 8 * GIB, never_with=("n:1",)), model("n:1", ["b"], 6 * GIB))
    found, after = of_sizes(of, want, {"m:1": 8, "n:1": 6})
    assert actions(found) == ["unload model.n:1@a/ollama"]
    assert found.steps[0].reason.message == "may not be on one card with m:1"
    assert not after.steps


def test_nothing_leaves_for_what_it_is_never_with_as_long_as_that_is_hoped_for_only() -> None:
    """On the engine that cannot be reached nobody ever put it; what runs beside there and finds no room to be loaded anew goes on."""
    both = node("a", 6 * GIB, 24 * GIB)
    other = replace(both.engines[0], id=EngineId("a", "away"), kind=EngineKind.LLAMACPP, url="http://a:2", gpus=(0,))
    of = fleet(replace(both, engines=(replace(both.engines[0], gpus=(0,)), other)))
    want = desired(
        model("m:1", ["a"], 2 * GIB, priority=2, each="engine", engine=EngineKind.LLAMACPP, never_with=("n:1",)),
        model("n:1", ["a"], 9 * GIB, engine=EngineKind.OLLAMA),
    )
    seen = facts(of, {"a": [loaded("n:1", 4 * GIB)]}, BOTH)
    there = seen.nodes["a"]
    away = EngineFacts(other.id, other.kind, False, "timed out", "timeout")
    resident = replace(there.engines["ollama"].residents[0], size_bytes=9 * GIB, vram_bytes=4 * GIB)
    engines = {"ollama": replace(there.engines["ollama"], residents=(resident,)), "away": away}
    seen = replace(seen, nodes={"a": replace(there, engines=engines)})
    found = plan(of, want, seen, applied(owned("n:1", "a", 9 * GIB)))
    assert actions(found) == []
    assert [one.model for one in found.unplaced] == ["n:1"]


def test_two_small_ones_move_so_that_a_model_finds_a_card_without_the_one_that_it_is_never_with() -> None:
    three = fleet(node("a", 16 * GIB), node("b", 16 * GIB), node("c", 16 * GIB))
    every = ["a", "b", "c"]
    small = {f"s{number}:1": "bc"[number // 2] for number in range(4)}
    want = desired(
        model("m:1", every, 10 * GIB, never_with=("n:1",)),
        model("n:1", ["a"], 2 * GIB),
        *(model(name, every, 5 * GIB) for name in small),
    )
    residents = {"a": [loaded("n:1", 2 * GIB)]}
    for name, where in small.items():
        residents.setdefault(where, []).append(loaded(name, 5 * GIB))
    seen = facts(three, residents, ["m:1", "n:1", *small])
    before = applied(owned("n:1", "a", 2 * GIB), *(owned(name, where, 5 * GIB) for name, where in small.items()))
    found = plan(three, want, seen, before)
    assert found.unplaced == ()
    assert "model.m:1@a/ollama" not in found.placed
    assert not plan(three, want, *carry_out(found, seen, before)).steps


def test_others_move_also_where_what_it_is_never_with_is_only_to_be_on_the_disk() -> None:
    both = ["a", "b"]
    want = desired(
        model("m:1", both, 12 * GIB, never_with=("n:1",)),
        model("n:1", both, 1 * GIB, ensure=Ensure.PRESENT, each="node"),
        *(model(name, both, 5 * GIB) for name in ("s:1", "t:1")),
    )
    of = fleet(node("a", 16 * GIB), node("b", 16 * GIB))
    seen = facts(of, {"a": [loaded("s:1", 5 * GIB)], "b": [loaded("t:1", 5 * GIB)]}, [*BOTH, "s:1", "t:1"])
    before = applied(owned("s:1", "a", 5 * GIB), owned("t:1", "b", 5 * GIB))
    found = plan(of, want, seen, before)
    assert found.unplaced == ()
    assert not plan(of, want, *carry_out(found, seen, before)).steps


def test_the_one_that_others_wait_for_goes_where_there_is_room_for_both_and_from_a_card_that_is_too_small_it_moves_there() -> None:
    of = fleet(node("a", 8 * GIB), node("b", 24 * GIB))
    mate, other = model("mate:1", ["a", "b"], 2 * GIB, priority=1), model("m:1", ["a", "b"], 12 * GIB, with_models=("mate:1",))
    names = ["mate:1", "m:1"]
    new = plan(of, desired(mate, other), facts(of, installed=names))
    assert sorted(new.placed) == ["model.m:1@b/ollama", "model.mate:1@b/ollama"]
    seen, before = facts(of, {"a": [loaded("mate:1", 2 * GIB)]}, names), applied(owned("mate:1", "a", 2 * GIB))
    found = plan(of, desired(mate, other), seen, before)
    assert sorted(found.placed) == ["model.m:1@b/ollama", "model.mate:1@b/ollama"]
    assert actions(found) == ["load model.mate:1@b/ollama", "unload model.mate:1@a/ollama", "load model.m:1@b/ollama"]
    assert not plan(of, desired(mate, other), *carry_out(found, seen, before)).steps


def test_in_a_larger_fleet_no_more_replicas_that_others_wait_for_are_tried_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[object] = []

    class Counted(rearrange.BoardPacking):
        def __init__(self, *given, pair=None, **more) -> None:
            tried.extend([pair] if pair is not None else [])
            super().__init__(*given, pair=pair, **more)

    def tries(nodes: int) -> int:
        of = fleet(*(node(f"n{number:02}", 24 * GIB) for number in range(nodes)))
        every = list(of.nodes)
        want = desired(
            model("mate:1", every, 2 * GIB, replicas=nodes),
            model("m:1", every, 10 * GIB, with_models=("mate:1",)),
            *(model(f"{name}:1", every, 16 * GIB) for name in every),
        )
        seen = facts(of, {name: [loaded("mate:1", 2 * GIB), loaded(f"{name}:1", 16 * GIB)] for name in every}, ["mate:1", "m:1"])
        rows = [row for name in every for row in (owned("mate:1", name, 2 * GIB), owned(f"{name}:1", name, 16 * GIB))]
        tried.clear()
        assert [one.model for one in plan(of, want, seen, applied(*rows)).unplaced] == ["m:1"]
        return len(tried)

    monkeypatch.setattr(rearrange, "BoardPacking", Counted)
    assert tries(20) == tries(40) > 0


def test_what_a_split_model_is_never_with_moves_off_whichever_of_its_cards_it_is_on() -> None:
    pair = node("a", 24 * GIB, 24 * GIB, kind=EngineKind.LLAMACPP)
    other = EngineSpec(EngineId("a", "ollama"), EngineKind.OLLAMA, "http://a:2", gpus=(1,))
    of = fleet(replace(pair, engines=(*pair.engines, other)), node("b", 24 * GIB))
    want = desired(
        model(
            "m", ["a"], 10 * GIB, engine=EngineKind.LLAMACPP, runs=RunOptions(split_cards=2, split_by=SplitBy.LAYER), never_with=("n:1",)
        ),
        model("n:1", ["a", "b"], 5 * GIB, engine=EngineKind.OLLAMA),
    )
    seen = facts(of, installed=["m", "n:1"])
    engines = {
        name: replace(one, residents=(loaded("n:1", 5 * GIB),) if name == "ollama" else ()) for name, one in seen.nodes["a"].engines.items()
    }
    seen = replace(seen, nodes={**seen.nodes, "a": replace(seen.nodes["a"], engines=engines)})
    before = applied(owned("n:1", "a", 5 * GIB))
    found = plan(of, want, seen, before)
    assert found.unplaced == ()
    assert actions(found) == ["load model.n:1@b/ollama", "unload model.n:1@a/ollama", "load model.m@a/llamacpp"]
    assert not plan(of, want, *carry_out(found, seen, before)).steps
