"""A real swarm of one node: the rules for containers that hold for services too, and what only a swarm has."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import container_rules as rules
import pytest
from container_subject import Daemon, only, run, seen
from dockerd import CARDS, Dockerd
from processes import free_port

from reconciler.containers import ContainerError
from reconciler.fleet import ContainerFile, DockerSpec, Healthcheck, PublishedPort, SecretRef, looked_for, mismatches, parse_mount


@pytest.fixture(scope="module")
def manager() -> Iterator[Dockerd]:
    resources = [word for card in CARDS for word in ("--node-generic-resource", f"NVIDIA-GPU={card}")]
    daemon = Dockerd(cards=False, options=tuple(resources))
    daemon.begin_swarm()
    yield daemon
    print(daemon.process.tail())
    daemon.clear_swarm()
    daemon.stop()


@pytest.fixture
def swarm(manager: Dockerd) -> Iterator[Daemon]:
    docker, socket = DockerSpec(f"unix://{manager.socket}", swarm=True), str(manager.socket)
    yield Daemon(docker, socket, manager.image, manager.other, "local/absent:1", free_port, cards=CARDS, network="host")
    manager.clear_swarm()


@pytest.mark.parametrize(
    "rule",
    [
        rules.a_daemon_tells_what_it_is,
        rules.arguments_are_appended_to_the_images_own_command,
        rules.a_secret_is_only_compared_and_comes_back_nowhere,
        rules.a_name_that_is_taken_is_an_error_and_nothing_is_left,
        rules.a_program_that_is_not_there_fails_at_the_start,
        rules.a_network_that_is_not_there_leaves_nothing_behind,
        rules.two_fleets_on_one_daemon_do_not_mix,
    ],
    ids=lambda rule: str(rule.__name__),
)
def test_a_service_keeps_the_rules_of_containers(rule: rules.Ask, swarm: Daemon) -> None:
    asyncio.run(rule(swarm))


def test_a_service_is_seen_as_it_was_made(swarm: Daemon) -> None:
    async def ask() -> None:
        spec = swarm.spec(
            env={"A": "1"},
            command=("sleep", "2000"),
            mounts=tuple(parse_mount(one) for one in ("gpurec-volume:/data", "/tmp:/host:ro", "tmpfs:/scratch")),
            restart="on-failure:3",
            shm_size=2**25,
            cpus=0.5,
            memory=2**27,
            healthcheck=Healthcheck(("CMD", "true"), 1.0, 2.0, 0.5, None, 2),
            files=(ContainerFile("/etc/gpurec/agent.json", "{}"), ContainerFile("/etc/gpurec/key", rules.KEY)),
            labels={"team": "a"},
            stop_timeout=1.0,
            cards=CARDS[:1],
        )
        async with swarm.opened() as host:
            made = await run(host, spec)
            found = await only(host, spec)
            assert mismatches(spec, found) == ()
            assert found.condition == "running"
            assert found.id == made
            await host.stop(made, 0)
            assert [(wrong.field, wrong.restarts) for wrong in mismatches(spec, await only(host, spec))] == [("state", True)]
            await host.start(made)
            assert mismatches(spec, await only(host, spec)) == ()
            await host.remove(made)
            await host.remove(made)
            assert await seen(host, spec) == ()
            async with swarm.by_hand() as hand:
                assert (await hand.get("/configs")).json() == []
                assert (await hand.get("/secrets")).json() == []

    asyncio.run(ask())


def test_a_service_whose_second_file_cannot_be_read_leaves_nothing_of_the_first(swarm: Daemon) -> None:
    async def ask() -> None:
        files = (ContainerFile("/etc/gpurec/agent.json", "{}"), ContainerFile("/etc/gpurec/key", SecretRef("env", "NOT_SET_ANYWHERE")))
        async with swarm.opened() as host, swarm.by_hand() as hand:
            with pytest.raises(ContainerError) as caught:
                await host.create(swarm.spec(files=files))
            assert caught.value.code == "missing_key"
            assert (await hand.get("/configs")).json() == []

    asyncio.run(ask())


def test_a_service_gives_its_name_to_the_one_that_takes_its_place(swarm: Daemon) -> None:
    async def ask() -> None:
        spec, other = swarm.spec(stop_timeout=1.0), swarm.spec(env={"A": "2"}, stop_timeout=1.0)
        async with swarm.opened() as host:
            for wanted in (spec, other, spec):
                old = {one.id for one in await seen(host, wanted)}
                new = await host.create(wanted, f"{wanted.name}.next" if old else None)
                for one in old:
                    await host.stop(one)
                    await host.rename(one, f"{wanted.name}.previous")
                if old:
                    await host.rename(new, wanted.name)
                await host.start(new)
                for one in old:
                    await host.remove(one)
                assert mismatches(wanted, await only(host, wanted)) == ()

    asyncio.run(ask())


def test_more_cards_than_a_node_has_are_refused_at_the_start(swarm: Daemon) -> None:
    async def ask() -> None:
        async with swarm.opened() as host:
            await run(host, swarm.spec(cards=CARDS))
            second = swarm.spec("gpurec-second", address="engine.second@node", cards=CARDS[:1])
            made = await host.create(second)
            with pytest.raises(ContainerError) as caught:
                await host.start(made)
            assert caught.value.code == "card_unavailable"

    asyncio.run(ask())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"devices": ("/dev/kfd",)}, "no device files"),
        ({"networks": (), "ports": (PublishedPort(80, 39_991),)}, "every address"),
        ({"networks": ("none",)}, "no network `none`"),
    ],
)
def test_what_a_swarm_cannot_do_is_refused_before_anything_is_made(changes: dict[str, object], said: str, swarm: Daemon) -> None:
    async def ask() -> None:
        async with swarm.opened() as host:
            with pytest.raises(ContainerError, match=said):
                await host.create(swarm.spec(**changes))
            assert await seen(host) == ()

    asyncio.run(ask())


def test_what_was_changed_by_hand_is_told_by_its_field(swarm: Daemon) -> None:
    async def ask() -> None:
        spec = swarm.spec(env={"A": "1"}, memory=2**27)
        async with swarm.opened() as host, swarm.by_hand() as hand:
            made = await host.create(spec)
            service = (await hand.get(f"/services/{made}")).json()
            body = service["Spec"]
            body["TaskTemplate"]["ContainerSpec"]["Env"] = ["A=2"]
            body["TaskTemplate"]["Resources"]["Limits"]["MemoryBytes"] = 2**28
            params = {"version": service["Version"]["Index"]}
            (await hand.post(f"/services/{made}/update", params=params, json=body)).raise_for_status()
            assert {wrong.field for wrong in mismatches(spec, await only(host, spec))} == {"env", "memory", "state"}

    asyncio.run(ask())


def test_a_daemon_that_is_in_no_swarm_is_unknown_and_says_so() -> None:
    daemon = Dockerd(cards=False)
    try:

        async def ask() -> None:
            docker = DockerSpec(f"unix://{daemon.socket}", swarm=True)
            async with Daemon(docker, str(daemon.socket), "", "", "", free_port).opened() as host:
                found = await host.observe(looked_for("x", ()))
                assert (found.containers, found.code) == (None, "no_swarm")

        asyncio.run(ask())
    finally:
        daemon.stop()
