"""Needs computed from what engines tell: the upper end, with the way that each engine runs models, once for all engines that are alike."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from planning.fleets import GIB, NOW, applied, desired, fleet, model, node, owned, plan
from planning.fleets import facts as plain_facts

import reconciler.needs.run_settings as ways
from reconciler.fleet import Applied, EngineKind, Fleet, FleetFacts, Installed, KvCache, ModelHeader, Residency, Resident, RunOptions
from reconciler.planning import Plan, make_plan
from reconciler.vram import (
    CACHE_TYPES,
    Catalogue,
    Family,
    KnownModel,
    ListedShape,
    Quantisation,
    RunSettings,
    Shape,
    Trust,
    fact_of,
    geometry_of,
    header_of_fact,
    header_of_show,
    ollama_server,
    predict,
)

DATA = Path(__file__).parent.parent / "vram" / "data"


def shown(name: str) -> ModelHeader:
    return fact_of(header_of_show(json.loads((DATA / f"ollama_0.34.0_show_{name}.json").read_text("utf-8"))))


HEADER = shown("gemma_plain")
PLAIN = shown("tiny_arrays_verbose")
"""A model without sliding layers."""
BLOB = "a" * 64
NAME = "gemma:1"


def told(of: Fleet, *, residents: dict[str, Any] | None = None, header: ModelHeader | None = HEADER, **fields: Any) -> FleetFacts:
    """Facts in which every engine has the Gemma model (and its tag of context 8192) installed, and tells its header."""
    seen = plain_facts(of, residents)
    installed = tuple(Installed(name, 300_000_000, f"d-{name}", BLOB, False, header=header, **fields) for name in (NAME, f"{NAME}-c8192"))
    nodes = {
        name: replace(one, engines={key: replace(engine, installed=installed) for key, engine in one.engines.items()})
        for name, one in seen.nodes.items()
    }
    return replace(seen, nodes=nodes)


def high(header: ModelHeader = HEADER, **settings: Any) -> int:
    """The upper end of what one card takes on Ollama 0.34."""
    fields = {"context": 4096, "parallel": 1, "ubatch": 512, "build": 10760, **settings}
    found = max(card.high or 0 for card in predict(geometry_of(header_of_fact(header)), RunSettings(**fields)).cards)
    assert found > 0
    return found


def need(result: Plan) -> tuple[int | None, str | None]:
    (step,) = [step for step in result.steps if step.action.value == "load"]
    return step.vram_bytes, step.vram_source


ONE = fleet(node("a", 8 * GIB))


def test_the_plan_takes_the_upper_end_of_what_is_computed() -> None:
    assert need(plan(ONE, desired(model(NAME, ["a"])), told(ONE))) == (high(), "computed")


def test_a_context_of_the_model_counts() -> None:
    want = desired(model(NAME, ["a"], context=8192))
    assert need(plan(ONE, want, told(ONE))) == (high(context=8192, ubatch=1024), "computed")


def test_the_servers_environment_counts() -> None:
    spec = ONE.nodes["a"]
    env = {"OLLAMA_NUM_PARALLEL": "2", "OLLAMA_KV_CACHE_TYPE": "q8_0", "OLLAMA_CONTEXT_LENGTH": "2048"}
    of = fleet(replace(spec, engines=tuple(replace(engine, env=env) for engine in spec.engines)))
    kind = ollama_server("0.34.0", env, None, ()).cache
    assert kind == "q8_0"
    expected = high(context=2048, parallel=2, key_type=CACHE_TYPES[kind], value_type=CACHE_TYPES[kind])
    assert need(plan(of, desired(model(NAME, ["a"])), told(of))) == (expected, "computed")


def test_a_large_card_has_a_larger_default_context() -> None:
    of = fleet(node("a", 24 * GIB))
    assert need(plan(of, desired(model(NAME, ["a"])), told(of))) == (high(context=32768, ubatch=1024), "computed")


def test_a_baked_context_counts_before_the_servers_own() -> None:
    assert need(plan(ONE, desired(model(NAME, ["a"])), told(ONE, context=2048))) == (high(context=2048), "computed")


def test_what_is_loaded_beside_the_weights_counts() -> None:
    assert need(plan(ONE, desired(model(NAME, ["a"])), told(ONE, beside_bytes=7))) == (high() + 7, "computed")


def test_a_declared_need_wins_and_the_file_size_is_left_where_no_header_is_told() -> None:
    assert need(plan(ONE, desired(model(NAME, ["a"], GIB)), told(ONE))) == (GIB, "declared")
    assert need(plan(ONE, desired(model(NAME, ["a"])), told(ONE, header=None))) == (360_000_000, "file_size")


def test_a_header_that_makes_no_sense_is_no_source() -> None:
    broken = replace(HEADER, keys={**HEADER.keys, "gemma3.block_count": "many"})
    assert need(plan(ONE, desired(model(NAME, ["a"])), told(ONE, header=broken))) == (360_000_000, "file_size")
    unknown = replace(HEADER, tensors=(("x", "q9_9", (1,)),))
    assert need(plan(ONE, desired(model(NAME, ["a"])), told(ONE, header=unknown))) == (360_000_000, "file_size")


def test_over_several_cards_each_is_charged_with_the_largest_part_of_a_split() -> None:
    assert high(split=(1, 1)) < high()
    size = (high(split=(1, 1)) + 2**20) * 10 // 9  # 90% of a card may be used
    of = fleet(node("a", size, size))
    result = plan(of, desired(model(NAME, ["a"])), told(of))
    assert need(result) == (high(split=(1, 1)), "computed")
    assert [card.after_bytes for card in result.gpus] == [high(split=(1, 1))] * 2


def test_on_a_cpu_it_is_what_ram_holds() -> None:
    of = fleet(node("a", 8 * GIB, ram=16 * GIB))
    result = plan(of, desired(model(NAME, ["a"], residency=Residency.CPU)), told(of))
    got, source = need(result)
    host = predict(geometry_of(header_of_fact(HEADER)), RunSettings(4096, 1, build=10760, offloaded=0)).host
    assert source == "computed"
    assert host.total is not None
    assert got is not None
    assert host.total < got < host.total * 1.1
    assert [card.after_bytes for card in result.gpus] == [0]


def test_what_the_engine_had_of_its_own_at_the_last_apply_is_the_context_where_none_is_asked() -> None:
    before = applied(owned(NAME, "a", observed_context=16384))
    assert need(plan(ONE, desired(model(NAME, ["a"])), told(ONE), before)) == (high(context=16384, ubatch=1024), "computed")


def test_the_catalogue_is_the_last_source() -> None:
    listed = Catalogue({(EngineKind.OLLAMA, "other:1"): KnownModel("other:1", EngineKind.OLLAMA, 3 * GIB, Trust.ROUGH)})
    want = desired(model("other:1", ["a"]), model(NAME, ["a"]))
    found = make_plan(ONE, want, told(ONE), Applied(), config_digest="sha256:c", created_at=NOW, catalogue=listed)
    assert {step.model: step.vram_source for step in found.steps if step.action.value == "load"} == {
        "other:1": "catalogue",
        NAME: "computed",
    }


SHAPE = Shape("s", Family.LLAMA, 16, 2048, 32, 8, 64, 8192, 128256, 131072, tied=True)
NEW = "new:1b"


def by_shape(context: int | None, reported: int | None, **more: Any) -> tuple[int, str]:
    known = KnownModel(NEW, EngineKind.OLLAMA, reported, Trust.REPORTED, "s")
    listed = Catalogue({(EngineKind.OLLAMA, NEW): known}, {}, {"s": SHAPE})
    want = desired(model(NEW, ["a"], context=context, **more))
    found = make_plan(ONE, want, told(ONE), Applied(), config_digest="sha256:c", created_at=NOW, catalogue=listed)
    (step,) = (step for step in found.steps if step.action.value == "load")
    assert step.vram_bytes is not None
    assert step.vram_source is not None
    return step.vram_bytes, step.vram_source


def upper(**settings: Any) -> int:
    listed = ListedShape(SHAPE, Quantisation.Q4_K_M)
    found = predict(listed.geometry(), RunSettings(**{"parallel": 1, "ubatch": 512, "build": 10760, **settings}))
    return listed.widened(found).cards[0].high or 0


def test_a_context_that_is_asked_for_is_counted_by_the_shape_where_no_engine_has_the_file() -> None:
    assert by_shape(16384, 1000 * 2**20) == (upper(context=16384, ubatch=1024), "catalogue")
    assert by_shape(None, 1000 * 2**20, options={"num_ctx": 16384}) == (upper(context=16384, ubatch=1024), "catalogue")
    assert upper(context=16384) - upper(context=4096) > 12288 * 16 * 2 * 1024


def test_a_reported_size_counts_where_nobody_says_a_context_and_a_shape_where_there_is_none() -> None:
    assert by_shape(None, 1000 * 2**20) == (1000 * 2**20, "catalogue")
    assert by_shape(None, None) == (upper(context=4096), "catalogue")


def test_alike_engines_share_one_prediction(monkeypatch: pytest.MonkeyPatch) -> None:
    of = fleet(*(node(f"n{number:03}", 8 * GIB) for number in range(200)))
    asked: list[RunSettings] = []

    def counted(geometry: Any, settings: RunSettings, *more: Any) -> Any:
        asked.append(settings)
        return predict(geometry, settings, *more)

    monkeypatch.setattr(ways, "predict", counted)
    names = sorted(of.nodes)
    result = plan(
        of, desired(model(NAME, names, replicas=150), model("x:1", names, context=8192, names={EngineKind.OLLAMA: NAME})), told(of)
    )
    assert len(result.steps) > 150
    assert len(asked) == len(set(asked)) == 2


def test_planning_with_computed_needs_stays_linear() -> None:
    def seconds(count: int) -> float:
        of = fleet(*(node(f"n{number:05}", 8 * GIB) for number in range(count)))
        want, seen = desired(model(NAME, sorted(of.nodes), replicas=count // 2)), told(of)
        start = time.process_time()
        assert len(plan(of, want, seen).steps) == count // 2
        return time.process_time() - start

    seconds(50)
    small, large = min(seconds(300) for _ in range(3)), seconds(3000)
    assert large < 30 * small


def test_the_plan_after_is_empty_though_the_engine_reports_less_than_was_computed() -> None:
    there = Resident(NAME, size_bytes=350_000_000, vram_bytes=350_000_000, context=4096, pinned=True, blob=BLOB)
    result = plan(ONE, desired(model(NAME, ["a"])), told(ONE, residents={"a": [there]}), applied(owned(NAME, "a", 350_000_000)))
    assert result.steps == ()


def test_requests_at_a_time_are_in_the_sum_as_the_server_is_known_to_run_them_else_as_they_are_asked_for() -> None:
    server = next(iter(ONE.nodes.values()))
    four = RunOptions(parallel=4)
    asks = desired(model(NAME, ["a"], context=4096, runs=four))
    assert need(plan(ONE, asks, told(ONE, header=PLAIN))) == (high(PLAIN, parallel=4, ubatch=1024), "computed")
    engines = tuple(replace(one, env={"OLLAMA_NUM_PARALLEL": "4", "OLLAMA_KV_CACHE_TYPE": "q8_0"}) for one in server.engines)
    declared = fleet(replace(server, engines=engines))
    types: dict[str, Any] = {"key_type": CACHE_TYPES["q8_0"], "value_type": CACHE_TYPES["q8_0"]}
    for runs in (RunOptions(), four, RunOptions(4, KvCache.Q8_0)):
        want = desired(model(NAME, ["a"], context=4096, runs=runs))
        assert need(plan(declared, want, told(declared, header=PLAIN))) == (high(PLAIN, parallel=4, ubatch=1024, **types), "computed")
