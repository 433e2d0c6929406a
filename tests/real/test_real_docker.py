"""The real Docker Engine: the rules for containers of `tests/conformance`, unchanged, and the ways to it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from certificates import Authority
from container_rules import RULES, ContainerRule
from container_rules import a_container_is_seen_as_it_was_made as as_made
from container_subject import FLEET, NODE
from dockerd import Dockerd, ImageRegistry, ask_rule, busybox, subject
from processes import LOOPBACK, free_port
from sshd import Sshd
from together import only_once
from waiting import wait_until

from reconciler.containers import ContainerError, open_container_host
from reconciler.fleet import DockerSpec, NodeContainers, RegistryLogin, SecretRef, looked_for
from reconciler.hosts import SshClient


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


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule.name))
def test_conformance_of_the_real_docker_engine(rule: ContainerRule, request: pytest.FixtureRequest) -> None:
    daemon: Dockerd = request.getfixturevalue("cardless" if rule.world == "no cards" else "dockerd")
    ask_rule(rule, daemon, request)


def test_a_registry_that_wants_a_login_gets_the_one_that_is_declared_for_it(dockerd: Dockerd, tmp_path: Path) -> None:
    password = "pass-word-of-the-registry"
    registry = ImageRegistry(tmp_path / "registry", password)
    image = f"{registry.name}/team/private:1"
    try:
        dockerd.import_image(image, busybox("private"))
        dockerd.move_to_registry(image, {"username": registry.user, "password": password})

        async def pulled(password_there: str | None) -> None:
            login = RegistryLogin(registry.name, registry.user, SecretRef("env", "PASSWORD"))
            logins = (login,) if password_there is not None else ()
            environ = {"PASSWORD": password_there or ""}
            host = open_container_host(NODE, DockerSpec(f"unix://{dockerd.socket}", registries=logins), environ=environ)
            try:
                assert [one async for one in host.pull(image)]
            finally:
                await host.aclose()

        for wrong in (None, "another-pass-word"):
            with pytest.raises(ContainerError) as caught:
                asyncio.run(pulled(wrong))
            assert (caught.value.code, "another-pass-word" in str(caught.value)) == ("no_access", False)
        asyncio.run(pulled(password))
    finally:
        registry.stop()


def look(docker: DockerSpec, ssh: SshClient | None = None) -> NodeContainers:
    async def looked() -> NodeContainers:
        host = open_container_host(NODE, docker, ssh=ssh)
        try:
            return await host.observe(looked_for(FLEET, ()))
        finally:
            await host.aclose()

    return asyncio.run(looked())


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def over_tls(authority: Authority) -> Iterator[tuple[Dockerd, str]]:
    """A daemon that wants client certificates, and its url."""
    port = free_port()
    server = authority.issue("server", f"IP:{LOOPBACK}")
    options = ("-H", f"tcp://{LOOPBACK}:{port}", "--tlsverify", f"--tlscacert={authority.ca}")
    daemon = Dockerd(cards=False, options=(*options, f"--tlscert={server.certificate}", f"--tlskey={server.key}"))
    yield daemon, f"tcp://{LOOPBACK}:{port}"
    daemon.stop()


def test_a_daemon_behind_tls_is_reached_with_its_authority_and_our_certificate(
    over_tls: tuple[Dockerd, str], authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon, url = over_tls
    client = authority.issue("client")
    for variable in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.setenv(variable, "/etc/hosts")
    docker = DockerSpec(url, str(authority.ca), str(client.certificate), str(client.key))
    try:
        asyncio.run(as_made(replace(subject(daemon), docker=docker)))
    finally:
        daemon.clear()


def test_a_daemon_behind_tls_is_unknown_without_a_certificate_or_with_another_authority(
    over_tls: tuple[Dockerd, str], authority: Authority, tmp_path: Path
) -> None:
    _, url = over_tls
    stranger = Authority(tmp_path)
    client, other = authority.issue("client"), stranger.issue("client")
    found = look(DockerSpec(url, str(stranger.ca), str(client.certificate), str(client.key)))
    assert (found.containers, found.code) == (None, "tls"), found.reason
    found = look(DockerSpec(url, str(authority.ca), str(other.certificate), str(other.key)))
    assert found.containers is None
    assert "docker.tls" in (found.reason or "")  # whether the daemon's no or its hanging up comes first is not ours to say


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    server = Sshd(tmp_path / "sshd")
    yield server
    server.stop()


@pytest.fixture
def client(sshd: Sshd, tmp_path_factory: pytest.TempPathFactory) -> SshClient:
    return SshClient(tmp_path_factory.mktemp("c"), user_config=str(sshd.client_config()))


def by_ssh(sshd: Sshd, daemon: Dockerd) -> DockerSpec:
    return DockerSpec(f"ssh://{sshd.user}@{LOOPBACK}:{sshd.port}{daemon.socket}")


def test_a_daemon_by_ssh_is_the_same_daemon(dockerd: Dockerd, sshd: Sshd, client: SshClient) -> None:
    try:
        asyncio.run(as_made(replace(subject(dockerd), docker=by_ssh(sshd, dockerd), ssh=client)))
    finally:
        dockerd.clear()
    assert sshd.logins() == 2, "one for the daemon's socket, one for the command that asks where mounted folders lead"


def test_a_connection_by_ssh_that_broke_is_made_again(dockerd: Dockerd, sshd: Sshd, client: SshClient) -> None:
    async def looked() -> None:
        host = open_container_host(NODE, by_ssh(sshd, dockerd), ssh=client)
        try:
            assert (await host.observe(looked_for(FLEET, ()))).daemon is not None
            sshd.process.kill_children()
            await asyncio.to_thread(wait_until, lambda: not _tunnels(os.getpid()), 20, "ssh ends")
            assert (await host.observe(looked_for(FLEET, ()))).daemon is not None
        finally:
            await host.aclose()
        assert not _tunnels(os.getpid())

    asyncio.run(looked())
    assert sshd.logins() == 2


def test_a_refused_key_and_a_socket_that_is_not_there_are_reasons(dockerd: Dockerd, sshd: Sshd, client: SshClient, tmp_path: Path) -> None:
    stranger = SshClient(tmp_path, user_config=str(sshd.client_config(sshd.stranger)))
    found = look(by_ssh(sshd, dockerd), stranger)
    assert (found.containers, found.code) == (None, "key_refused"), found.reason
    found = look(DockerSpec(f"ssh://{sshd.user}@{LOOPBACK}:{sshd.port}/no/such.sock"), client)
    assert (found.containers, found.code) == (None, "unreachable"), found.reason


PROGRAM = """
import asyncio, sys
from pathlib import Path
from reconciler.containers import open_container_host
from reconciler.fleet import DockerSpec, NodeSpec, looked_for
from reconciler.hosts import SshClient

async def main():
    ssh = SshClient(Path(sys.argv[2]), user_config=sys.argv[3])
    host = open_container_host(NodeSpec("box", "127.0.0.1"), DockerSpec(sys.argv[1]), ssh=ssh)
    print((await host.observe(looked_for("x", ()))).reason, flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


def test_no_ssh_stays_behind_a_process_that_was_killed(dockerd: Dockerd, sshd: Sshd, tmp_path_factory: pytest.TempPathFactory) -> None:
    arguments = [by_ssh(sshd, dockerd).url, str(tmp_path_factory.mktemp("c")), str(sshd.client_config())]
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, *arguments], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "None\n"
    (tunnel,) = _tunnels(process.pid)
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_until(lambda: not Path(f"/proc/{tunnel}").exists(), 20, "ssh ends with the process that started it")


def _tunnels(parent: int) -> list[int]:
    """The ssh processes that a process has started and that still run."""
    listed = subprocess.run(["ps", "-o", "pid=,stat=,comm=", "--ppid", str(parent)], capture_output=True, text=True).stdout
    words = [line.split() for line in listed.splitlines()]
    return [int(pid) for pid, state, name in words if name == "ssh" and not state.startswith("Z")]
