"""A daemon under the rules for containers, simulated or real, and the ways in which every rule looks at it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from reconciler.containers import ContainerHost, open_container_host
from reconciler.fleet import ContainerFacts, ContainerSpec, ContainerState, DockerSpec, NodeSpec, looked_for
from reconciler.hosts import SshClient

FLEET, ADDRESS = "conformance", "engine.box@node"
SECRET_VARIABLE, SECRET = "GPUREC_TEST_KEY", "sesame-key-of-a-container"
PATIENCE = 60.0
"""Seconds that a rule waits for a daemon to come to what it promised."""
NODE = NodeSpec("node", "127.0.0.1")


@dataclass(frozen=True)
class Daemon:
    """A daemon with nothing of ours on it. `image` and `other` are there, and run `sleep 1000` where no command is given; `fetched` is in a
    registry that it reaches, under the digest `fetched_digest`, `absent` nowhere. `cards` are two UUIDs that it gives to containers.
    `docker` is the way that is under test, with `ssh` where that is by ssh, `socket` the daemon's own; `network` is what containers get
    that ask for nothing else."""

    docker: DockerSpec
    socket: str
    image: str
    other: str
    absent: str
    free_port: Callable[[], int]
    fetched: str = ""
    fetched_digest: str = ""
    cards: tuple[str, ...] = ()
    ssh: SshClient | None = None
    network: str = "none"
    environ: Mapping[str, str] = field(default_factory=lambda: {SECRET_VARIABLE: SECRET})

    def spec(self, name: str = "gpurec-box", **more: Any) -> ContainerSpec:
        return ContainerSpec(**{"name": name, "image": self.image, "fleet": FLEET, "address": ADDRESS, "networks": (self.network,), **more})

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[ContainerHost]:
        host = open_container_host(NODE, self.docker, ssh=self.ssh, environ=self.environ)
        try:
            yield host
        finally:
            await host.aclose()

    @asynccontextmanager
    async def by_hand(self) -> AsyncIterator[httpx.AsyncClient]:
        """The daemon's API, as somebody else uses it."""
        transport = httpx.AsyncHTTPTransport(uds=self.socket)
        async with httpx.AsyncClient(transport=transport, base_url="http://docker/v1.41", timeout=PATIENCE, trust_env=False) as client:
            yield client

    async def clear(self) -> None:
        """Removes every container."""
        async with self.by_hand() as client:
            for one in (await client.get("/containers/json", params={"all": "true"})).json():
                await client.delete(f"/containers/{one['Id']}", params={"force": "true", "v": "true"})


async def seen(host: ContainerHost, *specs: ContainerSpec) -> tuple[ContainerFacts, ...]:
    """What a look for these gives; fails where it is unknown."""
    found = await host.observe(looked_for(FLEET, specs))
    assert found.containers is not None, found.reason
    return found.containers


async def only(host: ContainerHost, spec: ContainerSpec) -> ContainerFacts:
    (found,) = await seen(host, spec)
    return found


async def until(host: ContainerHost, spec: ContainerSpec, holds: Callable[[ContainerFacts], bool], what: str) -> ContainerFacts:
    """Looks until `holds`, at most PATIENCE seconds; between two looks it waits for the daemon to tell of something."""
    try:
        async with asyncio.timeout(PATIENCE):
            while True:
                found = await only(host, spec)
                if holds(found):
                    return found
                await host.changed(found.id, 0.2)
    except TimeoutError:
        raise AssertionError(f"never: {what}; last seen: {found}") from None


async def run(host: ContainerHost, spec: ContainerSpec) -> str:
    made = await host.create(spec)
    await host.start(made)
    return made


def ended(found: ContainerFacts) -> bool:
    return found.state is ContainerState.EXITED
