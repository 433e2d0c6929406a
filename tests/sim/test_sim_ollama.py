"""Ollama's protocol over real HTTP: routes, loading, keep-alive, options. Facts of 0.34.0."""

from __future__ import annotations

from datetime import datetime, timedelta

import httpx
import pytest
from sim_fleets import BIG, EMBED, MIB, asking, chat_model, ollama, spec, until

LOADED = {"response": "", "done": True, "done_reason": "load"}


def _expiry(text: str) -> datetime:
    assert len(text.split(".")[1]) == len("000000000Z")
    return datetime.fromisoformat(text[:26] + "+00:00")


def test_sim_ollama_says_that_it_runs_and_which_version() -> None:
    with asking(spec(ollama())) as it:
        assert it.get("/").text == "Ollama is running"
        assert it.http.head("/").status_code == 200
        assert it.get("/api/version").json() == {"version": "0.34.0"}


def test_sim_ollama_tags_have_the_full_name_the_size_and_a_digest_without_prefix() -> None:
    with asking(spec(ollama(installed=(BIG, EMBED)))) as it:
        tags = {entry["name"]: entry for entry in it.get("/api/tags").json()["models"]}
    assert set(tags) == {"big:latest", "embed:latest"}
    assert tags["big:latest"]["size"] >= 2000 * MIB
    assert len(tags["big:latest"]["digest"]) == 64
    assert tags["embed:latest"]["capabilities"] == ["embedding"]


def test_sim_ollama_digests_are_the_same_in_every_run() -> None:
    digests = []
    for _ in range(2):
        with asking(spec(ollama(installed=(BIG,)))) as it:
            digests.append(it.get("/api/tags").json()["models"][0]["digest"])
    assert digests[0] == digests[1]


@pytest.mark.parametrize("name", ["big", "BIG:latest", "library/big", "registry.ollama.ai/library/big:latest"])
def test_sim_ollama_takes_every_spelling_of_a_name(name: str) -> None:
    with asking(spec(ollama())) as it:
        assert it.post("/api/show", {"model": name}).status_code == 200


def test_sim_ollama_show_gives_capability_blob_and_geometry() -> None:
    with asking(spec(ollama())) as it:
        shown = it.post("/api/show", {"model": "big"}).json()
        embedding = it.post("/api/show", {"model": "embed"}).json()
        unknown = it.post("/api/show", {"model": "nosuch"})
        nameless = it.post("/api/show", {})
    assert shown["capabilities"] == ["completion", "tools"]
    assert "\nFROM /" in shown["modelfile"]
    assert "/blobs/sha256-" in shown["modelfile"]
    assert shown["model_info"]["llama.block_count"] == 9
    assert "llama.pooling_type" not in shown["model_info"]
    assert embedding["capabilities"] == ["embedding"]
    assert embedding["model_info"]["bert.pooling_type"] == 1
    assert (unknown.status_code, unknown.json()["error"]) == (404, "model 'nosuch' not found")
    assert (nameless.status_code, nameless.json()["error"]) == (400, "model is required")


def test_sim_ollama_empty_prompt_loads_and_ps_shows_it_wholly_on_the_card() -> None:
    with asking(spec(ollama())) as it:
        answer = it.generate("big", keep_alive=-1)
        resident = it.ps()["big:latest"]
        assert it.card.used == 2000 * MIB
    assert answer.json().items() >= LOADED.items()
    assert resident["size"] == resident["size_vram"] == 2000 * MIB
    assert resident["context_length"] == 4096


def test_sim_ollama_chat_without_messages_loads_too() -> None:
    with asking(spec(ollama())) as it:
        assert it.post("/api/chat", {"model": "small", "messages": []}).json()["done_reason"] == "load"
        assert "small:latest" in it.ps()


def test_sim_ollama_embedding_models_load_by_embed_and_refuse_generate_and_chat() -> None:
    with asking(spec(ollama())) as it:
        refused = it.generate("embed"), it.post("/api/chat", {"model": "embed"})
        assert [(answer.status_code, answer.json()["error"]) for answer in refused] == [
            (400, '"embed" does not support generate'),
            (400, '"embed" does not support chat'),
        ]
        assert it.ps() == {}
        assert it.embed("embed", keep_alive=-1).json() == {"model": "embed", "embeddings": []}
        assert "embed:latest" in it.ps()
        assert len(it.embed("embed", input=["a", "b"]).json()["embeddings"]) == 2
        assert it.generate("embed", keep_alive=0).json()["done_reason"] == "unload"
        assert it.ps() == {}


def test_sim_ollama_unload_is_idempotent_and_404_only_for_an_unknown_name() -> None:
    with asking(spec(ollama())) as it:
        it.generate("big", keep_alive=-1)
        assert it.generate("big", keep_alive=0).json()["done_reason"] == "unload"
        assert it.generate("big", keep_alive=0).status_code == 200
        assert it.ps() == {}
        assert it.card.used == 0
        assert it.generate("nosuch", keep_alive=0).status_code == 404


@pytest.mark.parametrize("given", ["1d", "300", "-1", "", "ten", True, [1]])
def test_sim_ollama_refuses_a_keep_alive_that_go_cannot_read(given: object) -> None:
    with asking(spec(ollama())) as it:
        assert it.generate("big", keep_alive=given).status_code == 400
        assert it.ps() == {}


@pytest.mark.parametrize(("given", "seconds"), [("1h30m", 5400), (90, 90), ("10m", 600), (None, 300), ("1500ms", 1.5)])
def test_sim_ollama_keep_alive_sets_the_expiry(given: object, seconds: float) -> None:
    with asking(spec(ollama(), time_scale=None)) as it:
        engine = it.behind("/api/generate", {"model": "small", "keep_alive": given})
        until(lambda: it.card.used and it.engine.requests, "the load begins")
        it.fleet.advance(60)
        engine.result()
        left = _expiry(it.ps()["small:latest"]["expires_at"]) - it.fleet.clock.now()
    assert left == timedelta(seconds=seconds)


@pytest.mark.parametrize("given", [-1, "-1m", -0.5])
def test_sim_ollama_a_negative_keep_alive_is_about_292_years(given: object) -> None:
    with asking(spec(ollama())) as it:
        it.generate("small", keep_alive=given)
        expiry = _expiry(it.ps()["small:latest"]["expires_at"])
        assert timedelta(days=290 * 365) < expiry - it.fleet.clock.now() < timedelta(days=294 * 365)


def test_sim_ollama_a_request_without_keep_alive_keeps_what_is_set_and_another_one_replaces_it() -> None:
    with asking(spec(ollama())) as it:
        it.generate("small", keep_alive=-1)
        it.generate("small", prompt="hi", stream=False)
        it.fleet.advance(3600)
        assert "small:latest" in it.ps()
        it.generate("small", keep_alive="10m")
        it.fleet.advance(599)
        assert "small:latest" in it.ps()
        it.fleet.advance(2)
        assert it.ps() == {}


def test_sim_ollama_ps_lists_the_longest_life_first() -> None:
    with asking(spec(ollama())) as it:
        it.generate("small", keep_alive="5m")
        it.generate("other", keep_alive=-1)
        assert [entry["name"] for entry in it.get("/api/ps").json()["models"]] == ["other:latest", "small:latest"]


def test_sim_ollama_a_load_is_in_ps_only_when_it_has_ended() -> None:
    with asking(spec(ollama(), time_scale=None)) as it:
        load = it.behind("/api/generate", {"model": "big"})
        until(lambda: it.card.used and it.engine.requests, "the load begins")
        assert it.ps() == {}
        assert it.card.used == 2000 * MIB
        it.fleet.advance(60)
        assert load.result().json()["done_reason"] == "load"
        assert "big:latest" in it.ps()


def test_sim_ollama_a_client_that_leaves_cancels_the_load() -> None:
    with asking(spec(ollama(), time_scale=None)) as it:
        with pytest.raises(httpx.ReadTimeout):
            it.post("/api/generate", {"model": "big"}, timeout=0.2)
        until(lambda: it.ps() == {} and it.card.used == 0, "the memory comes back")
        it.fleet.advance(60)
        assert it.ps() == {}


def test_sim_ollama_a_changed_context_or_num_gpu_reloads_and_a_plain_request_reloads_to_the_defaults() -> None:
    with asking(spec(ollama())) as it:
        it.generate("cached", options={"num_ctx": 2048})
        assert it.ps()["cached:latest"]["context_length"] == 2048
        assert it.card.used == 1128 * MIB
        it.generate("cached", options={"num_ctx": 2048, "temperature": 0.1})
        it.generate("cached")
        assert it.ps()["cached:latest"]["context_length"] == 4096
        assert it.card.used == 1256 * MIB
        it.generate("cached", options={"num_gpu": 0})
        assert it.ps()["cached:latest"]["size_vram"] == 0
        assert it.ps()["cached:latest"]["size"] == 1256 * MIB


def test_sim_ollama_what_sits_on_the_cpu_stays_there_on_a_plain_request_and_comes_back_by_unload_and_load() -> None:
    with asking(spec(ollama())) as it:
        it.generate("big", options={"num_gpu": 0})
        it.generate("big", keep_alive=-1)
        assert it.ps()["big:latest"]["size_vram"] == 0
        it.generate("big", keep_alive=0)
        it.generate("big", keep_alive=-1)
        assert it.ps()["big:latest"]["size_vram"] == 2000 * MIB


def test_sim_ollama_a_context_is_clamped_to_the_training_length() -> None:
    with asking(spec(ollama())) as it:
        it.generate("cached", options={"num_ctx": 100_000})
        assert it.ps()["cached:latest"]["context_length"] == 8192


def test_sim_ollama_an_option_of_the_wrong_type_is_400_and_an_unknown_one_is_ignored() -> None:
    with asking(spec(ollama())) as it:
        answer = it.generate("big", options={"num_ctx": "many"})
        assert (answer.status_code, answer.json()["error"]) == (400, 'option "num_ctx" must be of type integer')
        assert it.generate("big", options={"nosuch": 1}).status_code == 200


@pytest.mark.parametrize(("vram_gib", "context"), [(8, 4096), (24, 32768), (48, 262144)])
def test_sim_ollama_the_default_context_depends_on_the_cards(vram_gib: int, context: int) -> None:
    model = chat_model("any", 100, context_train=10**6)
    with asking(spec(ollama(installed=(model,)), vram_mib=(vram_gib * 1024,))) as it:
        it.generate("any")
        assert it.ps()["any:latest"]["context_length"] == context


def test_sim_ollama_without_a_card_size_and_size_vram_are_both_0() -> None:
    with asking(spec(ollama(gpus=()), vram_mib=())) as it:
        it.generate("big", keep_alive=-1)
        resident = it.ps()["big:latest"]
    assert (resident["size"], resident["size_vram"]) == (0, 0)


def test_sim_ollama_a_prompt_is_answered_as_a_stream_or_as_one_object() -> None:
    with asking(spec(ollama())) as it:
        lines = [httpx.Response(200, text=line).json() for line in it.generate("small", prompt="hi").text.splitlines()]
        whole = it.generate("small", prompt="hi", stream=False).json()
    assert [line["done"] for line in lines] == [False, True]
    assert whole["response"] == lines[0]["response"]


def test_sim_ollama_the_openai_route_carries_no_options_and_so_undoes_them() -> None:
    with asking(spec(ollama())) as it:
        it.generate("cached", keep_alive=-1, options={"num_ctx": 2048})
        it.post("/v1/chat/completions", {"model": "cached", "messages": [{"role": "user", "content": "hi"}]})
        assert it.ps()["cached:latest"]["context_length"] == 4096
        it.fleet.advance(301)
        assert it.ps() == {}, "a reload starts with the server's own keep-alive: the pin is gone too"
        assert [entry["id"] for entry in it.get("/v1/models").json()["data"]][-1] == "big:latest"


def test_sim_ollama_wrong_method_is_405_unknown_path_404_bad_body_400_foreign_host_403() -> None:
    with asking(spec(ollama())) as it:
        assert it.get("/api/generate").status_code == 405
        assert it.post("/api/tags", {}).status_code == 405
        assert it.get("/api/nosuch").status_code == 404
        assert it.http.post("/api/generate", content=b"{").status_code == 400
        assert it.http.post("/api/generate").status_code == 400
        assert it.get("/api/tags", headers={"Host": "evil.example"}).status_code == 403
        assert it.get("/api/tags", headers={"Host": "box.local"}).status_code == 200


def test_sim_ollama_an_unload_waits_for_the_request_in_flight() -> None:
    with asking(spec(ollama(answer_seconds=30, load_seconds=0, seconds_per_gib=0, release_seconds=0), time_scale=None)) as it:
        busy = it.behind("/api/generate", {"model": "small", "prompt": "hi", "stream": False})
        until(lambda: it.ps(), "it is resident")
        assert it.generate("small", keep_alive=0).json()["done_reason"] == "unload"
        assert "small:latest" in it.ps()
        it.fleet.advance(30)
        assert busy.result().json()["done_reason"] == "stop"
        assert it.ps() == {}
