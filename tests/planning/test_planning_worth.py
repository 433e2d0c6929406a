"""A model without a place is told whether none has room for it, or none was found."""

from __future__ import annotations

import pytest
from fleets import GIB, applied, desired, facts, fleet, model, node, plan

from reconciler.fleet import Each, EngineKind
from reconciler.planning.explaining import account_of
from reconciler.views.sections import what_lacks

CARDS = fleet(node("a", 24 * GIB), node("b", 24 * GIB))


def left_out(want):
    """The one model without a place, with what people read of it."""
    made = plan(CARDS, want, facts(CARDS, installed=["m:1", "n:1"]))
    (one,) = made.unplaced
    why = account_of(made, f"model.{one.model}", applied())
    assert why is not None
    return one, why.why.message


@pytest.mark.parametrize(
    "want",
    [
        pytest.param([model("m:1", ["a", "b"], 30 * GIB)], id="larger than every card"),
        pytest.param([model("m:1", ["a", "b"], 4 * GIB, replicas=3)], id="more replicas than engines"),
        pytest.param([model("m:1", ["a"], 16 * GIB, priority=1), model("n:1", ["a"], 16 * GIB)], id="more bytes than the cards have"),
        pytest.param([model("m:1", ["a", "b"], 4 * GIB, engine=EngineKind.VLLM)], id="no engine of its kind"),
        pytest.param([model("m:1", ["a", "b"], 13 * GIB, replicas=2), model("n:1", ["a", "b"], 12 * GIB)], id="two to a card at most"),
    ],
)
def test_what_counting_shows_to_be_impossible_cannot_be_placed(want):
    one, why = left_out(desired(*want))
    assert one.proved
    assert what_lacks(one).endswith(": cannot be placed")
    assert why == "it cannot be placed"


@pytest.mark.parametrize(
    "want",
    [
        pytest.param(
            [model("n:1", ["a", "b"], 20 * GIB, replicas=2), model("m:1", ["b"], 8 * GIB, each=Each.ENGINE)], id="no bound is known"
        ),
        pytest.param([model("m:1", ["a", "b"])], id="nobody knows what it needs"),
    ],
)
def test_of_what_nothing_is_proved_no_place_was_found(want):
    one, why = left_out(desired(*want))
    assert not one.proved
    assert what_lacks(one).endswith(": no place found")
    assert why == "no place was found for it"
