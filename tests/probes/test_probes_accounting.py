"""Whose a card's memory is: by process where processes are seen, by report elsewhere, unknown where neither says."""

from __future__ import annotations

from dataclasses import replace

from reconciler.fleet import MIB, CardFacts, CardProcess, EngineFacts, EngineId, EngineKind, EngineSpec, Resident
from reconciler.probes.accounting import account
from reconciler.probes.protocol import ProcessTable


def engine(name="ollama", port=11434, gpus=None, kind=EngineKind.OLLAMA):
    return EngineSpec(EngineId("a", name), kind, f"http://a:{port}", gpus)


def holds(*sizes, name="ollama", kind=EngineKind.OLLAMA):
    residents = tuple(Resident(f"m{nr}", size_bytes=size, vram_bytes=size) for nr, size in enumerate(sizes))
    return {name: EngineFacts(EngineId("a", name), kind, True, residents=residents)}


def card(used, *processes, index=0):
    return CardFacts(index, f"GPU-{index}", total_bytes=16000 * MIB, used_bytes=used * MIB, source="nvml", processes=processes or None)


def foreign(cards, engines, facts, table=ProcessTable()):  # noqa: B008
    found = account(cards, engines, facts, table)
    assert all(one.assumed == (one.foreign_bytes is None) for one in found)
    return [None if one.foreign_bytes is None else one.foreign_bytes // MIB for one in found]


def test_foreign_is_what_is_used_less_what_the_engine_reports():
    assert foreign([card(1000)], [engine()], holds(600 * MIB, 100 * MIB)) == [300]


def test_foreign_is_never_below_zero():
    assert foreign([card(500)], [engine()], holds(600 * MIB)) == [0]


def test_a_card_whose_use_is_unknown_keeps_the_declared_foreign():
    declared = CardFacts(0, total_bytes=1, foreign_bytes=5, assumed=True)
    assert account([declared], [engine()], holds(1)) == (declared,)


def test_foreign_is_unknown_where_an_engine_cannot_say_what_it_holds():
    silent = {"ollama": EngineFacts(EngineId("a", "ollama"), EngineKind.OLLAMA, False, "refused")}
    mute = {"ollama": replace(holds(1)["ollama"], residents=(Resident("m"),))}
    for facts in (silent, mute, {}):
        assert foreign([card(1000)], [engine()], facts) == [None]


def test_where_processes_are_seen_an_engine_accounts_for_what_they_hold():
    ours, other = CardProcess(20, "/usr/bin/ollama", 660 * MIB), CardProcess(30, "python", 200 * MIB)
    table = ProcessTable(parents={20: 10, 10: 1, 30: 1}, listeners={11434: 10})
    (found,) = account([card(900, ours, other)], [engine()], holds(600 * MIB), table)
    assert found.foreign_bytes == 240 * MIB
    assert [one.engine for one in found.processes] == ["ollama", None]


def test_two_engines_on_one_card_each_account_for_their_own():
    engines = [engine("one", 1), engine("two", 2)]
    facts = holds(100 * MIB, name="one") | holds(200 * MIB, name="two")
    assert foreign([card(350)], engines, facts) == [50]
    table = ProcessTable(parents={5: 4, 7: 6}, listeners={1: 4, 2: 6})
    (found,) = account([card(350, CardProcess(5, "ollama", 110 * MIB), CardProcess(7, "ollama", 220 * MIB))], engines, facts, table)
    assert ([one.engine for one in found.processes], found.foreign_bytes) == (["one", "two"], 20 * MIB)


def test_each_engine_of_two_cards_is_charged_to_its_own():
    engines = [engine("one", 1, (0,)), engine("two", 2, ("GPU-1",))]
    facts = holds(100 * MIB, name="one") | holds(200 * MIB, name="two")
    assert foreign([card(150), card(260, index=1)], engines, facts) == [50, 60]


def test_of_an_engine_on_several_cards_foreign_is_known_only_where_it_is_nothing():
    pool, facts = [engine()], holds(500 * MIB)
    assert foreign([card(300), card(200, index=1)], pool, facts) == [0, 0]
    assert foreign([card(300), card(300, index=1)], pool, facts) == [None, None]
    assert foreign([card(300), card(300, index=1)], pool, holds()) == [300, 300]


def test_a_process_in_a_container_is_the_only_engines_that_could_have_it():
    (found,) = account([card(700, CardProcess(9, "/usr/bin/ollama", 650 * MIB))], [engine()], holds(600 * MIB))
    assert ([one.engine for one in found.processes], found.foreign_bytes) == (["ollama"], 50 * MIB)


def test_another_ollama_is_foreign_where_ours_is_seen_to_be_another_process():
    table = ProcessTable(parents={20: 10, 10: 1, 99: 1}, listeners={11434: 10})
    ours, other = CardProcess(20, "ollama", 600 * MIB), CardProcess(99, "ollama", 300 * MIB)
    (found,) = account([card(900, ours, other)], [engine()], holds(600 * MIB), table)
    assert ([one.engine for one in found.processes], found.foreign_bytes) == (["ollama", None], 300 * MIB)


def test_processes_that_hide_the_engine_leave_what_it_reports():
    assert foreign([card(700, CardProcess(9, "Xorg", 50 * MIB))], [engine()], holds(600 * MIB)) == [100]


def test_a_process_whose_bytes_are_unknown_leaves_what_the_engine_reports():
    assert foreign([card(700, CardProcess(9, "ollama", None))], [engine()], holds(600 * MIB)) == [100]


def test_an_endless_chain_of_parents_ends():
    table = ProcessTable(parents={1: 2, 2: 1}, listeners={11434: 7})
    assert foreign([card(700, CardProcess(1, "x", 700 * MIB))], [engine()], holds(), table) == [700]
