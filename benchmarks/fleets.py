"""Workspaces of any size, written through the program's own doors: nodes of eight cards, ten replicas a node, recorded facts, a state.

Usage: fleets.py DIR NODES [uneven]. On an uneven fleet every card has its own UUID, readings and foreign use, and every resident its own
bytes.
"""

from __future__ import annotations

import random
import sys
from dataclasses import replace
from pathlib import Path

from reconciler.fleet import (
    Applied,
    AppliedReplica,
    CardFacts,
    EngineFacts,
    EngineKind,
    FleetFacts,
    Installed,
    NodeFacts,
    Resident,
    parse_replica_address,
)
from reconciler.planning import Action, Plan, make_plan
from reconciler.probes import facts_to_json
from reconciler.state import open_writer
from reconciler.workspace import Workspace, load_workspace

EACH_NODE = 8
FEW = 20
AT = "2026-01-01T00:00:00Z"
SEED = 1
MIB, GIB = 2**20, 2**30


def write_files(root: Path, nodes: int, uneven: bool = False) -> None:
    """Inventory and desired state: eight models on each node, and twenty on a tenth of the nodes, so ten replicas a node on average."""
    for folder in ("inventories", "desired", "state"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    own = ", foreign: 1GiB" if uneven else ""
    cards = "".join(f"\n        - {{index: {n}, name: NVIDIA A100, vram: 80GiB, compute_capability: '8.0'{own}}}" for n in range(8))
    (root / "inventories" / "bench.yaml").write_text(
        "all:\n  children:\n    gpu:\n      vars:\n"
        "        engines: {ollama: {url: 'http://{{ inventory_hostname }}:11434'}}\n"
        f"        gpus:{cards}\n"
        f"      hosts:\n        node[{1:05d}:{nodes:05d}]:\n"
    )
    lines = ["version: 1", "models:"]
    lines += [f"  every{n}:latest: {{engine: ollama, on: gpu, each: node, vram: {1 + n % 4}GiB}}" for n in range(EACH_NODE)]
    lines += [
        f"  few{n}:latest: {{engine: ollama, on: gpu, replicas: {max(1, nodes // 10)}, vram: 2GiB, priority: {n % 3}}}" for n in range(FEW)
    ]
    (root / "desired" / "bench.yaml").write_text("\n".join(lines) + "\n")


def facts_of(workspace: Workspace, residents: Plan | None, uneven: bool = False) -> FleetFacts:
    """What probing would see: everything installed, and resident what `residents` loads (nothing when None)."""
    drawn = random.Random(SEED)  # a fleet to measure with, not a secret
    there: dict[str, list[Resident]] = {}
    for step in residents.steps if residents is not None else ():
        if step.action is Action.LOAD:
            size = (step.vram_bytes or 0) - (drawn.randrange(MIB) if uneven else 0)
            there.setdefault(step.node, []).append(Resident(step.engine_name, size_bytes=size, vram_bytes=size, context=4096, pinned=True))
    installed = tuple(Installed(model.engine_name(EngineKind.OLLAMA), 10**9) for model in workspace.desired.models)
    nodes = {}
    for name, spec in workspace.fleet.nodes.items():
        cards = tuple(CardFacts(c.index, None, c.name, c.vram, None, c.foreign, c.compute_capability) for c in spec.gpus or ())
        if uneven:
            cards = tuple(_own(card, name, drawn) for card in cards)
        engine = spec.engines[0]
        seen = EngineFacts(engine.id, engine.kind, True, build="0.34.0", installed=installed, residents=tuple(there.get(name, ())))
        nodes[name] = NodeFacts(name, cards, None, {engine.id.engine: seen})
    return FleetFacts(AT, nodes)


def _own(card: CardFacts, node: str, drawn: random.Random) -> CardFacts:
    """The card with a UUID, readings and foreign use that no other has."""
    foreign = drawn.randrange(GIB)
    return replace(
        card,
        uuid=f"GPU-{node}-{card.index}",
        foreign_bytes=foreign,
        temperature=drawn.uniform(30, 60),
        power=drawn.uniform(20, 300),
        utilisation=drawn.random(),
        source="nvml",
        assumed=False,
        at=AT,
    )


def make(root: Path, nodes: int, uneven: bool = False) -> int:
    """Writes a workspace with `empty.json` (nothing resident), `full.json` (all as wanted) and a state that owns it all."""
    write_files(root, nodes, uneven)
    workspace = load_workspace(root)
    empty = facts_of(workspace, None, uneven)
    (root / "empty.json").write_text(facts_to_json(empty))
    plan = make_plan(workspace.fleet, workspace.desired, empty, Applied(), config_digest=workspace.config_digest, created_at=AT)
    (root / "full.json").write_text(facts_to_json(facts_of(workspace, plan, uneven)))
    rows = [_row(step.address, step.vram_bytes, step.engine_name) for step in plan.steps if step.action is Action.LOAD]
    with open_writer(root / "owned.db", command="bench") as state:
        run = state.begin_run(plan.digest, workspace.config_digest, "bench")
        state.record(rows)
        state.finish_run(run, "done")
    return len(rows)


def _row(address: str, held: int | None, engine_name: str) -> AppliedReplica:
    name, at = parse_replica_address(address)
    return AppliedReplica(
        address,
        name,
        at,
        engine_name,
        keep_alive=-1.0,
        observed_context=4096,
        observed_gpu_fraction=1.0,
        observed_pinned=True,
        vram_bytes=held,
    )


if __name__ == "__main__":
    print(make(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:] == ["uneven"]))
