"""A workspace that has every built-in template, over a fleet with hard names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result
from ruamel.yaml import YAML

from reconciler.cli.main import cli

INVENTORY = """\
all:
  hosts:
    big:
      address: 198.51.100.7
      gpus: [{index: 0, vram: 24GiB, name: "NVIDIA RTX 4090", compute_capability: "8.9", uuid: GPU-1}, {index: 1, vram: 24GiB, uuid: GPU-2}]
      engines:
        ollama: {url: "http://127.0.0.1:21434", gpus: [0], env: {OLLAMA_KEEP_ALIVE: "-1", OLLAMA_MODELS: '/data/50% "full"\\x $HOME'}}
        vllm: {url: "http://[::1]:8000", gpus: [1], max_concurrent_requests: 8}
        swap: {kind: llamaswap, url: "http://127.0.0.1:8085"}
    small:
      address: "2001:db8::1"
      gpus: [{vram: 8GiB, name: "GTX 1070"}]
      engines: {ollama: {url: "http://127.0.0.1:21435", auth: {bearer: env:OLLAMA_KEY}}}
    bare: {gpus: [], probe: {via: none}}
    owner:
      address: 127.0.0.1
      docker: "unix:///var/run/docker.sock"
      gpus: [{vram: 24GiB, name: "NVIDIA RTX 3090", uuid: GPU-3}]
      engines:
        own:
          kind: ollama
          runtime: container
          port: 31434
          env: {OLLAMA_KEEP_ALIVE: "-1", ODD: 'it''s "$HOME" \\ 100%', TOKEN: env:OLLAMA_TOKEN}
          container: {image: "ollama/ollama:0.34.0", volumes: ["ollama:/root/.ollama"], shm_size: 1GiB}
"""
DESIRED = """\
version: 1
policy: {thermal: {warning: 75, critical: 88}, memory_pressure: {high: 80%, critical: 90%}, breaker: {failures: 4, reset: 45s}}
models:
  "llama3.1:latest": {engine: ollama, each: engine, on: "all:!owner", context: 8192, aliases: ['gpt "4"', 'a\\b'], fallback: [phi, swapped]}
  phi: {engine: vllm}
  swapped: {engine: llamaswap, ensure: present}
files:
"""
NAMES = (
    "app-gpu", "compose", "env-gpu", "grafana", "litellm", "llama-swap", "nginx", "ollama-override", "prometheus-rules",
    "prometheus-scrape", "stack", "systemd-watch",
)  # fmt: skip


def workspace(root: Path, *files: str) -> None:
    for folder in ("inventories", "desired"):
        (root / folder).mkdir()
    (root / "inventories" / "lab.yaml").write_text(INVENTORY)
    listed = files or tuple(f"template: gpurec:{name}, to: {name}" for name in NAMES)
    (root / "desired" / "lab.yaml").write_text(DESIRED + "".join(f"  - {{{one}}}\n" for one in listed))


def run(root: Path, *arguments: str) -> Result:
    result = CliRunner().invoke(cli, ["-C", str(root), *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def yaml(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)
