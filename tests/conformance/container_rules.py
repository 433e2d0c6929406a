"""What every daemon that runs containers promises; asked of the simulated Docker Engine and, unchanged, of the real one."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from container_subject import ADDRESS, FLEET, SECRET, SECRET_VARIABLE, Daemon, ended, only, run, seen, until

from reconciler.containers import ContainerError
from reconciler.containers.making import create_body
from reconciler.fleet import (
    ContainerFile,
    ContainerHealth,
    ContainerState,
    DaemonFacts,
    Healthcheck,
    Owner,
    PublishedPort,
    SecretRef,
    WatchedEnv,
    looked_for,
    mismatches,
    parse_mount,
)

KEY = SecretRef("env", SECRET_VARIABLE)


async def a_container_is_seen_as_it_was_made(daemon: Daemon) -> None:
    spec = daemon.spec(
        env={"A": "1", "LONG": "two words\n" * 200, "KEY": KEY},
        command=("sleep", "2000"),
        mounts=tuple(parse_mount(one) for one in ("gpurec-volume:/data", "/tmp:/host:ro", "tmpfs:/scratch")),
        restart="on-failure:3",
        shm_size=2**25,
        cpus=0.5,
        memory=2**27,
        groups=("video",),
        healthcheck=Healthcheck(("CMD", "true"), 1.0, 2.0, 0.5, 0.5, 2),
        files=(ContainerFile("/etc/gpurec/agent.json", "{}"),),
        labels={"team": "a"},
        stop_timeout=1.0,
    )
    async with daemon.opened() as host:
        made = await run(host, spec)
        found = await only(host, spec)
        assert mismatches(spec, found) == ()
        assert (found.id, found.owner, found.address, found.spec) == (made, Owner.OURS, ADDRESS, spec.hash)
        assert found.image_id == found.image_now
        assert found.pid
        assert (await host.inspect(made, WatchedEnv(frozenset({"A"})), FLEET) or found).env == {"A": "1"}


async def a_look_tells_what_volumes_and_links_are_of_the_node(daemon: Daemon) -> None:
    """A volume can be made over any folder, disk or overlay of its node, and a folder be a link."""
    link, name = f"/tmp/gpurec-link-{os.getpid()}", "gpurec-over"
    made = {
        name: {"type": "none", "o": "bind", "device": "/var/tmp"},
        f"{name}-disk": {"type": "ext4", "device": "/dev/gpurec"},
        f"{name}-layers": {"type": "overlay", "o": "lowerdir=/usr:/,upperdir=/var/tmp", "device": "overlay"},
        f"{name}-plain": None,
    }
    mounts = tuple(parse_mount(f"{one}:/{number}") for number, one in enumerate((*made, link, "/var/tmp", f"{name}-none")))
    os.symlink("/var/tmp", link)  # noqa: PTH211 (a moment on this machine)
    try:
        async with daemon.opened() as host, daemon.by_hand() as client:
            for one, options in made.items():
                answer = await client.post("/volumes/create", json={"Name": one, "DriverOpts": options})
                assert answer.status_code == 201, answer.text
            leads = (await host.observe(looked_for(FLEET, (daemon.spec(mounts=mounts),)))).leads
            for one in made:
                await client.delete(f"/volumes/{one}")
    finally:
        os.unlink(link)  # noqa: PTH108 (as above)
    assert leads == {
        name: ("/var/tmp",),
        f"{name}-disk": ("/dev/gpurec",),
        f"{name}-layers": ("/", "/usr", "/var/tmp"),
        link: ("/var/tmp",),
    }


async def what_nobody_declared_is_no_difference(daemon: Daemon) -> None:
    for networks in ((), ("none",), ("host",)):
        spec = daemon.spec(networks=networks)
        async with daemon.opened() as host:
            made = await run(host, spec)
            assert mismatches(spec, await only(host, spec)) == ()
            await host.remove(made)


async def arguments_are_appended_to_the_images_own_command(daemon: Daemon) -> None:
    spec = daemon.spec(args=("1",))
    async with daemon.opened() as host:
        await run(host, spec)
        found = await only(host, spec)
        assert found.command == ("sleep", "1000", "1")
        assert mismatches(spec, found) == ()


async def a_secret_is_only_compared_and_comes_back_nowhere(daemon: Daemon) -> None:
    spec = daemon.spec(command=("sh", "-c", "echo $KEY; sleep 1000"), env={"KEY": KEY})
    async with daemon.opened() as host:
        made = await run(host, spec)
        found = await until(host, spec, lambda one: one.state is ContainerState.RUNNING, "it runs")
        assert (found.env, found.secrets) == ({}, {"KEY": True})
        await _logged(host, made, 1)
        assert SECRET not in repr(found) + repr(await host.logs(made))
        other = replace(daemon, environ={SECRET_VARIABLE: "another-one-since"})
    async with other.opened() as host:
        assert [wrong.field for wrong in mismatches(spec, await only(host, spec))] == ["env"]
    async with replace(daemon, environ={}).opened() as host:
        assert (await only(host, spec)).secrets == {"KEY": None}
        with pytest.raises(ContainerError, match=SECRET_VARIABLE) as caught:
            await host.create(daemon.spec("gpurec-other", env={"KEY": KEY}))
        assert caught.value.code == "missing_key"


async def files_are_in_it_before_it_starts(daemon: Daemon) -> None:
    files = (ContainerFile("/etc/gpurec/agent.json", '{"a": 1}\n'), ContainerFile("/deep/er/key", KEY, 0o600))
    spec = daemon.spec(command=("sh", "-c", "cat /etc/gpurec/agent.json; cat /deep/er/key; sleep 1000"), files=files)
    async with daemon.opened() as host:
        made = await host.create(spec)
        await host.copy_in(made, (ContainerFile("/etc/gpurec/agent.json", '{"b": 2}\n'),))
        await host.start(made)
        lines = await _logged(host, made, 1)
        assert lines[0] == '{"b": 2}'
        assert SECRET not in "".join(lines)


async def a_secret_of_several_lines_is_put_in_as_it_is(daemon: Daemon) -> None:
    written = "-----BEGIN-----\nline-of-a-certificate\n-----END-----\n"
    files = (ContainerFile("/run/secrets/pem", SecretRef("env", "PEM"), 0o400),)
    spec = daemon.spec(command=("sh", "-c", "cat /run/secrets/pem; sleep 1000"), files=files, env={"PEM": SecretRef("env", "PEM")})
    async with replace(daemon, environ={"PEM": written}).opened() as host:
        await run(host, spec)
        assert mismatches(spec, await only(host, spec)) == ()
    async with daemon.opened() as host:  # it does not know the secret, so it takes none out of what comes
        made = (await only(host, spec)).id
        assert await _logged(host, made, 3) == tuple(written.split())


async def a_stranger_is_told_only_where_it_is_in_the_way(daemon: Daemon) -> None:
    port = daemon.free_port()
    spec = daemon.spec(networks=(), ports=(PublishedPort(80, port),))
    async with daemon.opened() as host, daemon.by_hand() as hand:
        labels = {"com.docker.compose.project": "web"}
        body: dict[str, Any] = {"Image": daemon.image, "Labels": {"gpurec.fleet": "other"}, "ExposedPorts": {"80/tcp": {}}}
        body["HostConfig"] = {"PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(port)}]}}
        await _by_hand(hand, "stranger-elsewhere", {"Image": daemon.image, "Env": ["A=private"]})
        await _by_hand(hand, spec.name, {"Image": daemon.image, "Env": ["A=private"], "Labels": labels})
        await _by_hand(hand, "stranger-on-port", body)
        found = {one.name: one for one in await seen(host, spec)}
        assert found.keys() == {spec.name, "stranger-on-port"}
        assert (found[spec.name].owner, found[spec.name].whose) == (Owner.FOREIGN, "compose project 'web'")
        assert (found["stranger-on-port"].owner, found["stranger-on-port"].whose) == (Owner.OTHER_FLEET, "fleet 'other'")
        assert {one.env for one in found.values()} == {None}
        assert "private" not in repr(found)
        whole = await host.observe(looked_for(FLEET, (spec,)))
        assert {one.name for one in whole.in_the_way(spec)} == found.keys()


async def a_name_that_is_taken_is_an_error_and_nothing_is_left(daemon: Daemon) -> None:
    async with daemon.opened() as host:
        made = await host.create(daemon.spec())
        other = await host.create(daemon.spec(address="engine.other@node"), "gpurec-second")
        with pytest.raises(ContainerError) as caught:
            await host.create(daemon.spec())
        assert caught.value.code == "name_taken"
        with pytest.raises(ContainerError) as caught:
            await host.rename(other, "gpurec-box")
        assert caught.value.code == "name_taken"
        await host.rename(other, "gpurec-third")
        assert {one.id: one.name for one in await seen(host)} == {made: "gpurec-box", other: "gpurec-third"}


async def a_port_that_is_taken_fails_at_the_start(daemon: Daemon) -> None:
    port = daemon.free_port()
    first = daemon.spec(networks=(), ports=(PublishedPort(80, port),))
    second = replace(first, name="gpurec-second", address="engine.second@node")
    async with daemon.opened() as host:
        await run(host, first)
        made = await host.create(second)
        with pytest.raises(ContainerError) as caught:
            await host.start(made)
        assert caught.value.code == "port_taken"
        assert (await host.inspect(made, WatchedEnv(), FLEET)).state is ContainerState.CREATED  # type: ignore[union-attr]
        assert mismatches(first, next(one for one in await seen(host, first) if one.address == ADDRESS)) == ()


async def a_card_that_cannot_be_had_fails_at_the_start_and_is_left_created(daemon: Daemon) -> None:
    spec = daemon.spec(cards=("GPU-nobody-has",))
    async with daemon.opened() as host:
        made = await host.create(spec)
        with pytest.raises(ContainerError) as caught:
            await host.start(made)
        assert caught.value.code == "card_unavailable"
        found = await only(host, spec)
        assert (found.state, found.cards) == (ContainerState.CREATED, spec.cards)
        assert [wrong.field for wrong in mismatches(spec, found)] == ["state"]
        await host.remove(made)
        assert await seen(host, spec) == ()


async def cards_are_given_by_uuid(daemon: Daemon) -> None:
    spec = daemon.spec(cards=daemon.cards)
    async with daemon.opened() as host:
        await run(host, spec)
        found = await only(host, spec)
        assert (found.cards, mismatches(spec, found)) == (daemon.cards, ())


async def a_program_that_is_not_there_fails_at_the_start(daemon: Daemon) -> None:
    async with daemon.opened() as host:
        made = await host.create(daemon.spec(command=("no-such-program",)))
        with pytest.raises(ContainerError, match="no-such-program") as caught:
            await host.start(made)
        assert caught.value.code == "start_failed"


async def an_image_that_is_not_there_is_an_error_and_nothing_is_left(daemon: Daemon) -> None:
    async with daemon.opened() as host:
        assert await host.has_image(daemon.image)
        assert not await host.has_image(daemon.absent)
        with pytest.raises(ContainerError) as caught:
            await host.create(daemon.spec(image=daemon.absent))
        assert caught.value.code == "no_such_image"
        assert await seen(host) == ()


async def a_network_that_is_not_there_leaves_nothing_behind(daemon: Daemon) -> None:
    async with daemon.opened() as host:
        for networks in (("bridge", "no-such-network"), ("no-such-network",)):
            with pytest.raises(ContainerError, match="no-such-network") as caught:
                await host.create(daemon.spec(networks=networks))
            assert caught.value.code == "no_such_network"
            assert await seen(host) == ()


async def a_container_is_attached_to_every_network_that_it_names(daemon: Daemon) -> None:
    async with daemon.opened() as host, daemon.by_hand() as hand:
        for name in ("gpurec-first", "gpurec-second"):
            if (await hand.get(f"/networks/{name}")).status_code == 404:
                (await hand.post("/networks/create", json={"Name": name, "Internal": True})).raise_for_status()
        spec = daemon.spec(networks=("gpurec-first", "gpurec-second"))
        made = await run(host, spec)
        found = await only(host, spec)
        assert (found.networks, mismatches(spec, found)) == (("gpurec-first", "gpurec-second"), ())
        await host.remove(made)
        await run(host, daemon.spec(networks=("gpurec-first",)))
        assert [wrong.found for wrong in mismatches(spec, await only(host, spec)) if wrong.field == "networks"] == ["gpurec-first"]


async def start_stop_and_remove_are_idempotent(daemon: Daemon) -> None:
    spec = daemon.spec(stop_timeout=1.0)
    async with daemon.opened() as host:
        made = await run(host, spec)
        await host.start(made)
        await host.stop(made, 0)
        await host.stop(made)
        found = await only(host, spec)
        assert (found.state, found.exit_code) == (ContainerState.EXITED, 137)
        await host.start(made)
        assert (await only(host, spec)).condition == "running"
        await host.remove(made)
        await host.remove(made)
        await host.stop(made)
        assert await host.inspect(made, WatchedEnv(), FLEET) is None
        with pytest.raises(ContainerError) as caught:
            await host.start(made)
        assert caught.value.code == "no_such_container"
        with pytest.raises(ContainerError) as caught:
            await host.rename(made, "gpurec-other")
        assert caught.value.code == "no_such_container"


async def how_a_container_ended_and_what_it_wrote_last_is_told(daemon: Daemon) -> None:
    script = "".join(f"echo line {number};" for number in range(30)) + "exit 3"
    spec = daemon.spec(command=("sh", "-c", script), restart="no")
    async with daemon.opened() as host:
        made = await run(host, spec)
        found = await until(host, spec, ended, "it ends")
        assert (found.condition, found.exit_code, found.restarts) == ("exited (3)", 3, 0)
        assert [wrong.field for wrong in mismatches(spec, found)] == ["state"]
        assert await host.logs(made) == tuple(f"line {number}" for number in range(10, 30))
        assert await host.logs(made, 2) == ("line 28", "line 29")


async def a_container_that_ends_again_and_again_is_started_as_often_as_it_may(daemon: Daemon) -> None:
    spec = daemon.spec(command=("sh", "-c", "exit 3"), restart="on-failure:2")
    async with daemon.opened() as host:
        await run(host, spec)
        found = await until(host, spec, lambda one: ended(one) and one.restarts == 2, "it gives up")
        assert mismatches(spec, found)[0].found == "exited (3)"


async def its_own_health_check_is_told(daemon: Daemon) -> None:
    good = daemon.spec(healthcheck=Healthcheck(("CMD", "true"), 0.2, start_interval=0.2, retries=1))
    bad = replace(good, name="gpurec-bad", address="engine.bad@node", healthcheck=Healthcheck(("CMD-SHELL", "exit 1"), 0.2, retries=1))
    async with daemon.opened() as host:
        for spec, health in ((good, ContainerHealth.HEALTHY), (bad, ContainerHealth.UNHEALTHY)):
            made = await run(host, spec)
            found = await until(host, spec, lambda one, health=health: one.health is health, f"it is {health}")  # type: ignore[misc]
            wrong = [] if spec is good else [("state", "unhealthy", True)]
            assert [(one.field, one.found, one.restarts) for one in mismatches(spec, found)] == wrong
            await host.remove(made)


async def a_change_is_told_and_its_absence_takes_as_long_as_asked(daemon: Daemon) -> None:
    async with daemon.opened() as host:
        made = await host.create(daemon.spec(command=("sh", "-c", "sleep 0.3; exit 0"), restart="no"))
        begun = time.monotonic()
        await host.changed(made, 0.1)
        assert time.monotonic() - begun < 5
        await host.start(made)
        begun = time.monotonic()
        await host.changed(made, 30)
        assert time.monotonic() - begun < 20


async def killed_by_hand_it_is_not_running_and_removed_by_hand_not_there(daemon: Daemon) -> None:
    spec = daemon.spec()
    async with daemon.opened() as host, daemon.by_hand() as hand:
        made = await run(host, spec)
        (await hand.post(f"/containers/{made}/kill")).raise_for_status()
        found = await until(host, spec, ended, "it is killed")
        assert found.condition == "exited (137)"
        (await hand.delete(f"/containers/{made}")).raise_for_status()
        assert await seen(host, spec) == ()


Change = Callable[[dict[str, Any]], None]


def _set(*path: str, to: object) -> Change:
    def change(body: dict[str, Any]) -> None:
        inner = body
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = to

    return change


BY_HAND: Mapping[str, Sequence[Change]] = {
    "command": (_set("Cmd", to=["sleep", "999"]),),
    "entrypoint": (_set("Entrypoint", to=["sh", "-c", "sleep 1000"]),),
    "env": (_set("Env", to=["A=2", "B=3"]), _set("Env", to=["B=3"])),
    "networks": (_set("HostConfig", "NetworkMode", to="none"), _set("HostConfig", "NetworkMode", to="host")),
    "restart": (_set("HostConfig", "RestartPolicy", to={"Name": "always"}),),
    "mounts": (_set("HostConfig", "Binds", to=["gpurec-volume:/data:ro"]), _set("HostConfig", "Tmpfs", to={"/more": ""})),
    "shm_size": (_set("HostConfig", "ShmSize", to=2**22),),
    "cpus": (_set("HostConfig", "NanoCpus", to=250_000_000), _set("HostConfig", "NanoCpus", to=0)),
    "memory": (_set("HostConfig", "Memory", to=2**26), _set("HostConfig", "Memory", to=0)),
    "devices": (_set("HostConfig", "Devices", to=[{"PathOnHost": "/dev/zero", "PathInContainer": "/dev/zero", "CgroupPermissions": "r"}]),),
    "groups": (_set("HostConfig", "GroupAdd", to=["video"]),),
    "healthcheck": (_set("Healthcheck", to={"Test": ["NONE"]}),),
    "labels": (_set("Labels", "team", to="b"),),
    "privileges": (
        _set("HostConfig", "Privileged", to=True),
        _set("HostConfig", "CapAdd", to=["SYS_ADMIN"]),
        _set("HostConfig", "PidMode", to="host"),
        _set("HostConfig", "IpcMode", to="host"),
        _set("HostConfig", "DeviceCgroupRules", to=["c 1:3 rwm"]),
        _set("HostConfig", "VolumesFrom", to=["gpurec-other"]),
    ),
    "settings": (
        _set("User", to="1000"),
        _set("WorkingDir", to="/tmp"),
        _set("HostConfig", "ReadonlyRootfs", to=True),
        _set("HostConfig", "ExtraHosts", to=["db:10.0.0.1"]),
        _set("HostConfig", "Dns", to=["10.0.0.2"]),
        _set("HostConfig", "CapDrop", to=["NET_RAW"]),
        _set("HostConfig", "PidsLimit", to=50),
    ),
    "cards": (_set("HostConfig", "DeviceRequests", to=[{"Driver": "nvidia", "Count": -1, "Capabilities": [["gpu"]]}]),),
    "ports": (_set("HostConfig", "PortBindings", to={"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "39999"}]}),),
    "spec": (_set("Labels", "gpurec.spec", to="0"),),
}

_TOO = {"networks": frozenset({"ports"}), "entrypoint": frozenset({"command"})}
"""What changes with a field: no port is published on another's network, and an own entrypoint takes the image's command away."""


async def what_was_changed_by_hand_under_our_labels_is_told_by_its_field(daemon: Daemon) -> None:
    spec = daemon.spec(
        networks=(),
        ports=(PublishedPort(80, daemon.free_port()),),
        env={"A": "1", "B": "3"},
        mounts=(parse_mount("gpurec-volume:/data"),),
        shm_size=2**25,
        cpus=0.5,
        memory=2**27,
        healthcheck=Healthcheck(("CMD", "true"), 60.0),
        labels={"team": "a"},
    )
    async with daemon.opened() as host, daemon.by_hand() as hand:
        other = await host.create(replace(spec, name="gpurec-other", address="engine.other@node", ports=()))
        for field, changes in BY_HAND.items():
            for change in changes:
                body = create_body(spec, {name: str(value) for name, value in spec.env.items()}, (), DaemonFacts("", "1.41"))
                change(body)
                made = await _by_hand(hand, spec.name, body, start=False)
                (found,) = [one for one in await seen(host, spec) if one.owner is Owner.OURS and one.id != other]
                told = {wrong.field for wrong in mismatches(spec, found)} - {"state"}
                told -= _TOO.get(field, frozenset())
                assert told == {field}, found
                (await hand.delete(f"/containers/{made}", params={"force": "true"})).raise_for_status()


async def an_update_by_hand_of_a_running_container_is_told(daemon: Daemon) -> None:
    spec = daemon.spec(memory=2**27)
    async with daemon.opened() as host, daemon.by_hand() as hand:
        made = await run(host, spec)
        (await hand.post(f"/containers/{made}/update", json={"Memory": 2**28, "MemorySwap": -1})).raise_for_status()
        assert [(wrong.field, wrong.found) for wrong in mismatches(spec, await only(host, spec))] == [("memory", 2**28)]


async def a_tag_that_moved_is_told_with_both_digests(daemon: Daemon) -> None:
    name = daemon.image.rpartition(":")[0]
    spec = daemon.spec(image=f"{name}:moving")
    async with daemon.opened() as host, daemon.by_hand() as hand:
        (await hand.post(f"/images/{daemon.image}/tag", params={"repo": name, "tag": "moving"})).raise_for_status()
        await run(host, spec)
        assert mismatches(spec, await only(host, spec)) == ()
        (await hand.post(f"/images/{daemon.other}/tag", params={"repo": name, "tag": "moving"})).raise_for_status()
        found = await only(host, spec)
        (wrong,) = mismatches(spec, found)
        assert wrong.field == "image"
        assert (found.image_id or "?")[:19] in str(wrong.found)
        assert (found.image_now or "?")[:19] in str(wrong.found)
        same = replace(spec, image=daemon.image)
        assert [one.field for one in mismatches(same, found)] == ["image", "spec"]


async def two_fleets_on_one_daemon_do_not_mix(daemon: Daemon) -> None:
    mine, theirs = daemon.spec(), daemon.spec("gpurec-theirs", fleet="theirs")
    async with daemon.opened() as host:
        await run(host, mine)
        await run(host, theirs)
        assert [one.name for one in await seen(host, mine)] == [mine.name]
        whole = await host.observe(looked_for("theirs", (theirs, replace(mine, fleet="theirs"))))
        assert {one.name: one.owner for one in whole.containers or ()} == {mine.name: Owner.OTHER_FLEET, theirs.name: Owner.OURS}


async def a_pull_tells_its_progress_and_ends_when_the_image_is_there(daemon: Daemon) -> None:
    async with daemon.opened() as host:
        told = [one async for one in host.pull(daemon.fetched)]
        assert told[-1].total
        assert told[-1].completed == told[-1].total
        assert await host.has_image(daemon.fetched)
        repository = daemon.fetched.rpartition(":")[0]
        by_digest = f"{repository}@{daemon.fetched_digest}"
        assert [one async for one in host.pull(by_digest)]
        assert await host.has_image(by_digest)
        spec = daemon.spec(image=by_digest)
        await run(host, spec)
        found = await only(host, spec)
        assert mismatches(spec, found) == ()
        assert by_digest in found.digests


async def a_pull_of_what_no_registry_has_fails(daemon: Daemon) -> None:
    async with daemon.opened() as host:
        with pytest.raises(ContainerError, match="cannot be pulled") as caught:
            _ = [one async for one in host.pull(f"{daemon.fetched.rpartition(':')[0]}:no-such-tag")]
        assert caught.value.code == "no_such_image"


async def a_daemon_tells_what_it_is(daemon: Daemon) -> None:
    async with daemon.opened() as host:
        found = await host.observe(looked_for(FLEET, ()))
        assert found.daemon is not None
        assert found.daemon.version[0].isdigit()
        assert found.daemon.api.startswith("1.")
        assert "runc" in found.daemon.runtimes


async def _by_hand(hand: Any, name: str, body: Mapping[str, Any], *, start: bool = True) -> str:
    answer = await hand.post("/containers/create", params={"name": name}, json=body)
    assert answer.status_code == 201, answer.text
    made = str(answer.json()["Id"])
    if start:
        (await hand.post(f"/containers/{made}/start")).raise_for_status()
    return made


async def _logged(host: Any, made: str, most: int) -> Sequence[str]:
    """Its log, once it has that many lines."""
    lines: Sequence[str] = ()
    end = time.monotonic() + 30
    while len(lines) < most and time.monotonic() < end:
        lines = await host.logs(made)
        if len(lines) < most:
            await host.changed(made, 0.1)
    assert len(lines) >= most
    return lines


Ask = Callable[[Daemon], Awaitable[None]]


@dataclass(frozen=True)
class ContainerRule:
    """`world` is what the daemon must be like: `plain`, `cards`, `no cards`, `registry`."""

    ask: Ask
    world: str = "plain"

    @property
    def name(self) -> str:
        return self.ask.__name__


RULES: Sequence[ContainerRule] = (
    ContainerRule(a_daemon_tells_what_it_is),
    ContainerRule(a_container_is_seen_as_it_was_made),
    ContainerRule(a_look_tells_what_volumes_and_links_are_of_the_node),
    ContainerRule(what_nobody_declared_is_no_difference),
    ContainerRule(arguments_are_appended_to_the_images_own_command),
    ContainerRule(a_secret_is_only_compared_and_comes_back_nowhere),
    ContainerRule(files_are_in_it_before_it_starts),
    ContainerRule(a_secret_of_several_lines_is_put_in_as_it_is),
    ContainerRule(a_stranger_is_told_only_where_it_is_in_the_way),
    ContainerRule(a_name_that_is_taken_is_an_error_and_nothing_is_left),
    ContainerRule(a_port_that_is_taken_fails_at_the_start),
    ContainerRule(a_card_that_cannot_be_had_fails_at_the_start_and_is_left_created, "no cards"),
    ContainerRule(cards_are_given_by_uuid, "cards"),
    ContainerRule(a_program_that_is_not_there_fails_at_the_start),
    ContainerRule(an_image_that_is_not_there_is_an_error_and_nothing_is_left),
    ContainerRule(a_network_that_is_not_there_leaves_nothing_behind),
    ContainerRule(a_container_is_attached_to_every_network_that_it_names),
    ContainerRule(start_stop_and_remove_are_idempotent),
    ContainerRule(how_a_container_ended_and_what_it_wrote_last_is_told),
    ContainerRule(a_container_that_ends_again_and_again_is_started_as_often_as_it_may),
    ContainerRule(its_own_health_check_is_told),
    ContainerRule(a_change_is_told_and_its_absence_takes_as_long_as_asked),
    ContainerRule(killed_by_hand_it_is_not_running_and_removed_by_hand_not_there),
    ContainerRule(what_was_changed_by_hand_under_our_labels_is_told_by_its_field),
    ContainerRule(an_update_by_hand_of_a_running_container_is_told),
    ContainerRule(a_tag_that_moved_is_told_with_both_digests),
    ContainerRule(two_fleets_on_one_daemon_do_not_mix),
    ContainerRule(a_pull_tells_its_progress_and_ends_when_the_image_is_there, "registry"),
    ContainerRule(a_pull_of_what_no_registry_has_fails, "registry"),
)
