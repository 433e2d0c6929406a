"""What `reconciler.admission` says that an engine will do with a load is what the real Ollama and the real router do."""

from __future__ import annotations

import asyncio
import math
import shutil
from collections.abc import Mapping, Sequence

import pytest
from provision import Provisioned
from rigs import MIB, RAM, ROOM_FOR_TWO, Bench
from servers import CONTEXT, FIT_MARGIN_MIB, Ollama, Router
from softcards import SoftCard
from workspaces import NODE, steps

from reconciler.admission import (
    CardSeen,
    EngineResident,
    ModelToLoad,
    Rules,
    Verdict,
    admit,
    admit_by_router,
    cache_per_token,
    predicted_bytes,
    rules_of,
)
from reconciler.engines import Transport, open_engine
from reconciler.fleet import EngineFacts, EngineId, EngineKind, EngineSpec

GEMMA, TWIN, EMBEDDER = "gemma:latest", "twin:latest", "embedder:latest"


def seen(server: Ollama | Router, kind: EngineKind) -> EngineFacts:
    """The engine as gpurec probes it."""

    async def look() -> EngineFacts:
        async with Transport() as transport:
            engine = open_engine(EngineSpec(EngineId(NODE, kind.value), kind, server.url, timeout=20.0), transport)
            return await engine.observe((GEMMA, TWIN, EMBEDDER))

    return asyncio.run(look())


def load_of(facts: EngineFacts, name: str, need: int | None = None) -> ModelToLoad:
    installed = next(one for one in facts.installed or () if one.name == name)
    assert installed.header is not None
    assert installed.size_bytes is not None
    shape = cache_per_token(installed.header.keys)
    return ModelToLoad(installed.size_bytes, shape, CONTEXT, embedding=installed.embedding is True, need=need)


def seats_of(facts: EngineFacts, keep: Mapping[str, float]) -> list[EngineResident]:
    """The residents of a server with one card."""
    return [
        EngineResident(one.name, ((0, one.vram_bytes or 0),), keep.get(one.name, math.inf), one.blob or "")
        for one in facts.residents or ()
        if one.blob
    ]


def foretold(
    server: Ollama,
    name: str,
    cards: Sequence[SoftCard],
    variables: Mapping[str, str],
    keep: Mapping[str, float] | None = None,
    need: int = 0,
) -> Verdict:
    """What the pure rules say of loading `name` now."""
    facts = seen(server, EngineKind.OLLAMA)
    said = {"LLAMA_ARG_FIT_TARGET": str(FIT_MARGIN_MIB), **variables}
    rules = rules_of(EngineKind.OLLAMA, facts.build, said, len(cards), None, len(facts.residents or ()))
    assert rules.known
    views = [CardSeen(number, card.size) for number, card in enumerate(cards)]
    return admit(load_of(facts, name, need), seats_of(facts, keep or {}), views, rules)


def counting_ollama(bench: Bench, card: SoftCard) -> Ollama:
    """The real server, which knows what its runners hold on the card.

    It reads that from llama-server's log by the device's name (memoryParsingWriter): `CUDA0 model buffer size`. Of a card in software the
    log says `RPC0[127.0.0.1:1] model buffer size`, so that Ollama takes it for empty. Here the log has the short name.
    """
    own = Provisioned(bench.folder("counting"))
    home = own.ollama.parent.parent
    (home / "bin").mkdir(parents=True)
    (home / "lib" / "ollama").mkdir(parents=True)
    shutil.copy(bench.real.ollama, own.ollama)
    for file in bench.real.llama_bin.iterdir():
        if file.name != "llama-server":
            (home / "lib" / "ollama" / file.name).symlink_to(file)
    wrapper = home / "lib" / "ollama" / "llama-server"
    rename = r"s/(RPC[0-9]+)\[[^] ]*\]/\1/g"
    wrapper.write_text(f"#!/bin/bash\nexec {bench.real.llama_bin / 'llama-server'} \"$@\" 2> >(exec sed -u -E '{rename}' >&2)\n")
    wrapper.chmod(0o755)
    server = Ollama(own, own.cache / "home", [card], bench.store())
    bench.started(server)
    return server


def test_ollama_predicts_what_we_say_that_it_predicts(bench: Bench) -> None:
    card = bench.card(ROOM_FOR_TWO)
    server = bench.ollama([card], OLLAMA_DEBUG="1")
    server.load(GEMMA)
    server.load(TWIN)
    least, most = predicted_bytes(load_of(seen(server, EngineKind.OLLAMA), TWIN))
    assert least == most is not None
    line = next(line for line in server.process.said().splitlines() if "fits alongside existing models" in line)
    assert f'predicted="{most / MIB:.1f} MiB"' in line, line


def test_ollama_at_its_limit_evicts_the_pinned_model_that_we_name(bench: Bench) -> None:
    card = bench.card(ROOM_FOR_TWO)
    server = bench.ollama([card], OLLAMA_MAX_LOADED_MODELS="1")
    server.load(GEMMA)
    assert foretold(server, TWIN, [card], {"OLLAMA_MAX_LOADED_MODELS": "1"}).evicts == (GEMMA,)
    server.load(TWIN)
    assert set(server.residents()) == {TWIN}


@pytest.mark.parametrize(("size", "evicted"), [(590, (GEMMA,)), (680, ())], ids=["too full", "room"])
def test_ollama_evicts_by_memory_where_we_say_so_and_nowhere_else(bench: Bench, size: int, evicted: tuple[str, ...]) -> None:
    """Both models fit on either card; on the smaller one the second is more than 80% of what is left."""
    card = bench.card(size * MIB)
    server = counting_ollama(bench, card)
    server.load(GEMMA)
    verdict = foretold(server, TWIN, [card], {})
    assert (verdict.evicts, verdict.unknown) == (evicted, ())
    server.load(TWIN)
    assert set(server.residents()) == {GEMMA, TWIN} - set(evicted)


@pytest.mark.parametrize("finite", [None, TWIN, GEMMA], ids=["all pinned", "twin for 10 minutes", "gemma for 10 minutes"])
def test_who_leaves_goes_by_the_keep_alive_and_then_by_the_weights(bench: Bench, finite: str | None) -> None:
    card = bench.card(1400 * MIB)
    server = bench.ollama([card], OLLAMA_MAX_LOADED_MODELS="2")
    for name in (GEMMA, TWIN):
        server.post("/api/generate", {"model": name, "keep_alive": "10m" if name == finite else -1})
    keep = {finite: 600.0} if finite is not None else {}
    (leaves,) = foretold(server, EMBEDDER, [card], {"OLLAMA_MAX_LOADED_MODELS": "2"}, keep).evicts
    server.post("/api/embed", {"model": EMBEDDER, "keep_alive": -1})
    assert set(server.residents()) == {GEMMA, TWIN, EMBEDDER} - {leaves}


@pytest.mark.parametrize(("size", "spills"), [(300, True), (400, False)], ids=["too small", "room"])
def test_a_first_model_spills_where_the_fit_cannot_leave_its_margin(bench: Bench, size: int, spills: bool) -> None:
    card = bench.card(size * MIB)
    server = bench.ollama([card])
    assert foretold(server, GEMMA, [card], {}, need=290 * MIB).spills is spills
    resident = server.load(GEMMA)
    assert (resident["size_vram"] < resident["size"]) is spills


def test_of_two_cards_ollama_selects_the_one_that_we_say(bench: Bench) -> None:
    """What it selects is in its log. llama-server does not heed it here: a device of RPC cannot be hidden from it by a variable."""
    cards = [bench.card(500 * MIB), bench.card(700 * MIB)]
    server = bench.ollama(cards)
    (taken,) = foretold(server, GEMMA, cards, {}).cards or ()
    server.load(GEMMA)
    line = next(line for line in server.process.said().splitlines() if "selecting single GPU" in line)
    assert f"library={cards[taken].endpoint}" in line, line


def test_a_router_at_its_limit_stops_the_model_that_we_name(bench: Bench) -> None:
    server = Router(bench.real, bench.folder("router"), {"a": bench.real.gemma, "b": bench.real.gemma_twin, "c": bench.real.gemma}, most=2)
    bench.started(server)
    server.load("a")
    server.load("b")
    answer = server.client.post("/v1/completions", json={"model": "a", "prompt": "x", "max_tokens": 1}, timeout=60)
    assert answer.is_success, answer.text
    facts = seen(server, EngineKind.LLAMACPP)
    rules = rules_of(EngineKind.LLAMACPP, facts.build, {}, 0, facts.max_residents, 2)
    assert rules == Rules(True, 2, "--models-max")
    used = {"a": 2, "b": 1}
    (leaves,) = admit_by_router([EngineResident(one.name, used=used[one.name]) for one in facts.residents or ()], rules).evicts
    server.load("c")
    assert server.residents() == {"a", "b", "c"} - {leaves}


def test_gpurec_sends_no_load_for_which_a_real_ollama_would_evict(bench: Bench) -> None:
    card = bench.card(590 * MIB)
    server = counting_ollama(bench, card)
    workspace = bench.workspace()
    workspace.declare({"ollama": {"kind": "ollama", "url": server.url, "load_timeout": "90s"}}, (card.size,), RAM)
    model = {"engine": "ollama", "vram": f"{240 * MIB}B"}
    workspace.want({"gemma": model})
    workspace.apply(0)
    workspace.want({"gemma": model, "twin": model})
    plan = workspace.plan(3)
    assert steps(plan) == []
    assert [entry["reason"] for entry in plan["unplaced"][0]["candidates"]] == ["engine_would_evict"]
    workspace.apply(3)
    assert set(server.residents()) == {GEMMA}
