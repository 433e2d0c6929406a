"""What a model needs where it must be pulled first: as its file is where the fleet has it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from placement.test_placement_knowledge import BLOB, NAME, PLAIN, high, told
from planning.fleets import GIB, desired, facts, fleet, model, node, plan

from reconciler.fleet import EngineKind, FleetFacts, Installed

TWO = fleet(node("a", 8 * GIB), node("b", 8 * GIB))
WANT = desired(model(NAME, ["a", "b"], replicas=2))


def only_on_a(seen: FleetFacts, *others: Installed) -> FleetFacts:
    """The same, but with none of its files on b (and these more on a)."""
    nodes = {}
    for name, one in seen.nodes.items():
        here = name != "b"
        engines = {key: replace(each, installed=(*(each.installed or ()), *others) if here else ()) for key, each in one.engines.items()}
        nodes[name] = replace(one, engines=engines)
    return replace(seen, nodes=nodes)


def needs(seen: FleetFacts) -> dict[str, tuple[int | None, str | None]]:
    return {step.node: (step.vram_bytes, step.vram_source) for step in plan(TWO, WANT, seen).steps if step.action.value == "load"}


def test_a_model_that_is_pulled_needs_what_it_needs_where_it_is() -> None:
    found = needs(only_on_a(told(TWO, header=PLAIN)))
    assert found == {"a": (high(PLAIN), "computed"), "b": (high(PLAIN), "computed")}


def test_of_two_files_of_one_name_the_larger_counts() -> None:
    three = fleet(*(node(name, 8 * GIB) for name in "abc"))
    seen = only_on_a(told(three, header=None))
    other = replace(seen.nodes["c"].engines["ollama"], installed=(Installed(NAME, 900_000_000, "d-x", "c" * 64),))
    seen = replace(seen, nodes={**seen.nodes, "c": replace(seen.nodes["c"], engines={"ollama": other})})
    (step,) = [step for step in plan(three, desired(model(NAME, ["b"])), seen).steps if step.action.value == "load"]
    assert (step.vram_bytes, step.vram_source) == (1_080_000_000, "file_size")


def test_a_file_size_of_another_engine_counts_too() -> None:
    assert needs(only_on_a(told(TWO, header=None))) == {"a": (360_000_000, "file_size"), "b": (360_000_000, "file_size")}


def test_a_model_that_no_engine_has_is_of_unknown_need() -> None:
    assert plan(TWO, WANT, facts(TWO)).unplaced[0].candidates[0].reason == "need_unknown"


@pytest.mark.parametrize(("digest", "known"), [(f"sha256:{BLOB}", True), ("sha256:" + "0" * 64, False)])
def test_of_a_pinned_model_only_the_pinned_file_counts(digest: str, known: bool) -> None:
    want = desired(model(NAME, ["b"], digest=digest))
    steps = plan(TWO, want, only_on_a(told(TWO, header=PLAIN))).steps
    assert bool(steps) is known


def test_a_router_cannot_pull_so_no_other_file_counts() -> None:
    of = fleet(node("a", 8 * GIB), node("b", 8 * GIB, kind=EngineKind.LLAMACPP))
    (lacking,) = plan(of, desired(model(NAME, ["b"])), only_on_a(told(of, header=PLAIN))).unplaced
    assert lacking.candidates[0].reason == "not_installed"
