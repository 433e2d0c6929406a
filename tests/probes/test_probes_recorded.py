"""The document of facts: read fast, refused by the same words as before, and equal text is one value."""

from __future__ import annotations

import json
from typing import Any

import pytest

from reconciler.fleet import (
    CardFacts,
    CardProbe,
    EngineFacts,
    EngineId,
    EngineKind,
    FleetFacts,
    GpurecError,
    Installed,
    ModelHeader,
    NodeFacts,
    Resident,
    ResidentStatus,
)
from reconciler.probes.recorded import _checked, facts_from_json, facts_to_json
from reconciler.probes.recorded_read import read_document

HEADER = ModelHeader({"llama.block_count": 2, "llama.rope": 1.5, "a": (1, 2.5, True), "b": "x"}, (("x.weight", "q4_k", (64, 2)),))


def fleet() -> FleetFacts:
    nodes = {}
    for name in ("a", "b"):
        cards = (CardFacts(0, "GPU-1", "A card", 2**34, compute_capability=(8, 0), driver=(550, 1), power=1.5), CardFacts("amd/0"))
        installed = (Installed("m:1b", 10, "d" * 64, "e" * 64, header=HEADER), Installed("n:1b", failed=True))
        residents = (Resident("m:1b", ResidentStatus.SLEEPING, 5, 5, 4096, True, 1.25, "e" * 64, ("-c", "1"), "M"),)
        engine = EngineFacts(
            EngineId(name, "ollama"), EngineKind.OLLAMA, True, None, None, "0.34.0", None, 3, installed, residents, 0.5, -2.0
        )
        away = EngineFacts(EngineId(name, "vllm"), EngineKind.VLLM, False, "it does not answer", "timeout")
        nodes[name] = NodeFacts(name, cards, 2**36, {"ollama": engine, "vllm": away}, CardProbe("ssh", None, "no tool", "tool", ("a", "b")))
    return FleetFacts("2026-01-01T00:00:00Z", nodes)


def test_what_was_written_is_read_again_as_pydantic_reads_it() -> None:
    text = facts_to_json(fleet())
    assert facts_from_json(text, "f") == fleet()
    version, facts, headers = read_document(text)
    checked = _checked(text, "f")
    assert (version, facts, headers) == (checked.format_version, checked.facts, checked.headers)


def test_equal_text_becomes_one_value() -> None:
    _, facts, _ = read_document(facts_to_json(fleet()))
    one, other = facts.nodes["a"], facts.nodes["b"]
    assert one.cards is other.cards
    assert one.card_probe is other.card_probe
    assert one.engines["ollama"].installed is other.engines["ollama"].installed
    assert one.engines["ollama"].residents is other.engines["ollama"].residents


def changed(**changes: Any) -> str:
    document = json.loads(facts_to_json(fleet()))
    engine = document["facts"]["nodes"]["a"]["engines"]["ollama"]
    for key, value in changes.items():
        (document if key in ("format_version", "extra") else engine)[key] = value
    return json.dumps(document)


def with_its_cards_twice() -> str:
    document = json.loads(facts_to_json(fleet()))
    cards = document["facts"]["nodes"]["b"]["cards"]
    document["facts"]["nodes"]["b"]["cards"] = [*cards, cards[0]]
    return json.dumps(document)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (with_its_cards_twice(), "two cards of node b have one id"),
        ("", "is not JSON"),
        ("{", "is not JSON"),
        (changed(format_version="2.0"), "format_version"),
        (changed(extra=1), "extra"),
        (changed(kind="other"), "facts.nodes.a.engines.ollama.kind"),
        (changed(residents=[{"size_bytes": 1}]), "facts.nodes.a.engines.ollama.residents.0.name"),
        (changed(installed=3), "facts.nodes.a.engines.ollama.installed"),
        ("[" * 100_000, "is not JSON"),
        (changed(probe_seconds="inf"), "a number in it is infinite, or none"),
        (changed(probe_seconds="nan"), "a number in it is infinite, or none"),
        (changed(max_residents=2**63), "max_residents of engine a/ollama is out of range"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text: str, said: str) -> None:
    with pytest.raises(GpurecError) as caught:
        facts_from_json(text, "f")
    assert said in caught.value.problems[0].what


def test_a_number_that_only_pydantic_takes_is_read_all_the_same() -> None:
    facts = facts_from_json(changed(max_residents="3"), "f")
    assert facts.nodes["a"].engines["ollama"].max_residents == 3
