"""What `gpurec check FILE.gguf` says, against llama.cpp b10760 itself: its own table of a file, and what its server takes of a card."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rigs import MIB, Bench
from servers import Single, card_environment
from vram.judge import model_of
from vram.shapes import write

from reconciler.cli.main import cli

BUILD = ("--engine-build", "b10760")
OFF = 0.01
"""The graphs that are followed are those of b11434; this build's are up to 1% of a small model's bytes apart."""
WAYS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "2048": (("-c", "2048", "-fa", "on"), ("--context", "2048", "--parallel", "1", "--flash-attention", "on")),
    "8192 without flash attention": (("-c", "8192", "-fa", "off"), ("--context", "8192", "--parallel", "1", "--flash-attention", "off")),
    "2048 x 4": (("-c", "8192", "-np", "4", "-fa", "on"), ("--context", "2048", "--parallel", "4", "--flash-attention", "on")),
    "q8_0": (
        ("-c", "4096", "-fa", "on", "-ctk", "q8_0", "-ctv", "q8_0"),
        ("--context", "4096", "--parallel", "1", "--flash-attention", "on", "--kv-cache", "q8_0"),
    ),
    "a batch of 128": (
        ("-c", "4096", "-fa", "on", "-ub", "128"),
        ("--context", "4096", "--parallel", "1", "--flash-attention", "on", "--batch", "128"),
    ),
}
"""Arguments of the server, and of `gpurec check`."""


def check(file: Path, *arguments: str) -> dict[str, Any]:
    result = CliRunner().invoke(cli, ["check", str(file), *arguments, *BUILD, "--format", "json"])
    assert result.exit_code == 0, result.output
    said: dict[str, Any] = json.loads(result.stdout)
    return said


@pytest.mark.parametrize("way", WAYS)
def test_a_server_takes_of_its_card_what_check_says_without_the_fixed_cost(bench: Bench, way: str) -> None:
    arguments, asked = WAYS[way]
    said = check(bench.real.gemma, *asked)
    card = bench.card(3072 * MIB)
    bench.started(Single(bench.real, bench.folder("single"), bench.real.gemma, "gemma", [card], extra=arguments))
    predicted = said["total_bytes"] - said["fixed_bytes"]
    print(way, predicted, card.used)
    assert card.used * (1 - OFF / 10) <= predicted <= card.used * (1 + OFF)


@pytest.mark.parametrize(
    "name",
    [
        "llama-8b", "mixtral-8x7b", "qwen3-8b", "gemma3-4b", "gpt-oss-20b", "gemma2-9b", "command-r7b", "olmoe-7b", "internlm2-8b",
        "deepseek-moe-16b", "baichuan2-7b", "codeshell-7b",
    ],
)  # fmt: skip
def test_weights_and_cache_are_what_llama_cpp_prints_of_a_file_of_that_shape(bench: Bench, tmp_path: Path, name: str) -> None:
    file = write(tmp_path / "shape.gguf", model_of(name))
    said = check(file, "--context", "4096", "--parallel", "1", "--flash-attention", "on")
    card = bench.card(64 * 1024 * MIB)
    command = [bench.real.llama_bin / "llama-fit-params", "-m", file, "-c", "4096", "-np", "1", "-fa", "on", "-fitp", "on"]
    environment = {**os.environ, **card_environment([card])}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    rows = [line.split() for line in run.stdout.splitlines()]
    (printed,) = [row[-3:] for row in rows if "RPC0" in row]
    weights, cache, _ = (int(number) for number in printed)
    assert (said["weights_bytes"] // MIB, said["kv_bytes"] // MIB) == (weights, cache)
