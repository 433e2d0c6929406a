"""Engines that gpurec owns, on the real Docker Engine: a llama-server in a container, with a card in software."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from dockerd import Dockerd, llama_server
from killing import is_killed, killing_socket
from processes import LOOPBACK, free_port
from provision import Provisioned
from rigs import MIB, NEED, ROOM_FOR_TWO, Bench
from waiting import wait_until
from workspaces import steps

from reconciler.containers.output import last_lines

IMAGE, BROKEN = "local/llama:1", "local/llama:broken"
COMMAND = ["/app/llama-server", "-c", "2048", "-np", "1", "--cache-ram", "0"]
ROUTER = ["--models-dir", "/models", "--models-max", "4"]


@pytest.fixture(scope="module")
def dockerd(real: Provisioned) -> Iterator[Dockerd]:
    daemon = Dockerd(cards=True, options=("--debug",))
    content = llama_server(real.llama_bin)
    daemon.import_image(IMAGE, content, f"CMD {json.dumps(COMMAND)}", "ENV LD_LIBRARY_PATH=/app")
    daemon.import_image(BROKEN, content, f"CMD {json.dumps([*COMMAND, '--no-such-flag'])}", "ENV LD_LIBRARY_PATH=/app")
    yield daemon
    print(daemon.process.tail())
    daemon.stop()


class Owned:
    """A workspace with one engine of gpurec's own on a daemon."""

    def __init__(self, bench: Bench, daemon: Dockerd, models: Path, *, swarm: bool = False) -> None:
        self.daemon, self.workspace = daemon, bench.workspace()
        self.docker = {"url": f"unix://{daemon.socket}", "swarm": swarm}
        self.card = bench.card(ROOM_FOR_TWO)
        self.port = free_port()
        self.weights = models
        self.declare()
        self.workspace.want({"gemma": {"engine": "llamacpp", "vram": f"{NEED}B"}})

    def declare(self, image: str = IMAGE, *args: str) -> None:
        container = {"image": image, "volumes": [f"{self.weights}:/models:ro"], "networks": ["host"], "stop_timeout": 5}
        llama = {"kind": "llamacpp", "runtime": "container", "port": self.port, "container": container, "load_timeout": 60}
        llama |= {"env": {"LLAMA_ARG_RPC": self.card.endpoint, "LLAMA_ARG_N_GPU_LAYERS": "99"}, "args": [*ROUTER, *args]}
        self.workspace.declare({"llama": llama}, (self.card.size,), 4096 * MIB, docker=self.docker)

    def settle(self) -> None:
        """One plan starts the engine and loads its model: that its file is there is believed until it runs."""
        self.workspace.apply(0)

    def leave(self) -> None:
        self.workspace.declare({}, (self.card.size,), 4096 * MIB, docker=self.docker)
        self.workspace.want({})

    def models(self) -> list[dict[str, Any]]:
        return list(httpx.get(f"http://{LOOPBACK}:{self.port}/models", trust_env=False).json()["data"])

    def loaded(self) -> set[str]:
        return {model["id"] for model in self.models() if model["status"]["value"] == "loaded"}

    @property
    def containers(self) -> dict[str, dict[str, Any]]:
        """Every container, inspected, by name."""
        found = self.daemon.client.get("/containers/json", params={"all": "true"}).json()
        whole = [self.daemon.client.get(f"/containers/{one['Id']}/json").json() for one in found]
        return {str(one["Name"]).lstrip("/"): one for one in whole}

    @property
    def container(self) -> dict[str, Any]:
        (found,) = self.containers.values()
        return found

    def by_hand(self, what: str, **params: Any) -> None:
        self.daemon.client.post(f"/containers/{self.container['Id']}/{what}", **params).raise_for_status()


@pytest.fixture
def owned(bench: Bench, dockerd: Dockerd, real: Provisioned) -> Iterator[Owned]:
    yield Owned(bench, dockerd, real.gemma.parent)
    dockerd.clear()


def test_the_engine_is_created_and_its_model_loaded_and_one_more_apply_sends_nothing(owned: Owned) -> None:
    assert ("create", "engine.box/llama") in steps(owned.workspace.plan(2, 3))
    assert owned.containers == {}
    owned.settle()
    assert owned.loaded() == {"gemma"}
    assert owned.card.used > NEED // 2
    assert owned.container["HostConfig"]["DeviceRequests"][0]["DeviceIDs"] == ["0"]
    owned.workspace.expect_nothing_to_do()
    before = len(owned.daemon.changes())
    assert before
    owned.workspace.apply(0)
    owned.workspace.run("drift").expect(0)
    assert len(owned.daemon.changes()) == before


def test_what_was_done_to_it_by_hand_is_drift_by_its_field_and_is_put_right(owned: Owned) -> None:
    owned.settle()
    first = owned.container["Id"]
    owned.by_hand("kill")
    owned.workspace.run("drift").expect(2)
    assert ("engine.box/llama", "state") in _drift(owned)
    owned.workspace.apply(0)
    assert (owned.container["Id"], owned.loaded()) == (first, {"gemma"})
    owned.by_hand("update", json={"Memory": 2**31, "MemorySwap": -1})
    assert _drift(owned) == {("engine.box/llama", "memory")}
    owned.workspace.apply(0)
    assert owned.container["Id"] != first
    assert (owned.container["HostConfig"]["Memory"], owned.loaded()) == (0, {"gemma"})
    owned.daemon.clear()
    assert ("engine.box/llama", "missing") in _drift(owned)
    owned.settle()
    assert owned.loaded() == {"gemma"}
    owned.workspace.expect_nothing_to_do()


def test_a_container_made_by_hand_under_our_labels_is_found_out(owned: Owned) -> None:
    owned.settle()
    old = owned.container
    body = {**old["Config"], "HostConfig": old["HostConfig"]}
    body["Env"] = [one for one in old["Config"]["Env"] if not one.startswith("LLAMA_ARG_N_GPU_LAYERS")] + ["LLAMA_ARG_N_GPU_LAYERS=0"]
    owned.daemon.clear()
    name = old["Name"].lstrip("/")
    made = owned.daemon.client.post("/containers/create", params={"name": name}, json=body).raise_for_status().json()["Id"]
    owned.daemon.client.post(f"/containers/{made}/start").raise_for_status()
    assert owned.container["Config"]["Labels"]["gpurec.spec"] == old["Config"]["Labels"]["gpurec.spec"]
    _await_up(owned)
    assert ("engine.box/llama", "env") in _drift(owned)
    owned.workspace.apply(0)
    assert "LLAMA_ARG_N_GPU_LAYERS=99" in owned.container["Config"]["Env"]
    assert owned.loaded() == {"gemma"}


def test_a_change_of_the_files_replaces_it_and_one_that_does_not_come_up_brings_it_back(owned: Owned) -> None:
    owned.settle()
    first = owned.container["Id"]
    owned.declare(IMAGE, "--no-webui")
    assert ("update", "engine.box/llama") in steps(owned.workspace.plan(2))
    owned.workspace.apply(0)
    second = owned.container["Id"]
    assert second != first
    assert owned.container["Config"]["Cmd"][-1] == "--no-webui"
    assert owned.loaded() == {"gemma"}
    owned.declare(BROKEN, "--no-webui")
    told = owned.workspace.apply(3)
    assert "no-such-flag" in told.out + told.err
    assert (owned.container["Id"], owned.container["State"]["Status"]) == (second, "running")
    owned.declare(IMAGE, "--no-webui")
    _await_up(owned)
    owned.workspace.apply(0)
    assert owned.loaded() == {"gemma"}
    owned.workspace.expect_nothing_to_do()


def test_how_a_model_is_to_be_run_reaches_a_router_by_a_preset_and_a_change_of_it_starts_it_anew(owned: Owned) -> None:
    wanted = {"engine": "llamacpp", "vram": f"{NEED}B"}
    owned.workspace.want({"gemma": {**wanted, "kv_cache": "q8_0", "flash_attention": True, "options": {"ubatch-size": 256}}})
    owned.settle()
    (status,) = [one["status"] for one in owned.models() if one["id"] == "gemma"]
    assert {"cache-type-k = q8_0", "cache-type-v = q8_0", "flash-attn = on", "ubatch-size = 256"} <= set(status["preset"].splitlines())
    owned.workspace.expect_nothing_to_do()
    first = owned.container["Id"]
    owned.workspace.want({"gemma": {**wanted, "kv_cache": "f16"}})
    assert steps(owned.workspace.plan(2)) == [("update", "engine.box/llama"), ("reload", "model.gemma@box/llama")]
    owned.workspace.apply(0)
    assert owned.container["Id"] != first
    assert owned.loaded() == {"gemma"}
    owned.workspace.expect_nothing_to_do()


def test_it_leaves_with_the_files_and_strangers_stay(owned: Owned) -> None:
    owned.settle()
    stranger = owned.daemon.client.post("/containers/create", params={"name": "stranger"}, json={"Image": owned.daemon.image})
    stranger.raise_for_status()
    owned.leave()
    assert ("remove", "engine.box/llama") in steps(owned.workspace.plan(2))
    owned.workspace.apply(0)
    assert set(owned.containers) == {"stranger"}


def test_a_stranger_with_its_name_is_an_error_that_says_who_and_is_left_alone(owned: Owned) -> None:
    labels = {"com.docker.compose.project": "web"}
    name = _name_it_wants(owned)
    body = {"Image": owned.daemon.image, "Labels": labels}
    owned.daemon.client.post("/containers/create", params={"name": name}, json=body).raise_for_status()
    told = owned.workspace.apply(3)
    assert "compose project 'web'" in told.out + told.err
    assert set(owned.containers) == {name}


def test_an_engine_that_runs_in_somebodys_container_is_adopted_as_it_is_and_replaced_by_a_change(owned: Owned) -> None:
    host = {"NetworkMode": "host", "Binds": [f"{owned.weights}:/models:ro"], "RestartPolicy": {"Name": "always"}}
    host |= {"DeviceRequests": [{"Driver": "nvidia", "Count": -1, "Capabilities": [["gpu"]]}]}
    env = [f"LLAMA_ARG_RPC={owned.card.endpoint}", "LLAMA_ARG_N_GPU_LAYERS=99", "HF_TOKEN=hf_of_a_stranger"]
    command = [*COMMAND, "--host", LOOPBACK, "--port", str(owned.port), *ROUTER]
    body = {"Image": IMAGE, "Cmd": command, "Env": env, "HostConfig": host}
    made = owned.daemon.client.post("/containers/create", params={"name": "llama"}, json=body).raise_for_status().json()["Id"]
    owned.daemon.client.post(f"/containers/{made}/start").raise_for_status()
    _await_up(owned)
    external = {"kind": "llamacpp", "url": f"http://{LOOPBACK}:{owned.port}", "load_timeout": 60}
    owned.workspace.declare({"llama": external}, (owned.card.size,), 4096 * MIB, docker=owned.docker)
    told = owned.workspace.run("import", "--own").expect(0)
    assert "hf_of_a_stranger" not in told.out
    inventory = owned.workspace.folder / "inventories" / "lab"
    (hosts,) = (owned.workspace.folder / "inventories").glob("lab.*")
    inventory.mkdir()
    hosts.rename(inventory / "hosts.yaml")
    (inventory / "own.yaml").write_text(told.out)
    before = len(owned.daemon.changes())
    assert ("adopt", "engine.box/llama") in steps(owned.workspace.plan(2))
    owned.workspace.apply(0)
    assert owned.loaded() == {"gemma"}
    owned.workspace.expect_nothing_to_do()
    assert len(owned.daemon.changes()) == before
    (inventory / "own.yaml").write_text(told.out.replace('"--models-max", "4"', '"--models-max", "3"'))
    assert ("update", "engine.box/llama") in steps(owned.workspace.plan(2))
    owned.workspace.apply(0, variables={"HF_TOKEN": "hf_of_a_stranger"})
    assert set(owned.containers) == {"lab-llama"}
    assert owned.container["HostConfig"]["DeviceRequests"][0]["DeviceIDs"] == ["0"]
    assert "HF_TOKEN=hf_of_a_stranger" in owned.container["Config"]["Env"]
    assert owned.loaded() == {"gemma"}


def _name_it_wants(owned: Owned) -> str:
    owned.workspace.apply(0)
    (name,) = owned.containers
    owned.daemon.clear()
    return name


def _drift(owned: Owned) -> set[tuple[str, str]]:
    plan = owned.workspace.run("plan", "--format", "json").json
    return {(entry["address"], entry["field"] if entry["kind"] != "missing" else "missing") for entry in plan["drift"]}


def _await_up(owned: Owned) -> None:
    def up() -> bool:
        try:
            return httpx.get(f"http://{LOOPBACK}:{owned.port}/health", trust_env=False, timeout=5.0).status_code == 200
        except httpx.TransportError:
            return False

    wait_until(up, 60, "llama-server answers")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("replaces", [False, True])
def test_an_apply_that_is_killed_after_any_of_its_changes_is_put_right_by_the_next(replaces: bool, owned: Owned) -> None:
    """The first start, or a replacement, once for each change that it asks the daemon for, until it comes to its end alive."""
    with killing_socket(owned.daemon.socket) as door:
        owned.docker = {"url": f"unix://{door.path}"}
        count, killed = 0, True
        while killed:
            count += 1
            more = ("--no-webui",) if replaces and count % 2 else ()
            if not replaces:
                owned.daemon.clear()
            elif count == 1:
                owned.declare()
                owned.settle()
            owned.declare(IMAGE, *more)
            killed = is_killed(owned.workspace.folder, door, count)
            print(f"after {count} changes: {door.asked}")
            owned.settle()
            assert (owned.container["Name"], owned.container["State"]["Status"]) == ("/lab-llama", "running")
            assert owned.container["Config"]["Cmd"][-1:] == [*more, "4"][:1]
            assert owned.loaded() == {"gemma"}
            owned.workspace.expect_nothing_to_do()
    assert count > (5 if replaces else 2), door.asked


def test_an_agent_runs_beside_its_model_with_its_files_and_comes_back_when_it_is_killed(owned: Owned) -> None:
    script = "cat /etc/gpurec/llm.json; echo; cat /run/secrets/TOKEN; echo $TOKEN; sleep 1000"
    container = {"image": owned.daemon.image, "command": ["sh", "-c", script], "networks": ["host"], "stop_timeout": 1}
    container |= {"env": {"TOKEN": "env:WATCHER_TOKEN"}, "secrets": {"TOKEN": "env:WATCHER_TOKEN"}}
    watcher = {"model": "gemma", "near": "node", "container": container, "llm": {"system_message": "You watch."}}
    owned.workspace.want({"gemma": {"engine": "llamacpp", "vram": f"{NEED}B"}}, agents={"watcher": watcher})
    secret = {"WATCHER_TOKEN": "a-token-of-the-watcher"}
    owned.workspace.apply(0, variables=secret)
    assert set(owned.containers) == {"lab-llama", "lab-watcher"}
    log = _log(owned, "lab-watcher")
    written, _ = json.JSONDecoder().raw_decode(log)
    assert written["system_message"] == "You watch."
    assert (written["model"], f":{owned.port}/" in written["api_base"]) == ("gemma", True)
    assert log.count("a-token-of-the-watcher") == 2
    for file in (owned.workspace.folder / "state").rglob("*"):
        assert b"a-token-of-the-watcher" not in file.read_bytes()
    owned.daemon.client.post(f"/containers/{owned.containers['lab-watcher']['Id']}/kill").raise_for_status()
    plan = owned.workspace.run("plan", "--format", "json", variables=secret)
    assert "a-token-of-the-watcher" not in plan.out
    assert [(entry["address"], entry["field"]) for entry in plan.json["drift"]] == [("agent.watcher@box", "state")]
    owned.workspace.apply(0, variables=secret)
    assert owned.containers["lab-watcher"]["State"]["Status"] == "running"
    owned.workspace.want({"gemma": {"engine": "llamacpp", "vram": f"{NEED}B"}})
    owned.workspace.apply(0)
    assert set(owned.containers) == {"lab-llama"}


def _log(owned: Owned, name: str) -> str:
    """What a container wrote, once it has written the last of its lines."""

    def wrote() -> str | None:
        raw = owned.daemon.client.get(f"/containers/{name}/logs", params={"stdout": "true", "stderr": "true"}).content
        text = "\n".join(last_lines(raw, 20))
        return text if text.count("a-token") == 2 else None

    return wait_until(wrote, 30, f"{name} writes")


@pytest.fixture(scope="module")
def manager(real: Provisioned) -> Iterator[Dockerd]:
    daemon = Dockerd(cards=False)
    daemon.import_image(IMAGE, llama_server(real.llama_bin), f"CMD {json.dumps(COMMAND)}", "ENV LD_LIBRARY_PATH=/app")
    daemon.begin_swarm()
    yield daemon
    print(daemon.process.tail())
    daemon.clear_swarm()
    daemon.stop()


def test_a_swarm_runs_the_engine_as_a_service_that_is_replaced_and_removed(bench: Bench, manager: Dockerd, real: Provisioned) -> None:
    owned = Owned(bench, manager, real.gemma.parent, swarm=True)
    owned.settle()
    assert owned.loaded() == {"gemma"}
    owned.workspace.expect_nothing_to_do()
    (service,) = manager.client.get("/services").json()
    assert service["Spec"]["Labels"]["gpurec.name"] == "lab-llama"
    owned.declare(IMAGE, "--no-webui")
    owned.workspace.apply(0)
    (other,) = manager.client.get("/services").json()
    assert other["ID"] != service["ID"]
    assert other["Spec"]["TaskTemplate"]["ContainerSpec"]["Args"][-1] == "--no-webui"
    assert owned.loaded() == {"gemma"}
    owned.workspace.expect_nothing_to_do()
    manager.client.post(f"/containers/{owned.container['Id']}/kill").raise_for_status()
    owned.leave()
    owned.workspace.apply(0)
    assert manager.client.get("/services").json() == []
