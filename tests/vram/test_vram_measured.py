"""What may be learned of a load: the engine's report and the card must tell the same story."""

from __future__ import annotations

import pytest

from reconciler.fleet import GIB, MIB, Measured
from reconciler.vram import SeenLoad, fixed_of, learned


def test_a_report_alone_is_learned_and_so_is_a_card_that_agrees() -> None:
    assert learned(SeenLoad(5 * GIB, None, 4 * GIB)) == Measured(5 * GIB, None)
    assert learned(SeenLoad(5 * GIB, 5 * GIB + 400 * MIB, 4 * GIB)) == Measured(5 * GIB, 5 * GIB + 400 * MIB)


@pytest.mark.parametrize("card", [0, -GIB, 4 * GIB, 7 * GIB, 50 * GIB])
def test_nothing_is_learned_where_somebody_elses_memory_moved_meanwhile(card: int) -> None:
    assert learned(SeenLoad(5 * GIB, card, 4 * GIB)) is None


def test_a_large_model_may_have_a_larger_process() -> None:
    assert learned(SeenLoad(64 * GIB, 71 * GIB, None)) == Measured(64 * GIB, 71 * GIB)
    assert learned(SeenLoad(64 * GIB, 73 * GIB, None)) is None


def test_the_files_size_is_no_report() -> None:
    assert learned(SeenLoad(4 * GIB, None, 4 * GIB)) is None


def test_without_a_report_only_the_engines_own_processes_count() -> None:
    assert learned(SeenLoad(None, 5 * GIB, None)) is None
    assert learned(SeenLoad(0, 5 * GIB, None, own=True)) == Measured(None, 5 * GIB)
    assert learned(SeenLoad(None, 0, None, own=True)) is None
    assert learned(SeenLoad(None, None, None)) is None


def test_the_fixed_cost_is_the_start_value_until_loads_showed_it() -> None:
    assert fixed_of(()) == (162 * MIB, 450 * MIB, 893 * MIB)
    assert fixed_of((300 * MIB, 310 * MIB, 320 * MIB)) == (236 * MIB, 310 * MIB, 384 * MIB)
    assert fixed_of((-10 * MIB,)) == (0, 0, 64 * MIB)
