"""The card in software itself: its size, what is held on it by whom, what it refuses."""

from __future__ import annotations

import subprocess

import pytest
from processes import LOOPBACK
from rigs import MIB, NEED, ROOM_FOR_ONE, ROOM_FOR_TWO, Bench
from waiting import wait_until


def listed(bench: Bench, *endpoints: str) -> list[str]:
    """What llama-server says of its devices."""
    command = [str(bench.real.llama_bin / "llama-server"), "--list-devices"]
    found = subprocess.run(command, env={"LLAMA_ARG_RPC": ",".join(endpoints)}, capture_output=True, text=True, check=True, timeout=60)
    return [line.strip() for line in found.stdout.splitlines() if line.strip().startswith("RPC")]


def test_cards_have_the_chosen_sizes_and_foreign_use_lessens_what_is_free(bench: Bench) -> None:
    big, small = bench.card(3072 * MIB), bench.card(600 * MIB)
    small.foreign(100 * MIB)
    first, second = listed(bench, big.endpoint, small.endpoint)
    assert f"RPC0: {big.endpoint} (3072 MiB, 3072 MiB free)" in first
    assert f"RPC1: {small.endpoint} (600 MiB, 500 MiB free)" in second
    assert big.endpoint.startswith(LOOPBACK)


def test_two_models_share_a_card_and_each_gives_back_its_own_part(bench: Bench) -> None:
    card = bench.card(ROOM_FOR_TWO)
    router = bench.router([card])
    router.load("gemma")
    one = card.used
    assert 200 * MIB < one <= NEED
    router.load("twin")
    assert sorted(card.holders().values()) == [one, one]
    router.unload("gemma")
    wait_until(lambda: card.used == one, 20, "the memory of one model comes back")
    router.kill()
    wait_until(lambda: card.used == 0, 20, "a killed server gives everything back")


@pytest.mark.parametrize("foreign", [False, True], ids=["too small", "taken by others"])
def test_an_allocation_that_does_not_fit_fails_the_load(bench: Bench, foreign: bool) -> None:
    card = bench.card(ROOM_FOR_ONE if foreign else 200 * MIB)
    if foreign:
        card.foreign(400 * MIB)
    router = bench.router([card], extra=["-ngl", "99"])
    router.client.post("/models/load", json={"model": "gemma"}).raise_for_status()
    status = wait_until(lambda: (found := router.statuses()["gemma"]).get("failed") and found, 60, "the load fails")
    assert status["value"] == "unloaded"
    assert card.refusals() >= 1
    wait_until(lambda: card.used == 0, 20, "the failed load gives everything back")


def test_ollama_sees_the_card_and_offloads_a_part_when_told_to(bench: Bench) -> None:
    card = bench.card(ROOM_FOR_ONE)
    ollama = bench.ollama([card])
    whole = ollama.load("gemma:latest")
    assert whole["size_vram"] == whole["size"] > 0
    ollama.unload("gemma:latest")
    part = ollama.load("gemma:latest", num_gpu=6)
    assert 0 < part["size_vram"] < part["size"]
