"""A daemon that is away, slow, hostile, or no daemon: its containers are unknown, with the reason, and nothing is asked for twice."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.containers import ContainerError, ContainerHost, docker, open_container_host
from reconciler.fleet import MIB, ContainerFile, ContainerSpec, DockerSpec, NodeContainers, NodeSpec, RegistryLogin, SecretRef, looked_for
from reconciler.sim.clock import Clock
from reconciler.sim.docker import DockerDaemon, Image, Library
from reconciler.sim.http import HttpServer, Request, Response
from reconciler.sim.spec import FaultSpec

NODE = NodeSpec("box", "127.0.0.1")
SPEC = ContainerSpec("gpurec-box", "local/busybox:1", "lab", "engine.box@box", networks=("none",))
VERSION = {"ApiVersion": "1.41", "MinAPIVersion": "1.24", "Version": "20.10"}
Ask = Callable[[ContainerHost, DockerDaemon], Awaitable[None]]


def with_daemon(tmp_path: Path, ask: Ask, **more: Any) -> None:
    """`ask` with a simulated daemon that has one container of ours."""

    async def run() -> None:
        images = Library([Image("local/busybox:1", ("sleep", "1000"))], [Image("reg.lan:5000/a:1", ("sleep", "1"))])
        daemon = DockerDaemon(images, Clock(1.0), **{"api": (1, 41), **more})
        daemon.open(str(tmp_path / "s"))
        docker = DockerSpec(f"unix://{tmp_path}/s", registries=LOGINS)
        host = open_container_host(NODE, docker, environ={"PASS": "pass-word-of-mine"}, pull_stall=0.3)
        try:
            await host.start(await host.create(SPEC))
            daemon.forget_requests()
            await ask(host, daemon)
        finally:
            await host.aclose()
            await daemon.aclose()

    asyncio.run(run())


LOGINS = (RegistryLogin("reg.lan:5000", "me", SecretRef("env", "PASS")),)


async def look(host: ContainerHost) -> NodeContainers:
    return await host.observe(looked_for("lab", (SPEC,)))


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (FaultSpec("garbage"), "not_its_protocol"),
        (FaultSpec("huge"), "too_large"),
        (FaultSpec("cut"), "unreachable"),
        (FaultSpec("redirect"), "not_its_protocol"),
        (FaultSpec("status", status=500, text="disk on fire"), "daemon_error"),
        (FaultSpec("status", status=401), "refused"),
        (FaultSpec("slow", seconds=30), "timeout"),
        (FaultSpec("down", paths=("*",)), "unreachable"),
    ],
    ids=lambda value: value.kind if isinstance(value, FaultSpec) else "",
)
@pytest.mark.parametrize("path", ["/containers/json", "/containers/*"])
def test_a_daemon_that_does_not_answer_as_one_makes_its_containers_unknown(
    fault: FaultSpec, code: str, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(docker, "_LOOK", 0.3 if fault.kind == "slow" else 30.0)
    monkeypatch.setattr(docker, "LARGE", MIB)

    async def ask(host: ContainerHost, daemon: DockerDaemon) -> None:
        daemon.faults.add(FaultSpec(fault.kind, (path,), seconds=fault.seconds, status=fault.status, text=fault.text))
        found = await look(host)
        assert (found.containers, found.code) == (None, code)
        assert (found.reason or "").startswith("box (unix://")
        daemon.faults.clear()
        assert [one.name for one in (await look(host)).containers or ()] == [SPEC.name]

    with_daemon(tmp_path, ask)


def test_a_daemon_that_goes_away_is_unknown_and_seen_again_when_it_is_back(tmp_path: Path) -> None:
    async def ask(host: ContainerHost, daemon: DockerDaemon) -> None:
        assert (await look(host)).containers
        daemon.close()
        found = await look(host)
        assert (found.containers, found.code) == (None, "unreachable")
        assert "check that dockerd runs there" in (found.reason or "")
        with pytest.raises(ContainerError) as caught:
            await host.create(SPEC)
        assert caught.value.code == "unreachable"
        daemon.reopen()
        assert [one.condition for one in (await look(host)).containers or ()] == ["running"]

    with_daemon(tmp_path, ask)


def test_a_look_only_reads(tmp_path: Path) -> None:
    async def ask(host: ContainerHost, daemon: DockerDaemon) -> None:
        await look(host)
        await look(host)
        assert {one.method for one in daemon.requests} == {"GET"}
        assert "/info" not in [one.path for one in daemon.requests]  # known since the container was made

    with_daemon(tmp_path, ask)


@pytest.mark.parametrize(("api", "code"), [((1, 39), "too_old"), ((1, 24), "too_old")])
def test_a_daemon_too_old_is_told_as_that(api: tuple[int, int], code: str, tmp_path: Path) -> None:
    async def run() -> None:
        daemon = DockerDaemon(Library(), Clock(1.0), api=api)
        daemon.open(str(tmp_path / "s"))
        host = open_container_host(NODE, DockerSpec(f"unix://{tmp_path}/s"))
        found = await look(host)
        assert (found.containers, found.code) == (None, code)
        await host.aclose()
        await daemon.aclose()

    asyncio.run(run())


@pytest.mark.parametrize(("api", "spoken"), [((1, 40), "1.40"), ((1, 45), "1.45"), ((1, 60), "1.51")])
def test_the_newest_version_is_spoken_that_both_know(api: tuple[int, int], spoken: str, tmp_path: Path) -> None:
    async def ask(host: ContainerHost, daemon: DockerDaemon) -> None:
        found = await look(host)
        assert found.daemon is not None
        assert found.daemon.api == spoken

    with_daemon(tmp_path, ask, api=api)


@asynccontextmanager
async def answering(tmp_path: Path, answers: Mapping[str, Response]) -> AsyncIterator[ContainerHost]:
    """A host whose daemon says just this, by path without its version."""

    async def answer(request: Request) -> Response:
        path = request.path.removeprefix("/v1.41")
        return answers.get(path) or Response(404, body=b'{"message": "page not found"}')

    server = HttpServer(answer)
    server.bind(str(tmp_path / "s"))
    server.open()
    host = open_container_host(NODE, DockerSpec(f"unix://{tmp_path}/s"), environ={})
    try:
        yield host
    finally:
        await host.aclose()
        await server.aclose()


def said(document: object) -> Response:
    return Response(body=json.dumps(document).encode())


OURS = {"gpurec.fleet": "lab", "gpurec.address": SPEC.address}
INSPECT: dict[str, Any] = {
    "Id": "a" * 64,
    "Name": "/gpurec-box",
    "State": {"Status": "running"},
    "Config": {"Labels": OURS},
    "HostConfig": {},
}


@pytest.mark.parametrize(
    "inspected",
    [
        INSPECT,
        {**INSPECT, "HostConfig": {"Memory": -5, "NanoCpus": "x", "DeviceRequests": 7, "Binds": [1]}},
        {**INSPECT, "HostConfig": {"PortBindings": {"x": [{"HostPort": "y"}], "1/tcp": None, "99999999/tcp": [{}]}}},
        {**INSPECT, "State": {"Status": "invented", "ExitCode": 10**30, "Health": "x"}, "RestartCount": -1},
        {**INSPECT, "Config": {"Labels": OURS, "Env": ["=", "A", "=x", "A=" + "y" * 10**6], "Cmd": 5, "Healthcheck": {"Interval": -1}}},
        {**INSPECT, "NetworkSettings": {"Networks": []}, "Image": 5},
    ],
    ids=str,
)
def test_what_is_strange_in_a_container_is_unknown_and_the_rest_is_known(inspected: Mapping[str, Any], tmp_path: Path) -> None:
    async def run() -> None:
        listed = [{"Id": "a" * 64, "Names": ["/gpurec-box"], "Labels": OURS, "State": "running"}]
        answers = {
            "/version": said(VERSION),
            "/info": said({}),
            "/containers/json": said(listed),
            f"/containers/{'a' * 64}/json": said(inspected),
        }
        async with answering(tmp_path, answers) as host:
            found = await look(host)
            assert found.containers is not None, found.reason
            assert [one.name for one in found.containers] == ["gpurec-box"]

    asyncio.run(run())


@pytest.mark.parametrize(
    "listed", [{"a": 1}, [{"Id": ""}], [{"Names": ["/x"]}], [{"Id": "a" * 5000}], "x", [None]], ids=lambda value: repr(value)[:20]
)
def test_a_list_that_is_none_is_no_empty_list(listed: object, tmp_path: Path) -> None:
    async def run() -> None:
        async with answering(tmp_path, {"/version": said(VERSION), "/info": said({}), "/containers/json": said(listed)}) as host:
            found = await look(host)
            assert (found.containers, found.code) == (None, "not_its_protocol")

    asyncio.run(run())


def test_what_a_daemon_says_cannot_forge_a_terminal(tmp_path: Path) -> None:
    async def run() -> None:
        listed = [{"Id": "b" * 64, "Names": ["/gpurec-box"], "Labels": {"com.docker.compose.project": "\x1b[2J"}, "Image": "\u202e"}]
        answers = {"/version": said(VERSION), "/info": said({"ServerVersion": "\x1b]0;"}), "/containers/json": said(listed)}
        async with answering(tmp_path, answers) as host:
            assert "\x1b" not in repr(await look(host)).encode().decode("unicode_escape")

    asyncio.run(run())


def test_nothing_is_decompressed(tmp_path: Path) -> None:
    async def run() -> None:
        bomb = Response(body=gzip.compress(b"[" + b" " * 10**6 + b"]"), headers=(("Content-Encoding", "gzip"),))
        async with answering(tmp_path, {"/version": said(VERSION), "/info": said({}), "/containers/json": bomb}) as host:
            assert (await look(host)).code == "not_its_protocol"

    asyncio.run(run())


def test_an_error_inside_a_pull_that_began_well_is_an_error(tmp_path: Path) -> None:
    async def ask(host: ContainerHost, daemon: DockerDaemon) -> None:
        daemon.faults.add(FaultSpec("fail_pull", text="blob upload unknown"))
        with pytest.raises(ContainerError, match="blob upload unknown") as caught:
            _ = [one async for one in host.pull("reg.lan:5000/a:1")]
        assert caught.value.code == "pull_failed"
        assert not await host.has_image("reg.lan:5000/a:1")

    with_daemon(tmp_path, ask)


def test_a_pull_that_gets_nowhere_ends_with_its_stall_limit(tmp_path: Path) -> None:
    async def ask(host: ContainerHost, daemon: DockerDaemon) -> None:
        daemon.faults.add(FaultSpec("slow", ("/images/create",), seconds=60))
        with pytest.raises(ContainerError) as caught:
            _ = [one async for one in host.pull("reg.lan:5000/a:1")]
        assert caught.value.code == "timeout"

    with_daemon(tmp_path, ask)


def test_a_start_that_fails_tells_the_last_lines(tmp_path: Path) -> None:
    async def ask(host: ContainerHost, daemon: DockerDaemon) -> None:
        made = daemon.containers[0]
        await host.stop(made.id, 0)
        made.log.extend((1, f"line {number}") for number in range(50))
        daemon.faults.add(FaultSpec("status", (f"/containers/{made.id}/start",), status=500, text="no"))
        with pytest.raises(ContainerError, match="it wrote:\n  line 30\n") as caught:
            await host.start(made.id)
        assert (len(caught.value.log), caught.value.log[-1]) == (20, "line 49")

    with_daemon(tmp_path, ask)


def test_a_create_whose_files_cannot_be_put_leaves_nothing(tmp_path: Path) -> None:
    async def ask(host: ContainerHost, daemon: DockerDaemon) -> None:
        daemon.faults.add(FaultSpec("status", ("/containers/*/archive", "/containers/0*"), status=500, count=1))
        other = replace(SPEC, name="gpurec-other", address="engine.other@box", files=(ContainerFile("/a", "b"),))
        with pytest.raises(ContainerError):
            await host.create(other)
        assert [one.name for one in daemon.containers] == [SPEC.name]

    with_daemon(tmp_path, ask)


def test_a_registrys_password_is_sent_to_that_registry_and_shown_nowhere(tmp_path: Path) -> None:
    async def run() -> None:
        sent: list[str | None] = []

        async def answer(request: Request) -> Response:
            if request.path.endswith("/images/create"):
                sent.append(request.headers.get("x-registry-auth"))
                return Response(500, body=json.dumps({"message": "denied for me:pass-word-of-mine"}).encode())
            return said(VERSION)

        server = HttpServer(answer)
        server.bind(str(tmp_path / "s"))
        server.open()
        host = open_container_host(NODE, DockerSpec(f"unix://{tmp_path}/s", registries=LOGINS), environ={"PASS": "pass-word-of-mine"})
        for image in ("reg.lan:5000/a:1", "other.lan/a:1"):
            with pytest.raises(ContainerError) as caught:
                _ = [one async for one in host.pull(image)]
            assert caught.value.code == "no_access"
            assert "pass-word-of-mine" not in str(caught.value)
        await host.aclose()
        await server.aclose()
        assert [one is not None for one in sent] == [True, False]

    asyncio.run(run())
