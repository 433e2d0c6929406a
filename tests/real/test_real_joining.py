"""Engines held against cards: a real Ollama on a card in software, whose own count is the truth, seen through NVML."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fake_nvml import build
from rigs import MIB, RAM, ROOM_FOR_TWO, Bench, Rig
from waiting import wait_until

FOREIGN = 64 * MIB


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("nvml"))


class Watched:
    """A rig whose node is asked for its cards by NVML, which tells what the card in software counts (or what `ledger` says instead)."""

    def __init__(self, bench: Bench, library: Path) -> None:
        self.rig: Rig = bench.rig("ollama", ROOM_FOR_TWO)
        self.library = library
        self.ledger = self.rig.cards[0].ledger
        engine = {"kind": "ollama", "url": self.rig.recorder.url, "load_timeout": "60s"}
        self.rig.workspace.declare({"ollama": engine}, (ROOM_FOR_TWO,), RAM, probe="nvml")
        self.rig.workspace.want({})

    @property
    def variables(self) -> dict[str, str]:
        words = f"cards=1 ledger={self.ledger} total={ROOM_FOR_TWO} other={FOREIGN}"
        return {"LD_LIBRARY_PATH": str(self.library), "FAKE_NVML": words}

    def run(self, *arguments: str) -> Any:
        return json.loads(self.rig.workspace.run(*arguments, "--format", "json", variables=self.variables).expect(0, 1, 2).out)

    def card(self) -> dict[str, Any]:
        (card,) = self.run("facts")["facts"]["nodes"]["box"]["cards"]
        return dict(card)

    def findings(self) -> set[str]:
        return {one["code"] for one in self.run("doctor")["findings"]} - {"sqlite_wal_reset", "contradiction", "throttled"}


@pytest.fixture
def watched(bench: Bench, library: Path) -> Watched:
    return Watched(bench, library)


def test_an_engine_accounts_for_all_that_its_card_lost_and_the_rest_is_foreign(watched: Watched) -> None:
    assert (watched.card()["used_bytes"], watched.card()["foreign_bytes"]) == (FOREIGN, FOREIGN)
    watched.rig.want("gemma")
    watched.rig.workspace.apply(0, variables=watched.variables)
    lost = watched.rig.cards[0].used
    card = watched.card()
    assert (card["used_bytes"], card["foreign_bytes"], card["assumed"]) == (lost + FOREIGN, FOREIGN, False)
    assert {one["engine"] for one in card["processes"]} == {"ollama"}
    plan = watched.run("plan")
    assert plan["gpus"][0]["before_bytes"] == lost
    assert plan["steps"] == []
    assert watched.findings() == set()


def test_a_part_on_the_cpu_is_told_with_its_share(watched: Watched) -> None:
    watched.rig.load("gemma", num_gpu=4)
    assert watched.findings() == {"partial_offload"}


def test_all_on_the_gpu_by_its_word_while_the_card_lost_nothing_is_not_on_the_gpu(watched: Watched, tmp_path: Path) -> None:
    watched.rig.load("gemma")
    watched.ledger = tmp_path
    assert watched.findings() == {"not_on_gpu"}


def test_a_model_whose_process_died_is_still_shown_by_ollama_and_found_not_to_be_on_the_gpu(watched: Watched) -> None:
    watched.rig.load("gemma")
    watched.rig.server.process.kill_children()
    wait_until(lambda: watched.rig.cards[0].used == 0, 20, "its memory comes back")
    assert watched.rig.residents() == {"gemma"}
    assert watched.findings() == {"not_on_gpu"}


def test_each_of_two_engines_is_seen_on_its_own_card(bench: Bench, library: Path) -> None:
    """By the names of the processes: what holds a card in software is not below the engine."""
    left, right = bench.card(ROOM_FOR_TWO), bench.card(ROOM_FOR_TWO)
    ollama, router = bench.ollama([left]), bench.router([right], extra=["-ngl", "99"])
    workspace = bench.workspace()
    workspace.want({})
    engines = {"ollama": {"url": ollama.url, "gpus": [0]}, "llamacpp": {"url": router.url, "gpus": [1]}}
    workspace.declare(engines, (ROOM_FOR_TWO, ROOM_FOR_TWO), RAM, probe="nvml")
    ollama.load("gemma:latest")
    router.load("gemma")
    words = f"cards=2 ledger={left.ledger} ledger1={right.ledger} total={ROOM_FOR_TWO}"
    found = workspace.run("facts", "--format", "json", variables={"LD_LIBRARY_PATH": str(library), "FAKE_NVML": words}).expect(0).json
    cards = found["facts"]["nodes"]["box"]["cards"]
    assert [({one["engine"] for one in card["processes"]}, card["used_bytes"], card["foreign_bytes"]) for card in cards] == [
        ({"ollama"}, left.used, 0),
        ({"llamacpp"}, right.used, 0),
    ]


def test_an_engine_that_had_the_card_and_has_it_no_more_lost_it(watched: Watched) -> None:
    watched.rig.want("gemma")
    watched.rig.workspace.apply(0, variables=watched.variables)
    assert watched.findings() == set()
    watched.rig.unload("gemma")
    watched.rig.load("gemma", num_gpu=0)
    assert watched.findings() == {"lost_gpu"}
