"""Which rules an engine goes by: its kind, its version, what is said of its settings."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.admission import EngineResident, Rules, admit_by_router, free_at_start, rules_of, utilization_of
from reconciler.fleet import GIB, MIB, EngineKind

OLLAMA, ROUTER, VLLM = EngineKind.OLLAMA, EngineKind.LLAMACPP, EngineKind.VLLM


def ollama(env: dict[str, str] | None = None, build: str | None = "0.34.0", cards: int | None = 1, resident: int = 0) -> Rules:
    return rules_of(OLLAMA, build, env or {}, cards, None, resident)


def test_an_ollama_takes_three_models_a_card_where_nobody_says_and_three_without_one() -> None:
    assert [ollama(cards=cards).most for cards in (0, 1, 2)] == [3, 3, 6]
    assert ollama(cards=None).most is None


def test_a_default_that_is_exceeded_already_is_not_the_one_in_force() -> None:
    assert ollama(resident=5).most == 5


def test_what_the_inventory_says_of_its_settings_counts() -> None:
    said = {"OLLAMA_MAX_LOADED_MODELS": "1", "OLLAMA_SCHED_SPREAD": "yes", "LLAMA_ARG_FIT_TARGET": "64,128"}
    found = ollama(said, resident=2)
    assert (found.most, found.spread, found.fit_margin) == (1, True, 128 * MIB)


def test_a_setting_that_is_no_number_counts_as_unset() -> None:
    found = ollama({"OLLAMA_MAX_LOADED_MODELS": "many", "LLAMA_ARG_FIT_TARGET": "x"})
    assert (found.most, found.fit_margin) == (3, None)


@pytest.mark.parametrize("build", ["0.31.9", "0.5.7", "0.0.0", "main", None])
def test_of_a_version_whose_scheduler_is_not_known_nothing_is_assumed(build: str | None) -> None:
    found = ollama(build=build)
    assert (found.known, found.most, found.memory) == (False, None, False)


@pytest.mark.parametrize("build", ["0.32.0", "0.34.0", "v0.40.1-rc2", "1.0.0"])
def test_versions_since_0_32_have_these_rules(build: str) -> None:
    assert ollama(build=build).memory


def test_a_router_tells_its_limit_itself_and_looks_at_no_memory() -> None:
    assert rules_of(ROUTER, "b10760", {}, 1, 4, 9) == Rules(True, 4, "--models-max")
    assert rules_of(ROUTER, "b10760", {}, 1, None, 9).most is None


def test_a_router_at_its_limit_stops_the_idle_model_that_was_used_least_recently() -> None:
    there = [EngineResident("busy", idle=False, used=1), EngineResident("late", used=9), EngineResident("early", used=2)]
    rules = rules_of(ROUTER, None, {}, 1, 3, 3)
    assert admit_by_router(there, rules).evicts == ("early",)
    assert admit_by_router(there[:2], rules).evicts == ()
    assert admit_by_router([EngineResident("busy", idle=False)] * 3, rules).unknown


def test_a_vllm_gets_its_grant_rounded_down_to_a_hundredth() -> None:
    assert utilization_of(10 * GIB, 24 * GIB) == Decimal("0.41")
    assert utilization_of(24 * GIB, 24 * GIB) == utilization_of(30 * GIB, 24 * GIB) == Decimal("1.00")
    assert utilization_of(MIB, 24 * GIB) is None
    assert utilization_of(0, 24 * GIB) is utilization_of(GIB, 0) is None


@given(st.integers(1, 2**40), st.integers(1, 2**40))
def test_what_a_vllm_takes_is_never_more_than_its_grant_and_less_than_a_hundredth_below(grant: int, total: int) -> None:
    share = utilization_of(grant, total)
    granted = min(grant, total)
    taken = 0 if share is None else free_at_start(share, total)
    assert taken <= granted
    assert granted - taken <= total / 100


def test_a_vllm_asks_at_its_start_for_its_fraction_of_the_whole_card() -> None:
    assert free_at_start(Decimal("0.9"), 24 * GIB) == -(-24 * GIB * 9 // 10)
