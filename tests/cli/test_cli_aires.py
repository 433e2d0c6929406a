"""Deployment D: several Ollama instances, one for each card and more where a card is large; its operators' own numbers."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from cli_lab import POLL
from click.testing import CliRunner

from reconciler.cli.main import cli
from reconciler.cli.settings import Settings
from reconciler.sim import SimFleet, builtin_fleet, running

ROOT = Path(__file__).parent.parent.parent
GB = 10**9
MISTRAL, DEEPSEEK = "mistral:7b-instruct-q4_K_M", "deepseek-coder:6.7b"


def free_ports(count: int) -> int:
    """The first of `count` ports in a row that nobody has."""
    while True:
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            first = int(one.getsockname()[1])
        with ExitStack() as stack:
            try:
                for port in range(first, first + count):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except (OSError, OverflowError):
                continue
            return first


class Aires:
    def __init__(self, fleet: SimFleet, root: Path) -> None:
        self.root, self.fleet = root, fleet
        for folder in ("inventories", "desired", "rendered"):
            (root / folder).mkdir()
        first = free_ports(7)
        self.ports = {"gpu0": first, "gpu1": first + 1, "server": first + 2}
        inventory = (ROOT / "inventories" / "aires.yaml").read_text()
        daemons = (24375, fleet.daemons["workstation"].port), (24376, fleet.daemons["server"].port)
        for port, here in (*daemons, *zip((24434, 24435, 24440), self.ports.values(), strict=True)):
            assert f": {port}\n" in inventory or f":{port}\n" in inventory
            inventory = inventory.replace(f"port: {port}\n", f"port: {here}\n").replace(f"127.0.0.1:{port}\n", f"127.0.0.1:{here}\n")
        (root / "inventories" / "aires.yaml").write_text(inventory)
        shutil.copy(ROOT / "desired" / "aires.yaml", root / "desired")

    def run(self, *arguments: str, ends: int = 0) -> str:
        done = CliRunner().invoke(cli, ["-C", str(self.root), *arguments], obj=Settings(poll_seconds=POLL))
        assert done.exit_code == ends, done.output
        return done.stdout

    def plan(self) -> dict:
        return json.loads(self.run("plan", "--format", "json"))

    def container(self, node: str, engine: str) -> dict:
        return httpx.get(f"http://127.0.0.1:{self.fleet.daemons[node].port}/containers/aires-{engine}/json").json()

    def resident(self, port: int) -> list[str]:
        return [one["name"] for one in httpx.get(f"http://127.0.0.1:{port}/api/ps").json()["models"]]


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aires]:
    """From empty machines, applied once for all tests, each of which leaves the machines as they were."""
    with running(builtin_fleet("aires").on_free_ports().with_time_scale(0)) as fleet:
        found = Aires(fleet, tmp_path_factory.mktemp("aires"))
        plan = found.plan()
        assert (plan["summary"]["create"], plan["summary"]["load"], plan["summary"]["unplaced"]) == (8, 4, 0)
        found.run("apply", "--auto-approve")
        assert "No changes." in found.run("plan")
        yield found


@pytest.fixture
def applied(once: Aires) -> Iterator[Aires]:
    yield once
    shutil.copy(ROOT / "desired" / "aires.yaml", once.root / "desired")


def test_two_cards_of_16_and_24_gb_have_two_and_three_instances_with_ports_in_a_row(applied: Aires) -> None:
    names = ["ollama-0-1", "ollama-0-2", "ollama-1-1", "ollama-1-2", "ollama-1-3"]
    cards = ["GPU-a5200000"] * 2 + ["GPU-a5300000"] * 3
    for index, (name, card) in enumerate(zip(names, cards, strict=True)):
        made = applied.container("server", name)
        (binding,) = made["HostConfig"]["PortBindings"]["11434/tcp"]
        assert binding == {"HostIp": "127.0.0.1", "HostPort": str(applied.ports["server"] + index)}
        (request,) = made["HostConfig"]["DeviceRequests"]
        assert [one.split("=")[1].split("-0000")[0] for one in request["DeviceIDs"]] == [card]


def test_each_card_has_the_limit_the_port_and_the_requests_at_once_that_are_its_own(applied: Aires) -> None:
    for engine, limit, requests in (("gpu0", 7 * GB, 2), ("gpu1", 11 * GB, 3)):
        env = applied.container("workstation", engine)["Config"]["Env"]
        assert f"OLLAMA_NUM_PARALLEL={requests}" in env
        listed = json.loads(applied.run("inventory", "--format", "json"))["_meta"]["hostvars"]["workstation"]["engines"][engine]
        assert (listed["memory_limit"], listed["max_concurrent_requests"]) == (f"{limit // GB}GB", requests)


def test_the_two_models_of_a_card_are_installed_and_the_engine_swaps_them_without_a_plan(applied: Aires) -> None:
    port = applied.ports["gpu0"]
    for model in (MISTRAL, DEEPSEEK, MISTRAL):
        answer = httpx.post(f"http://127.0.0.1:{port}/api/generate", json={"model": model, "prompt": "x", "stream": False}, timeout=30)
        assert answer.status_code == 200
        assert applied.resident(port) == [model]
        assert applied.plan()["steps"] == []


def test_both_models_of_a_card_at_once_are_too_much_for_its_limit(applied: Aires) -> None:
    path = applied.root / "desired" / "aires.yaml"
    path.write_text(path.read_text().replace("on: workstation, ensure: present", "on: workstation"))
    left = sorted(one["model"] for one in applied.plan()["unplaced"])
    assert [len({*left} & pair) for pair in ({MISTRAL, DEEPSEEK}, {"codegemma:7b", "gemma2:9b"})] == [1, 1]


def test_the_limit_of_an_engine_says_what_is_too_large_for_it(applied: Aires) -> None:
    path = applied.root / "desired" / "aires.yaml"
    path.write_text(path.read_text().replace("models:\n", "models:\n  larger: {engine: ollama, on: workstation, vram: 11.2GB}\n", 1))
    (lacking,) = applied.plan()["unplaced"]
    reasons = {one["engine"]: one["message"] for one in lacking["candidates"]}
    assert reasons["workstation/gpu1"] == "needs 10.4 GiB, more than its memory_limit of 10.2 GiB leaves"
    assert reasons["workstation/gpu0"] == "needs 10.4 GiB > 7372 MiB usable"


def test_an_instance_that_failed_is_started_again_with_what_was_resident_on_it(applied: Aires) -> None:
    port = applied.ports["server"]
    assert applied.resident(port) == [MISTRAL]
    httpx.post(f"http://127.0.0.1:{applied.fleet.daemons['server'].port}/containers/aires-ollama-0-1/kill")
    drift = json.loads(applied.run("drift", "--format", "json", ends=2))
    assert ("engine.server/ollama-0-1", "state") in [(one["address"], one["kind"]) for one in drift["drift"]]
    applied.run("apply", "--auto-approve")
    assert applied.resident(port) == [MISTRAL]
    assert applied.plan()["steps"] == []


def test_the_gateway_weighs_engines_by_their_requests_and_leaves_one_out_that_fails_five_times(applied: Aires) -> None:
    text = (applied.root / "rendered" / "aires-nginx.conf").read_text()
    first, server = applied.ports["gpu0"], applied.ports["server"]
    assert f"server 127.0.0.1:{first} weight=2 max_fails=5 fail_timeout=60s max_conns=2;" in text
    assert f"server 127.0.0.1:{first + 1} weight=3 max_fails=5 fail_timeout=60s max_conns=3;" in text
    assert f"server 127.0.0.1:{server} weight=2 max_fails=5" in text
    assert f'"{MISTRAL}" model_' in text
