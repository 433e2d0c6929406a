"""`limits.kv_cache_fraction`: the caches of all models on a card take no more than a part of it."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from placement.test_placement_knowledge import BLOB, NAME, PLAIN, told
from planning.fleets import GIB, actions, applied, desired, facts, fleet, loaded, model, node, owned, plan

from reconciler.fleet import MIB, NO_LIMITS, ContextVia, Fleet, FleetFacts, Installed, Limits, RunOptions
from reconciler.planning import Plan
from reconciler.vram import RunSettings, geometry_of, header_of_fact, predict

OTHER = "other:1"


def cache(context: int, parallel: int = 1) -> int:
    (card,) = predict(geometry_of(header_of_fact(PLAIN)), RunSettings(context, parallel, build=10760)).cards
    assert card.kv is not None
    return card.kv


def bounded(part: Fraction | None, *sizes: int) -> Fleet:
    return fleet(node("a", *sizes, limits=NO_LIMITS if part is None else Limits(kv_cache_fraction=part)))


def seen(of: Fleet, **fields: object) -> FleetFacts:
    """The same model under two names that do not share weights."""
    found = told(of, header=PLAIN, **fields)  # type: ignore[arg-type]
    engine = found.nodes["a"].engines["ollama"]
    more = tuple(Installed(name, 300_000_000, f"d-{name}", "b" * 64, False, header=PLAIN) for name in (OTHER, f"{OTHER}-c4096"))
    engines = {"ollama": replace(engine, installed=(*(engine.installed or ()), *more))}
    return replace(found, nodes={"a": replace(found.nodes["a"], engines=engines)})


def wanted(*names: str, context: int = 4096, **fields: object) -> list[object]:
    return [model(name, ["a"], context=context, **fields) for name in names]


def both(of: Fleet) -> Plan:
    return plan(of, desired(*wanted(NAME, OTHER)), seen(of))  # type: ignore[arg-type]


def part_of(count: int, size: int) -> Fraction:
    return Fraction(count, size)


def loads(of: Plan) -> int:
    return sum(step.action.value == "load" for step in of.steps)


def test_without_a_bound_both_have_a_place_and_with_it_only_as_many_as_their_caches_leave() -> None:
    one = cache(4096)
    assert loads(both(bounded(None, 8 * GIB))) == 2
    assert loads(both(bounded(part_of(2 * one, 8 * GIB), 8 * GIB))) == 2
    made = both(bounded(part_of(2 * one - 1, 8 * GIB), 8 * GIB))
    assert loads(made) == 1
    (unplaced,) = made.unplaced
    assert [one.reason for one in unplaced.candidates] == ["kv_cache_fraction"]
    assert "that limits.kv_cache_fraction leaves" in unplaced.candidates[0].message
    (line,) = unplaced.would_fit_if
    assert line.startswith("caches may take more of a card: `limits: {kv_cache_fraction: ")


def test_the_line_that_helps_does_help() -> None:
    of = bounded(part_of(2 * cache(4096) - 1, 8 * GIB), 8 * GIB)
    (unplaced,) = both(of).unplaced
    percent = int(unplaced.would_fit_if[0].split("kv_cache_fraction: ")[1].split("%")[0])
    assert loads(both(bounded(Fraction(percent, 100), 8 * GIB))) == 2


@pytest.mark.parametrize(("context", "parallel", "fits"), [(4096, 1, True), (8192, 1, False), (4096, 2, False)])
def test_the_cache_is_that_of_the_whole_context_of_all_requests_at_a_time(context: int, parallel: int, fits: bool) -> None:
    of = bounded(part_of(cache(4096), 8 * GIB), 8 * GIB)
    want = desired(*wanted(NAME, context=context, runs=RunOptions(parallel=parallel)))  # type: ignore[arg-type]
    assert bool(loads(plan(of, want, seen(of)))) is fits


def test_what_is_resident_counts_and_stays() -> None:
    of = bounded(part_of(cache(4096), 8 * GIB), 8 * GIB)
    there = loaded(f"{NAME}-c4096", 700 * MIB, context=4096, blob=BLOB)
    made = plan(of, desired(*wanted(NAME, OTHER)), seen(of, residents={"a": [there]}))  # type: ignore[arg-type]
    assert actions(made)[-1] == f"adopt model.{NAME}@a/ollama"
    assert loads(made) == 0
    assert [one.model for one in made.unplaced] == [OTHER]


def test_on_several_cards_only_those_with_room_for_the_cache_are_charged() -> None:
    one = cache(4096)
    of = bounded(part_of(one, 8 * GIB), 8 * GIB, 8 * GIB)
    assert loads(both(of)) == 1, "an engine over two cards may put either on any of them"


def test_a_cache_that_nobody_can_compute_is_not_counted_and_the_plan_says_so() -> None:
    of = bounded(Fraction(1, 100), 8 * GIB)
    made = plan(of, desired(model("m:1", ["a"], GIB)), facts(of, installed=["m:1"]))
    assert actions(made) == ["load model.m:1@a/ollama"]
    assert [one.message for one in made.notes if one.code == "cache_unknown"] == [
        "its KV cache cannot be computed there, so limits.kv_cache_fraction does not count it"
    ]


def test_at_no_moment_of_an_apply_the_caches_are_over_their_part_though_there_is_room_for_all_bytes() -> None:
    of = bounded(part_of(2 * cache(4096) - 1, 8 * GIB), 8 * GIB)
    there = seen(of, residents={"a": [loaded(f"{OTHER}-c4096", GIB, context=4096, blob="b" * 64)]})
    rows = applied(owned(OTHER, "a", GIB, engine_name=f"{OTHER}-c4096", context=4096))
    made = plan(of, desired(*wanted(NAME), *wanted(OTHER, replicas=0)), there, rows)  # type: ignore[arg-type]
    (leaves,) = (step for step in made.steps if step.action.value == "unload")
    (comes,) = (step for step in made.steps if step.action.value == "load")
    assert leaves.id in comes.needs
    free = bounded(part_of(2 * cache(4096), 8 * GIB), 8 * GIB)
    made = plan(free, desired(*wanted(NAME), *wanted(OTHER, replicas=0)), there, rows)  # type: ignore[arg-type]
    (comes,) = (step for step in made.steps if step.action.value == "load")
    assert "unload" not in "".join(comes.needs)


def test_a_reload_that_grows_waits_for_the_caches_that_leave() -> None:
    of = bounded(part_of(2 * cache(4096) - 1, 8 * GIB), 8 * GIB)
    other = loaded(f"{OTHER}-c4096", GIB, context=4096, blob="b" * 64)
    there = seen(of, residents={"a": [other, loaded(NAME, 700 * MIB, context=2048, blob=BLOB)]})
    rows = applied(owned(OTHER, "a", GIB, engine_name=other.name, context=4096), owned(NAME, "a", 700 * MIB, context=2048))
    want = desired(*wanted(NAME, context_via=ContextVia.REQUEST), *wanted(OTHER, replicas=0))  # type: ignore[arg-type]
    (leaves, grows) = plan(of, want, there, rows).steps
    assert [leaves.action.value, grows.action.value] == ["unload", "reload"]
    assert leaves.id in grows.needs


def test_a_load_waits_for_the_reload_whose_cache_shrinks() -> None:
    of = bounded(part_of(cache(2048) + cache(4096), 8 * GIB), 8 * GIB)
    there = seen(of, residents={"a": [loaded(NAME, 900 * MIB, context=4096, blob=BLOB)]})
    want = desired(*wanted(NAME, context=2048, context_via=ContextVia.REQUEST), *wanted(OTHER))  # type: ignore[arg-type]
    (shrinks, comes) = plan(of, want, there, applied(owned(NAME, "a", 900 * MIB, context=4096))).steps
    assert [shrinks.action.value, comes.action.value] == ["reload", "load"]
    assert shrinks.id in comes.needs
