"""What real servers do that a plan must know of: who is thrown out, who shares a runner, what a preset or a tag decides."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

import pytest
from rigs import MIB, ROOM_FOR_ONE, ROOM_FOR_TWO, Bench, Rig
from subject import opened
from workspaces import reasons, steps

from reconciler.fleet import EngineFacts, EngineId, EngineKind, EngineSpec


def look(kind: EngineKind, url: str, wanted: Collection[str] = ()) -> EngineFacts:
    async def once() -> EngineFacts:
        async with opened(EngineSpec(EngineId("box", kind.value), kind, url)) as engine:
            return await engine.observe(wanted)

    return asyncio.run(once())


def drifted(rig: Rig) -> set[tuple[str, str]]:
    return {(entry["address"], entry["kind"]) for entry in rig.workspace.plan(2, 3)["drift"]}


def test_ollama_evicts_a_pinned_model_without_a_word_and_the_plan_tells_it(bench: Bench) -> None:
    rig = bench.rig("ollama", ROOM_FOR_TWO, OLLAMA_MAX_LOADED_MODELS="1")
    rig.want("gemma")
    rig.workspace.apply(0)
    rig.load("twin")
    assert rig.residents() == {"twin"}
    assert drifted(rig) == {(rig.address("gemma"), "missing")}


def test_a_router_stops_the_least_recently_used_model_at_its_limit_and_a_plan_never_asks_for_more(bench: Bench) -> None:
    rig = bench.rig("llamacpp", ROOM_FOR_TWO, most=1)
    rig.workspace.want({"gemma": rig.model(priority=1), "twin": rig.model()})
    plan = rig.workspace.plan(3)
    assert steps(plan) == [("load", rig.address("gemma"))]
    assert reasons(plan, "twin") == {"engine_would_evict"}
    rig.workspace.apply(3)
    rig.load("twin")
    assert rig.residents() == {"twin"}
    assert (rig.address("gemma"), "missing") in drifted(rig)


def test_a_preset_decides_on_which_card_a_model_of_the_router_sits(bench: Bench) -> None:
    cards = [bench.card(ROOM_FOR_ONE), bench.card(ROOM_FOR_ONE)]
    preset = bench.home / "preset.ini"
    preset.write_text(
        f"[left]\nmodel = {bench.real.gemma}\ndevice = RPC0\nctx-size = 1024\n\n"
        f"[right]\nmodel = {bench.real.gemma_twin}\ndevice = RPC1\nctx-size = 1024\n"
    )
    server = bench.router(cards, extra=["--models-preset", str(preset), "-ngl", "99"])
    server.load("right")
    assert (cards[0].used, cards[1].used > 200 * MIB) == (0, True)
    facts = look(EngineKind.LLAMACPP, server.url)
    assert {"left", "right"} <= {model.name for model in facts.installed or ()}
    (resident,) = facts.residents or ()
    assert any("RPC1" in option for option in resident.options or ())
    server.load("left")
    assert cards[0].used > 200 * MIB


def test_an_import_under_two_names_with_baked_parameters_is_one_file_and_one_runner(bench: Bench) -> None:
    server = bench.ollama([bench.card(ROOM_FOR_ONE)])
    server.post("/api/create", {"model": "baked", "from": "gemma", "parameters": {"num_ctx": 1024}, "stream": False})
    server.load("baked:latest")
    facts = look(EngineKind.OLLAMA, server.url, ["gemma:latest", "baked:latest"])
    blobs = {model.name: model.blob for model in facts.installed or ()}
    assert blobs["baked:latest"] == blobs["gemma:latest"] is not None
    (resident,) = facts.residents or ()
    assert (resident.name, resident.context, resident.blob) == ("baked:latest", 1024, blobs["gemma:latest"])
    assert resident.size_bytes == resident.vram_bytes


def test_a_second_tag_with_a_finite_keep_alive_unpins_the_runner_of_the_first(bench: Bench) -> None:
    rig = bench.rig("ollama", ROOM_FOR_ONE)
    rig.ollama.post("/api/copy", {"source": "gemma:latest", "destination": "same:latest"})
    rig.want("gemma")
    rig.workspace.apply(0)
    (card,) = rig.cards
    holders = card.holders()
    rig.ollama.post("/api/generate", {"model": "same:latest", "keep_alive": "10m"})
    assert rig.residents() == {"gemma"}
    assert card.holders() == holders
    assert steps(rig.workspace.plan(2)) == [("update", rig.address("gemma"))]
    rig.workspace.apply(0)
    rig.workspace.expect_nothing_to_do()


def test_a_model_without_a_card_says_no_size_and_that_is_unknown_and_not_nothing(bench: Bench) -> None:
    server = bench.ollama()
    assert server.load("gemma:latest")["size"] == 0
    (resident,) = look(EngineKind.OLLAMA, server.url).residents or ()
    assert (resident.size_bytes, resident.vram_bytes, resident.gpu_fraction) == (None, None, None)


def test_residency_cpu_beside_a_card_leaves_the_card_alone(bench: Bench) -> None:
    rig = bench.rig("ollama", ROOM_FOR_ONE)
    rig.workspace.want({"gemma": rig.model(residency="cpu")})
    rig.workspace.apply(0)
    assert rig.residents() == {"gemma"}
    assert rig.cards[0].used == 0
    rig.workspace.expect_nothing_to_do()
    rig.ollama.post("/api/generate", {"model": "gemma:latest", "prompt": "Hi", "stream": False, "options": {"num_predict": 1}})
    assert rig.cards[0].used == 0
    rig.workspace.expect_nothing_to_do()


@pytest.mark.parametrize("via", ["request", "engine"])
def test_a_context_by_request_or_by_the_server_is_in_force_after_an_apply(bench: Bench, via: str) -> None:
    rig = bench.rig("ollama", ROOM_FOR_ONE, **({"OLLAMA_CONTEXT_LENGTH": "1024"} if via == "engine" else {}))
    rig.workspace.want({"gemma": rig.model(context=1024, context_via=via)})
    rig.workspace.apply(0)
    assert rig.ollama.residents()["gemma:latest"]["context_length"] == 1024
    rig.workspace.expect_nothing_to_do()


def test_verify_takes_a_load_back_that_is_not_what_was_asked_for(bench: Bench) -> None:
    rig = bench.rig("ollama")
    rig.workspace.want({"embedder": rig.model(verify={"embedding_length": 768})})
    told = rig.workspace.apply(3)
    assert "makes vectors of 640 numbers, wanted 768" in told.out + told.err
    assert rig.residents() == set()
    rig.workspace.want({"embedder": rig.model(verify={"embedding_length": 640})})
    rig.workspace.apply(0)
    assert rig.residents() == {"embedder"}
