"""The file of a fleet: what it gives, and each mistake with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.sim import SimFileError, read_sim_file, read_sim_text
from reconciler.sim import read as reading

GIB = 2**30
WHOLE = """\
time_scale: 0.5
models:
  - {name: "llama3.1:8b", size: 4.9GB, kv_per_token: 128KiB, layers: 32}
  - {name: embed, vram: 705MiB, embedding: true}
nodes:
  ada:
    ram: 64GiB
    gpus:
      - {name: RTX 4090, vram: 24GiB, foreign: 300MiB, compute_capability: "8.9"}
      - {vram: 8GiB}
    engines:
      ollama:
        kind: ollama
        port: 22434
        gpus: [1]
        installed: ["llama3.1:8b", {name: own, size: 1GiB, parameters: {num_ctx: 8192}}]
        registry: [embed]
        keep_alive: 10m
        faults: [{kind: slow, paths: [/api/ps], count: 3, seconds: 500ms}]
  bea:
    engines:
      one: {kind: llamacpp, mode: single, api_key: k, installed: ["llama3.1:8b"], fit: true}
"""


def test_sim_file_gives_nodes_cards_engines_and_models() -> None:
    spec = read_sim_text(WHOLE, "f.yaml")
    ada, bea = spec.nodes
    engine = ada.engines[0]
    assert (spec.time_scale, ada.name, ada.ram) == (0.5, "ada", 64 * GIB)
    assert (ada.gpus[0].vram, ada.gpus[0].foreign, ada.gpus[0].compute_capability) == (24 * GIB, 300 * 2**20, "8.9")
    assert (engine.kind, engine.port, engine.gpus, engine.keep_alive) == ("ollama", 22434, (1,), 600.0)
    assert [(model.name, model.size) for model in engine.installed] == [("llama3.1:8b", 4_900_000_000), ("own", GIB)]
    assert engine.installed[1].parameters == {"num_ctx": 8192}
    assert engine.registry[0].resident_bytes(512) == engine.registry[0].resident_bytes(4096) == 705 * 2**20
    assert engine.installed[0].resident_bytes(1024) == 4_900_000_000 + 128 * 2**20
    assert (engine.faults[0].kind, engine.faults[0].count, engine.faults[0].seconds) == ("slow", 3, 0.5)
    assert (bea.engines[0].mode, bea.engines[0].api_key, bea.engines[0].gpus, bea.engines[0].fit) == ("single", "k", (), True)


def test_sim_file_all_cards_of_the_node_are_the_default_and_time_can_be_by_hand() -> None:
    text = "time_scale: manual\nnodes: {n: {gpus: [{vram: 1GiB}, {vram: 2GiB}], engines: {o: {kind: ollama}}}}"
    spec = read_sim_text(text, "f.yaml")
    assert spec.time_scale is None
    assert spec.nodes[0].engines[0].gpus == (0, 1)


def test_sim_file_ports_and_time_can_be_changed_after_reading() -> None:
    spec = read_sim_text(WHOLE, "f.yaml").on_free_ports().with_time_scale(0)
    assert {engine.port for node in spec.nodes for engine in node.engines} == {0}
    assert spec.time_scale == 0


ENGINE = "nodes:\n  n:\n    gpus: [{vram: 1GiB}]\n    engines:\n      o:\n        "


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (ENGINE + "kind: ollama\n        prot: 1", "f.yaml:7:9: unknown key `prot`; did you mean `port`?"),
        (ENGINE + "kind: tgi", "f.yaml:6:9: `kind` is 'tgi'; it is one of ollama, llamacpp, vllm, llamaswap"),
        (ENGINE + "kind: vllm", "f.yaml:6:9: a vLLM serves just one model, not 0; name one under `installed:`"),
        (ENGINE + "kind: llamaswap\n        groups: {g: {swp: true}}", "unknown key `swp`; did you mean `swap`?"),
        (ENGINE + "port: 1", "f.yaml:6:9: `kind` is missing; give it here"),
        (ENGINE + "kind: ollama\n        models_max: 3", "f.yaml:7:9: `models_max` is no key of an engine of kind ollama; remove it"),
        (ENGINE + "kind: llamacpp\n        registry: []", "f.yaml:7:9: `registry` is no key of an engine of kind llamacpp; remove it"),
        (ENGINE + "kind: ollama\n        gpus: [1]", "f.yaml:7:9: there is no card 1: the node has 1; cards are counted from 0"),
        (ENGINE + "kind: ollama\n        port: x", "f.yaml:7:9: `port` is 'x'; write a whole number, 0 or more"),
        (ENGINE + "kind: ollama\n        installed: [a]", "f.yaml:7:21: there is no model 'a' in `models:`"),
        (ENGINE + "kind: ollama\n        installed: [{name: a}]", "f.yaml:7:21: `size` is missing"),
        (ENGINE + "kind: ollama\n        installed: [{name: a, size: 7Gib2}]", "`size` is '7Gib2', which is no size"),
        (ENGINE + "kind: llamacpp\n        mode: single", "single mode serves just one model, not 0"),
        (ENGINE + "kind: ollama\n        faults: [{kind: nosuch}]", "`kind` is 'nosuch'; it is one of cut, "),
        (ENGINE + "kind: ollama\n        faults: [{kind: oom, paths: [/x]}]", "`paths` is no key of the fault oom"),
        (ENGINE + "kind: ollama\n        load_seconds: soon", "`load_seconds` is 'soon', which is no duration"),
        (ENGINE + "kind: ollama\n        kind: ollama", "f.yaml:7:9: not valid YAML"),
        ("nodes:\n\tn: 1", "f.yaml:2:1: not valid YAML"),
        ("", "f.yaml:1:1: the file is empty"),
        ("- 1", "f.yaml:1:1: not a mapping"),
        ("time_scale: fast\nnodes: {n: {}}", "f.yaml:1:1: `time_scale` is 'fast'"),
        ("time_scale: 1", "f.yaml:1:1: no nodes"),
        ("nodes: {n: 3}", "f.yaml:1:9: `n` is no mapping"),
    ],
)
def test_sim_file_names_each_mistake_with_its_place(text: str, said: str) -> None:
    with pytest.raises(SimFileError) as caught:
        read_sim_text(text, "f.yaml")
    assert said in str(caught.value)


def test_sim_file_names_all_mistakes_in_file_order() -> None:
    with pytest.raises(SimFileError) as caught:
        read_sim_text(ENGINE + "kind: ollama\n        prot: 1\n        port: x\nextra: 1", "f.yaml")
    assert [problem.split(": ")[0] for problem in caught.value.problems] == ["f.yaml:7:9", "f.yaml:8:9", "f.yaml:9:1"]


def test_sim_file_aliases_cannot_make_it_large() -> None:
    levels = [f"  - &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    text = "models:\n  - &a0 {name: a, size: 1}\n" + "\n".join(levels) + "\nnodes: {n: {}}"
    with pytest.raises(SimFileError):
        read_sim_text(text, "f.yaml")


def test_sim_file_that_is_missing_or_too_large_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(SimFileError, match=r"none.yaml: cannot be read: No such file or directory$"):
        read_sim_file(tmp_path / "none.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"a: \xff")
    with pytest.raises(SimFileError, match=r"binary.yaml: is no text in UTF-8: invalid start byte at byte 3$"):
        read_sim_file(tmp_path / "binary.yaml")
    large = tmp_path / "large.yaml"
    large.write_text("#" * (2**20 + 1))
    with pytest.raises(SimFileError, match="larger than"):
        read_sim_file(large)


def test_sim_file_form_in_the_documentation_is_one_that_is_read() -> None:
    assert reading.__doc__ is not None
    shown = reading.__doc__.partition("```yaml\n")[2].partition("```")[0]
    with pytest.raises(SimFileError) as caught:
        read_sim_text(shown, "f.yaml")
    wrong = [problem.split(": ", 1)[1] for problem in caught.value.problems]
    llamacpp_only = ("mode", "models_max", "autoload", "api_key", "fit", "metrics", "sleep_idle")
    others = ("gpu_memory_utilization", "sleep_mode", "lora", "served_names", "ttl", "groups")
    assert sorted(wrong) == sorted(f"`{key}` is no key of an engine of kind ollama; remove it" for key in llamacpp_only + others)
