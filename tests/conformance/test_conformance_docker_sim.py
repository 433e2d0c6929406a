"""The rules for containers, asked of the simulated Docker Engine. `make real` asks the same of the real one."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest
from container_rules import RULES, ContainerRule
from container_subject import Daemon

from reconciler.fleet import DockerSpec
from reconciler.sim.clock import Clock
from reconciler.sim.docker import DockerDaemon, Image, Library

SLEEP = ("sleep", "1000")
CARDS = ("GPU-aaaa1111", "GPU-bbbb2222")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def library() -> Library:
    fetched = Image("registry.lan:5000/team/fetched:1", SLEEP, layers=(10**7, 2 * 10**7), content="fetched")
    return Library([Image("local/busybox:1", SLEEP), Image("local/busybox:2", SLEEP, content="other")], [fetched])


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule.name))
def test_conformance_of_the_simulated_docker_engine(rule: ContainerRule, tmp_path: Path) -> None:
    async def asked() -> None:
        images = library()
        daemon = DockerDaemon(images, Clock(1.0), cards=() if rule.world == "no cards" else CARDS, cdi=True)
        daemon.open(str(tmp_path / "docker.sock"))
        try:
            await rule.ask(
                Daemon(
                    DockerSpec(f"unix://{tmp_path}/docker.sock"),
                    f"{tmp_path}/docker.sock",
                    "local/busybox:1",
                    "local/busybox:2",
                    "local/absent:1",
                    free_port,
                    "registry.lan:5000/team/fetched:1",
                    next(iter(images.there.values())).digest,
                    CARDS,
                )
            )
        finally:
            await daemon.aclose()

    asyncio.run(asked())
