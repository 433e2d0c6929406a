"""Where a model goes first if there is a choice: nodes in an order, faster cards, and things weighed against each other."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fleets import GIB, actions, applied, desired, facts, fleet, loaded, model, node, owned, plan

from reconciler.fleet import Fleet, FleetFacts, Prefer, Strategy, Weights, card_speed
from reconciler.planning import Plan

NAMES = {"a": "NVIDIA GeForce RTX 3060", "b": "NVIDIA GeForce RTX 4090", "c": "Tesla T4"}
OF = fleet(*(node(name, 12 * GIB) for name in NAMES))


def named(of: Fleet, seen: FleetFacts, **fields: dict[str, object]) -> FleetFacts:
    """The facts with names of cards, and by field what else is known of the card of each node."""
    nodes = {}
    for name, one in seen.nodes.items():
        known = {field: values[name] for field, values in fields.items()}
        nodes[name] = replace(one, cards=tuple(replace(card, name=NAMES[name], **known) for card in one.cards or ()))
    return replace(seen, nodes=nodes)


def where(found: Plan, name: str = "m:1") -> list[str]:
    return sorted(address.rpartition("@")[2].partition("/")[0] for address in found.placed if address.startswith(f"model.{name}@"))


@pytest.mark.parametrize(("order", "first"), [(("c", "a"), "c"), (("b",), "b"), (("a", "b"), "a")])
def test_the_first_pattern_with_room_is_taken(order: tuple[str, ...], first: str) -> None:
    prefer = Prefer(tuple(frozenset({name}) for name in order))
    assert where(plan(OF, desired(model("m:1", [*NAMES], 4 * GIB, prefer=prefer)), facts(OF, installed=["m:1"]))) == [first]


@pytest.mark.parametrize("strategy", list(Strategy))
def test_the_strategy_chooses_among_what_is_preferred_alike_and_what_is_full_gives_way_to_the_rest(strategy: Strategy) -> None:
    prefer = Prefer((frozenset({"a", "c"}),))
    want = desired(model("m:1", [*NAMES], 8 * GIB, replicas=2, prefer=prefer), model("n:1", ["c"], 6 * GIB, priority=1), strategy=strategy)
    assert where(plan(OF, want, facts(OF, installed=["m:1", "n:1"]))) == ["a", "b"]


def test_a_preference_moves_nothing() -> None:
    seen = facts(OF, {"a": [loaded("m:1", 4 * GIB)]}, ["m:1"])
    want = desired(model("m:1", [*NAMES], 4 * GIB, prefer=Prefer((frozenset({"b"}),))))
    assert actions(plan(OF, want, seen, applied(owned("m:1", "a", 4 * GIB)))) == []


def test_faster_cards_come_first_and_of_one_speed_the_strategy_decides() -> None:
    want = desired(model("m:1", [*NAMES], 8 * GIB, replicas=2, prefer=Prefer(speed=True)))
    assert where(plan(OF, want, named(OF, facts(OF, installed=["m:1"])))) == ["a", "b"]
    one = desired(model("m:1", [*NAMES], 8 * GIB, prefer=Prefer(speed=True)))
    assert where(plan(OF, one, named(OF, facts(OF, installed=["m:1"])))) == ["b"]


@pytest.mark.parametrize(
    ("faster", "slower"),
    [
        (("NVIDIA GeForce RTX 4070 Ti SUPER", (8, 9)), ("NVIDIA GeForce RTX 4070 Ti", (8, 9))),
        (("NVIDIA A100-SXM4-80GB", (8, 0)), ("NVIDIA A100-PCIE-40GB", (8, 0))),
        (("NVIDIA H100 80GB HBM3", (9, 0)), ("NVIDIA H100 PCIe", (9, 0))),
        (("Tesla T4", (7, 5)), ("NVIDIA Some Future Card", (12, 0))),
        (("NVIDIA Some Future Card", (12, 0)), ("NVIDIA Some Old Card", (6, 1))),
        (("NVIDIA Some Old Card", (6, 1)), (None, None)),
        (("NVIDIA L40S", (8, 9)), ("NVIDIA L4", (8, 9))),
    ],
)
def test_cards_are_compared_by_the_table_and_those_that_it_lacks_by_their_compute_capability(faster, slower) -> None:
    assert card_speed(*faster) > card_speed(*slower)


@pytest.mark.parametrize(
    ("weights", "first"),
    [
        (Weights(load=1.0), "b"),
        (Weights(load=0.0, speed=1.0), "b"),
        (Weights(load=0.0, temperature=1.0), "c"),
        (Weights(load=0.0, utilisation=1.0), "a"),
        (Weights(load=1.0, speed=0.1, utilisation=5.0), "a"),
    ],
)
def test_weighted_takes_what_costs_least_by_the_weights(weights: Weights, first: str) -> None:
    heat: dict[str, object] = {"a": 60.0, "b": 70.0, "c": 40.0}
    busy: dict[str, object] = {"a": 0.1, "b": 0.9, "c": 0.5}
    filled = {"a": [loaded("x:1", 2 * GIB)], "c": [loaded("y:1", 3 * GIB)]}
    seen = named(OF, facts(OF, filled, ["m:1", "x:1", "y:1"]), temperature=heat, utilisation=busy)
    want = desired(model("m:1", [*NAMES], 4 * GIB), strategy=Strategy.WEIGHTED, weights=weights)
    assert where(plan(OF, want, seen)) == [first]


def test_weighted_counts_what_it_placed_itself() -> None:
    models = [model(f"m{number}:1", [*NAMES], 3 * GIB) for number in range(6)]
    found = plan(OF, desired(*models, strategy=Strategy.WEIGHTED), facts(OF, installed=[one.name for one in models]))
    assert sorted(len(where(found, one.name)) for one in models) == [1] * 6
    assert sorted(card.after_bytes for card in found.gpus) == [6 * GIB] * 3
