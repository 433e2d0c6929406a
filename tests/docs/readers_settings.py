"""Where the reader of a page is: which machines there are, which files, and what was done before."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
from api_server import TOKEN
from api_server import serving as serving_nodes
from cli_lab import served
from cluster_rules import NODES
from deployment_lab import deployed
from pages import ROOT, blocks
from reader import Reader

from reconciler.cli.commands.demo_script import DESIRED, _squeeze
from reconciler.sim import SimSpec, builtin_fleet, running
from reconciler.sim.read import read_sim_text

Setting = Callable[[Path, str], AbstractContextManager[Reader]]
"""Makes a reader in an empty folder, for a page."""

BOX = """
time_scale: 0
models:
  - {name: "llama3.1:8b", vram: 5GiB}
  - {name: phi-3-mini, vram: 2GiB}
nodes:
  gpu-a:
    ram: 64GiB
    gpus: [{name: RTX 4090, vram: 24GiB}]
    engines:
      ollama: {kind: ollama, port: 11434, installed: ["llama3.1:8b"]}
      llamacpp: {kind: llamacpp, mode: router, port: 8080, installed: [phi-3-mini]}
      vllm: {kind: vllm, port: 8000, installed: [phi-3-mini], gpu_memory_utilization: 0.25}
"""
LAB = """
time_scale: 0
models: [{name: "llama3.1:latest", vram: 5GiB}, {name: mxbai-embed-large, vram: 700MiB}]
nodes:
  gpu-a:
    ram: 64GiB
    gpus: [{name: RTX 4090, vram: 24GiB}]
    engines: {ollama: {kind: ollama, port: 11434, installed: ["llama3.1:latest", mxbai-embed-large]}}
"""
INVENTORY = """
all:
  children:
    gpu:
      hosts:
        gpu-a:
          engines: {ollama: {url: "http://gpu-a:11434"}}
          gpus: [{index: 0, vram: 24GiB}]
"""
WANTED = "version: 1\nmodels: {'llama3.1:latest': {engine: ollama, vram: 5GiB}}\n"
MORE = "version: 1\nmodels: {'llama3.1:latest': {engine: ollama, vram: 5GiB}, mxbai-embed-large: {engine: ollama, vram: 705MiB}}\n"
_APPLY = "gpurec apply --auto-approve"


@contextmanager
def _machines(spec: SimSpec, root: Path, replaced: Mapping[str, str] | None = None) -> Iterator[Reader]:
    with running(replace(spec.on_free_ports(), time_scale=0.0)) as fleet:
        yield Reader(root, spec, fleet, replaced)


def _load(reader: Reader, engine: str, model: str) -> None:
    """As somebody does who loads a model by hand."""
    path, asked = ("embed", {"input": []}) if "embed" in model else ("generate", {})
    url = f"{reader.fleet.engines[engine].url}/api/{path}"
    httpx.post(url, json={"model": model, "keep_alive": -1, **asked}, trust_env=False, timeout=60).raise_for_status()


@contextmanager
def box(root: Path, page: str) -> Iterator[Reader]:
    """A machine with engines, or the one that the page shows; no workspace."""
    own = [block.file[1] for block in blocks(ROOT / page) if block.file is not None and block.file[0] == "box.yaml"]
    with _machines(read_sim_text(own[0] if own else BOX, "box.yaml"), root) as reader:
        yield reader


@contextmanager
def box_in_use(root: Path, page: str) -> Iterator[Reader]:
    """The same with a model that is loaded."""
    with box(root, page) as reader:
        _load(reader, "gpu-a/ollama", "llama3.1:8b")
        yield reader


@contextmanager
def managed_box(root: Path, page: str) -> Iterator[Reader]:
    """The same, by somebody who comes from the page on a box of Ollama."""
    with box_in_use(root, page) as reader:
        reader.follow(blocks(ROOT / "docs/how-to/ollama-box.md"))
        yield reader


@contextmanager
def own_machine(root: Path, page: str) -> Iterator[Reader]:
    """This machine, with an Ollama that holds a model; whoever applies says yes."""
    spec = read_sim_text(BOX, "box.yaml")
    with running(replace(spec.on_free_ports(), time_scale=0.0)) as fleet:
        port = fleet.engines["gpu-a/ollama"].url.rsplit(":", 1)[1]
        reader = Reader(root, spec, fleet, {"gpurec init my-fleet": f"gpurec init my-fleet --gpu 24GiB --port {port}"})
        reader.answers = {"gpurec apply": _APPLY}
        _load(reader, "gpu-a/ollama", "llama3.1:8b")
        yield reader


@contextmanager
def broken_demo(root: Path, page: str) -> Iterator[Reader]:
    """The fleet of `gpurec demo` after it was applied, and broken as the demo does it."""
    spec = replace(builtin_fleet("demo"), time_scale=0.0)
    with served(spec, root) as lab:
        lab.want(DESIRED)
        reader = Reader(root, spec, lab.fleet)
        reader.type(_APPLY, [])
        lab.fleet.engines["ada/ollama"].restart()
        _squeeze(lab.fleet, "qwen2.5-coder:7b")
        yield reader


@contextmanager
def lab(root: Path, page: str) -> Iterator[Reader]:
    """The workspace of a fleet `lab`, with one machine; nothing is applied yet."""
    with _machines(read_sim_text(LAB, "lab.yaml"), root, {"/var/lib/gpurec/": f"{root}/lib-"}) as reader:
        reader.write("inventories/lab.yaml", INVENTORY)
        reader.write("desired/lab.yaml", WANTED)
        yield reader


@contextmanager
def applied_lab(root: Path, page: str) -> Iterator[Reader]:
    """The same after an apply."""
    with lab(root, page) as reader:
        reader.type(_APPLY, [])
        yield reader


@contextmanager
def changed_lab(root: Path, page: str) -> Iterator[Reader]:
    """The same after an apply of something else."""
    with applied_lab(root, page) as reader:
        reader.write("desired/lab.yaml", MORE)
        reader.type(_APPLY, [])
        yield reader


@contextmanager
def sources(root: Path, page: str) -> Iterator[Reader]:
    """The fleet `lab`, with a program that prints an inventory, and a cluster in a kubeconfig."""
    with serving_nodes(NODES) as server, lab(root, page) as reader:
        (reader.root / "kubeconfig").write_text(
            json.dumps(
                {
                    "clusters": [{"name": "x", "cluster": {"server": server.url}}],
                    "users": [{"name": "x", "user": {"token": TOKEN}}],
                    "contexts": [{"name": "lab", "context": {"cluster": "x", "user": "x"}}],
                }
            )
        )
        reader.environ["KUBECONFIG"] = str(reader.root / "kubeconfig")
        reader.write("desired/cloud.yaml", WANTED)
        host = {"engines": {"ollama": {"url": reader.here("http://gpu-a:11434")}}, "gpus": [{"index": 0, "vram": "24GiB"}]}
        printed = json.dumps({"gpu": {"hosts": ["gpu-a"]}, "_meta": {"hostvars": {"gpu-a": host}}})
        reader.write("cloud", f"#!/bin/sh\ncat <<'END'\n{printed}\nEND\n")
        (reader.root / "cloud").chmod(0o755)
        yield reader


@contextmanager
def small_router(root: Path, page: str) -> Iterator[Reader]:
    """The deployment `gpu-router`, with mxbai-embed-large on its small card."""
    with deployed("gpu-router", root, {}) as deployment:
        reader = Reader(root, builtin_fleet("gpu-router"), deployment.fleet)
        _load(reader, "small/ollama", "mxbai-embed-large")
        yield reader


SETTINGS: Mapping[str, Setting] = {
    "README.md#What it looks like": broken_demo,
    "README.md#Start": own_machine,
    "README.md#In CI": lab,
    "docs/deployments.md": small_router,
    "docs/drift.md": applied_lab,
    "docs/files.md": lab,
    "docs/inventory.md": sources,
    "docs/serve.md": lab,
    "docs/state.md": changed_lab,
    "docs/tutorial.md": box,
    "docs/watch.md": lab,
    "docs/how-to/drift-at-night.md": managed_box,
    "docs/how-to/from-ansible.md": box,
    "docs/how-to/from-compose.md": box,
    "docs/how-to/llama-swap.md": box,
    "docs/how-to/ollama-box.md": box_in_use,
    "docs/how-to/two-engines-one-card.md": box,
    "docs/how-to/vllm-beside-ollama.md": box,
}
"""By page, or by page and section."""
NOT_RUN: Mapping[str, int] = {
    "README.md": 2,
    "docs/engines-owned.md": 1,
    "docs/how-to/image.md": 2,
    "docs/kubernetes.md": 1,
    "docs/placement.md": 1,
    "docs/postgres.md": 2,
    "docs/reality.md": 2,
    "docs/serve.md": 2,
    "docs/watch.md": 1,
}
"""Blocks that no test types, each with its reason on the page."""
