"""When two names are the same model, and how an address is split."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.fleet import (
    EngineId,
    EngineKind,
    Place,
    Problem,
    canonical_name,
    context_tag,
    parse_replica_address,
    parse_resource_address,
    replica_address,
    resource_address,
)


@pytest.mark.parametrize(
    "name", ["llama3.1", "llama3.1:latest", "library/llama3.1", "registry.ollama.ai/library/llama3.1:latest", "Llama3.1"]
)
def test_spellings_of_one_ollama_model_are_equal(name):
    assert canonical_name(EngineKind.OLLAMA, name) == "llama3.1:latest"


def test_a_name_is_never_matched_by_a_part_of_it():
    names = {
        canonical_name(EngineKind.OLLAMA, name) for name in ("llama3.2", "llama3.2:1b", "llama3.2:3b", "mixtral:8x22b", "mixtral:8x7b")
    }
    assert len(names) == 5


@pytest.mark.parametrize("name", ["hf.co/org/repo:q4_k_m", "127.0.0.1:5000/library/tiny:1", "someone/model:1"])
def test_other_registries_and_namespaces_are_kept(name):
    assert canonical_name(EngineKind.OLLAMA, name) == name


def test_a_port_is_not_a_tag():
    assert canonical_name(EngineKind.OLLAMA, "localhost:5000/library/tiny") == "localhost:5000/library/tiny:latest"


def test_other_engines_keep_names_as_they_stand():
    assert canonical_name(EngineKind.LLAMACPP, "Phi-3") == "Phi-3"


def test_a_context_tag():
    assert context_tag("llama3.1", 8192) == "llama3.1:latest-c8192"


@given(st.text("abc/@.:-", min_size=1), st.text("abc.-", min_size=1), st.text("abc-", min_size=1))
def test_an_address_reads_back_whatever_the_model_is_called(name, node, engine):
    assert parse_replica_address(replica_address(name, EngineId(node, engine))) == (name, EngineId(node, engine))


@pytest.mark.parametrize("text", ["", "model.x", "agent.x@a/b", "model.x@a", "model.@a/b"])
def test_what_is_not_an_address_is_refused(text):
    with pytest.raises(ValueError, match="not an address"):
        parse_replica_address(text)


def test_a_problem_is_one_sentence_with_its_place():
    assert Problem("unknown key 'modles'", Place("desired/lab.yaml", 3, 1), "did you mean 'models'?").sentence() == (
        "desired/lab.yaml:3:1: unknown key 'modles'; did you mean 'models'?"
    )


@pytest.mark.parametrize("name", ["https://hf.co/Org/Repo:Q4_K_M", "http://hf.co/org/repo:q4_k_m", "hf.co/org/repo:Q4_K_M"])
def test_a_name_with_the_scheme_of_an_url_is_the_name_without_it(name: str) -> None:
    assert canonical_name(EngineKind.OLLAMA, name) == "hf.co/org/repo:q4_k_m"
    assert "://" in canonical_name(EngineKind.LLAMACPP, "file://x")


@pytest.mark.parametrize(("kind", "name", "node"), [("file", "a/b@c", "n"), ("agent", "x", "local"), ("engine", "ollama-0-1", "gpu-a.lab")])
def test_an_address_of_a_resource_is_read_as_it_is_written(kind: str, name: str, node: str) -> None:
    assert parse_resource_address(resource_address(kind, name, node)) == (kind, name, node)


def test_an_engine_that_is_owned_has_the_address_by_which_its_facts_go() -> None:
    assert resource_address("engine", "ollama", "gpu-a") == "engine.gpu-a/ollama"


@pytest.mark.parametrize("text", ["engine.gpu-a", "engine./x", "engine.a/", "file.x", "file.@n", "file.x@", "x@n", ""])
def test_what_is_no_address_of_a_resource_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no address of a resource"):
        parse_resource_address(text)
