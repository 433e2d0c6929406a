"""The catalogue: package data with exact names, overridden entry by entry by a workspace's file, every problem at its place."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from pathlib import Path

import pytest

from reconciler.fleet import GIB, MIB, EngineKind, WorkspaceError
from reconciler.placement.eligibility import _DTYPE_SINCE
from reconciler.vram import Quantisation, ShapeTrust, Trust
from reconciler.workspace import load_catalogue
from reconciler.workspace.catalogue import written_catalogue
from reconciler.workspace.compiled_catalogue import compiled, shipped_catalogue

OLLAMA = EngineKind.OLLAMA


def test_models_are_found_by_their_canonical_name_and_never_by_a_part_of_it() -> None:
    found = load_catalogue()
    assert found.model(OLLAMA, "mxbai-embed-large:latest") == found.model(OLLAMA, "mxbai-embed-large")
    large = found.model(OLLAMA, "mxbai-embed-large")
    assert large is not None
    assert (large.vram, large.trust) == (705 * MIB, Trust.REPORTED)
    for alike in ("llama3.2", "llama3.1:8b-fp16", "mixtral:8x22b", "mxbai"):
        assert found.model(OLLAMA, alike) is None
    assert found.model(EngineKind.VLLM, "mxbai-embed-large") is None


def test_cards_are_found_by_name_and_by_pci_id() -> None:
    found = load_catalogue()
    card = found.gpu("NVIDIA GeForce RTX 4090")
    assert card is not None
    assert card is found.gpu("10DE:2684")
    assert (card.vram, card.compute_capability, card.bfloat16) == (24 * GIB, (8, 9), True)
    assert found.gpu("NVIDIA GeForce RTX 4090 Laptop GPU") is None


def test_what_a_card_can_reckon_in_follows_its_compute_capability() -> None:
    cards = set(load_catalogue().gpus.values())
    assert len(cards) >= 25
    for card in cards:
        can = {"float16": card.float16, "bfloat16": card.bfloat16}
        assert can == {kind: card.compute_capability >= since for kind, since in _DTYPE_SINCE.items()}, card.name


@pytest.mark.parametrize(
    ("names", "capability"),
    [
        (("Tesla P100-PCIE-16GB",), (6, 0)),
        (("NVIDIA GeForce GTX 1080 Ti", "Tesla P40"), (6, 1)),
        (("Tesla V100-SXM2-32GB",), (7, 0)),
        (("Tesla T4", "NVIDIA GeForce RTX 2080 Ti", "NVIDIA GeForce GTX 1660"), (7, 5)),
        (("NVIDIA A100-SXM4-40GB", "NVIDIA A100 80GB PCIe", "NVIDIA A30"), (8, 0)),
        (("NVIDIA A10", "NVIDIA A40", "NVIDIA GeForce RTX 3090", "NVIDIA RTX A6000"), (8, 6)),
        (("NVIDIA L4", "NVIDIA L40S", "NVIDIA GeForce RTX 4090"), (8, 9)),
        (("NVIDIA H100 PCIe", "NVIDIA H100 80GB HBM3", "NVIDIA H100 NVL", "NVIDIA H200"), (9, 0)),
        (("NVIDIA B200",), (10, 0)),
        (("NVIDIA GeForce RTX 5090", "NVIDIA GeForce RTX 5070 Ti"), (12, 0)),
    ],
    ids=lambda value: value[0] if isinstance(value[0], str) else "",
)
def test_common_cards_have_the_compute_capability_of_nvidias_table(names: tuple[str, ...], capability: tuple[int, int]) -> None:
    found = load_catalogue()
    assert {name: card.compute_capability for name in names if (card := found.gpu(name)) is not None} == dict.fromkeys(names, capability)


@pytest.mark.parametrize(
    ("name", "mebibytes"),
    [("NVIDIA H200", 143771), ("NVIDIA B200", 183359), ("NVIDIA H100 NVL", 95830), ("NVIDIA H20", 97871), ("NVIDIA L40S", 46068)],
)
def test_a_driver_reports_at_most_the_nominal_memory_and_not_much_less(name: str, mebibytes: int) -> None:
    card = load_catalogue().gpu(name)
    assert card is not None
    assert 0.93 * card.vram < mebibytes * MIB <= card.vram


def test_cards_of_one_chip_are_of_one_compute_capability() -> None:
    """NVIDIA numbers its chips by the first byte of the device id."""
    chips: dict[str, set[tuple[int, int]]] = {}
    for card in set(load_catalogue().gpus.values()):
        for one in card.pci:
            chips.setdefault(one[5:7], set()).add(card.compute_capability)
    assert {chip for chip, found in chips.items() if len(found) > 1} == set()
    assert len(chips) > 15


def test_no_two_cards_share_a_pci_id() -> None:
    ids = [one for card in set(load_catalogue().gpus.values()) for one in card.pci]
    assert len(ids) == len(set(ids))


def test_an_entry_of_the_workspace_wins_and_the_rest_stays(tmp_path: Path) -> None:
    (tmp_path / "catalogue.yaml").write_text(
        "models:\n  mxbai-embed-large: {engine: ollama, vram: 800MiB}\n  our/own: {engine: vllm, vram_mb: 9000, trust: rough}\n"
    )
    found = load_catalogue(tmp_path)
    sizes = [found.model(*key) for key in ((OLLAMA, "mxbai-embed-large"), (OLLAMA, "all-minilm"), (EngineKind.VLLM, "our/own"))]
    assert [one and one.vram for one in sizes] == [800 * MIB, 45 * MIB, 9000 * MIB]


SHAPE = "architecture: llama, blocks: 2, embedding: 64, heads: 1, kv_heads: 1, head_length: 64, vocabulary: 64, context: 64"
REST = "feed_forward: 64, trust: derived, from: ours"


def test_a_workspace_has_shapes_of_its_own_and_names_those_of_the_package(tmp_path: Path) -> None:
    (tmp_path / "catalogue.yaml").write_text(
        f"models:\n  a: {{engine: ollama, shape: ours}}\n  b: {{engine: ollama, shape: llama-3.1-8b, quantisation: q8_0}}\n"
        f"  llama3.1: {{engine: ollama, vram: 6GiB}}\nshapes:\n  ours: {{{SHAPE}, {REST}}}\n"
    )
    found = load_catalogue(tmp_path)
    ours, theirs = found.listed(OLLAMA, "a"), found.listed(OLLAMA, "b")
    assert ours is not None
    assert (ours.shape.blocks, ours.shape.trust, ours.quantisation) == (2, ShapeTrust.DERIVED, Quantisation.Q4_K_M)
    assert theirs is not None
    assert (theirs.shape.vocabulary, theirs.quantisation) == (128256, Quantisation.Q8_0)
    assert found.listed(OLLAMA, "llama3.1") is None, "an entry of the workspace takes the place of the whole entry"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("models:\n  a: {engine: ollama, shape: llama-3.1-8}\n", "did you mean 'llama-3.1-8b'?"),
        ("models:\n  a: {engine: ollama, vram: 1GiB, quantisation: q8_0}\n", "has a quantisation, but no shape"),
        ("models:\n  a: {engine: ollama, shape: llama-3.1-8b, quantisation: q9}\n", "cannot be 'q9'"),
        (f"shapes:\n  a: {{{SHAPE}}}\n", "lacks 'feed_forward'"),
        (f"shapes:\n  a: {{{SHAPE.replace('blocks: 2', 'blocks: 513')}, {REST}}}\n", "from 1 to 512"),
        (f"shapes:\n  a: {{{SHAPE}, {REST}, experts_used: 300}}\n", "from 0 to 256"),
        (f"shapes:\n  a: {{{SHAPE.replace('llama', 'nobody')}, {REST}}}\n", "cannot be 'nobody'"),
        ("models:\n  a: {engine: ollama}\n", "catalogue.yaml:2:6: the model 'a' lacks 'vram'"),
        ("models:\n  a: {engine: ollama, vram: 1GiB, size: 3}\n", "catalogue.yaml:2:35: unknown key 'size'"),
        ("models: [a]\n", "models must be a mapping"),
        ("model: {}\n", "unknown key 'model'"),
        ("- a\n", "must be a mapping"),
        ("version: 2\n", "version must be"),
        ("gpus:\n  X: {pci: [4090], vram: 1GiB, compute_capability: '8.6', float16: true, bfloat16: true}\n", "must be text"),
        ("gpus:\n  X: {pci: ['a:b'], vram: 1GiB, compute_capability: '8.6', float16: true, bfloat16: true}\n", "no PCI id"),
    ],
)
def test_what_is_wrong_in_a_workspaces_file_is_said_with_its_place(tmp_path: Path, wrong: str, said: str) -> None:
    (tmp_path / "catalogue.yaml").write_text(wrong)
    with pytest.raises(WorkspaceError) as error:
        load_catalogue(tmp_path)
    assert said in " ".join(problem.sentence() for problem in error.value.problems)


def test_the_catalogue_ships_in_the_wheel() -> None:
    """hatchling takes every file below a package that is tracked; nothing may exclude YAML."""
    assert (files("reconciler.workspace") / "catalogue.yaml").is_file()
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))
    assert project["tool"]["hatch"]["build"]["targets"]["wheel"] == {"packages": ["reconciler"]}


def test_the_compiled_catalogue_is_that_of_its_yaml() -> None:
    shipped, written = shipped_catalogue(), written_catalogue()
    assert (shipped.models, shipped.gpus, shipped.shapes) == (written.models, written.gpus, written.shapes)
    stale = "run make catalogue"
    assert (files("reconciler.workspace") / "catalogue.json").read_bytes() == compiled(written), stale
