"""Serving a simulated fleet, and the workspace files that fit it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import click

from reconciler.fleet import GIB, MIB, GpurecError, Problem
from reconciler.sim import BUILTIN_FLEETS, SimError, SimFileError, SimFleet, SimSpec, builtin_fleet, read_sim_file, running
from reconciler.views import escape


def serve(path: Path | None) -> None:
    """Serves the fleet of a file, or a built-in one by name (`demo` by default), until interrupted; prints where each engine listens."""
    try:
        named = "demo" if path is None else path.name if path.name in BUILTIN_FLEETS and not path.exists() else None
        if path is not None and named is None and not path.exists():
            hint = f"write it, or name a built-in fleet: {', '.join(BUILTIN_FLEETS)}"
            raise GpurecError.of("this file does not exist", str(path), hint)
        spec = builtin_fleet(named) if named is not None else read_sim_file(path or Path())
        with running(spec) as fleet:
            for name, engine in fleet.engines.items():
                click.echo(f"{escape(name)}  {engine.url}")
            for name, daemon in fleet.daemons.items():
                click.echo(f"{escape(name)}  {daemon.url}")
            click.echo("Serving until ^C.", err=True)
            threading.Event().wait()
    except SimFileError as error:
        raise GpurecError(*(Problem(problem) for problem in error.problems)) from error
    except SimError as error:
        raise GpurecError.of(str(error)) from error


def inventory_of(fleet: SimFleet) -> str:
    """An inventory of a running fleet: its engines where they listen, its cards as declared. YAML that is JSON inside. A node with engines
    of several kinds is in the group of each, with all of them."""
    import json

    lines = ["all:", "  children:"]
    for kind in sorted({engine.kind for node in fleet.spec.nodes for engine in node.engines}):
        lines += [f"    {kind}:", "      hosts:"]
        for node in fleet.spec.nodes:
            engines = {
                one.name: {"kind": one.kind, "url": fleet.engines[f"{node.name}/{one.name}"].url, **_bound(one.gpus, len(node.gpus))}
                for one in node.engines
            }
            if any(one.kind == kind for one in node.engines):
                lines += [f"        {node.name}:", f"          engines: {json.dumps(engines)}", "          gpus:"]
                lines += [f"            - {json.dumps(card)}" for card in _cards(fleet.spec, node.name)]
    return "\n".join(lines) + "\n"


def _bound(cards: Sequence[int] | None, count: int) -> dict[str, object]:
    """The cards of an engine, where they are not all of its node's."""
    return {} if cards is None or list(cards) == list(range(count)) else {"gpus": list(cards)}


def _cards(spec: SimSpec, name: str) -> list[dict[str, object]]:
    (node,) = (node for node in spec.nodes if node.name == name)
    return [
        {
            "index": index,
            "name": gpu.name,
            "vram": f"{gpu.vram // GIB}GiB" if gpu.vram % GIB == 0 else f"{gpu.vram // MIB}MiB",
            **({"compute_capability": gpu.compute_capability} if gpu.compute_capability else {}),
            **({"foreign": f"{gpu.foreign // MIB}MiB"} if gpu.foreign else {}),
        }
        for index, gpu in enumerate(node.gpus)
    ]
