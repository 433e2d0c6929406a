"""A server with one model that gpurec owns, on the real Docker Engine with a card in software: another port takes nothing away, where the
card has room for the old one and the new one."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from dockerd import Dockerd, llama_server
from killing import is_killed, killing_socket
from processes import LOOPBACK, free_port
from provision import Provisioned
from rigs import MIB, NEED, ROOM_FOR_ONE, ROOM_FOR_TWO, Bench
from workspaces import steps

IMAGE = "local/llama:one"
COMMAND = ["/app/llama-server", "-np", "1", "--cache-ram", "0", "--no-webui"]


@pytest.fixture(scope="module")
def dockerd(real: Provisioned) -> Iterator[Dockerd]:
    daemon = Dockerd(cards=True, options=("--debug",))
    says = (f"CMD {json.dumps(COMMAND)}", "ENV LD_LIBRARY_PATH=/app LLAMA_ARG_HOST=0.0.0.0 LLAMA_ARG_N_GPU_LAYERS=99")
    daemon.import_image(IMAGE, llama_server(real.llama_bin), *says)
    yield daemon
    print(daemon.process.tail())
    daemon.stop()


class OneModel:
    """A workspace with one llama-server on a card of `size` bytes."""

    def __init__(self, bench: Bench, daemon: Dockerd, models: Path, size: int) -> None:
        self.daemon, self.workspace = daemon, bench.workspace()
        self.card = bench.card(size, daemon.gateway)
        self.models = models
        self.workspace.want(
            {"gemma": {"engine": "llamacpp", "names": {"llamacpp": "/models/gemma.gguf"}, "context": 2048, "vram": f"{NEED}B"}}
        )

    def at(self, port: int, socket: Path | None = None) -> None:
        container = {"image": IMAGE, "volumes": [f"{self.models}:/models:ro"], "stop_timeout": 5}
        env = {"LLAMA_ARG_RPC": self.card.endpoint}
        engine = {"kind": "llamacpp", "runtime": "container", "port": port, "container": container, "env": env, "load_timeout": 60}
        docker = {"url": f"unix://{socket or self.daemon.socket}"}
        self.workspace.declare({"llama": engine}, (self.card.size,), 4096 * MIB, docker=docker)

    @property
    def container(self) -> dict[str, Any]:
        (one,) = self.daemon.client.get("/containers/json").json()
        return dict(one)


@pytest.fixture
def cleared(dockerd: Dockerd) -> Iterator[Dockerd]:
    yield dockerd
    dockerd.clear()


class Asking(threading.Thread):
    """Asks for one of two servers to answer, the old one first, again and again: who comes after must be there before it goes."""

    def __init__(self, old: int, new: int) -> None:
        super().__init__()
        self._ports, self._enough = (old, new), threading.Event()
        self.by_port = {old: 0, new: 0}
        self.nobody = 0

    def run(self) -> None:
        while not self._enough.is_set():
            if (port := next(filter(answers, self._ports), None)) is not None:
                self.by_port[port] += 1
            else:
                self.nobody += 1

    def enough(self) -> None:
        self._enough.set()
        self.join()


def answers(port: int) -> bool:
    try:
        return httpx.get(f"http://{LOOPBACK}:{port}/health", trust_env=False, timeout=10.0).status_code == 200
    except httpx.TransportError:
        return False


def test_a_server_with_one_model_moves_to_another_port_and_somebody_answers_all_the_time(
    bench: Bench, cleared: Dockerd, real: Provisioned
) -> None:
    one = OneModel(bench, cleared, real.gemma.parent, ROOM_FOR_TWO)
    old, new = free_port(), free_port()
    one.at(old)
    one.workspace.apply(0)
    assert answers(old)
    assert NEED // 2 < one.card.used < NEED
    one.at(new)
    assert "its new container starts before the old one ends" in one.workspace.run("plan").out
    first, before = one.container["Id"], len(cleared.changes())
    asking = Asking(old, new)
    asking.start()
    try:
        one.workspace.apply(0)
    finally:
        asking.enough()
    second = one.container["Id"]
    done = [change.split()[1].rpartition("/containers/")[2] for change in cleared.changes()[before:]]
    assert done.index(f"{second}/start") < done.index(f"{first}/stop")
    assert asking.nobody == 0, asking.by_port
    assert all(asking.by_port.values()), asking.by_port
    assert (one.container["Names"], answers(old), answers(new)) == (["/lab-llama"], False, True)
    assert (one.card.refusals(), one.card.used < NEED) == (0, True)
    one.workspace.expect_nothing_to_do()


def test_where_the_card_has_room_for_one_of_them_the_old_one_ends_first_and_the_plan_says_so(
    bench: Bench, cleared: Dockerd, real: Provisioned
) -> None:
    one = OneModel(bench, cleared, real.gemma.parent, ROOM_FOR_ONE)
    old, new = free_port(), free_port()
    one.at(old)
    one.workspace.apply(0)
    one.at(new)
    said = one.workspace.run("plan").out
    assert "its old container ends first: both have card 0, which is not known to have room for both" in said
    assert ("update", "engine.box/llama") in steps(one.workspace.plan(2))
    first, before = one.container["Id"], len(cleared.changes())
    one.workspace.apply(0)
    second = one.container["Id"]
    done = [change.split()[1].rpartition("/containers/")[2] for change in cleared.changes()[before:]]
    assert done.index(f"{first}/stop") < done.index(f"{second}/start")
    assert (answers(old), answers(new), one.card.refusals()) == (False, True, 0)
    one.workspace.expect_nothing_to_do()


@pytest.mark.timeout(900)
def test_a_move_to_another_port_that_is_killed_after_any_of_its_changes_is_put_right_by_the_next_and_somebody_answers(
    bench: Bench, cleared: Dockerd, real: Provisioned
) -> None:
    """One move for each change that it asks for, back and forth, until one comes to its end alive."""
    one = OneModel(bench, cleared, real.gemma.parent, ROOM_FOR_TWO)
    old, new = free_port(), free_port()
    with killing_socket(cleared.socket) as door:
        one.at(old, door.path)
        one.workspace.apply(0)
        count, killed = 0, True
        while killed:
            count += 1
            one.at(new, door.path)
            assert "its new container starts before the old one ends" in one.workspace.run("plan").out
            killed = is_killed(one.workspace.folder, door, count)
            assert answers(old) or answers(new), door.asked
            one.workspace.apply(0)
            assert (one.container["Names"], answers(old), answers(new)) == (["/lab-llama"], False, True), door.asked
            assert len(cleared.client.get("/containers/json", params={"all": "true"}).json()) == 1, door.asked
            one.workspace.expect_nothing_to_do()
            old, new = new, old
    assert count > 4, door.asked
