"""`kv_cache`, `parallel`, `flash_attention` on real llama-servers: the arguments that gpurec starts one with, and what each mode tells."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from processes import HttpServer, Process, free_port
from rigs import NEED, RAM, ROOM_FOR_TWO, Bench
from servers import Ollama, Router, Single, card_environment
from softcards import SoftCard
from waiting import wait_until
from workspaces import NODE, reasons, steps

from reconciler.fleet import (
    ContainerSpec,
    EngineId,
    EngineKind,
    EngineSpec,
    EngineUnit,
    FleetFacts,
    KvCache,
    ModelSpec,
    NodeFacts,
    OwnedEngine,
    RunOptions,
    SplitBy,
)
from reconciler.planning.kinds.engine import OwnedEngineKind
from reconciler.planning.kinds.engine.single import GivenModel, model_arguments
from reconciler.planning.resource import AfterPlan
from reconciler.workspace import load_workspace

WANTED = {"engine": "llamacpp", "vram": f"{NEED}B"}
ADDRESS = f"model.gemma@{NODE}/llamacpp"


class Started(HttpServer):
    """A llama-server with the command of an engine that gpurec owns."""

    def __init__(self, bench: Bench, *arguments: str, cards: Sequence[SoftCard] = ()) -> None:
        super().__init__(free_port())
        home = bench.folder("owned")
        own = ["--host", "127.0.0.1", "--port", str(self.port), "--offline", "--no-webui", "--cache-ram", "0", "--verbosity", "4"]
        environment = {"LLAMA_CACHE": str(home), **card_environment(cards or [bench.card(ROOM_FOR_TWO)])}
        self.process = Process("llama-server", [bench.real.llama_bin / "llama-server", *own, *arguments], home, environment)
        self.await_ready()


def test_a_real_llama_server_takes_the_arguments_of_a_model_and_runs_it_so(bench: Bench) -> None:
    owned = OwnedEngine(EngineUnit("llama", exec=("/usr/bin/llama-server",)), 8080)
    engine = EngineSpec(EngineId(NODE, "llamacpp"), EngineKind.LLAMACPP, "", owned=owned)
    spec = ModelSpec(
        "gemma", (NODE,), context=1024, runs=RunOptions(2, KvCache.Q8_0, True), options={"n_gpu_layers": 99, "cont-batching": True}
    )
    server = Started(bench, *model_arguments(engine, (), GivenModel(spec, str(bench.real.gemma))))
    bench.started(server)
    props = server.client.get("/props").raise_for_status().json()
    assert (props["total_slots"], props["default_generation_settings"]["n_ctx"]) == (2, 1024)
    said = server.process.said()
    assert "K (q8_0)" in said
    assert "V (q8_0)" in said


def test_a_real_llama_server_gives_each_card_as_many_layers_whatever_it_has_free(bench: Bench) -> None:
    owned = OwnedEngine(EngineUnit("llama", exec=("/usr/bin/llama-server",)), 8080)
    engine = EngineSpec(EngineId(NODE, "llamacpp"), EngineKind.LLAMACPP, "", gpus=(0, 1), owned=owned)
    layers: dict[int | None, list[float]] = {}
    for count in (None, 2):
        cards = [bench.card(ROOM_FOR_TWO), bench.card(4 * ROOM_FOR_TWO)]
        spec = ModelSpec("gemma", (NODE,), context=1024, runs=RunOptions(1, split_cards=count, split_by=SplitBy.LAYER if count else None))
        server = Started(bench, *model_arguments(engine, (), GivenModel(spec, str(bench.real.gemma))), cards=cards)
        bench.started(server)
        caches = re.findall(r"(\S+) KV buffer size = +([0-9.]+) MiB", server.process.said())  # 1 MiB for each of its 18 layers
        layers[count] = sorted(sum(float(size) for at, size in caches if card.endpoint in at) for card in cards)
    assert sum(layers[None]) == sum(layers[2]) == 18
    assert layers[None][0] < 5
    assert layers[2] == [8, 10]  # the output counts as one more, on the last card


def test_a_real_router_tells_the_split_of_its_preset_and_another_one_is_drift(bench: Bench) -> None:
    cut = ["--split-mode", "layer", "--tensor-split", "1,1"]
    router = Router(bench.real, bench.folder("router"), {"gemma": bench.real.gemma}, [bench.card(ROOM_FOR_TWO) for _ in "12"], extra=cut)
    bench.started(router)
    workspace = bench.workspace()
    workspace.declare({"llamacpp": {"url": router.url}}, (ROOM_FOR_TWO, ROOM_FOR_TWO), RAM)
    workspace.want({"gemma": {**WANTED, "split": {"cards": 2, "by": "layer"}}})
    plan = workspace.plan(0, 2)
    assert [(step["gpus"], step["vram_bytes"]) for step in plan["steps"]] == [([0, 1], NEED // 2)]
    workspace.apply(0)
    workspace.expect_nothing_to_do()
    workspace.want({"gemma": {**WANTED, "split": {"cards": 2, "by": "tensor"}}})
    assert drift(workspace.plan(0, 2)) == [("engine_fixed_options", "split.by", "tensor", "layer")]


def drift(document: dict[str, Any]) -> list[tuple[str, str, Any, Any]]:
    return [(one["kind"], one["field"], one["applied"], one["found"]) for one in document["drift"]]


def test_a_real_server_with_one_model_tells_its_slots_and_other_ones_are_drift(bench: Bench) -> None:
    server = Single(bench.real, bench.folder("single"), bench.real.gemma, "gemma", [bench.card(ROOM_FOR_TWO)])
    bench.started(server)
    workspace = bench.workspace()
    workspace.declare({"llamacpp": {"url": server.url}}, (ROOM_FOR_TWO,), RAM)
    workspace.want({"gemma": {**WANTED, "parallel": 1, "kv_cache": "f16"}})
    workspace.apply(0)
    workspace.expect_nothing_to_do()
    workspace.want({"gemma": {**WANTED, "parallel": 3}})
    assert drift(workspace.plan(0, 2)) == [("engine_fixed_options", "parallel", 3, 1)]


def test_a_model_without_a_file_is_not_installed_though_the_preset_of_a_real_router_names_it(bench: Bench) -> None:
    preset = bench.home / "models.ini"
    preset.write_text("version = 1\n\n[gemma]\ncache-type-k = q8_0\n\n[ghost]\ncache-type-k = q8_0\n")
    files = {"gemma": bench.real.gemma}
    router = Router(bench.real, bench.folder("router"), files, [bench.card(ROOM_FOR_TWO)], extra=["--models-preset", str(preset)])
    bench.started(router)
    assert set(router.statuses()) == {"gemma", "ghost"}
    workspace = bench.workspace()
    workspace.declare({"llamacpp": {"url": router.url}}, (ROOM_FOR_TWO,), RAM)
    workspace.want({"gemma": WANTED, "ghost": WANTED})
    plan = workspace.plan(3)
    assert steps(plan) == [("load", ADDRESS)]
    assert reasons(plan, "ghost") == {"not_installed"}


def test_a_real_router_tells_the_cache_of_what_it_loaded_and_another_one_is_drift(bench: Bench) -> None:
    cache = ["--cache-type-k", "q8_0", "--cache-type-v", "q8_0", "--flash-attn", "on"]
    router = Router(bench.real, bench.folder("router"), {"gemma": bench.real.gemma}, [bench.card(ROOM_FOR_TWO)], extra=cache)
    bench.started(router)
    workspace = bench.workspace()
    workspace.declare({"llamacpp": {"url": router.url}}, (ROOM_FOR_TWO,), RAM)
    workspace.want({"gemma": {**WANTED, "kv_cache": "q8_0", "parallel": 1, "flash_attention": True}})
    assert steps(workspace.plan(0, 2)) == [("load", ADDRESS)]
    workspace.apply(0)
    workspace.expect_nothing_to_do()
    workspace.want({"gemma": {**WANTED, "kv_cache": "f16", "parallel": 2, "flash_attention": False}})
    assert drift(workspace.plan(0, 2)) == [
        ("engine_fixed_options", "flash_attention", False, True),
        ("engine_fixed_options", "kv_cache", "f16", "q8_0"),
        ("engine_fixed_options", "parallel", 2, 1),
    ]


def told(root: Path, engine: str, name: str) -> ContainerSpec:
    """How gpurec starts an engine in a container whose one model leaves after a second without a request."""
    host = f"{{address: 127.0.0.1, docker: 'unix:///d.sock', gpus: [], engines: {{own: {engine}}}}}"
    for folder, text in (
        ("inventories", f"all: {{hosts: {{box: {host}}}}}\n"),
        ("desired", f"version: 1\nmodels: {{{name}: {{ensure: present, idle: 1s, residency: cpu}}}}\n"),
    ):
        (root / folder).mkdir(parents=True)
        (root / folder / "lab.yaml").write_text(text)
    space = load_workspace(root)
    seen = FleetFacts("2026-01-01T00:00:00Z", {"box": NodeFacts("box", (), None, {})})
    (wanted,) = OwnedEngineKind().wanted(AfterPlan(space.fleet, space.desired, seen, {}))
    assert wanted.container is not None
    return wanted.container


def test_a_real_router_puts_a_model_to_sleep_that_nobody_asked_for_so_long_and_wakes_it_for_a_request(bench: Bench) -> None:
    image = "{kind: llamacpp, runtime: container, args: [--models-dir, /models], container: {image: 'llama:1'}}"
    (file,) = told(bench.folder("idle"), image, "gemma").files
    preset = bench.home / "models.ini"
    preset.write_text(str(file.content))
    extra = ["--models-preset", str(preset)]
    router = Router(bench.real, bench.folder("router"), {"gemma": bench.real.gemma}, [bench.card(ROOM_FOR_TWO)], extra=extra)
    bench.started(router)
    router.load("gemma")
    wait_until(lambda: router.statuses()["gemma"]["value"] == "sleeping", 60, "the model sleeps")
    asked = {"model": "gemma", "prompt": "Hello", "max_tokens": 1}
    assert router.client.post("/v1/completions", json=asked, timeout=60).raise_for_status().json()["choices"]
    wait_until(lambda: router.statuses()["gemma"]["value"] == "sleeping", 60, "it sleeps again")


def test_a_real_ollama_unloads_a_model_that_nobody_asked_for_so_long(bench: Bench) -> None:
    image = "{kind: ollama, runtime: container, container: {image: 'ollama/ollama:0.34.0'}}"
    env = {name: str(value) for name, value in told(bench.folder("idle"), image, "gemma").env.items() if name == "OLLAMA_KEEP_ALIVE"}
    assert env == {"OLLAMA_KEEP_ALIVE": "1"}
    server = Ollama(bench.real, bench.folder("ollama"), [bench.card(ROOM_FOR_TWO)], **env)
    bench.started(server)
    server.import_gguf("gemma", bench.real.gemma)
    server.post("/api/generate", {"model": "gemma"})
    wait_until(lambda: not server.residents(), 60, "the model leaves")
