"""Instances: how many engines a card gets, what they are called, and where they answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import pytest

from reconciler.fleet import (
    GIB,
    CardFacts,
    CardId,
    EngineContainer,
    EngineId,
    EngineKind,
    EngineSpec,
    Fleet,
    NodeSpec,
    OwnedEngine,
    WorkspaceError,
    instances_of,
    nodes_with_instances,
    with_instances,
)


def owned(name: str, instances: int | Literal["auto"] | None = "auto", port: int = 11434) -> EngineSpec:
    start = OwnedEngine(EngineContainer("ollama/ollama:1.0"), port, instances)
    return EngineSpec(EngineId("box", name), EngineKind.OLLAMA, f"http://10.0.0.1:{port}", owned=start)


def fleet(*engines: EngineSpec) -> Fleet:
    return Fleet("lab", {"box": NodeSpec("box", "10.0.0.1", engines)})


def cards(*sizes: int | None, first: CardId = 0) -> Sequence[CardFacts]:
    return tuple(CardFacts(index if isinstance(first, int) else f"amd{index}", total_bytes=size) for index, size in enumerate(sizes))


def named(found: Fleet) -> list[tuple[str, str, tuple[CardId, ...] | None]]:
    return [(engine.id.engine, engine.url.rpartition(":")[2], engine.gpus) for engine in found.nodes["box"].engines]


@pytest.mark.parametrize(("gib", "count"), [(4.0, 1), (8.0, 1), (15.4, 1), (15.9, 2), (16.0, 2), (23.4, 2), (23.99, 3), (80.0, 3)])
def test_the_size_of_a_card_rounded_to_gib_says_how_many_engines_it_gets(gib: float, count: int) -> None:
    assert instances_of(int(gib * GIB), "auto") == count


def test_instances_are_named_by_card_and_take_the_next_ports() -> None:
    found, unknown = with_instances(fleet(owned("ollama")), {"box": cards(8 * GIB, 16 * GIB, 8 * GIB)})
    assert unknown == ()
    assert named(found) == [
        ("ollama-0", "11434", (0,)),
        ("ollama-1-1", "11435", (1,)),
        ("ollama-1-2", "11436", (1,)),
        ("ollama-2", "11437", (2,)),
    ]
    assert all(engine.owned is not None and engine.owned.instances is None for engine in found.nodes["box"].engines)


def test_a_number_is_that_many_on_each_card_of_its_own() -> None:
    one = replace(owned("ollama", 2), gpus=(1,))
    found, _ = with_instances(fleet(one), {"box": cards(8 * GIB, None)})
    assert named(found) == [("ollama-1-1", "11434", (1,)), ("ollama-1-2", "11435", (1,))]


def test_a_card_that_is_called_by_its_vendor_gives_its_name() -> None:
    found, _ = with_instances(fleet(owned("ollama", 1)), {"box": cards(8 * GIB, first="amd0")})
    assert named(found) == [("ollama-amd0", "11434", ("amd0",))]


@pytest.mark.parametrize("known", [{}, {"box": None}, {"box": cards(None)}])
def test_of_unknown_cards_nobody_can_tell_the_engines(known: dict[str, Sequence[CardFacts] | None]) -> None:
    found, unknown = with_instances(fleet(owned("ollama"), owned("single", None, 9000)), known)
    assert (named(found), unknown) == ([("single", "9000", None)], (EngineId("box", "ollama"),))


def test_a_node_without_cards_has_no_instances_and_an_engine_without_instances_stays_as_it_is() -> None:
    found, unknown = with_instances(fleet(owned("ollama")), {"box": ()})
    assert (named(found), unknown) == ([], ())
    plain = fleet(owned("single", None))
    assert with_instances(plain, {})[0] is plain
    assert nodes_with_instances(plain) == frozenset()
    assert nodes_with_instances(fleet(owned("ollama"))) == {"box"}


def test_ports_and_names_that_collide_are_told() -> None:
    with pytest.raises(WorkspaceError) as raised:
        with_instances(fleet(owned("ollama"), owned("ollama-0", None, 11435)), {"box": cards(8 * GIB, 8 * GIB)})
    assert [problem.what for problem in raised.value.problems] == [
        "two engines would be called 'ollama-0', one of them an instance",
        "engines 'ollama-1' and 'ollama-0' would have the same port, 11435",
    ]


def test_a_port_beyond_the_last_is_told() -> None:
    with pytest.raises(WorkspaceError, match="would have port 65536"):
        with_instances(fleet(owned("ollama", 2, 65535)), {"box": cards(8 * GIB)})
