"""What Ollama's scheduler does with a load, by its own source (server/sched.go of 0.34.0)."""

from __future__ import annotations

import math

from reconciler.admission import (
    CardSeen,
    EngineResident,
    ModelToLoad,
    PendingLoad,
    Rules,
    admit,
    arrange,
    cache_per_token,
    holds,
    predicted_bytes,
)
from reconciler.fleet import GIB, MIB

RULES = Rules(True, 3, memory=True, fit_margin=0)
PINNED = math.inf


def file_of(size: int, **fields: object) -> ModelToLoad:
    return ModelToLoad(file_bytes=size, cache_per_token=0, context=4096, need=size, **fields)  # type: ignore[arg-type]


def seat(name: str, size: int = 0, keep: float | None = PINNED, card: int = 0, **fields: object) -> EngineResident:
    return EngineResident(name, ((card, size),) if size else (), keep, path=name, **fields)  # type: ignore[arg-type]


def one_card(size: int) -> list[CardSeen]:
    return [CardSeen(0, size)]


def test_the_prediction_is_the_file_and_a_cache_for_every_slot() -> None:
    load = ModelToLoad(file_bytes=4 * GIB, cache_per_token=128 * 1024, context=8192, parallel=2)
    assert predicted_bytes(load) == (6 * GIB, 6 * GIB)


def test_without_the_shape_of_the_cache_the_file_is_the_least_and_nothing_is_the_most() -> None:
    assert predicted_bytes(ModelToLoad(file_bytes=4 * GIB, context=8192)) == (4 * GIB, None)
    assert predicted_bytes(ModelToLoad(context=8192)) == (None, None)


def test_a_batch_counts_only_where_it_is_asked_for_and_not_for_embedding_models() -> None:
    assert predicted_bytes(file_of(GIB, batch=1024)) == (GIB + 768 * MIB,) * 2
    assert predicted_bytes(file_of(GIB, batch=2048)) == (3 * GIB,) * 2
    assert predicted_bytes(file_of(GIB, batch=512)) == predicted_bytes(file_of(GIB, batch=2048, embedding=True)) == (GIB, GIB)


def test_the_first_model_is_always_tried_and_spills_where_it_has_no_room() -> None:
    verdict = admit(file_of(9 * GIB), [], one_card(8 * GIB), RULES)
    assert (verdict.evicts, verdict.cards, verdict.spills) == ((), (0,), True)


def test_a_further_model_must_fit_into_80_percent_of_what_is_believed_free() -> None:
    there = [seat("a", 5 * GIB)]
    assert admit(file_of(4 * GIB), there, one_card(10 * GIB), RULES).admitted
    assert admit(file_of(4 * GIB + 1), there, one_card(10 * GIB), RULES).evicts == ("a",)


def test_who_leaves_is_idle_then_has_the_shortest_keep_alive_then_the_least_path() -> None:
    there = [seat("busy", GIB, 1.0, idle=False), seat("b", GIB), seat("a", GIB), seat("soon", GIB, 300.0)]
    rules = Rules(True, 9, memory=True, fit_margin=0)
    assert admit(file_of(4 * GIB), there, one_card(7 * GIB), rules).evicts == ("soon", "a")
    assert admit(file_of(7 * GIB), there, one_card(7 * GIB), rules).evicts == ("soon", "a", "b", "busy")


def test_a_pinned_model_leaves_where_the_server_takes_no_more() -> None:
    verdict = admit(file_of(MIB), [seat("a", MIB), seat("b", MIB)], one_card(24 * GIB), Rules(True, 2, memory=True, fit_margin=0))
    assert verdict.evicts == ("a",)


def test_a_model_for_the_cpu_is_counted_and_not_measured() -> None:
    there = [seat("a", 7 * GIB)]
    load = file_of(20 * GIB, cpu=True)
    assert admit(load, there, one_card(8 * GIB), RULES) == admit(load, there, [], RULES)
    assert admit(load, there, one_card(8 * GIB), RULES).admitted
    assert admit(load, there, one_card(8 * GIB), Rules(True, 1, memory=True)).evicts == ("a",)


def test_of_several_cards_the_freest_is_taken_and_all_where_none_is_enough() -> None:
    cards = [CardSeen(0, 8 * GIB), CardSeen(1, 12 * GIB)]
    assert admit(file_of(4 * GIB), [], cards, RULES).cards == (1,)
    assert admit(file_of(4 * GIB), [seat("a", 6 * GIB, card=1)], cards, RULES).cards == (0,)
    assert admit(file_of(10 * GIB), [seat("a", GIB, card=1)], cards, RULES).cards == (0, 1)
    assert admit(file_of(4 * GIB), [], cards, Rules(True, 6, memory=True, spread=True, fit_margin=0)).cards == (0, 1)
    assert admit(file_of(16 * GIB), [seat("a", GIB, card=1)], cards, RULES).evicts == ("a",)


def test_what_is_not_known_is_said_and_only_what_is_certain_counts() -> None:
    there = [seat("a", 5 * GIB)]
    shapeless = ModelToLoad(file_bytes=4 * GIB, context=4096)
    assert admit(shapeless, there, one_card(10 * GIB), RULES).unknown == ("what it will predict",)
    assert admit(shapeless, there, one_card(9 * GIB), RULES).evicts == ("a",)
    assert admit(file_of(GIB), there, one_card(10 * GIB), Rules()).unknown == ("the rules of this version",)
    assert admit(file_of(GIB), there, one_card(10 * GIB), Rules(True, 3, memory=True)).spills is None


def test_llama_server_leaves_its_margin_free_and_spills_what_does_not_fit_beside_it() -> None:
    rules = Rules(True, 3, memory=True, fit_margin=GIB)
    assert admit(file_of(7 * GIB), [], one_card(8 * GIB), rules).spills is False
    assert admit(file_of(7 * GIB + 1), [], one_card(8 * GIB), rules).spills is True


def test_the_cache_is_reckoned_by_the_least_kv_heads_and_the_embedding_over_the_most_heads() -> None:
    keys = {"general.architecture": "x", "x.block_count": 10, "x.embedding_length": 1024, "x.attention.head_count": (8, 16)}
    assert cache_per_token(keys) == 2 * 10 * 1 * 64 * 2
    assert cache_per_token({**keys, "x.attention.head_count_kv": (4, 2)}) == 2 * 10 * 2 * 64 * 2
    assert cache_per_token({**keys, "x.attention.head_count_kv": 0}) == 2 * 10 * 1 * 64 * 2
    assert cache_per_token({**keys, "x.block_count": "ten"}) is None
    assert cache_per_token({}) is None


def test_the_larger_model_comes_first_where_only_that_order_is_taken() -> None:
    small, large = PendingLoad(2 * GIB, 2 * GIB), PendingLoad(20 * GIB, 20 * GIB)
    assert arrange([small, large], GIB, True) == [large, small]
    assert not holds([small, large], GIB, True)
    assert arrange([small, large], GIB, False) is None
