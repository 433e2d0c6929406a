"""In which order an Ollama takes several loads, if there is one."""

from __future__ import annotations

from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from reconciler.admission import PendingLoad, any_order_holds, arrange, holds

COMING = st.lists(st.builds(PendingLoad, st.none() | st.integers(0, 30), st.integers(0, 30)), max_size=4)


@given(COMING, st.integers(0, 60))
def test_where_any_order_is_said_to_hold_every_one_does(coming, free):
    if any_order_holds(coming, free):
        assert all(holds(order, free, False) for order in permutations(coming))


@given(COMING, st.integers(0, 60), st.booleans())
def test_an_order_is_found_exactly_where_there_is_one(coming, free, first_is_free):
    some = any(holds(order, free, first_is_free) for order in permutations(coming))
    assert (arrange(coming, free, first_is_free) is not None) is some


def test_the_last_load_may_need_all_that_is_left():
    assert any_order_holds([PendingLoad(80, 20), PendingLoad(None, 50)], 100)
    assert not any_order_holds([PendingLoad(81, 20)], 100)
    assert any_order_holds([], 0)
