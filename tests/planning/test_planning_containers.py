"""Which of two containers ends or starts first when one takes the place of the other."""

from __future__ import annotations

import pytest

from reconciler.fleet import ContainerFacts, ContainerSpec, ContainerState, Owner
from reconciler.planning.containers import why_stopped_first

NEW = ContainerSpec("box", "i", "lab", "agent.a/box", cards=("GPU-1",))


@pytest.mark.parametrize(
    ("cards", "both_fit", "why"),
    [
        (None, True, "it is not known which cards the old one has"),
        (("all",), True, "the old one has all of the cards"),
        (("GPU-1",), False, "both have card GPU-1, which is not known to have room for both"),
        (("GPU-1",), True, None),
        (("GPU-2",), False, None),
        ((), False, None),
    ],
)
def test_both_run_at_once_only_where_their_cards_are_known_to_have_room(cards, both_fit, why):
    old = ContainerFacts("1", "box", "i", ContainerState.RUNNING, Owner.OURS, "fleet 'lab'", mounts=(), cards=cards)
    assert why_stopped_first(old, NEW, both_fit) == why
