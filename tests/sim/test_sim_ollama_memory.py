"""Ollama's scheduler over simulated cards: eviction, partial offload, late release, shared runners, several cards."""

from __future__ import annotations

from sim_fleets import BIG, MIB, SMALL, asking, chat_model, ollama, spec, until


def test_sim_ollama_the_first_model_that_does_not_fit_is_partly_offloaded_by_layers() -> None:
    with asking(spec(ollama(), vram_mib=(1100,))) as it:
        it.generate("big", keep_alive=-1)
        resident = it.ps()["big:latest"]
        assert resident["size"] == 2000 * MIB
        assert resident["size_vram"] == 1000 * MIB  # 5 of 9 layers and the output, a tenth of the model each
        assert it.card.used == 1000 * MIB


def test_sim_ollama_a_card_without_room_for_one_layer_leaves_the_model_on_the_cpu() -> None:
    with asking(spec(ollama(), vram_mib=(1024,), foreign_mib=1000)) as it:
        it.generate("big")
        assert it.ps()["big:latest"]["size_vram"] == 0


def test_sim_ollama_a_further_model_that_would_not_fit_evicts_the_shortest_keep_alive_first_also_a_pinned_one() -> None:
    models = chat_model("a", 1200), chat_model("b", 600), chat_model("c", 2100), chat_model("d", 900)
    with asking(spec(ollama(installed=models))) as it:
        it.generate("a", keep_alive=-1)
        it.generate("b", keep_alive="5m")
        it.generate("c", keep_alive=-1)  # 2100 > 80% of 2296, but not of the 2896 without b
        assert set(it.ps()) == {"a:latest", "c:latest"}
        it.generate("d", keep_alive="1m")  # 900 > 80% of 796: only pinned ones are left to go
        assert "d:latest" in it.ps()
        assert len(it.ps()) == 2


def test_sim_ollama_a_further_model_at_more_than_80_percent_of_free_evicts_though_it_would_fit() -> None:
    near = chat_model("near", 1700)
    with asking(spec(ollama(installed=(BIG, near)))) as it:
        it.generate("big", keep_alive=-1)  # 2096 free, 80% of it is 1676
        it.generate("near", keep_alive=-1)
        assert set(it.ps()) == {"near:latest"}


def test_sim_ollama_max_loaded_models_evicts_a_pinned_one_without_a_word() -> None:
    with asking(spec(ollama(max_loaded=1))) as it:
        it.generate("small", keep_alive=-1)
        it.generate("other", keep_alive=-1)
        assert set(it.ps()) == {"other:latest"}


def test_sim_ollama_three_models_a_card_is_the_most_when_nobody_says() -> None:
    models = [chat_model(f"m{number}", 10) for number in range(4)]
    with asking(spec(ollama(installed=tuple(models)))) as it:
        for model in models:
            it.generate(model.name, keep_alive=-1)
        assert len(it.ps()) == 3
        assert "m3:latest" in it.ps()


def test_sim_ollama_foreign_memory_is_not_seen_while_a_runner_is_up_and_the_next_model_lands_partly_on_the_cpu() -> None:
    with asking(spec(ollama())) as it:
        it.generate("small", keep_alive=-1)
        it.card.foreign = 2500 * MIB
        it.generate("big", keep_alive=-1)  # believed free 3596, really 1096
        assert set(it.ps()) == {"small:latest", "big:latest"}
        assert it.ps()["small:latest"]["size_vram"] == 500 * MIB
        assert it.ps()["big:latest"]["size_vram"] == 1000 * MIB


def test_sim_ollama_the_memory_of_an_unloaded_model_comes_back_late() -> None:
    with asking(spec(ollama(load_seconds=0, seconds_per_gib=0, release_seconds=3), time_scale=None)) as it:
        it.generate("big", keep_alive=-1)
        it.generate("big", keep_alive=0)
        assert it.ps() == {}
        assert it.card.used == 2000 * MIB
        it.fleet.advance(2.9)
        assert it.card.used == 2000 * MIB
        it.fleet.advance(0.2)
        assert it.card.used == 0


def test_sim_ollama_two_tags_on_one_blob_share_a_runner_and_the_second_unpins_the_first() -> None:
    with asking(spec(ollama())) as it:
        it.post("/api/copy", {"source": "small", "destination": "again"})
        it.generate("small", keep_alive=-1)
        used = it.card.used
        it.generate("again", keep_alive="10m")
        assert set(it.ps()) == {"small:latest"}
        assert it.card.used == used
        it.fleet.advance(601)
        assert it.ps() == {}


def test_sim_ollama_explicit_layers_that_do_not_fit_are_out_of_memory_after_everybody_else_is_evicted() -> None:
    with asking(spec(ollama(), vram_mib=(1024,))) as it:
        it.generate("small", keep_alive=-1)
        answer = it.generate("big", options={"num_gpu": 99})
        assert answer.status_code == 500
        assert answer.json()["error"] == "llama-server process has terminated: exit status 1: cudaMalloc failed: out of memory"
        assert it.ps() == {}
        assert it.card.used == 0


def test_sim_ollama_num_gpu_takes_just_that_many_layers() -> None:
    with asking(spec(ollama())) as it:
        it.generate("big", options={"num_gpu": 3})
        assert it.ps()["big:latest"]["size_vram"] == 600 * MIB


def test_sim_ollama_a_model_goes_to_the_freer_card_and_one_too_large_for_any_is_split() -> None:
    huge = chat_model("huge", 5000)
    with asking(spec(ollama(gpus=(0, 1), installed=(SMALL, huge)), vram_mib=(2048, 6144))) as it:
        first, second = it.fleet.nodes["n"].cards
        it.generate("small")
        assert (first.used, second.used) == (0, 500 * MIB)
        it.generate("small", keep_alive=0)
        it.generate("huge")
        assert first.used + second.used == 5000 * MIB
        assert first.used == 5000 * MIB // 4
        assert it.ps()["huge:latest"]["size_vram"] == 5000 * MIB


def test_sim_ollama_overhead_is_on_the_card_and_in_no_figure_of_the_engine() -> None:
    with asking(spec(ollama(installed=(chat_model("m", 500, overhead=64 * MIB),)))) as it:
        it.generate("m")
        assert it.ps()["m:latest"]["size_vram"] == 500 * MIB
        assert it.card.used == 564 * MIB


def test_sim_ollama_num_parallel_multiplies_the_cache_but_not_for_embedding_models() -> None:
    with asking(spec(ollama(num_parallel=4))) as it:
        it.generate("cached", options={"num_ctx": 1024})
        assert it.ps()["cached:latest"]["context_length"] == 1024
        assert it.card.used == (1000 + 4 * 64) * MIB
        it.generate("cached", keep_alive=0)
        it.embed("embed")
        assert it.card.used == 100 * MIB


def test_sim_ollama_loads_one_after_the_other() -> None:
    with asking(spec(ollama(load_seconds=10, seconds_per_gib=0), time_scale=None)) as it:
        first = it.behind("/api/generate", {"model": "small"})
        until(lambda: it.engine.requests and it.card.used, "the first load begins")
        second = it.behind("/api/generate", {"model": "other"})
        until(lambda: len(it.engine.requests) == 2, "the second request is there")
        assert it.card.used == 500 * MIB
        it.fleet.advance(10)
        first.result()
        until(lambda: it.engine.requests and it.card.used == 1400 * MIB, "the second load begins")
        it.fleet.advance(10)
        assert second.result().status_code == 200
        assert set(it.ps()) == {"small:latest", "other:latest"}
