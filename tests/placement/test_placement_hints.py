"""What would help an unplaced model is tried on the board: a line that would not give it a place is not said."""

from __future__ import annotations

import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "planning"))
from placement.hint_following import in_vain
from placement.test_placement_knowledge import NAME, PLAIN, need, told
from planning.fleets import GIB, applied, desired, facts, fleet, loaded, model, node, owned, plan
from planning.wide_fleets import World, wide_world

from reconciler.capacity import set_up
from reconciler.fleet import MIB, Applied, Each, EngineKind, Limits
from reconciler.placement import explain, place_most
from reconciler.placement.result import HINT_LOOKS_IN_ALL

CARD = fleet(node("a", 24 * GIB))  # 90% of it is usable
NOTHING = Applied("lineage", 1, {})
BIG = model("big:1", ["a"], 16 * GIB)


def hints(of, want, seen, before=None, of_model="big:1"):
    return next(one.would_fit_if for one in plan(of, want, seen, before).unplaced if one.model == of_model)


@pytest.mark.parametrize(("keep", "guest", "lines"), [(6, 1, 0), (4, 5, 1)])
def test_a_stranger_is_named_only_where_its_leaving_makes_room(keep, guest, lines):
    seen = facts(CARD, {"a": [loaded("keep:1", keep * GIB), loaded("guest:1", guest * GIB)]}, ["big:1"])
    told = hints(CARD, desired(BIG, model("keep:1", ["a"], keep * GIB)), seen)
    assert len([line for line in told if "unmanaged" in line]) == lines


def test_a_stranger_that_makes_room_together_with_what_matters_less_is_named():
    seen = facts(CARD, {"a": [loaded("low:1", 12 * GIB), loaded("guest:1", 8 * GIB, pinned=False)]}, ["big:1", "low:1"])
    want = desired(model("big:1", ["a"], 20 * GIB, priority=1), model("low:1", ["a"], 12 * GIB))
    assert "1 unmanaged resident (8192 MiB) makes room: `policy: {unmanaged: yield}`" in hints(CARD, want, seen)


def test_the_size_that_is_written_for_an_unknown_need_has_room():
    of = fleet(node("a", 5 * GIB // 2))
    (line,) = hints(of, desired(model("big:1", ["a"])), facts(of))
    assert line == "the need of big:1 is declared and is at most 2304 MiB: `vram: 2304MiB` under models.big:1"
    assert plan(of, desired(model("big:1", ["a"], 2304 * MIB)), facts(of, installed=["big:1"])).unplaced == ()


def test_a_need_is_not_asked_for_where_no_card_has_room_for_anything():
    of = fleet(node("a", 10 * GIB))
    seen = facts(of, {"a": [loaded("keep:1", 9 * GIB)]}, ["keep:1"])
    assert hints(of, desired(model("keep:1", ["a"], 9 * GIB), model("big:1", ["a"])), seen) == ()


@pytest.mark.parametrize(("size", "lines"), [(1, 0), (12, 1)])
def test_a_protected_replica_is_named_only_where_its_leaving_makes_room(size, lines):
    rest = 20 - size
    seen = facts(CARD, {"a": [loaded("low:1", size * GIB), loaded("top:1", rest * GIB)]}, ["low:1", "top:1"])
    want = desired(
        model("low:1", ["a"], size * GIB, protect=True),
        model("top:1", ["a"], rest * GIB, priority=9),
        model("big:1", ["a"], 12 * GIB, priority=5),
    )
    told = hints(CARD, want, seen, applied(owned("low:1", "a"), owned("top:1", "a")))
    assert len([line for line in told if "protected" in line]) == lines


@pytest.mark.parametrize(("ram", "lines"), [(8, 0), (64, 1)])
def test_the_cpu_is_named_only_where_its_ram_has_room(ram, lines):
    of = fleet(node("a", ram=ram * GIB))
    assert len(hints(of, desired(BIG), facts(of))) == lines


@pytest.mark.parametrize(("size", "lines"), [(1, 1), (12, 0)])
def test_a_raised_limit_of_models_is_named_only_where_the_cards_have_room_too(size, lines):
    names = ["m1:1", "m2:1", "m3:1"]
    seen = facts(CARD, {"a": [loaded(name, 4 * GIB) for name in names]}, [*names, "big:1"])
    want = desired(*(model(name, ["a"], 4 * GIB, priority=1) for name in names), model("big:1", ["a"], size * GIB))
    assert len([line for line in hints(CARD, want, seen) if "OLLAMA_MAX_LOADED_MODELS" in line]) == lines


def test_the_file_is_asked_for_only_where_the_model_would_have_room():
    of = fleet(node("a", 10 * GIB, kind=EngineKind.LLAMACPP))
    assert hints(of, desired(model("big", ["a"], 16 * GIB)), facts(of), of_model="big") == ()
    assert len(hints(of, desired(model("big", ["a"], 6 * GIB)), facts(of), of_model="big")) == 1


@pytest.mark.parametrize("seeds", [range(start, start + 40) for start in range(0, 160, 40)])
def test_each_line_gives_a_place_to_who_follows_it(seeds):
    assert [(seed, line) for seed in seeds for line in in_vain(wide_world(seed))] == []


def of_kind(part, told):
    return [line for line in told if part in line]


def test_a_variant_that_would_fit_is_named_with_the_most_that_it_may_need():
    of = fleet(node("a", 10 * GIB))
    (line,) = of_kind("variant", hints(of, desired(BIG), facts(of)))
    assert (
        line == "there is a variant of it that needs 9216 MiB at most: `variants: [big:1, {name: NAME, vram: 9216MiB}]` under models.big:1"
    )
    assert not of_kind("variant", hints(of, desired(model("big:1", ["a"], 40 * GIB)), facts(of))), "a quarter of it is another model"


def test_the_smallest_card_that_would_hold_it_alone_is_named():
    of = fleet(node("a", 10 * GIB))
    assert hints(of, desired(BIG), facts(of))[-1] == "there is a card of 20 GiB with nothing on it, at an engine like a/ollama"


@pytest.mark.parametrize(
    ("replicas", "lines"), [(2, ["there is one replica less of other:1: `replicas: 1` under models.other:1"]), (1, [])]
)
def test_one_replica_less_is_named_where_each_of_them_makes_room(replicas, lines):
    of = fleet(node("a", 20 * GIB), node("b", 20 * GIB))
    names = ["a", "b"][:replicas]
    seen = facts(of, {name: [loaded("other:1", 12 * GIB)] for name in names}, ["other:1", "big:1"])
    want = desired(model("other:1", names, 12 * GIB, replicas=replicas), model("big:1", names, 16 * GIB))
    told = hints(of, want, seen, applied(*(owned("other:1", name) for name in names)))
    assert of_kind("replica less", told) == lines


def test_the_least_priority_that_makes_room_is_named_and_who_leaves_then():
    seen = facts(CARD, {"a": [loaded("p3:1", 12 * GIB), loaded("p9:1", 8 * GIB)]}, ["p3:1", "p9:1"])
    want = desired(BIG, model("p3:1", ["a"], 12 * GIB, priority=3), model("p9:1", ["a"], 8 * GIB, priority=9))
    (line,) = of_kind("priority", hints(CARD, desired(*want.models[1:], model("big:1", ["a"], 10 * GIB)), seen))
    assert line == "it matters more than p3:1, so that p3:1 leaves: `priority: 4` under models.big:1"
    (line,) = of_kind("priority", hints(CARD, want, seen))
    assert line == "it matters more than p9:1, so that p3:1 and p9:1 leave: `priority: 10` under models.big:1"


@pytest.mark.parametrize(
    ("sizes", "need", "who"),
    [
        ((10, 8), 9, "a9:1 or what else is on a leaves"),  # either
        ((10, 8), 20, "a9:1 and b9:1 leave"),
        ((7, 7, 7), 12, "some of the 3 models on a leave"),  # any two
        ((10, 5, 5), 13, "a9:1 and some of what else is on a leave"),  # the first, and either of the others
        ((5, 5, 5, 5), 20, "a9:1, b9:1 and 2 more leave"),
    ],
)
def test_who_leaves_for_a_raised_priority_is_who_must(sizes, need, who):
    models = [model(f"{name}9:1", ["a"], size * GIB, priority=9) for name, size in zip("abcd", sizes, strict=False)]
    seen = facts(CARD, {"a": [loaded(one.name, one.vram) for one in models]}, [one.name for one in models])
    (line,) = of_kind("priority", hints(CARD, desired(*models, model("big:1", ["a"], need * GIB)), seen))
    assert f", so that {who}: `priority: 10` under models.big:1" in line


def computed(size, **fields):
    """A card of so many bytes with an Ollama that tells the header of a model without sliding layers."""
    of = fleet(node("a", size, limits=Limits(max_vram_utilization=Fraction(1), reserve=0)))
    return World(of, desired(model(NAME, ["a"], **fields)), told(of, header=PLAIN), NOTHING, {})


def needed(**fields):
    return need(computed(80 * GIB, **fields).plan())[0]


def test_the_largest_context_that_fits_is_named():
    size = needed(context=8192) - 4 * MIB
    world = computed(size, context=8192)
    (line,) = of_kind("context", world.plan().unplaced[0].would_fit_if)
    most = int(line.split("context: ")[1].split("`")[0])
    assert needed(context=most) <= size < needed(context=most + 256)
    assert in_vain(world) == []


@pytest.mark.parametrize("env", [{}, {"OLLAMA_KV_CACHE_TYPE": "q8_0", "OLLAMA_FLASH_ATTENTION": "1"}])
def test_where_an_architecture_runs_without_flash_attention_no_smaller_cache_is_named_and_the_plan_is_made(env):
    keys = {key.replace("llama.", "grok."): "grok" if key == "general.architecture" else value for key, value in PLAIN.keys.items()}

    def world(size):
        nodes = [node(name, size, limits=Limits(max_vram_utilization=Fraction(1), reserve=0)) for name in "ab"]
        of = fleet(*(replace(one, engines=tuple(replace(engine, env=env) for engine in one.engines)) for one in nodes))
        return World(of, desired(model(NAME, ["a", "b"], context=8192)), told(of, header=replace(PLAIN, keys=keys)), NOTHING, {})

    size = need(world(80 * GIB).plan())[0] - 4 * MIB
    (unplaced,) = world(size).plan().unplaced
    assert of_kind("cache", unplaced.would_fit_if) == []


def test_a_smaller_cache_is_named_where_it_makes_room():
    world = computed(needed(context=8192) - 4 * MIB, context=8192)
    (line,) = of_kind("cache", world.plan().unplaced[0].would_fit_if)
    start = '`env: {OLLAMA_FLASH_ATTENTION: "1", OLLAMA_KV_CACHE_TYPE: q8_0}`'
    assert line == f"a/ollama keeps a smaller cache: it is started with {start}, which stands at the engine in the inventory"
    assert in_vain(world) == []


def test_a_raised_limit_of_models_is_not_named_where_one_is_there_that_it_is_never_with():
    names = ["m1:1", "m2:1", "m3:1"]
    seen = facts(CARD, {"a": [loaded(name, 4 * GIB) for name in names]}, [*names, "big:1"])
    others = [model(name, ["a"], 4 * GIB, priority=1) for name in names]
    want = desired(*others, model("big:1", ["a"], GIB, never_with=("m2:1",)))
    assert of_kind("OLLAMA_MAX_LOADED_MODELS", hints(CARD, want, seen)) == []


def test_many_priorities_are_not_tried_one_by_one():
    """On each node something of a priority of its own may leave, and only without the most important there is room."""
    nodes = [f"n{number:02d}" for number in range(40)]
    of = fleet(*(node(name, 24 * GIB) for name in nodes))
    small = [model(f"s{number:02d}:1", [name], 2 * GIB, priority=1 + number) for number, name in enumerate(nodes)]
    top = model("top:1", nodes, 18 * GIB, priority=99, each=Each.NODE)
    there = {name: [loaded(f"s{number:02d}:1", 2 * GIB), loaded("top:1", 18 * GIB)] for number, name in enumerate(nodes)}
    want = desired(*small, top, model("big:1", nodes, 20 * GIB))
    seen = facts(of, there, ["big:1"])
    placement = place_most(lambda: set_up(of, seen, want.limits), want, Applied())
    (lacking,) = placement.lacking
    (line,) = of_kind("priority: ", explain(placement, lacking, Applied(), want).would_fit_if)
    assert line.endswith("`priority: 100` under models.big:1")
    assert HINT_LOOKS_IN_ALL - placement.hint_looks_left < 15 * len(nodes)


def test_in_a_fleet_of_many_engines_a_line_is_said_only_where_all_placed_anew_by_a_brief_search_has_a_place():
    nodes = ["a", "b", "c"]
    of = fleet(*(node(name, 24 * GIB) for name in nodes))
    want = desired(model("full:1", nodes, 18 * GIB, each=Each.NODE), model("big:1", nodes, 16 * GIB))
    seen = facts(of, {name: [loaded("full:1", 18 * GIB)] for name in nodes}, ["big:1", "full:1"])
    placement = place_most(lambda: set_up(of, seen, want.limits), want, Applied())
    placement.confirmations_left = len(nodes) - 1  # as where there are more than 400
    real, briefly = placement.again, []

    def lines(again):
        placement.again = again
        return of_kind("priority: ", explain(placement, placement.lacking[0], Applied(), want).would_fit_if)

    def anew(wishes, brief):
        briefly.append(brief)
        return real(wishes, brief)

    assert len(lines(anew)) == 1
    assert set(briefly) == {True}
    assert lines(lambda wishes, brief: placement) == []
    placement.brief_confirmations_left = len(nodes) - 1
    assert lines(anew) == []
