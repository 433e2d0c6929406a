"""Fleets as a whole: the built-in ones, lifecycle, ports, the request log, cards and time."""

from __future__ import annotations

import ast
import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from sim_fleets import EMBED, MIB, SMALL, asking, ollama, router, spec

import reconciler.sim
from reconciler.sim import BUILTIN_FLEETS, PortTaken, SimError, SimFleet, builtin_fleet, running
from reconciler.sim.cards import Allocation, Card, split
from reconciler.sim.clock import Clock
from reconciler.sim.errors import OutOfMemory

GOLDEN_MIB = {
    "all-minilm": 45, "nomic-embed-text": 274, "qwen2.5-coder:0.5b": 500, "mxbai-embed-large": 705, "qwen2.5-coder:1.5b": 900,
    "llama3.2:1b": 1300, "qwen2.5-coder:3b": 1800, "llama3.2:3b": 1900, "codellama:7b": 3600, "qwen2.5-coder:7b": 4400,
    "llama3.1:latest": 4700, "codellama:13b": 6900, "llama3.1:70b": 40000,
}  # fmt: skip


def test_sim_room_imports_only_the_standard_library_h11_and_ruamel() -> None:
    seen = set()
    for file in Path(reconciler.sim.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                seen |= {name.name for name in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                seen.add(node.module)
    assert {name for name in seen if name.startswith("reconciler") and not name.startswith("reconciler.sim")} == set()
    assert not {name.partition(".")[0] for name in seen} & {"httpx", "pydantic", "sqlite_utils", "click", "rich"}


@pytest.mark.parametrize("name", BUILTIN_FLEETS)
def test_sim_builtin_fleets_start_and_answer(name: str) -> None:
    with running(builtin_fleet(name).on_free_ports().with_time_scale(0)) as fleet:
        for engine in fleet.engines.values():
            path = "/api/version" if engine.spec.kind == "ollama" else "/props"
            assert httpx.get(engine.url + path, trust_env=False).status_code == 200
        for daemon in fleet.daemons.values():
            assert httpx.get(daemon.url.replace("tcp:", "http:") + "/_ping", trust_env=False).text == "OK"


def test_sim_builtin_fleet_that_is_none_is_an_error_naming_the_known_ones() -> None:
    with pytest.raises(SimError, match="demo, gpu-router"):
        builtin_fleet("nosuch")


def test_sim_builtin_fleets_are_on_the_ports_that_their_inventories_name() -> None:
    ports = {
        f"{node.name}/{engine.name}": engine.port
        for name in BUILTIN_FLEETS
        for node in builtin_fleet(name).nodes
        for engine in node.engines
    }
    assert ports == {
        "ada/ollama": 22434, "bea/ollama": 22435, "cleo/llamacpp": 22080,
        "small/ollama": 21434, "plain/ollama": 21435, "large/ollama": 21436,
        "desk/ollama": 25434, "mac/ollama": 25435, "laptop/ollama": 25436,
        "server/gpu0": 25440, "server/gpu1": 25441, "server/gpu2": 25442, "server/gpu3": 25443,
    }  # fmt: skip


def test_sim_the_built_in_docker_engine_is_where_its_inventory_looks() -> None:
    inventory = (Path(__file__).parents[2] / "inventories" / "containers.yaml").read_text(encoding="utf-8")
    for node in builtin_fleet("containers").nodes:
        assert node.docker is not None
        assert f"docker: tcp://127.0.0.1:{node.docker.port}\n" in inventory
        assert str(node.gpus[0].uuid) in inventory


def test_sim_gpu_router_models_take_just_their_known_size_whatever_the_context() -> None:
    registry = builtin_fleet("gpu-router").nodes[0].engines[0].registry
    assert {model.name: model.resident_bytes(context) // MIB for model in registry for context in (512, 8192)} == GOLDEN_MIB


def test_sim_gpu_router_small_card_has_2571_of_3276_usable_left_beside_mxbai_and_llama32_fits_there() -> None:
    with asking(builtin_fleet("gpu-router").on_free_ports().with_time_scale(0), "small/ollama") as it:
        card = it.fleet.nodes["small"].cards[0]
        it.embed("mxbai-embed-large", keep_alive=-1)
        usable = card.total * 8 // 10 // MIB
        assert (usable, usable - card.used // MIB) == (3276, 2571)
        it.generate("llama3.2:3b", keep_alive=-1)
        assert {name: entry["size_vram"] // MIB for name, entry in it.ps().items()} == {
            "mxbai-embed-large:latest": 705,
            "llama3.2:3b": 1900,
        }


def test_sim_gpu_router_large_holds_llama31_beside_both_embedding_models() -> None:
    with asking(builtin_fleet("gpu-router").on_free_ports().with_time_scale(0), "large/ollama") as it:
        it.embed("mxbai-embed-large", keep_alive=-1)
        it.embed("nomic-embed-text", keep_alive=-1)
        it.generate("llama3.1", keep_alive=-1)
        assert len(it.ps()) == 3
        assert all(entry["size_vram"] == entry["size"] for entry in it.ps().values())


def test_sim_demo_bea_pulls_what_it_has_not_and_ada_holds_two_models() -> None:
    with asking(builtin_fleet("demo").on_free_ports().with_time_scale(0), "bea/ollama") as it:
        assert it.generate("qwen2.5-coder:7b").status_code == 404
        assert it.post("/api/pull", {"model": "qwen2.5-coder:7b", "stream": False}).json() == {"status": "success"}
        it.generate("qwen2.5-coder:7b", keep_alive=-1)
        assert it.ps()["qwen2.5-coder:7b"]["size_vram"] == it.ps()["qwen2.5-coder:7b"]["size"]
        ada = httpx.Client(base_url=it.fleet.engines["ada/ollama"].url, trust_env=False)
        ada.post("/api/generate", json={"model": "llama3.1:8b", "keep_alive": -1})
        ada.post("/api/embed", json={"model": "nomic-embed-text", "keep_alive": -1})
        assert set(it.fleet.engines["ada/ollama"].residents) == {"llama3.1:8b", "nomic-embed-text:latest"}
        ada.close()


def test_sim_requests_are_logged_in_the_order_of_the_whole_fleet() -> None:
    with running(spec(ollama(), router())) as fleet:
        one, two = fleet.engines["n/o"], fleet.engines["n/l"]
        httpx.get(one.url + "/api/ps?x=1", trust_env=False)
        httpx.post(two.url + "/models/load", json={"model": "small"}, trust_env=False)
        httpx.get(one.url + "/api/tags", trust_env=False)
        assert [tuple(entry) for entry in one.requests] == [("GET", "/api/ps", None, 0), ("GET", "/api/tags", None, 2)]
        assert [tuple(entry) for entry in two.requests] == [("POST", "/models/load", {"model": "small"}, 1)]
        fleet.forget_requests()
        assert one.requests == two.requests == []


def test_sim_two_engines_share_a_card() -> None:
    with asking(spec(ollama(), router()), "n/o") as it:
        it.generate("big")
        httpx.post(it.fleet.engines["n/l"].url + "/v1/chat/completions", json={"model": "other"}, trust_env=False)
        assert it.card.used == 2900 * MIB
        assert it.card.free == 1196 * MIB


def test_sim_restart_forgets_residents_and_keep_alive_and_keeps_the_port() -> None:
    with asking(spec(ollama())) as it:
        it.generate("small", keep_alive=-1)
        url = it.engine.url
        it.engine.restart()
        assert it.ps() == {}
        assert it.card.used == 0
        assert it.engine.url == url
        it.generate("small")
        it.fleet.advance(301)
        assert it.ps() == {}


def test_sim_kill_refuses_connections_and_frees_memory_and_revive_starts_empty() -> None:
    with asking(spec(ollama())) as it:
        it.generate("small", keep_alive=-1)
        it.engine.kill()
        it.engine.kill()
        with pytest.raises(httpx.ConnectError):
            it.get("/")
        assert it.card.used == 0
        it.engine.revive()
        it.engine.revive()
        assert it.ps() == {}


def test_sim_kill_in_the_middle_of_a_load_breaks_the_connection_and_frees_memory() -> None:
    with asking(spec(ollama(), time_scale=None)) as it:
        load = it.behind("/api/generate", {"model": "big"})
        while not (it.engine.requests and it.card.used):
            pass
        it.engine.kill()
        with pytest.raises(httpx.TransportError):
            load.result()
        assert it.card.used == 0
        it.fleet.advance(60)
        it.engine.revive()
        assert it.ps() == {}


def test_sim_fleet_runs_in_an_event_loop_too() -> None:
    async def go() -> list[str]:
        async with SimFleet(spec(ollama(installed=(SMALL, EMBED)))) as fleet, httpx.AsyncClient(trust_env=False) as client:
            engine = fleet.engines["n/o"]
            await asyncio.gather(*(client.post(engine.url + "/api/generate", json={"model": "small"}) for _ in range(20)))
            engine.restart()
            assert (await client.get(engine.url + "/api/ps")).json() == {"models": []}
            return [entry.path for entry in engine.requests]

    assert asyncio.run(go()) == ["/api/generate"] * 20 + ["/api/ps"]


def test_sim_port_that_is_taken_is_one_sentence_and_leaves_nothing_open() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(PortTaken, match="give another port"),
        running(spec(ollama(), router(port=taken.getsockname()[1]))),
    ):
        pytest.fail("it must not start")


def test_sim_fleet_that_is_not_running_says_so() -> None:
    fleet = SimFleet(spec(ollama()))
    with pytest.raises(SimError, match="not running"):
        fleet.engines["n/o"].restart()


def test_sim_server_keeps_connections_serves_many_at_once_and_bounds_bodies() -> None:
    with asking(spec(ollama())) as it, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: httpx.get(it.engine.url + "/api/ps", trust_env=False).status_code, range(100)))
        assert answers == [200] * 100
        assert it.http.post("/api/show", content=b"x" * (5 * 2**20)).status_code == 413
        assert it.get("/api/ps").status_code == 200


def test_sim_server_survives_what_is_not_http() -> None:
    with asking(spec(ollama())) as it:
        with socket.create_connection(("127.0.0.1", it.engine.port), timeout=5) as raw:
            raw.sendall(b"\x16\x03\x01 not http at all\r\n\r\n")
            assert raw.recv(100) == b""
        assert it.get("/").status_code == 200


def test_sim_card_gives_no_more_than_it_has_and_takes_all_back() -> None:
    card = Card("c", 1000, foreign=200)
    held = Allocation([(card, 700)])
    assert (card.used, card.free) == (900, 100)
    with pytest.raises(OutOfMemory):
        Allocation([(card, 101)])
    card.foreign = 900
    assert (card.used, card.free) == (1600, 0)
    held.free()
    held.free()
    assert (card.allocated, card.free) == (0, 100)


def test_sim_split_is_in_proportion_to_free_memory_and_loses_no_byte() -> None:
    cards = [Card("a", 1000), Card("b", 3001), Card("c", 0)]
    parts = split(2000, cards)
    assert sum(count for _, count in parts) == 2000
    assert all(count <= card.free for card, count in parts)
    assert [card.name for card, _ in parts] == ["a", "b"]
    with pytest.raises(OutOfMemory):
        split(4002, cards)


def test_sim_clock_by_hand_ends_work_in_order_and_moves_the_date() -> None:
    async def go() -> tuple[list[str], timedelta]:
        clock, seen = Clock(None), []
        before = clock.now()
        clock.later(2, lambda: seen.append("two"))
        clock.later(1, lambda: seen.append("one"))
        clock.later(0, lambda: seen.append("at once"))
        clock.advance(1.5)
        seen.append("half")
        clock.advance(1)
        return seen, clock.now() - before

    assert asyncio.run(go()) == (["at once", "one", "half", "two"], timedelta(seconds=2.5))
