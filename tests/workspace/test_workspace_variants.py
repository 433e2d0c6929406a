"""`variants:` of a model: what is read, and what is refused with its place."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from reconciler.fleet import GIB, EngineKind, Variant
from reconciler.workspace import Workspace

Load = Callable[..., Workspace]
Sentences = Callable[..., list[str]]
GPUS = 'gpu: {hosts: {"g[1:2]": {engines: {ollama: {url: "http://{{ inventory_hostname }}:1"}}}}}\n'


def want(text: str) -> str:
    return f"version: 1\nmodels:\n{text}"


def test_workspace_variants_are_names_with_or_without_a_need(load: Load) -> None:
    (spec,) = load(GPUS, want("  m: {variants: [m:q8, {name: m:q4, vram: 5GiB}]}\n")).desired.models
    assert spec.variants == (Variant("m:q8"), Variant("m:q4", 5 * GIB))
    best, other = spec.alternatives()
    assert (best.base_name(EngineKind.OLLAMA), other.base_name(EngineKind.OLLAMA), other.vram) == ("m:q8", "m:q4", 5 * GIB)
    assert spec.called(EngineKind.OLLAMA, "m:q4") == other
    assert spec.called(EngineKind.OLLAMA, "m:q4-c4096", 4096) == other
    assert spec.called(EngineKind.OLLAMA, "m") is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("m: {variants: m:q8}", "'variants' of model 'm' must be a list"),
        ("m: {variants: []}", "has 0 entries"),
        ("m: {variants: [m:q8, m:q8]}", "lists 'm:q8' twice"),
        ("m: {variants: [m, m:latest]}", "two variants of model 'm' are both 'm:latest'"),
        ("m: {variants: [{vram: 5GiB}]}", "lacks 'name'"),
        ("m: {variants: [{name: a, size: 5GiB}]}", "unknown key 'size'"),
        ("m: {variants: [a, b], names: {ollama: c}}", "both `variants` and `names`"),
        ("m: {variants: [a], digest: 'sha256:" + 64 * "0" + "'}", "both `variants` and `digest`"),
        ("m: {variants: [a], ensure: present}", "is only to be installed"),
        ("m: {variants: [a, b]}\n  b: {}", "models 'm' and 'b' are both 'b:latest' on ollama"),
    ],
)
def test_workspace_wrong_variants_are_refused(problems: Sentences, text: str, told: str) -> None:
    found = problems(GPUS, want(f"  {text}\n"))
    assert any(told in sentence for sentence in found), found


def test_workspace_one_need_for_all_variants_is_warned_of(load: Load) -> None:
    found = load(GPUS, want("  m: {vram: 5GiB, variants: [m:q8, m:q4]}\n"))
    assert any("declares one `vram` for all its variants" in warning.what for warning in found.warnings)


def test_workspace_a_model_may_have_the_name_of_one_of_its_variants(load: Load) -> None:
    (spec,) = load(GPUS, want("  llama3.1: {variants: [llama3.1:70b, llama3.1]}\n")).desired.models
    assert [one.base_name(EngineKind.OLLAMA) for one in spec.alternatives()] == ["llama3.1:70b", "llama3.1:latest"]
