"""What the sources of mounts lead to, where not everybody tells it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from reconciler.containers import open_container_host
from reconciler.containers.leading import CannotTell, ends_on, leads_of
from reconciler.containers.reach import socket_wire
from reconciler.engines.keys import Keys
from reconciler.fleet import ContainerSpec, DockerSpec, Leads, NodeSpec, looked_for, parse_mount
from reconciler.hosts import Host, Ran, ThisMachine
from reconciler.hosts.protocol import host_error
from reconciler.sim.clock import Clock
from reconciler.sim.docker import DockerDaemon, Library
from reconciler.sim.faults import FaultSpec


def leads(tmp_path: Path, *volumes: str, fault: FaultSpec | None = None, made: Mapping[str, Mapping[str, str]] | None = None) -> Leads:
    async def ask() -> Leads:
        daemon = DockerDaemon(Library(), Clock(1.0))
        daemon.open(str(tmp_path / "s"))
        wire = socket_wire(str(tmp_path / "s"), "box", Keys())
        for name, options in (made or {}).items():
            await wire.ask("POST", "/volumes/create", within=5, body={"Name": name, "DriverOpts": options})
        if fault is not None:
            daemon.faults.add(fault)
        host = open_container_host(NodeSpec("box", "127.0.0.1"), DockerSpec(f"unix://{tmp_path}/s"))
        spec = ContainerSpec("x", "a:1", "lab", "engine.box/x", mounts=tuple(map(parse_mount, volumes)))
        found = await host.observe(looked_for("lab", (spec,)))
        assert found.containers == ()
        for one in (host, wire, daemon):
            await one.aclose()
        return found.leads

    return asyncio.run(ask())


@pytest.mark.parametrize("status", [403, 404])
def test_a_proxy_that_keeps_volumes_to_itself_leaves_them_untold_and_not_harmless(status: int, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/")
    mounts = ("data:/d", f"{tmp_path}/link:/l", f"{tmp_path}:/t")
    assert leads(tmp_path, *mounts, fault=FaultSpec("status", ("/volumes",), status=status)) == {"data": None, f"{tmp_path}/link": ("/",)}
    assert leads(tmp_path, *mounts) == {f"{tmp_path}/link": ("/",)}


@pytest.mark.parametrize("device", ["/srv/../etc", "etc", "//etc/"])
def test_a_volume_over_a_folder_is_that_folder_however_it_is_written(device: str, tmp_path: Path) -> None:
    assert leads(tmp_path, "data:/d", made={"data": {"type": "none", "o": "rw,bind", "device": device}}) == {"data": ("/etc",)}


def test_no_name_of_a_folder_hides_where_another_one_leads(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc")
    odd = [f"{tmp_path}/a{one}b" for one in ("\n", "\u2028", "\x1c", " '\"$(id)")]
    paths = [*odd, f"{tmp_path}/link", f"{tmp_path}/link/not/there"]
    found = asyncio.run(ends_on(ThisMachine("box"), paths, 20))
    assert [*found.values()] == [*odd, "/etc", "/etc/not/there"]


class Deaf(ThisMachine):
    """An account that may forward a socket and runs no commands, or says something else."""

    def __init__(self, said: bytes | None) -> None:
        super().__init__("box")
        self.said = said

    async def run(self, command: Sequence[str], *, within: float, given: bytes = b"", limit: int = 0, sudo: bool = False) -> Ran:
        if self.said is None:
            raise host_error("no_commands", "box", "it runs no commands")
        return Ran(0, self.said, b"")


@pytest.mark.parametrize("said", [None, b"This account is not available.\n", b"/srv\n", b"\0/srv\0/srv\0"])
def test_an_account_that_runs_no_commands_leaves_folders_untold(said: bytes | None, tmp_path: Path) -> None:
    async def ask() -> Leads:
        host: Host = Deaf(said)

        async def ends_of(paths: Sequence[str]) -> Mapping[str, str]:
            return await ends_on(host, paths, 5)

        with pytest.raises(CannotTell):
            await ends_of(["/srv"])
        wire = socket_wire(str(tmp_path / "none"), "box", Keys())
        found = await leads_of(wire, frozenset(["/srv"]), ends_of, 5)
        await wire.aclose()
        return found

    assert asyncio.run(ask()) == {"/srv": None}
