"""What the history says of each model, the shapes of a card's status, and the ranking of models."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cli_lab import SMALL, served

from reconciler.fleet import GIB, EngineId, EngineKind, Frame, GpurecError, ModelSample, Resident, moving_average
from reconciler.operations.proposal import Proposal, plan_fleet
from reconciler.operations.records import DAY, ModelRecord, Records
from reconciler.operations.settings import WorkspaceSettings
from reconciler.planning import CardBalance
from reconciler.service.http.answers import gpu_status
from reconciler.service.http.ranking import models_optimal
from reconciler.sim import builtin_fleet

MODEL = "model.tiny-llama-1b@box/llama"
START = 1_800_000_000


@pytest.fixture
def seen(tmp_path: Path) -> Iterator[Proposal]:
    with served(builtin_fleet("demo").with_time_scale(0), tmp_path) as lab:
        lab.want(SMALL)
        lab.run("apply", "--auto-approve")
        yield asyncio.run(plan_fleet(WorkspaceSettings(lab.root)))


def record(*samples: ModelSample, every: int = 60) -> ModelRecord:
    frames = [Frame(START + every * at, models={MODEL: one}) for at, one in enumerate(samples)]
    return Records(frames).of[MODEL]


def test_latency_is_a_moving_average_of_seven_tenths_and_three() -> None:
    assert moving_average(None, 2.0) == 2.0
    assert moving_average(2.0, None) == 2.0
    assert moving_average(1.0, 2.0) == pytest.approx(1.3)
    found = record(ModelSample(1.0, latency=1.0), ModelSample(1.0), ModelSample(1.0, latency=2.0, queue=4.0))
    assert (found.latency, found.queue) == (pytest.approx(1.3), 4.0)


def test_where_only_the_speed_of_writing_is_told_a_request_is_that_of_512_tokens() -> None:
    found = record(ModelSample(1.0, tokens_per_second=200.0))
    assert found.request_seconds == pytest.approx(2.56)
    assert record(ModelSample(1.0)).request_seconds is None


def test_failures_and_presence_are_of_the_last_day() -> None:
    found = record(*([ModelSample(1.0, failures=1)] * 10), *([ModelSample(1.0)] * 30), every=3600)
    assert found.failures == 0
    assert found.reliability == 1.0
    half = record(ModelSample(1.0), ModelSample(0.0, failures=2), ModelSample(0.0), ModelSample(1.0))
    assert (half.failures, half.reliability) == (2, 0.25)


def test_a_model_that_nobody_saw_for_a_day_is_forgotten_and_what_is_kept_is_small() -> None:
    records = Records([Frame(START + 60 * at, models={MODEL: ModelSample(1.0)}) for at in range(3000)])
    assert len(records.of[MODEL].seen) <= 26
    records.add(Frame(START + 60 * 3000 + 2 * DAY))
    assert records.of == {}


def test_the_status_of_a_card_has_the_shape_and_the_numbers_that_its_readers_know(seen: Proposal) -> None:
    at = EngineId("ada", "ollama")
    card = replace(seen.facts.nodes["ada"].cards[0], index=0, used_bytes=round(12.06 * GIB), temperature=63.0, power=280.0, throttle=())  # type: ignore[index]
    engine = replace(
        seen.facts.nodes["ada"].engines["ollama"],
        kind=EngineKind.LLAMACPP,
        residents=(Resident("tiny-llama-1b", vram_bytes=round(2.3 * GIB)),),
    )
    node = replace(seen.facts.nodes["ada"], cards=(card,), engines={"ollama": engine})
    balance = CardBalance(**{**_fields(seen.plan.gpus[0]), "node": "ada", "gpu": 0, "total_bytes": 24 * GIB})
    one = replace(seen, facts=replace(seen.facts, nodes={"ada": node}), plan=replace(seen.plan, gpus=(balance,)))
    records = Records(
        [Frame(START, models={f"model.tiny-llama-1b@{at}": ModelSample(1.0, tokens_per_second=200.0, queue=2.0, failures=1)})]
    )
    assert gpu_status(one, records) == {
        "gpu": {
            "id": "ada/0",
            "memory_used_gb": 12.06,
            "memory_total_gb": 24.0,
            "memory_available_gb": 11.94,
            "utilization_percent": 50.25,
            "temperature_c": 63.0,
            "power_draw_w": 280.0,
            "is_throttled": False,
        },
        "models": {"tiny-llama-1b": {"vram_gb": 2.3, "backend": "llamacpp", "avg_latency_ms": 2560.0, "queue_size": 2, "failure_count": 1}},
    }


def _fields(one: CardBalance) -> dict[str, object]:
    from dataclasses import fields

    return {field.name: getattr(one, field.name) for field in fields(one)}


def test_models_are_ranked_by_fit_then_latency_then_reliability_with_reasons(seen: Proposal) -> None:
    at = next(one.at for one in seen.applied.replicas.values())
    address = f"model.nomic-embed-text@{at}"
    slow = Records([Frame(START, models={address: ModelSample(1.0, latency=0.5, failures=1)})])
    found = models_optimal(seen, slow, None, 0)["models"]
    assert isinstance(found, list)
    (row,) = found
    assert (row["model_name"], row["fit"], row["failure_count"]) == ("nomic-embed-text", "loaded", 1)
    assert row["avg_latency_ms"] == 500.0 if row["engine"] == str(at) else row["avg_latency_ms"] is None
    assert len(row["reasons"]) == 3
    assert models_optimal(seen, slow, None, 10**9)["models"] == [], "what is known to have too small a context cannot serve"
    with pytest.raises(GpurecError, match="no agent has the type 'poet'"):
        models_optimal(seen, slow, "poet", 0)
