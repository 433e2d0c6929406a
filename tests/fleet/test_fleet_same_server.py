"""Two engines whose urls lead to one server are told with both their places."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.fleet import (
    CardFacts,
    EngineFacts,
    EngineId,
    EngineKind,
    EngineSpec,
    Fleet,
    FleetFacts,
    NodeFacts,
    NodeSpec,
    Place,
    same_machines,
    same_servers,
)


def fleet(*urls: str) -> Fleet:
    engines = [EngineSpec(EngineId(f"n{place}", "e"), EngineKind.OLLAMA, url) for place, url in enumerate(urls)]
    return Fleet("f", {one.id.node: NodeSpec(one.id.node, "h", (one,), ()) for one in engines})


def line_of(what: EngineId | str) -> Place:
    """Hosts `n0`, `n1`, … and `a`, `b`, … stand at lines of their own."""
    name = what if isinstance(what, str) else what.node
    return Place("hosts.yaml", ord(name[-1]) - ord("0" if name[-1].isdigit() else "a") + 3, 5)


def seen(whole: Fleet, *reachable: str) -> FleetFacts:
    def facts(node: NodeSpec) -> NodeFacts:
        return NodeFacts(
            node.name, (), None, {one.id.engine: EngineFacts(one.id, one.kind, node.name in reachable) for one in node.engines}
        )

    return FleetFacts("2026-01-01T00:00:00Z", {name: facts(node) for name, node in whole.nodes.items()})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("http://h:11434", "http://h:11434"),
        ("http://H:11434/", "http://h.:11434"),
        ("http://h", "http://h:80/"),
        ("https://h/", "https://h:443"),
        ("http://localhost:1", "http://127.0.0.1:1"),
        ("http://127.1:1", "http://0x7f.0.0.1:1"),
        ("http://[::ffff:10.0.0.1]:1", "http://10.0.0.1:1"),
        ("http://u:secret@h:1", "http://h:1"),
    ],
)
def test_urls_of_one_server_are_found_however_they_are_spelled(one: str, other: str) -> None:
    (problem,) = same_servers(fleet(one, other), line_of)
    assert "engine n0/e (" in problem.what
    assert "engine n1/e (" in problem.what
    assert "secret" not in problem.sentence()
    assert problem.where == line_of("n0")
    assert f"at {line_of('n1')} lead to one server" in problem.what


def test_a_host_by_its_name_is_its_address_where_no_other_has_that() -> None:
    urls = ("http://n0:1", "http://10.0.0.1:1")
    named = {
        name: replace(node, address=address) for (name, node), address in zip(fleet(*urls).nodes.items(), ("10.0.0.1", "h"), strict=True)
    }
    assert len(same_servers(Fleet("f", named), line_of)) == 1
    forwarded = {name: replace(node, address="127.0.0.1") for name, node in fleet("http://n0:1", "http://n1:1").nodes.items()}
    assert same_servers(Fleet("f", forwarded), line_of) == ()  # each by a port of its own


def test_a_place_that_both_share_is_told_once() -> None:
    (problem,) = same_servers(fleet("http://h", "http://h"), lambda _: Place("group_vars/gpu.yaml", 2, 7))
    assert problem.sentence().startswith("group_vars/gpu.yaml:2:7: engine n0/e (http://h) and engine n1/e (http://h) lead to one server; ")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("http://h:1", "http://h:2"),
        ("http://h/a", "http://h/b"),
        ("http://h", "https://h"),
        ("http://a:1", "http://b:1"),
        ("http://[", "http://["),
    ],
)
def test_urls_of_two_servers_are_not(one: str, other: str) -> None:
    assert same_servers(fleet(one, other), line_of) == ()


def test_of_engines_that_were_asked_only_those_that_answered_count() -> None:
    whole = fleet("http://h:1", "http://h:1", "http://h:1")
    assert same_servers(whole, line_of, seen(whole, "n0")) == ()
    (problem,) = same_servers(whole, line_of, seen(whole, "n0", "n2"))
    assert "n0/e" in problem.what
    assert "n2/e" in problem.what
    (problem,) = same_servers(whole, line_of, seen(whole, "n0", "n1", "n2"))
    assert "(and 1 more)" in problem.what


def probed(**cards: tuple[CardFacts, ...]) -> FleetFacts:
    return FleetFacts("2026-01-01T00:00:00Z", {name: NodeFacts(name, seen, None, {}) for name, seen in cards.items()})


def test_hosts_that_show_one_card_are_one_machine() -> None:
    both = tuple(CardFacts(number, uuid=f"GPU-{number}", source="nvml") for number in range(2))
    (problem,) = same_machines(probed(a=both, b=both, c=(CardFacts(0, uuid="GPU-9", source="nvml"),)), line_of)
    assert problem.sentence().startswith("hosts.yaml:3:5: hosts a and b at hosts.yaml:4:5 show the same card (GPU-0): they are one machine")


def test_cards_that_nobody_looked_at_and_slices_say_nothing_of_machines() -> None:
    declared = (CardFacts(0, uuid="GPU-0"),)
    slices = (CardFacts(0, uuid="MIG-0", source="ssh", mig_parent="GPU-7"),)
    unnamed = (CardFacts(0, source="ssh"),)
    for cards in (declared, slices, unnamed):
        assert same_machines(probed(a=cards, b=cards), line_of) == ()
