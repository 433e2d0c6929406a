"""A card of AMD on the real Docker Engine: no hardware of that kind, but its device files, which the daemon puts into a container."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import pytest
from container_subject import ADDRESS, FLEET, only, run
from dockerd import Dockerd, subject

from reconciler.fleet import CardFacts, EngineContainer, EngineId, EngineKind, EngineSpec, NodeSpec, OwnedEngine, mismatches
from reconciler.planning.kinds.engine.container import container_of

SAYS = ("sh", "-c", "for one in /dev/kfd /dev/dri/renderD128; do test -c $one && echo $one; done; echo $ROCR_VISIBLE_DEVICES; sleep 1000")


@pytest.fixture(scope="module")
def dockerd() -> Iterator[Dockerd]:
    daemon = Dockerd(cards=False, devices=("/dev/kfd", "/dev/dri/renderD128"))
    yield daemon
    print(daemon.process.tail())
    daemon.stop()


def test_an_engine_on_a_card_of_amd_has_its_devices_its_group_and_the_id_of_its_card_alone(dockerd: Dockerd) -> None:
    async def ask() -> None:
        daemon = subject(dockerd)
        start = EngineContainer(dockerd.image, command=SAYS, groups=("video",), stop_timeout=1.0)
        owned = OwnedEngine(start, daemon.free_port())
        engine = EngineSpec(EngineId("node", "box"), EngineKind.OLLAMA, "http://127.0.0.1:1", gpus=(1,), owned=owned)
        card = CardFacts("amd1", name="AMD Instinct MI300X", uuid="GPU-amd-1")
        spec = replace(container_of(FLEET, NodeSpec("node", "127.0.0.1"), engine, (card,)), address=ADDRESS)
        async with daemon.opened() as host:
            made = await run(host, spec)
            found = await only(host, spec)
            assert mismatches(spec, found) == ()
            assert (found.cards, set(found.devices or ()), found.groups) == ((), {"/dev/kfd", "/dev/dri"}, ("video",))
            lines: tuple[str, ...] = ()
            while len(lines) < 3:
                await host.changed(made, 0.1)
                lines = await host.logs(made)
            assert lines == ("/dev/kfd", "/dev/dri/renderD128", "GPU-amd-1")

    try:
        asyncio.run(ask())
    finally:
        dockerd.clear()
