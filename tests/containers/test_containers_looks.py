"""Many daemons at a time."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path

import pytest

from reconciler.containers import docker, open_container_host
from reconciler.fleet import ContainerSpec, DockerSpec, NodeSpec, looked_for
from reconciler.sim.clock import Clock
from reconciler.sim.docker import DockerDaemon, Image, Library
from reconciler.sim.http import Request, Response


def test_all_daemons_together_are_asked_no_more_than_so_many_questions_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker, "_AT_WORK", 5)
    at_work, most = 0, 0

    class Counting(DockerDaemon):
        async def _answer(self, request: Request) -> Response:
            nonlocal at_work, most
            if not request.path.startswith("/containers/0"):
                return await super()._answer(request)
            at_work += 1
            most = max(most, at_work)
            await asyncio.sleep(0.001)
            at_work -= 1
            return await super()._answer(request)

    async def run() -> None:
        daemons = [Counting(Library([Image("a:1", ("sleep", "1000"))]), Clock(1.0)) for _ in range(6)]
        hosts = []
        for number, daemon in enumerate(daemons):
            daemon.open(str(tmp_path / str(number)))
            hosts.append(open_container_host(NodeSpec(f"n{number}", "127.0.0.1"), DockerSpec(f"unix://{tmp_path}/{number}")))
            for one in range(6):
                await hosts[-1].create(ContainerSpec(f"gpurec-{one}", "a:1", "lab", f"engine.n{number}/e{one}"))
        found = await asyncio.gather(*(host.observe(looked_for("lab", ())) for host in hosts))
        assert [len(one.containers or ()) for one in found] == [6] * 6
        for host in hosts:
            await host.aclose()
        for daemon in daemons:
            await daemon.aclose()

    others = set(docker._LOOKS)
    asyncio.run(run())
    assert 1 < most <= 5
    gc.collect()
    assert set(docker._LOOKS) <= others
