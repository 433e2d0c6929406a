"""The real Docker Engine: the rules for containers of `tests/conformance`, unchanged, and the ways to it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from container_rules import RULES, ContainerRule
from container_subject import Daemon
from dockerd import BULK, Dockerd, ImageRegistry, busybox
from processes import free_port
from together import only_once

from reconciler.fleet import DockerSpec

CARDS = ("GPU-aaaa1111", "GPU-bbbb2222")


@pytest.fixture(scope="session")
def dockerd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dockerd]:
    """One for all tests here: it starts in three seconds, and each rule leaves it empty. It takes requests for any card."""
    only_once(tmp_path_factory, "dockerd")
    daemon = Dockerd(cards=True)
    yield daemon
    print(daemon.process.tail())
    daemon.stop()


@pytest.fixture(scope="session")
def cardless() -> Iterator[Dockerd]:
    daemon = Dockerd(cards=False)
    yield daemon
    daemon.stop()


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImageRegistry]:
    found = ImageRegistry(tmp_path_factory.mktemp("image-registry"))
    yield found
    found.stop()


def subject(daemon: Dockerd, fetched: str = "", digest: str = "") -> Daemon:
    return Daemon(DockerSpec(f"unix://{daemon.socket}"), daemon.image, daemon.other, "local/absent:1", free_port, fetched, digest, CARDS)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule.name))
def test_conformance_of_the_real_docker_engine(rule: ContainerRule, request: pytest.FixtureRequest) -> None:
    daemon: Dockerd = request.getfixturevalue("cardless" if rule.world == "no cards" else "dockerd")
    fetched, digest = "", ""
    if rule.world == "registry":
        fetched = f"{request.getfixturevalue('registry').name}/team/fetched:1"
        daemon.import_image(fetched, busybox("fetched", BULK))
        digest = daemon.move_to_registry(fetched)
    try:
        asyncio.run(rule.ask(subject(daemon, fetched, digest)))
    finally:
        daemon.clear()
