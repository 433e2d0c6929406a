"""What a look could not see keeps what was known of it when facts are recorded, and what it saw is recorded as seen."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.fleet import (
    NOT_STARTED,
    CardFacts,
    CardProbe,
    EngineFacts,
    EngineId,
    EngineKind,
    FleetFacts,
    Installed,
    NodeFacts,
    Resident,
    with_last_known,
)

AT = EngineId("a", "ollama")
ENGINE = EngineFacts(
    AT,
    EngineKind.OLLAMA,
    True,
    build="0.34.0",
    mode="router",
    max_residents=2,
    installed=(Installed("m:1", 7),),
    residents=(Resident("m:1", size_bytes=5, vram_bytes=5),),
)
DOWN = EngineFacts(AT, EngineKind.OLLAMA, False, "connection refused", "refused")
CARD = CardFacts(0, "GPU-0", "RTX 4070", 8, 1, 0, (8, 9), (550, 90), "nvml", False, cuda=(12, 8))
DECLARED = CardFacts(0, total_bytes=8)
PROBED, FAILED = CardProbe("ssh"), CardProbe("ssh", reason="connection refused", code="refused")


def of(
    engine: EngineFacts = ENGINE, cards: tuple[CardFacts, ...] | None = (CARD,), probe: CardProbe = PROBED, ram: int | None = 9
) -> NodeFacts:
    return NodeFacts("a", cards, ram, {"ollama": engine}, probe)


def recorded(now: NodeFacts | None, was: NodeFacts | None = None, changed: frozenset[EngineId] = frozenset()) -> NodeFacts:
    """What is recorded of the node `a` after a look that saw `now`."""
    seen = FleetFacts("later", {"a": now} if now is not None else {})
    facts = with_last_known(seen, lambda: FleetFacts("before", {"a": was or of()}), ["a"], changed)
    assert facts.at == "later"
    return facts.nodes["a"]


def test_an_engine_that_cannot_be_asked_keeps_what_it_was_and_says_that_it_is_away() -> None:
    kept = recorded(of(DOWN)).engines["ollama"]
    assert kept == replace(ENGINE, reachable=False, reason="connection refused", reason_code="refused")
    again = recorded(of(DOWN), of(kept)).engines["ollama"]
    assert again == kept, "also at the second look that cannot see it"


def test_of_an_engine_that_a_step_touched_and_that_is_away_since_then_nobody_knows_what_it_holds() -> None:
    kept = recorded(of(DOWN), changed=frozenset({AT})).engines["ollama"]
    assert (kept.build, kept.mode, kept.max_residents) == ("0.34.0", "router", 2)
    assert (kept.installed, kept.residents) == (None, None)


def test_a_question_that_an_engine_did_not_answer_keeps_its_last_answer() -> None:
    now = replace(ENGINE, build="0.35.0", residents=None)
    assert recorded(of(now)).engines["ollama"] == replace(now, residents=ENGINE.residents)


@pytest.mark.parametrize(
    "now",
    [
        replace(ENGINE, residents=()),
        replace(DOWN, reason_code=NOT_STARTED),
        EngineFacts(AT, EngineKind.LLAMACPP, False, "connection refused", "refused"),
    ],
)
def test_what_is_known_of_an_engine_now_is_recorded_as_it_is(now: EngineFacts) -> None:
    assert recorded(of(now)).engines["ollama"] == now


def test_cards_whose_probe_failed_are_those_that_were_seen_last() -> None:
    for cards in (None, (), (DECLARED,)):
        kept = recorded(of(cards=cards, probe=FAILED, ram=None))
        assert (kept.cards, kept.ram_bytes, kept.card_probe) == ((CARD,), 9, FAILED)


def test_cards_that_were_never_probed_follow_their_declaration() -> None:
    now = replace(DECLARED, total_bytes=16)
    assert recorded(of(cards=(now,), probe=FAILED), of(cards=(DECLARED,), probe=FAILED)).cards == (now,)


def test_a_card_that_is_gone_is_not_kept_and_one_that_tells_only_its_fault_is() -> None:
    assert recorded(of(cards=())).cards == ()
    lost = CardFacts(0, total_bytes=8, source="nvml", fault="GPU is lost")
    (kept,) = recorded(of(cards=(lost,))).cards or ()
    assert (kept.fault, kept.uuid, kept.driver, kept.cuda, kept.used_bytes) == ("GPU is lost", "GPU-0", (550, 90), (12, 8), None)


def test_a_node_that_nobody_looked_at_stays_as_it_was_and_one_that_left_the_fleet_goes() -> None:
    assert recorded(None) == of()
    left = with_last_known(FleetFacts("later", {}), lambda: FleetFacts("before", {"a": of()}), [], frozenset())
    assert left.nodes == {}


def test_the_state_is_not_read_where_everything_was_seen() -> None:
    def never() -> FleetFacts:
        raise AssertionError

    seen = FleetFacts("later", {"a": of()})
    assert with_last_known(seen, never, ["a"], frozenset()) is seen
