"""Asking a whole fleet: every node at once, a dead one at the cost of its own deadline, and facts that can be kept."""

from __future__ import annotations

import asyncio
import json
from dataclasses import fields, replace

import pytest

from reconciler.engines import Transport
from reconciler.engines.ollama import Ollama
from reconciler.fleet import (
    CardFacts,
    CardProbe,
    CardProcess,
    CardSpec,
    EngineFacts,
    EngineId,
    EngineKind,
    EngineSpec,
    Fleet,
    FleetFacts,
    GpurecError,
    NodeFacts,
    NodeSpec,
)
from reconciler.probes import as_recorded, declared_cards, facts_from_json, facts_to_json, merge_facts, probe_fleet, sources
from reconciler.sim import read_sim_text, running

AT = "2026-01-01T00:00:00Z"
FLEET = """
time_scale: 0
nodes:
  a: {gpus: [{name: card, vram: 8GiB}], engines: {e: {kind: ollama, installed: [{name: "m:1", size: 1GB}]}}}
"""


CARDS = (CardSpec(0, vram=8 * 2**30, foreign=5),)


def node(name, url, gpus=CARDS):
    return NodeSpec(name, "127.0.0.1", (EngineSpec(EngineId(name, "e"), EngineKind.OLLAMA, url, timeout=2.0),), gpus)


def probe(fleet, **more):
    async def ask():
        async with Transport() as transport:
            return await probe_fleet(fleet, {}, transport=transport, at=AT, **more)

    return asyncio.run(ask())


@pytest.fixture
def url():
    with running(read_sim_text(FLEET, "probes")) as fleet:
        yield fleet.engines["a/e"].url


def test_a_dead_node_is_unknown_with_its_reason_and_the_rest_is_known(url):
    facts = probe(Fleet("t", {"a": node("a", url), "b": node("b", "http://127.0.0.1:9")}))
    assert facts.nodes["a"].engines["e"].reachable
    dead = facts.nodes["b"].engines["e"]
    assert (dead.reachable, dead.residents, dead.reason_code) == (False, None, "refused")


def test_declared_cards_are_assumed_and_their_use_is_unknown(url):
    (card,) = probe(Fleet("t", {"a": node("a", url)})).nodes["a"].cards
    assert (card.total_bytes, card.used_bytes, card.foreign_bytes, card.assumed, card.source) == (8 * 2**30, None, 5, True, "declared")


def test_no_declaration_is_unknown_and_an_empty_one_is_none(url):
    facts = probe(Fleet("t", {"a": node("a", url, None), "b": node("b", url, ())}))
    assert facts.nodes["a"].cards is None
    assert facts.nodes["b"].cards == ()


def test_only_some_nodes_can_be_asked(url):
    assert list(probe(Fleet("t", {"a": node("a", url), "b": node("b", url)}), only={"b"}).nodes) == ["b"]


def test_facts_read_back_as_they_were_written(url):
    facts = probe(Fleet("t", {"a": node("a", url), "b": node("b", "http://127.0.0.1:9")}))
    assert facts_from_json(facts_to_json(facts), "facts.json") == facts


def test_everything_that_can_be_known_of_a_card_reads_back_as_it_was_written():
    known = CardFacts(
        0, "GPU-1", "H200", 100, 40, 7, (9, 0), (550, 54), "nvml", False, 61.5, 512.25, 700.0, 0.5, ("sw_power_cap",), 0, 79, (12, 4), True,
        True, "GPU-0", False, (CardProcess(12, "ollama", 33, "c0ffee"), CardProcess(13)), "is lost", AT, 3, 2, "declared",
    )  # fmt: skip
    assert all(getattr(known, field.name) is not None for field in fields(CardFacts)), "a new field is to be tried here too"
    probe = CardProbe("nvml", AT, "hangs", "timeout", ("says otherwise",), 1.5, -2.0)
    facts = FleetFacts(AT, {"a": NodeFacts("a", (known, CardFacts(1)), 5, {}, probe)})
    assert facts_from_json(facts_to_json(facts), "facts.json") == facts


def test_facts_written_before_cards_were_probed_can_still_be_read():
    old = '{"format_version":"1.0","facts":{"at":"x","nodes":{"a":{"node":"a","cards":[{"index":0}],"ram_bytes":null,"engines":{}}}}}'
    (card,) = facts_from_json(old, "facts.json").nodes["a"].cards
    assert (card.temperature, card.utilisation, card.processes) == (None, None, None)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"format_version": "9", "facts": {"at": "x", "nodes": {}}}',
        '{"format_version": "1.0", "facts": {"at": "x", "nodes": 1}}',
    ],
)
def test_what_is_no_document_of_facts_is_refused_with_its_file(text):
    with pytest.raises(GpurecError, match=r"facts\.json: this is no document of facts"):
        facts_from_json(text, "facts.json")


def test_facts_that_name_another_node_are_refused(url):
    document = json.loads(facts_to_json(probe(Fleet("t", {"a": node("a", url)}))))
    document["facts"]["nodes"]["b"] = document["facts"]["nodes"].pop("a")
    with pytest.raises(GpurecError, match="another node"):
        facts_from_json(json.dumps(document), "facts.json")


def test_a_partial_document_lies_over_the_recorded_facts(url):
    whole = probe(Fleet("t", {"a": node("a", url), "b": node("b", url)}))
    dead = probe(Fleet("t", {"b": node("b", "http://127.0.0.1:9")}))
    merged = merge_facts(whole, dead)
    assert merged.nodes["a"] == whole.nodes["a"]
    assert not merged.nodes["b"].engines["e"].reachable


def test_what_the_last_apply_could_not_see_is_no_fact_to_plan_with(url):
    fleet = Fleet("t", {"a": replace(node("a", url), gpus=(CardSpec(0, vram=8),))})
    whole = probe(fleet)
    was = whole.nodes["a"]
    away = replace(was.engines["e"], reachable=False, reason="connection refused", reason_code="refused")
    probed, failed = (CardFacts(0, "GPU-0", total_bytes=9, source="nvml"),), CardProbe("ssh", reason="connection refused")
    recorded = FleetFacts(AT, {"a": replace(was, cards=probed, engines={"e": away}, card_probe=failed)})
    facts = as_recorded(recorded, fleet).nodes["a"]
    assert facts.engines["e"] == EngineFacts(away.id, away.kind, False, "connection refused", "refused")
    assert (facts.cards, facts.card_probe) == (declared_cards(fleet.nodes["a"]), failed)
    assert as_recorded(whole, fleet) == whole


def test_a_header_is_written_once_however_many_nodes_have_its_file(url):
    nodes = {name: node(name, url) for name in ("a", "b", "c")}

    async def ask():
        async with Transport() as transport:
            wanted = {one.engines[0].id: ("m:1",) for one in nodes.values()}
            return await probe_fleet(Fleet("t", nodes), wanted, transport=transport, at=AT)

    facts = asyncio.run(ask())
    text = facts_to_json(facts)
    assert text.count('"blk.0.attn_q.weight"') == 1
    again = facts_from_json(text, "facts.json")
    assert again == facts
    headers = [one.engines["e"].installed[0].header for one in again.nodes.values()]
    assert headers[0] is not None
    assert all(header is headers[0] for header in headers)


def test_facts_from_before_headers_were_kept_can_still_be_read(url):
    document = json.loads(facts_to_json(probe(Fleet("t", {"a": node("a", url)}))))
    del document["headers"]
    for key in ("context", "beside_bytes"):
        del document["facts"]["nodes"]["a"]["engines"]["e"]["installed"][0][key]
    assert facts_from_json(json.dumps(document), "facts.json").nodes["a"].engines["e"].reachable


class Broken:
    """A reader that trips over what it is told."""

    name = "ssh"

    async def look(self, node, at):
        raise OverflowError("int too large\x1b[31m")


def test_what_a_reader_trips_over_is_that_nodes_reason_and_ends_nothing_else(url, monkeypatch):
    monkeypatch.setattr(sources, "way_of", lambda node: "ssh")
    monkeypatch.setattr(sources.CardSources, "_open", lambda self, way: Broken())
    facts = probe(Fleet("t", {"a": node("a", url), "b": node("b", url)}))
    for one in facts.nodes.values():
        assert one.engines["e"].reachable
        assert (one.cards[0].source, one.card_probe.code) == ("declared", "unreadable")
        assert one.card_probe.reason == "gpurec cannot read its answer (OverflowError: int too large�[31m)"


def test_what_an_engines_reader_trips_over_makes_that_engine_unknown(url, monkeypatch):
    async def observe(self, wanted=()):
        raise RecursionError

    monkeypatch.setattr(Ollama, "observe", observe)
    engine = probe(Fleet("t", {"a": node("a", url)})).nodes["a"].engines["e"]
    assert (engine.reachable, engine.residents, engine.reason) == (False, None, "a/e: gpurec cannot read its answer (RecursionError)")


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("cards", 0, "total_bytes"), 2**62),
        (("cards", 0, "total_bytes"), 10**26),
        (("cards", 0, "used_bytes"), -1),
        (("cards", 0, "foreign_bytes"), -5),
        (("cards", 0, "index"), -1),
        (("ram_bytes",), 2**60),
        (("engines", "e", "installed", 0, "size_bytes"), -1),
        (("engines", "e", "installed", 0, "context"), 2**62),
    ],
)
def test_a_document_whose_numbers_no_look_can_give_is_refused(url, where, value):
    document = json.loads(facts_to_json(probe(Fleet("t", {"a": node("a", url)}))))
    *path, last = where
    place = document["facts"]["nodes"]["a"]
    for step in path:
        place = place[step]
    place[last] = value
    with pytest.raises(GpurecError, match=r"^f\.json: this is no document of facts") as caught:
        facts_from_json(json.dumps(document), "f.json")
    assert len(str(caught.value)) < 400
