"""Cards without memory of their own, slices of cards, and policies about what nobody can read."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import pytest

from reconciler.workspace import Workspace

Load = Callable[..., Workspace]
Sentences = Callable[..., list[str]]
HOST = 'all: {{hosts: {{a: {{ram: 100GiB, engines: {{ollama: {{url: "http://a:1"}}}}, gpus: {cards}}}}}}}\n'


def test_a_card_without_memory_of_its_own_says_which_part_of_the_ram_it_may_have(load: Load) -> None:
    cards = load(HOST.format(cards="[{unified: true}, {unified: 60%}, {unified: false}]")).fleet.nodes["a"].gpus
    assert cards is not None
    assert [card.unified for card in cards] == [Fraction(3, 4), Fraction(3, 5), None]


def test_a_slice_names_the_card_that_it_is_cut_from(load: Load) -> None:
    cards = (
        load(HOST.format(cards="[{uuid: MIG-1, mig: GPU-1, vram: 20GiB}, {uuid: MIG-2, mig: GPU-1, vram: 10GiB}]")).fleet.nodes["a"].gpus
    )
    assert cards is not None
    assert [(card.index, card.uuid, card.mig) for card in cards] == [(0, "MIG-1", "GPU-1"), (1, "MIG-2", "GPU-1")]


@pytest.mark.parametrize(
    ("cards", "told"),
    [
        ("[{mig: GPU-1, vram: 20GiB}]", "card 0 is a MIG slice without a `uuid`; add its own"),
        ("[{mig: GPU-1, uuid: MIG-1, unified: true}]", "card 0 is a MIG slice, whose memory is its own"),
        ("[{uuid: GPU-1}, {uuid: MIG-1, mig: GPU-1}]", "is declared whole and as slices"),
        ("[{unified: 0%}]", "is no part of the memory"),
        ("[{unified: most}]", "'unified' of card 0"),
    ],
)
def test_a_card_that_cannot_be_is_refused_with_its_place(problems: Sentences, cards: str, told: str) -> None:
    (sentence,) = problems(HOST.format(cards=cards))
    assert told in sentence
    assert sentence.startswith("inventories/x.yaml:1:")


def test_what_is_not_known_is_assumed_unless_the_policy_refuses_it(load: Load, problems: Sentences) -> None:
    wanted = "version: 1\nmodels: {m: {}}\npolicy: {%s}\n"
    assert load(desired=wanted % "").desired.policy.assumes_foreign
    assert not load(desired=wanted % "unknown_foreign: refuse, unknown_vram: refuse").desired.policy.assumes_foreign
    (sentence,) = problems(desired=wanted % "unknown_vram: try")
    assert sentence.startswith(
        "desired/x.yaml:3:24: 'unknown_vram' of 'policy' of the desired state cannot be 'try': on a card of unknown size"
    )
    assert "declare the size" in sentence
