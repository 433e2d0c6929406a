"""The order in which models that are to be beside each other are placed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "planning"))
from planning.fleets import GIB, desired, facts, fleet, model, node, plan

from reconciler.placement.company import Company


def chain(*names, ring=False):
    """Models each of which is to be beside the one after it; of a ring the last beside the first."""
    after = [*names[1:], names[0] if ring else None]
    return [model(name, ["a"], GIB, with_models=(mate,) if mate else ()) for name, mate in zip(names, after, strict=True)]


def test_each_model_comes_after_those_beside_which_it_is():
    models = chain("a:1", "b:1", "c:1")
    assert [one.name for one in Company(models).mates_first(models)] == ["c:1", "b:1", "a:1"]


def test_a_chain_of_any_length_is_put_in_order():
    models = chain(*(f"m{number}:1" for number in range(5000)))
    assert [*Company(models).mates_first(models)] == models[::-1]


@pytest.mark.parametrize("count", [2, 3])
def test_models_that_wait_for_each_other_have_no_place_and_end_nothing(count):
    of = fleet(node("a", 24 * GIB))
    models = chain(*(f"m{number}:1" for number in range(count)), ring=True)
    assert sorted(one.model for one in plan(of, desired(*models), facts(of)).unplaced) == [one.name for one in models]
