"""Debian's real Docker Engine (20.10, API 1.41): a daemon with a bridge of its own, images made here out of a busybox, a registry.

The daemon needs root and no firewall: it publishes ports by its own proxy (`--iptables=false`). `nvidia-container-runtime-hook`, a program
that does nothing, makes it take requests for NVIDIA cards; without it on its PATH the daemon refuses them as one without a card does.
"""

from __future__ import annotations

import asyncio
import base64
import io
import itertools
import json
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from container_rules import ContainerRule
from container_subject import Daemon
from processes import LOOPBACK, Process, free_port
from waiting import wait_until

from reconciler.fleet import DockerSpec

SLEEP = '["sleep","1000"]'
PROGRAMS = ("sh", "cat", "echo", "env", "false", "httpd", "sleep", "true", "wget")
BULK = 3_000_000
CARDS = ("GPU-aaaa1111", "GPU-bbbb2222")
_BRIDGES = itertools.count()


def busybox(marker: str, bulk: int = 0) -> bytes:
    """A root file system as a tar: a busybox, a group `video`, and a file that tells it from others, of `bulk` random bytes more."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        tar.add("/bin/busybox", "bin/busybox")
        for name in PROGRAMS:
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
        for path, content in {"etc/group": b"root:x:0:\nvideo:x:44:\n", "etc/marker": marker.encode(), "bulk": os.urandom(bulk)}.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
        folder = tarfile.TarInfo("tmp")
        folder.type, folder.mode = tarfile.DIRTYPE, 0o1777
        tar.addfile(folder)
    return made.getvalue()


def llama_server(binaries: Path) -> bytes:
    """A root file system with llama.cpp's programs and the libraries of this machine that they need."""
    needed: set[Path] = set()
    for name in ("llama-server", *(file.name for file in binaries.glob("*.so"))):
        said = subprocess.run(["ldd", binaries / name], capture_output=True, text=True, check=True).stdout
        needed |= {
            Path(word) for line in said.splitlines() for word in line.split() if word.startswith("/") and not word.startswith(str(binaries))
        }
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for file in binaries.iterdir():
            if ".so" in file.name or file.name == "llama-server":
                tar.add(file, f"app/{file.name}")
        for library in sorted(needed):
            tar.add(library.resolve(), str(library).lstrip("/"))
        folder = tarfile.TarInfo("tmp")
        folder.type, folder.mode = tarfile.DIRTYPE, 0o1777
        tar.addfile(folder)
    return made.getvalue()


class Dockerd:
    """A running daemon with `image` and `other`. `program` is another than Debian's, `options` are further ones of its command line;
    `namespace` names one of the network, in which it has no bridge. `gateway` is the address of this machine for its containers.
    `devices` are device files that this machine has for it alone."""

    image, other = "local/busybox:1", "local/busybox:2"

    def __init__(
        self,
        *,
        cards: bool,
        program: str | None = None,
        options: tuple[str, ...] = (),
        namespace: str = "",
        devices: tuple[str, ...] = (),
    ) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="gr-", dir="/tmp"))  # the path of a socket must be short
        self.socket = self.home / "docker.sock"
        found = program or shutil.which("dockerd", path="/usr/sbin:/usr/bin:/usr/local/bin")
        assert found is not None, "dockerd is missing: apt-get install docker.io"
        assert os.geteuid() == 0, "dockerd needs root"
        number = next(_BRIDGES)
        self.gateway = ""
        self._bridge = "none" if namespace else f"gr{os.getpid() % 10_000_000}x{number}"
        if not namespace:
            self._add_bridge(number)
        path = os.environ["PATH"]
        if cards:
            hook = self.home / "hook" / "nvidia-container-runtime-hook"
            hook.parent.mkdir()
            hook.write_text("#!/bin/sh\nexit 0\n")
            hook.chmod(0o755)
            path = f"{hook.parent}:{path}"
        command = [found, "--iptables=false", "--ip6tables=false", f"--bridge={self._bridge}", "--storage-driver=vfs"]
        command += ["--data-root", f"{self.home}/data", "--exec-root", f"{self.home}/exec", "--pidfile", f"{self.home}/pid"]
        command += ["-H", f"unix://{self.socket}", *options]
        if namespace:  # `ip netns exec` would put another /sys over that of the cgroups, without which the daemon does not start
            command = ["nsenter", f"--net=/var/run/netns/{namespace}", *command]
        if devices:
            command = ["unshare", "--mount", "sh", "-c", _with_devices(self.home / "devices", devices), "sh", *command]
        self.process = Process("dockerd", command, self.home, {"PATH": path})
        self.client = httpx.Client(transport=httpx.HTTPTransport(uds=str(self.socket)), base_url="http://docker/v1.41", timeout=120.0)
        try:
            wait_until(self._answers, 60, "dockerd answers")
            self.import_image(self.image, busybox("one"))
            self.import_image(self.other, busybox("two"))
        except BaseException:
            self.stop()
            raise

    def import_image(self, name: str, content: bytes, *changes: str) -> None:
        repository, _, tag = name.rpartition(":")
        params = {"fromSrc": "-", "repo": repository, "tag": tag, "changes": changes or (f"CMD {SLEEP}", "ENV PATH=/bin")}
        answer = self.client.post("/images/create", params=params, content=content)
        assert answer.status_code == 200, answer.text
        assert "error" not in answer.text, answer.text

    def move_to_registry(self, name: str, login: Mapping[str, str] | None = None) -> str:
        """Pushes an image to the registry that its name says, and forgets it here; returns its digest."""
        empty = base64.urlsafe_b64encode(json.dumps(dict(login or {})).encode()).decode()
        repository, _, tag = name.rpartition(":")
        answer = self.client.post(f"/images/{repository}/push", params={"tag": tag}, headers={"X-Registry-Auth": empty})
        assert "errorDetail" not in answer.text, answer.text
        digests = self.client.get(f"/images/{name}/json").json()["RepoDigests"]
        self.client.delete(f"/images/{name}", params={"force": "true"}).raise_for_status()
        return str(digests[0].partition("@")[2])

    def changes(self) -> list[str]:
        """What was asked of it so far and changes something, by a daemon that was started with `--debug`."""
        return re.findall(r'msg="Calling ((?:POST|PUT|DELETE) [^"]*)"', self.process.said())

    def begin_swarm(self) -> None:
        """Makes it the only manager, and the only node, of a swarm on loopback."""
        body = {"ListenAddr": f"{LOOPBACK}:{free_port()}", "AdvertiseAddr": LOOPBACK}
        answer = self.client.post("/swarm/init", json=body)
        assert answer.status_code == 200, answer.text

    def clear_swarm(self) -> None:
        """Removes every service, config and secret, and waits for their containers to be gone."""
        for kind, key in (("services", "ID"), ("configs", "ID"), ("secrets", "ID")):
            for one in self.client.get(f"/{kind}").json():
                self.client.delete(f"/{kind}/{one[key]}")
        wait_until(self._is_cleared, 60, "the tasks are gone")

    def _is_cleared(self) -> bool:
        """What the swarm had begun when its service went may come after a first look, and a task that is still to go keeps its card."""
        self.clear()
        there = self.client.get("/containers/json", params={"all": "true"}).json()
        return not there and not self.client.get("/tasks").json()

    def clear(self) -> None:
        """Removes every container."""
        for one in self.client.get("/containers/json", params={"all": "true"}).json():
            self.client.delete(f"/containers/{one['Id']}", params={"force": "true", "v": "true"})

    def stop(self) -> None:
        with suppress(httpx.HTTPError):
            self.clear()
            self.client.post("/networks/prune")  # else their bridges stay on this machine, until no address is left for another
        self.client.close()
        self.process.stop()
        if self._bridge != "none":
            self._net(f"ip link del {self._bridge}")
        mounted = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for path in reversed([one for one in mounted if one.startswith(f"{self.home}/")]):  # it leaves the namespaces of networks mounted
            subprocess.run(["umount", "--lazy", path], check=True)
        shutil.rmtree(self.home)

    def _answers(self) -> bool:
        assert self.process.status is None, self.process.tail()
        try:
            return self.client.get("/_ping").status_code == 200
        except httpx.TransportError:
            return False

    def _add_bridge(self, number: int) -> None:
        self._net(f"ip link add {self._bridge} type bridge")
        self.gateway = f"172.{18 + number % 14}.{os.getpid() % 250}.1"
        self._net(f"ip addr add {self.gateway}/24 dev {self._bridge}")
        self._net(f"ip link set {self._bridge} up")

    def _net(self, command: str) -> None:
        subprocess.run(command.split(), check=True, capture_output=True)


def _with_devices(layer: Path, devices: tuple[str, ...]) -> str:
    """A script that runs what follows it with device files over those of this machine; each of them reads as `/dev/zero` does."""
    lines = ["set -e", f"mkdir {layer}", f"mount -t tmpfs devices {layer}", f"mkdir {layer}/upper {layer}/work"]
    lines.append(f"mount -t overlay devices -o lowerdir=/dev,upperdir={layer}/upper,workdir={layer}/work /dev")
    lines += [f"mkdir -p {Path(device).parent}; mknod {device} c 1 5" for device in devices]
    return "\n".join([*lines, 'exec "$@"'])


class ImageRegistry:
    """Debian's docker-registry on loopback, which a daemon reaches without TLS because it is loopback. With `password` it wants `me` to log
    in."""

    user = "me"

    def __init__(self, home: Path, password: str | None = None) -> None:
        self.port = free_port()
        self.name = f"{LOOPBACK}:{self.port}"
        home.mkdir(parents=True, exist_ok=True)
        settings = home / "registry.yml"
        settings.write_text(
            f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {home}/blobs}}, delete: {{enabled: true}}}}\n"
            f"http: {{addr: {self.name}, net: tcp}}\nlog: {{level: error}}\n"
            + (f"auth: {{htpasswd: {{realm: tests, path: {home}/htpasswd}}}}\n" if password is not None else "")
        )
        if password is not None:
            program = ["perl", "-e", "print crypt($ARGV[0], '$2b$05$' . 'abcdefghijklmnopqrstuu')", password]
            hashed = subprocess.run(program, capture_output=True, text=True, check=True).stdout
            assert hashed.startswith("$2b$05$"), hashed
            (home / "htpasswd").write_text(f"{self.user}:{hashed}\n")
        self.process = Process("image-registry", ["docker-registry", "serve", settings], home)
        wait_until(self._answers, 20, "the registry answers")

    def _answers(self) -> bool:
        assert self.process.status is None, self.process.tail()
        try:
            return httpx.get(f"http://{self.name}/v2/", trust_env=False, timeout=5.0).status_code in (200, 401)
        except httpx.TransportError:
            return False

    def stop(self) -> None:
        self.process.stop()


def subject(daemon: Dockerd, fetched: str = "", digest: str = "") -> Daemon:
    """A daemon as the rules for containers ask it. `fetched` is an image of a registry, and `digest` that image there."""
    docker, socket = DockerSpec(f"unix://{daemon.socket}"), str(daemon.socket)
    return Daemon(docker, socket, daemon.image, daemon.other, "local/absent:1", free_port, fetched, digest, CARDS)


def ask_rule(rule: ContainerRule, daemon: Dockerd, request: pytest.FixtureRequest) -> None:
    """Asks a rule of a daemon, with the fixture `registry` where it needs one, and leaves the daemon empty."""
    fetched, digest = "", ""
    if rule.world == "registry":
        fetched = f"{request.getfixturevalue('registry').name}/team/fetched:1"
        daemon.import_image(fetched, busybox("fetched", BULK))
        digest = daemon.move_to_registry(fetched)
    try:
        asyncio.run(rule.ask(subject(daemon, fetched, digest)))
    finally:
        daemon.clear()
