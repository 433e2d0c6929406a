"""A workspace of two nodes with simulated engines, whose agents run in daemons in memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from memory_daemon import MemoryDaemon, MemoryHost
from operations_lab import OperationsLab

from reconciler.execution.kinds.agent import AgentActor
from reconciler.operations.resource_types import RESOURCE_TYPES, ResourceType
from reconciler.operations.settings import WorkspaceSettings
from reconciler.planning.kinds.agent import AgentKind
from reconciler.sim import SimFleet, running
from reconciler.sim.read import read_sim_text
from reconciler.workspace.agents import AGENT_TYPES_FORM, AGENTS_FORM, SERVICES_FORM

SIM = """
time_scale: 0
models:
  - {name: tiny, size: 700MiB, weights: 600MiB, kv_per_token: 1024}
  - {name: other, size: 700MiB, weights: 600MiB, kv_per_token: 1024}
nodes:
  a: {gpus: [{name: RTX, vram: 8GiB}], engines: {ollama: {kind: ollama, port: 11434, registry: [tiny, other]}}}
  b: {gpus: [{name: RTX, vram: 8GiB}], engines: {ollama: {kind: ollama, port: 11435, registry: [tiny, other]}}}
"""


@dataclass
class AgentLab(OperationsLab):
    """`daemons` by node; both have the images `agent:1`, `agent:2` and `queue:1`."""

    root: Path
    fleet: SimFleet
    daemons: dict[str, MemoryDaemon] = field(default_factory=dict)
    settings: WorkspaceSettings = field(init=False)

    def __post_init__(self) -> None:
        self.daemons = {node: MemoryDaemon(["agent:1", "agent:2", "queue:1"]) for node in "ab"}

        def host(node: object, docker: object) -> MemoryHost:
            return MemoryHost(self.daemons[node.name])  # type: ignore[attr-defined]

        agents = ResourceType(AgentKind(), (SERVICES_FORM, AGENTS_FORM, AGENT_TYPES_FORM), lambda context: AgentActor(context, host))
        others = [one for one in RESOURCE_TYPES if one.kind.name == "file"]
        self.settings = WorkspaceSettings(self.root, poll_seconds=0.0, resource_types=(agents, *others))
        for folder in ("inventories", "desired", "state"):
            (self.root / folder).mkdir()
        ports = {node: self.fleet.engines[f"{node}/ollama"].port for node in "ab"}
        hosts = "\n".join(
            f"    {node}: {{address: 127.0.0.1, docker: unix:///{node}.sock, probe: {{via: declared}},"
            f" gpus: [{{index: 0, uuid: GPU-{node}, vram: 8GiB}}], engines: {{ollama: {{url: 'http://127.0.0.1:{ports[node]}'}}}}}}"
            for node in "ab"
        )
        (self.root / "inventories" / "lab.yaml").write_text(f"all:\n  hosts:\n{hosts}\n")

    def wish(self, agents: str, models: str = "{tiny: {engine: ollama, vram: 1GiB, on: a}}", more: str = "") -> None:
        (self.root / "desired" / "lab.yaml").write_text(f"version: 1\nmodels: {models}\nagents: {agents}\n{more}\n")


@contextmanager
def agent_lab(root: Path) -> Iterator[AgentLab]:
    with running(read_sim_text(SIM, "sim").on_free_ports()) as fleet:
        yield AgentLab(root, fleet)
