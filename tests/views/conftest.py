"""Hand-made plans that the views are shown with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from reconciler.fleet import MIB
from reconciler.planning import ModelStep
from reconciler.planning.plan import (
    Action,
    Candidate,
    CardBalance,
    Cause,
    Deferred,
    Drift,
    Impact,
    Note,
    Plan,
    Precondition,
    Reason,
    UnmanagedResident,
    Unplaced,
)

EMPTY_PLAN = Plan(
    fleet="lab", lineage="5f3c", serial=12, config_digest="sha256:c0", created_at="2026-01-01T00:00:00Z", digest="sha256:d0", steps=(),
    unchanged=12, pending=0,
)  # fmt: skip


def step(action: Action, model: str, node: str, engine: str, message: str, **fields: object) -> ModelStep:
    base = ModelStep(
        id=f"{action}:{model}@{node}/{engine}", address=f"model.{model}@{node}/{engine}", action=action, reason=Reason("code", message),
        cause=Cause.PENDING, model=model, node=node, engine=engine, engine_name=model, base_name=model,
    )  # fmt: skip
    return replace(base, **fields)  # type: ignore[arg-type]


def card(node: str, gpu: int, total: int, before: int, after: int, **fields: object) -> CardBalance:
    base = CardBalance(node, gpu, total * MIB, total * 9 // 10 * MIB, 0, False, before * MIB, after * MIB, max(before, after) * MIB)
    return replace(base, **fields)  # type: ignore[arg-type]


FULL_PLAN = replace(
    EMPTY_PLAN,
    pending=2,
    steps=(
        step(
            Action.PULL, "llama3.1:latest", "gpu-a", "ollama", "not installed",
            engine_name="llama3.1:latest-c8192", id="pull-1", seconds=60.0,
        ),
        step(Action.UNLOAD, "mistral:7b", "gpu-a", "ollama", "no longer desired", vram_bytes=4400 * MIB, vram_source="observed", gpus=(0,)),
        step(
            Action.LOAD, "llama3.1:latest", "gpu-a", "ollama", "desired, not resident", engine_name="llama3.1:latest-c8192",
            vram_bytes=5500 * MIB, vram_source="measured", gpus=(0,), needs=("pull-1",), seconds=4.5,
            preconditions=(Precondition("gpu-a/0.free_bytes", at_least=5500 * MIB), Precondition("gpu-a/ollama.installed:x", equals=True)),
            after={"context": 8192, "keep_alive": -1.0},
        ),
        step(
            Action.RELOAD, "gemma2:9b", "gpu-b", "gpu1", "the context differs", cause=Cause.DRIFT, vram_bytes=6900 * MIB,
            vram_source="computed", gpus=(1,),
            before={"context": 4096, "pinned": False, "same": 1}, after={"context": 8192, "pinned": True, "same": 1},
        ),
        step(
            Action.ADOPT, "all-minilm", "gpu-b", "gpu0", "resident as desired",
            cause=Cause.ADOPT, vram_bytes=45 * MIB, vram_source="observed", gpus=(0,),
        ),
    ),
    gpus=(
        card("gpu-a", 0, 8192, 4400, 5500, name="RTX 3060 Ti", foreign_bytes=300 * MIB),
        card("gpu-b", 0, 8192, 45, 45, name="RTX 3060 Ti"),
        card("gpu-b", 1, 12288, 6900, 6900, name="RTX 4070 Ti", assumed=True, peak_bytes=7000 * MIB),
        card("gpu-c", 0, 0, 0, 900, total_bytes=None, usable_bytes=None),
    ),
    drift=(
        Drift("model.gemma2:9b@gpu-b/gpu1", "context", "context", 8192, 4096),
        Drift("model.tiny@gpu-c/ollama", "cpu_fallback", "gpu_fraction", 1.0, 0.0),
        Drift("engine.gpu-c/ollama", "version", "build", "0.33.0", "0.34.0", "observed"),
    ),
    unplaced=(
        Unplaced(
            "llama3.1:70b", 1, 40000 * MIB,
            (Candidate("gpu-a/ollama", "insufficient_vram", "needs 39.0 GiB, 7372 MiB usable"), Candidate("gpu-b/gpu1", "engine_limit")),
            {"insufficient_vram": 3, "engine_limit": 1}, ("a card of 44 GiB joins", "fewer bytes are asked for"),
        ),
        Unplaced("tiny", 2, None, (), {}, (), best_effort=True),
    ),
    deferred=(Deferred("gpu-d", None, "connection refused"), Deferred("gpu-e", "ollama", "no answer within 5 s")),
    unmanaged=(UnmanagedResident("gpu-a", "ollama", "phi3:mini", 2300 * MIB, False), UnmanagedResident("gpu-b", "gpu0", "x", None, None)),
    notes=(Note("model.gemma2:9b", "context_shared", "clients of gemma2:9b undo the context; the name to use is gemma2:9b-c8192"),),
    impact=Impact({"gemma2:9b": 4.5, "quiet": 0.0}, 4700 * MIB, ("model.phi3:mini@gpu-a/ollama",)),
    placed={"model.llama3.1:latest@gpu-a/ollama": "llama3.1:latest-c8192"},
)  # fmt: skip

HOSTILE = "evil\x1b[2J\r\n  + load    model.forged@gpu-a/ollama\u202egnp.exe\u200b\x9b31m\u2028end"

HOSTILE_PLAN = replace(
    EMPTY_PLAN,
    fleet=HOSTILE,
    steps=(
        step(
            Action.RELOAD, HOSTILE, HOSTILE, HOSTILE, HOSTILE, engine_name=HOSTILE + "2", vram_source=HOSTILE,
            before={HOSTILE: HOSTILE}, after={HOSTILE: "x"},
        ),
    ),
    gpus=(card(HOSTILE, 0, 8192, 0, 100, name=HOSTILE),),
    drift=(Drift(HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE),),
    unplaced=(Unplaced(HOSTILE, 1, 1, (Candidate(HOSTILE, HOSTILE, HOSTILE),), {HOSTILE: 9}, (HOSTILE,)),),
    deferred=(Deferred(HOSTILE, HOSTILE, HOSTILE),),
    unmanaged=(UnmanagedResident(HOSTILE, HOSTILE, HOSTILE, 1, True),),
    notes=(Note(HOSTILE, HOSTILE, HOSTILE),),
    impact=Impact({HOSTILE: 1.0}, 1, (HOSTILE,)),
)  # fmt: skip


def large_plan() -> Plan:
    """Ten steps on each of 1,000 nodes, of which no two are alike; one takes something away."""
    nodes = [f"gpu{at:04}" for at in range(1000)]
    gone = step(Action.UNLOAD, "old", "gpu0999", "ollama", "is not wanted", id="gone")
    steps = [
        step(Action.LOAD, f"m{at}", node, "ollama", "missing", id=f"{at}{node}", vram_bytes=(row + 1) * MIB, seconds=4.5)
        for row, node in enumerate(nodes)
        for at in range(10)
    ]
    cards = tuple(card(node, 0, 8192, row, 700) for row, node in enumerate(nodes))
    drift = tuple(Drift(f"model.m{at}@n/o", "missing", "resident", True, False) for at in range(5000))
    return replace(EMPTY_PLAN, steps=(*steps, gone), gpus=cards, drift=drift)


@pytest.fixture
def empty_plan() -> Plan:
    return EMPTY_PLAN


@pytest.fixture
def full_plan() -> Plan:
    return FULL_PLAN


@pytest.fixture
def hostile_plan() -> Plan:
    return HOSTILE_PLAN


@pytest.fixture
def make_card() -> Callable[..., CardBalance]:
    return card


@pytest.fixture
def make_step() -> Callable[..., ModelStep]:
    return step
