"""Servers with one model that gpurec starts: the model that placement puts there decides whether, and with what, they run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from memory_daemon import Made, MemoryDaemon, MemoryHost
from operations_lab import OperationsLab, shown

from reconciler.execution.kinds.engine import EngineActor
from reconciler.operations.resource_types import ResourceType
from reconciler.operations.settings import WorkspaceSettings
from reconciler.planning.kinds.engine import OwnedEngineKind
from reconciler.sim import SimFleet, running
from reconciler.sim.read import read_sim_text

IMAGE, NEWER = "vllm/vllm-openai:v0.32.0", "vllm/vllm-openai:v0.33.0"
SIM = """
time_scale: 0
models:
  - {name: small, size: 2GiB, weights: 2GiB, kv_per_token: 1024, context: 4096}
  - {name: large, size: 4GiB, weights: 4GiB, kv_per_token: 1024, context: 4096}
nodes:
  box:
    gpus: [{name: RTX, vram: 24GiB}]
    engines: {vllm: {kind: vllm, port: 8000, installed: [small], gpu_memory_utilization: 0.5}}
"""


@dataclass
class Lab(OperationsLab):
    """A workspace with one vLLM in a container; its server is a simulated one that has the model its container was started with."""

    root: Path
    fleet: SimFleet
    daemon: MemoryDaemon
    image: str = IMAGE
    more: str = ""
    vram: str = "24GiB"
    port: int | None = None
    settings: WorkspaceSettings = field(init=False)

    def __post_init__(self) -> None:
        owned = ResourceType(OwnedEngineKind(), (), lambda context: EngineActor(context, lambda node, docker: MemoryHost(self.daemon)))
        self.settings = WorkspaceSettings(self.root, poll_seconds=0.0, resource_types=(owned,))
        for folder in ("inventories", "desired", "state"):
            (self.root / folder).mkdir()
        self.declare()
        self.wish("small: {engine: vllm, vram: 6GiB, context: 4096}")

    def declare(self, **changes: str | int) -> None:
        for name, value in changes.items():
            setattr(self, name, value)
        port = self.port or self.fleet.engines["box/vllm"].port
        (self.root / "inventories" / "lab.yaml").write_text(
            f"""all:
  hosts:
    box:
      address: 127.0.0.1
      docker: unix:///memory.sock
      probe: {{via: declared}}
      gpus: [{{index: 0, uuid: GPU-1, vram: {self.vram}}}]
      engines: {{vllm: {{runtime: container, port: {port}, container: {{image: "{self.image}"}}{self.more}}}}}
"""
        )

    def wish(self, models: str) -> None:
        (self.root / "desired" / "lab.yaml").write_text(f"version: 1\nmodels: {{{models}}}\n")

    @property
    def arguments(self) -> tuple[str, ...]:
        return self.daemon.named("lab-vllm").spec.args


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    spec = read_sim_text(SIM, "sim")
    with running(spec.on_free_ports()) as fleet:
        engine = fleet.engines["box/vllm"]
        engine.kill()
        model = engine.spec.installed[0]

        def started(made: Made) -> None:
            name = made.spec.args[made.spec.args.index("--model") + 1]
            engine._model = replace(model, name=name)  # type: ignore[attr-defined]  # the model that its process is started with
            engine.revive()

        yield Lab(tmp_path, fleet, MemoryDaemon([IMAGE, NEWER], started, lambda made: engine.kill()))


BESIDE = ["create", "start", "remove"]
AFTER = ["create", "stop", "rename", "rename", "start", "remove", "rename", "start"]
FIRST = "its new container starts before the old one ends"
LAST = "its old container ends first: both have card GPU-1, which is not known to have room for both"


@pytest.mark.parametrize(("vram", "order", "says"), [("24GiB", BESIDE, FIRST), ("10GiB", AFTER, LAST)])
def test_a_server_at_another_port_starts_before_the_old_one_ends_where_the_card_has_room_for_both(
    lab: Lab, vram: str, order: list[str], says: str
) -> None:
    lab.declare(vram=vram)
    lab.converge()
    lab.daemon.requests.clear()
    lab.declare(port=9, image=NEWER)
    made = lab.plan()
    assert shown(made) == ["update engine.box/vllm", "wait model.small@box/vllm"]
    assert list(made.plan.steps[0].lines()) == [says]
    assert (made.plan.drift, made.plan.deferred) == ((), ()), "until it is replaced it answers where it was"
    started = made.applied.resources["engine.box/vllm"].fields["start_seconds"]
    assert made.plan.impact.downtime_seconds == ({} if says == FIRST else {"small": started})
    lab.daemon.broken[NEWER] = ("no",)
    assert [one.status.value for one in lab.apply().steps] == ["failed", "skipped"]
    assert [one.split()[0] for one in lab.daemon.changes] == order
    assert (lab.daemon.names, lab.daemon.named("lab-vllm").state.value) == (["lab-vllm"], "running")


def test_a_model_that_is_placed_there_starts_its_server_and_waits_for_it(lab: Lab) -> None:
    assert shown(lab.plan()) == ["create engine.box/vllm", "wait model.small@box/vllm"]
    lab.converge()
    assert lab.arguments == (
        "--model",
        "small",
        "--served-model-name",
        "small",
        "--gpu-memory-utilization",
        "0.25",
        "--max-model-len",
        "4096",
    )


def test_its_options_and_how_many_requests_at_a_time_are_arguments_of_its_server(lab: Lab) -> None:
    lab.wish("small: {engine: vllm, vram: 6GiB, parallel: 8, kv_cache: f16, options: {enable-prefix-caching: true, dtype: half}}")
    lab.apply()
    assert lab.arguments[6:] == (
        *("--max-num-seqs", "8", "--kv-cache-dtype", "auto"),
        *("--dtype", "half", "--enable-prefix-caching"),
    )
    lab.wish("small: {engine: vllm, vram: 6GiB, parallel: 4}")
    assert shown(lab.plan()) == ["update engine.box/vllm", "wait model.small@box/vllm"]


def test_options_of_the_engine_are_arguments_before_those_of_its_model(lab: Lab) -> None:
    lab.declare(more=", options: {max_num_batched_tokens: 4096, enforce-eager: true}")
    lab.apply()
    assert lab.arguments[:5] == ("--enforce-eager", "--max-num-batched-tokens", "4096", "--model", "small")


def test_what_the_arguments_of_its_files_say_otherwise_leaves_the_model_without_a_place(lab: Lab) -> None:
    lab.wish("small: {engine: vllm, vram: 6GiB, parallel: 8}")
    lab.declare(more=", args: [--max-num-seqs, '2']")
    (unplaced,) = lab.plan().plan.unplaced
    assert [(one.reason, one.message) for one in unplaced.candidates] == [
        ("engine_fixed_options", "its start sets --max-num-seqs 2, wanted 8")
    ]
    assert unplaced.would_fit_if == ("box/vllm is started so: `args` without --max-num-seqs of the engine",)


def test_a_server_that_has_its_model_is_no_drift(lab: Lab) -> None:
    lab.apply()
    assert lab.plan().plan.drift == ()


def test_without_a_model_it_does_not_run(lab: Lab) -> None:
    lab.wish("")
    assert lab.plan().plan.empty
    assert lab.daemon.names == []


def test_a_model_that_is_no_longer_wanted_ends_its_server(lab: Lab) -> None:
    lab.converge()
    lab.wish("")
    (lab.root / "desired" / "lab.yaml").write_text("version: 1\npolicy: {guards: {allow_empty: true}}\n")
    assert shown(lab.plan()) == ["remove engine.box/vllm"]
    lab.converge()
    assert lab.daemon.names == []


def test_another_model_replaces_its_server(lab: Lab) -> None:
    lab.converge()
    lab.wish("large: {engine: vllm, vram: 12GiB}")
    assert shown(lab.plan()) == ["update engine.box/vllm", "wait model.large@box/vllm"]
    lab.converge()
    assert lab.arguments[:2] == ("--model", "large")
    assert lab.daemon.names == ["lab-vllm"]


def test_another_image_replaces_its_server_and_waits_for_the_model_it_has(lab: Lab) -> None:
    lab.converge()
    lab.declare(image=NEWER)
    assert shown(lab.plan()) == ["update engine.box/vllm", "wait model.small@box/vllm"]
    lab.converge()
    assert lab.daemon.named("lab-vllm").spec.image == NEWER


def test_a_protected_model_keeps_its_server_as_it_is(lab: Lab) -> None:
    lab.wish("small: {engine: vllm, vram: 6GiB, protect: true}")
    lab.converge()
    lab.declare(image=NEWER)
    assert [(refusal.guard, refusal.address) for refusal in lab.plan().plan.refusals] == [("protect", "model.small@box/vllm")]


def test_another_context_starts_its_server_anew(lab: Lab) -> None:
    lab.converge()
    lab.wish("small: {engine: vllm, vram: 6GiB, context: 2048}")
    assert shown(lab.plan()) == ["update engine.box/vllm", "wait model.small@box/vllm"]


def test_what_the_files_say_of_its_arguments_is_not_said_twice(lab: Lab) -> None:
    lab.declare(more=", args: [--gpu-memory-utilization=0.8, --enforce-eager]")
    lab.apply()
    assert lab.arguments.count("--gpu-memory-utilization") == 0
    assert lab.arguments[-2:] == ("--gpu-memory-utilization=0.8", "--enforce-eager")


def test_a_server_that_was_stopped_is_started_with_its_model(lab: Lab) -> None:
    lab.converge()
    lab.daemon.end("lab-vllm")
    assert shown(lab.plan()) == ["update engine.box/vllm", "wait model.small@box/vllm"]
    lab.converge()


def test_two_models_for_one_server_leave_one_without_a_place(lab: Lab) -> None:
    lab.wish("small: {engine: vllm, vram: 6GiB}, large: {engine: vllm, vram: 6GiB}")
    plan = lab.plan().plan
    assert shown(lab.plan())[0] == "create engine.box/vllm"
    assert len(plan.unplaced) == 1
