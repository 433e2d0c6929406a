"""`gpurec check MODEL`: on every engine the same terms as of its file, beside the need that counts there."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from click.testing import CliRunner, Result
from syrupy.assertion import SnapshotAssertion
from vram.shapes import write
from vram.truth_models import truth_model

from reconciler.cli.main import cli
from reconciler.fleet import GIB, MIB, CardFacts, EngineFacts, EngineId, EngineKind, FleetFacts, Installed, NodeFacts, Resident
from reconciler.gguf import read_model
from reconciler.probes import facts_to_json
from reconciler.vram import CACHE_TYPES, RunSettings, fact_of, geometry_of, predict

INVENTORY = """\
all:
  hosts:
    big: {gpus: [{index: 0, vram: 24GiB}], engines: {ollama: {url: "http://127.0.0.1:1"}}}
    big2: {gpus: [{index: 0, vram: 24GiB}], engines: {ollama: {url: "http://127.0.0.1:1"}}}
    pair: {gpus: [{index: 0, vram: 4GiB}, {index: 1, vram: 4GiB}], engines: {ollama: {url: "http://127.0.0.1:1"}}}
    small: {gpus: [{index: 0, vram: 4GiB}], engines: {ollama: {url: "http://127.0.0.1:1"}}}
    plain: {gpus: [], ram: 64GiB, engines: {ollama: {url: "http://127.0.0.1:1"}}}
    router: {gpus: [{index: 0, vram: 24GiB}], engines: {llamacpp: {url: "http://127.0.0.1:1"}}}
"""
DESIRED = """\
version: 1
models:
  "m:8b": {on: all, context: 4096, residency: gpu_preferred}
  "said:8b": {engine: ollama, on: "big", vram: 9GiB}
  "low:8b": {engine: ollama, on: "big", vram: 5GiB}
"""
with TemporaryDirectory() as folder:
    HEADER = read_model(write(Path(folder) / "model.gguf", truth_model("llama-8b"))).header
GEOMETRY = geometry_of(HEADER)
FILE = 4_920_000_000


def engine(node: str, kind: EngineKind, installed: tuple[Installed, ...], residents: tuple[Resident, ...] = ()) -> EngineFacts:
    return EngineFacts(EngineId(node, kind.value), kind, True, build="0.34.0", mode="router", installed=installed, residents=residents)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("workspace")
    for folder, text in (("inventories", INVENTORY), ("desired", DESIRED)):
        (root / folder).mkdir()
        (root / folder / "lab.yaml").write_text(text)
    nodes = {}
    sizes = {"big": [24], "big2": [24], "pair": [5, 5], "small": [4], "plain": [], "router": [24]}
    header = fact_of(HEADER)
    names = ("m:8b", "said:8b", "low:8b", "spare:8b")
    told = tuple(Installed(name, FILE, "d" * 64, "b" * 64, False, header=header) for name in names)
    dumb = Installed("dumb:1b", 1000 * MIB, "e" * 64)
    for node, cards in sizes.items():
        kind = EngineKind.LLAMACPP if node == "router" else EngineKind.OLLAMA
        files = (Installed("m:8b", FILE),) if node == "router" else (*told, dumb)
        there = Resident("m:8b-c4096", vram_bytes=5500 * MIB, size_bytes=5500 * MIB, context=4096, pinned=True, blob="b" * 64)
        facts = engine(node, kind, files, (there,) if node == "big2" else ())
        found = tuple(CardFacts(index, name="a card", total_bytes=size * GIB) for index, size in enumerate(cards))
        nodes[node] = NodeFacts(node, found, None if cards else 64 * GIB, {kind.value: facts})
    (root / "facts.json").write_text(facts_to_json(FleetFacts("2026-01-01T00:00:00Z", nodes)))
    return root


def run(workspace: Path, *arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(cli, ["-C", str(workspace), "check", *arguments, "--assume", "facts.json"])
    assert result.exit_code == code, result.output
    return result


def said(workspace: Path, *arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(workspace, *arguments, "--format", "json").stdout)
    return found


def by_engine(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["engine"]: row for row in document["engines"]}


def terms(**settings: Any) -> dict[str, int | None]:
    card = predict(GEOMETRY, RunSettings(**{"context": 4096, "parallel": 1, "build": 10760, **settings})).cards[0]
    return {
        "weights_bytes": card.weights, "kv_bytes": card.kv, "state_bytes": card.state, "compute_bytes": card.compute,
        "fixed_bytes": card.fixed, "total_bytes": card.total, "low_bytes": card.low, "high_bytes": card.high,
    }  # fmt: skip


def same(found: dict[str, Any], wanted: dict[str, int | None]) -> bool:
    return {name: found[name] for name in wanted} == wanted


def test_an_engine_that_tells_the_header_has_the_terms_of_the_file_and_the_upper_end_is_reserved(workspace: Path) -> None:
    found = said(workspace, "m:8b")
    row = by_engine(found)["big/ollama"]
    assert same(row, terms())
    assert (row["source"], row["vram_bytes"], row["predicted_bytes"]) == ("computed", row["high_bytes"], row["total_bytes"])
    assert row["host_bytes"] > 0


def test_the_top_level_is_the_engine_that_has_it_or_else_fits_best(workspace: Path) -> None:
    found = said(workspace, "m:8b")
    assert found["best"] == "big2/ollama"
    assert same(found, terms())
    assert said(workspace, "said:8b")["best"] == "big/ollama"


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        (("--context", "8192"), {"context": 8192, "ubatch": 1024}),
        (("--parallel", "4"), {"parallel": 4, "ubatch": 1024}),
        (("--kv-cache", "q8_0"), {"key_type": CACHE_TYPES["q8_0"], "value_type": CACHE_TYPES["q8_0"]}),
        (("--kv-cache", "q8_0/f16"), {"key_type": CACHE_TYPES["q8_0"]}),
        (("--flash-attention", "off"), {"flash_attention": False}),
        (("--batch", "128"), {"ubatch": 128}),
        (("--engine-build", "b11434"), {"build": 11434}),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_an_option_is_computed_as_of_a_file(workspace: Path, options: tuple[str, ...], settings: dict[str, Any]) -> None:
    row = by_engine(said(workspace, "m:8b", *options))["big/ollama"]
    assert same(row, terms(**settings))
    assert terms(**settings) != terms()


def test_a_way_that_llama_cpp_refuses_is_refused(workspace: Path) -> None:
    told = run(workspace, "m:8b", "--kv-cache", "q8_0", "--flash-attention", "off", code=1).stderr
    assert "only with flash attention; use --flash-attention on" in told


def test_what_is_resident_and_asked_for_otherwise_is_counted_in_its_own_place(workspace: Path) -> None:
    row = by_engine(said(workspace, "m:8b", "--context", "98304"))["big2/ollama"]
    assert (row["fits"], row["reason"], row["message"]) == (True, "fits", "in place of what is there")
    assert row["gpus"][0]["held_bytes"] == 5500 * MIB
    assert row["vram_bytes"] + 5500 * MIB > row["gpus"][0]["usable_bytes"]


def test_a_declared_need_counts_and_the_terms_are_told_beside_it(workspace: Path) -> None:
    found = said(workspace, "said:8b", "--context", "4096")
    assert (found["source"], found["total_bytes"], found["low_bytes"], found["high_bytes"]) == ("declared", *[9 * GIB] * 3)
    wanted = terms()
    assert found["predicted_bytes"] == wanted["total_bytes"]
    assert {found[name] == wanted[name] for name in ("weights_bytes", "kv_bytes", "state_bytes", "compute_bytes", "fixed_bytes")} == {True}


def test_it_warns_where_less_is_declared_than_the_file_can_take(workspace: Path) -> None:
    assert "Less is declared than the model takes at least by its file: 5120 MiB against" in run(workspace, "low:8b").stdout
    assert "Less is declared" not in run(workspace, "said:8b").stdout


def test_of_a_file_size_alone_every_term_is_unknown(workspace: Path) -> None:
    row = by_engine(said(workspace, "dumb:1b"))["big/ollama"]
    assert (row["source"], row["total_bytes"]) == ("file_size", 1200 * MIB)
    assert {row[name] for name in (*terms(), "host_bytes", "predicted_bytes") if name != "total_bytes"} == {None}


def test_the_catalogue_is_the_last_source(workspace: Path) -> None:
    found = said(workspace, "all-minilm")
    assert (found["wanted"], found["source"], found["total_bytes"], found["kv_bytes"]) == (False, "catalogue", 45 * MIB, None)
    found = said(workspace, "llama3.2:3b")
    assert (found["wanted"], found["source"], found["total_bytes"], found["high_bytes"]) == (False, "catalogue", 1900 * MIB, None)


CACHE = CACHE_TYPES["q8_0"]


def test_a_context_that_is_asked_for_is_counted_by_the_shape_of_the_catalogue(workspace: Path) -> None:
    """With the cache, the state, the compute buffer and the weights of a file of that shape, and a wider interval."""
    found = said(workspace, "llama3.1:latest", "--context", "32768", "--kv-cache", "q8_0")
    row = by_engine(found)["big/ollama"]
    asked = terms(context=32768, key_type=CACHE, value_type=CACHE, ubatch=1024)
    assert {name: row[name] for name in asked if name not in ("low_bytes", "high_bytes")} == {
        name: count for name, count in asked.items() if name not in ("low_bytes", "high_bytes")
    }
    slack = int(row["weights_bytes"]) * 8 // 100
    assert (row["low_bytes"] + slack, row["high_bytes"] - slack) == (asked["low_bytes"], asked["high_bytes"])
    assert (row["source"], row["vram_bytes"], row["vram_source"]) == ("catalogue", row["high_bytes"], "catalogue")
    assert (row["shape"]["name"], row["shape"]["quantisation"], row["shape"]["trust"]) == ("llama-3.1-8b", "q4_k_m", "published")
    assert by_engine(found)["small/ollama"]["reason"] == "too_large"


def test_a_shape_that_nobody_reported_a_size_of_counts_without_a_context(workspace: Path) -> None:
    row = by_engine(said(workspace, "llama3.1:8b"))["small/ollama"]
    assert (row["source"], row["settings"]["context"], row["vram_bytes"]) == ("catalogue", 4096, row["high_bytes"])


def test_what_llama_cpp_tells_are_weights_alone(workspace: Path) -> None:
    row = by_engine(said(workspace, "m:8b"))["router/llamacpp"]
    assert (row["weights_bytes"], row["kv_bytes"], row["compute_bytes"], row["source"]) == (FILE, None, None, "file_size")
    assert (row["low_bytes"], row["high_bytes"]) == (None, None)


def test_cards_that_share_a_model_have_their_own_terms(workspace: Path) -> None:
    row = by_engine(said(workspace, "m:8b"))["pair/ollama"]
    assert [card["gpu"] for card in row["split"]] == [0, 1]
    assert 0 <= sum(card["weights_bytes"] for card in row["split"]) - row["weights_bytes"] < MIB
    assert sum(card["kv_bytes"] for card in row["split"]) == row["kv_bytes"]
    assert row["fits"]


def test_on_a_cpu_the_host_holds_it_all(workspace: Path) -> None:
    row = by_engine(said(workspace, "m:8b"))["plain/ollama"]
    assert (row["fits"], row["total_bytes"], row["weights_bytes"]) == (True, 0, 0)
    assert row["host_bytes"] > terms()["weights_bytes"] + terms()["kv_bytes"]  # type: ignore[operator]  # both are computed


def test_a_model_that_is_only_installed_is_checked_on_every_node(workspace: Path) -> None:
    found = said(workspace, "spare:8b", "--context", "4096")
    assert (found["wanted"], by_engine(found)["big/ollama"]["source"]) == (False, "computed")


@pytest.mark.parametrize(("name", "near"), [("m:8bb", "m:8b"), ("lama3.1", "llama3.1:latest"), ("qqqqqqqq", None)])
def test_a_name_that_nobody_knows_is_refused_with_the_nearest(workspace: Path, name: str, near: str | None) -> None:
    told = run(workspace, name, code=1).stderr
    assert told.count("\n") == 1
    assert f"nobody knows a model {name!r}" in told
    assert (f"did you mean {near}" in told) if near else "did you mean" not in told


@pytest.mark.parametrize(
    "arguments",
    [
        ("m:8b",),
        ("m:8b", "--context", "32768", "--kv-cache", "q8_0"),
        ("said:8b",),
        ("dumb:1b",),
        ("llama3.2:3b",),
        ("llama3.1:latest", "--context", "32768", "--kv-cache", "q8_0"),
        ("all-minilm",),
    ],
    ids=" ".join,
)
def test_for_people(workspace: Path, snapshot: SnapshotAssertion, arguments: tuple[str, ...]) -> None:
    assert run(workspace, *arguments).stdout == snapshot
