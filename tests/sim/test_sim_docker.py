"""A Docker Engine of a simulated fleet: an engine in a container is a server like the others, on the cards that the container was given."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import httpx
import pytest

from reconciler.containers import ContainerError, ContainerHost, open_container_host
from reconciler.fleet import ContainerSpec, DockerSpec, NodeSpec, PublishedPort, looked_for, parse_mount
from reconciler.sim import SimFileError, SimFleet, read_sim_text, running

FLEET = """
time_scale: 0
models: [{name: "small:1", size: 1GiB, vram: 1GiB}, {name: "big:1", size: 20GiB, vram: 20GiB}]
nodes:
  ada:
    gpus: [{vram: 24GiB, uuid: GPU-a}, {vram: 8GiB}]
    docker:
      cdi: true
      images:
        - {name: "ollama/ollama:1", command: [serve], engine: {kind: ollama, installed: ["small:1", "big:1"]}}
        - {name: "vllm/vllm:1", engine: {kind: vllm, installed: ["small:1", "big:1"]}}
        - {name: "agent:1", command: [sleep, "1000"]}
      registry: [{name: "reg.lan/ollama:2", engine: {kind: ollama, installed: ["small:1"]}}]
"""


@pytest.fixture
def fleet() -> Iterator[SimFleet]:
    with running(read_sim_text(FLEET, "fleet.yaml")) as found:
        yield found


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def get(url: str) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as client:
        return await client.get(url)


def with_host(fleet: SimFleet, ask: object) -> None:
    async def run() -> None:
        docker = DockerSpec(f"tcp://127.0.0.1:{fleet.daemons['ada'].port}")
        host = open_container_host(NodeSpec("ada", "127.0.0.1"), docker)
        try:
            await ask(host)  # type: ignore[operator]
        finally:
            await host.aclose()

    asyncio.run(run())


def spec(image: str, port: int = 0, **more: object) -> ContainerSpec:
    ports = (PublishedPort(80, port),) if port else ()
    return ContainerSpec("gpurec-engine", image, "lab", "engine.e@ada", ports=ports, **more)  # type: ignore[arg-type]


def test_an_engine_in_a_container_answers_on_its_port_and_ends_with_it(fleet: SimFleet, free_port: int) -> None:
    async def ask(host: ContainerHost) -> None:
        made = await host.create(spec("ollama/ollama:1", free_port, cards=("GPU-a",)))
        await host.start(made)
        url = f"http://127.0.0.1:{free_port}"
        assert len((await get(f"{url}/api/tags")).json()["models"]) == 2
        async with httpx.AsyncClient(trust_env=False) as client:
            await client.post(f"{url}/api/generate", json={"model": "big:1", "keep_alive": -1})
        assert [card.allocated > 2**34 for card in fleet.nodes["ada"].cards] == [True, False]
        await host.stop(made)
        assert fleet.nodes["ada"].cards[0].allocated == 0
        with pytest.raises(httpx.ConnectError):
            await get(f"{url}/api/tags")
        await host.start(made)
        assert (await get(f"{url}/api/version")).status_code == 200

    with_host(fleet, ask)


def test_what_an_ollama_pulled_is_in_its_volume_and_there_for_the_next_container(fleet: SimFleet, free_port: int) -> None:
    async def ask(host: ContainerHost) -> None:
        mounts = (parse_mount("models:/root/.ollama"),)
        for _ in range(2):
            made = await host.create(spec("ollama/ollama:1", free_port, mounts=mounts))
            await host.start(made)
            async with httpx.AsyncClient(trust_env=False) as client:
                await client.request("DELETE", f"http://127.0.0.1:{free_port}/api/delete", json={"model": "big:1"})
            await host.stop(made)
            await host.start(made)
            assert [one["name"] for one in (await get(f"http://127.0.0.1:{free_port}/api/tags")).json()["models"]] == ["small:1"]
            await host.remove(made)

    with_host(fleet, ask)


def test_a_single_engine_serves_the_model_that_its_command_names(fleet: SimFleet, free_port: int) -> None:
    async def ask(host: ContainerHost) -> None:
        made = await host.create(spec("vllm/vllm:1", free_port, cards=("GPU-ada-1",), command=("--model", "small:1")))
        await host.start(made)
        answer = await get(f"http://127.0.0.1:{free_port}/v1/models")
        assert [one["id"] for one in answer.json()["data"]] == ["small:1"]
        assert fleet.nodes["ada"].cards[1].allocated
        await host.remove(made)
        other = await host.create(spec("vllm/vllm:1", free_port, command=("--model", "absent")))
        with pytest.raises(ContainerError, match=r"none of small:1, big:1"):
            await host.start(other)

    with_host(fleet, ask)


def test_a_port_that_something_else_has_fails_the_start(fleet: SimFleet, free_port: int) -> None:
    async def ask(host: ContainerHost) -> None:
        made = await host.create(spec("ollama/ollama:1", fleet.daemons["ada"].port))
        with pytest.raises(ContainerError) as caught:
            await host.start(made)
        assert caught.value.code == "port_taken"

    with_host(fleet, ask)


def test_an_image_is_pulled_from_the_registry_of_the_fleet(fleet: SimFleet) -> None:
    async def ask(host: ContainerHost) -> None:
        assert not await host.has_image("reg.lan/ollama:2")
        assert [one async for one in host.pull("reg.lan/ollama:2")]
        assert await host.has_image("reg.lan/ollama:2")
        assert (await host.observe(looked_for("lab", ()))).daemon is not None

    with_host(fleet, ask)


def test_a_container_of_a_fleet_in_a_hurry_sleeps_all_the_same(fleet: SimFleet) -> None:
    async def ask(host: ContainerHost) -> None:
        agent = spec("agent:1")
        await host.start(await host.create(agent))
        await host.changed(fleet.daemons["ada"].containers[0].id, 0.1)
        assert [one.condition for one in (await host.observe(looked_for("lab", (agent,)))).containers or ()] == ["running"]

    with_host(fleet, ask)


def test_what_is_done_to_a_daemon_is_done_in_the_fleets_thread(fleet: SimFleet) -> None:
    fleet.do(fleet.daemons["ada"].close)
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{fleet.daemons['ada'].port}/_ping", trust_env=False)
    fleet.do(fleet.daemons["ada"].reopen)
    assert httpx.get(f"http://127.0.0.1:{fleet.daemons['ada'].port}/_ping", trust_env=False).text == "OK"


@pytest.mark.parametrize(
    ("docker", "said"),
    [
        ("7", "`docker` is no mapping"),
        ("{images: [{command: [a]}]}", "`name`"),
        ("{images: [{name: a, engine: {kind: ollama, port: 1}}]}", "comes with its container"),
        ("{images: [{name: a, engine: {kind: nothing}}]}", "`kind`"),
        ("{image: []}", "image"),
    ],
)
def test_a_wrong_docker_section_is_told_with_its_place(docker: str, said: str) -> None:
    with pytest.raises(SimFileError, match=said) as caught:
        read_sim_text(f"nodes: {{a: {{docker: {docker}}}}}", "fleet.yaml")
    assert "fleet.yaml:1:" in str(caught.value)
