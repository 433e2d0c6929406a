"""A Docker Swarm as a host of containers: each is a service of one replica, or none, on the node that it is for.

A service can be changed and not renamed, so what gpurec calls it is a label. Files become configs and secrets, which cannot be changed
either: their names hold a hash of what is in them, and those of a service go with it. What Swarm has no word for is refused before anything
is made: device files, ports on one address of the node alone, no network at all.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from reconciler.containers.answers import owner_of
from reconciler.containers.docker import DockerHost, looked, start_failure
from reconciler.containers.output import last_lines
from reconciler.containers.protocol import LAST_LINES, ContainerError
from reconciler.containers.shapes import CREATED_ID
from reconciler.containers.swarm_answers import (
    FAILED,
    NAME_LABEL,
    NETWORK,
    NETWORKS,
    NODES,
    SERVICE,
    SERVICES,
    STORED,
    TASKS,
    Service,
    SwarmNode,
    Task,
    name_of,
    read_service,
    stranger_service,
)
from reconciler.containers.swarm_making import Body, service_body, service_name, stored_name
from reconciler.containers.wire import LARGE, DaemonAnswer, Wire, failed
from reconciler.engines.foreign_text import clean_text
from reconciler.engines.protocol import PullProgress
from reconciler.fleet import (
    ADDRESS_LABEL,
    FLEET_LABEL,
    HOST_NETWORK,
    MIB,
    NO_NETWORK,
    ContainerFacts,
    ContainerFile,
    ContainersLookedFor,
    ContainerSpec,
    NodeContainers,
    NodeSpec,
    Owner,
    SecretRef,
    WatchedEnv,
    parse_resource_address,
)

_LOOK, _ACT = 10.0, 60.0
_START = 600.0
"""Seconds that a start may take: the node may have to pull the image."""
_ENDING = frozenset({"complete", "shutdown", "remove"})
"""What a task is to become that makes way for another one, which is to be `ready` first, and to run at its turn (SwarmKit)."""
_POLL = 0.2
_NANOS = 1_000_000_000
_NOTHING_WATCHED = WatchedEnv()
Change = Callable[[dict[str, Any]], None]


class SwarmHost:
    """The services of a swarm that are for one node. `docker` is the daemon of a manager; what is common to both is asked of it."""

    def __init__(self, docker: DockerHost, node: NodeSpec) -> None:
        self._docker = docker
        self._node = node
        self._swarm_node: SwarmNode | None = None

    @property
    def shown(self) -> str:
        return self._docker.shown

    async def aclose(self) -> None:
        await self._docker.aclose()

    # -- looking

    async def observe(self, wanted: ContainersLookedFor) -> NodeContainers:
        return await looked(self._observed(wanted), self.shown)

    async def _observed(self, wanted: ContainersLookedFor) -> NodeContainers:
        wire = await self._docker.wire()
        daemon = await self._docker.daemon(wire)
        await self._placed(wire)
        services = (await wire.ask("GET", "/services", within=_LOOK, limit=LARGE, raw=True)).read(SERVICES)
        tasks = (await wire.ask("GET", "/tasks", within=_LOOK, limit=LARGE)).read(TASKS)
        ours = [one for one in services if owner_of(one.Spec.Labels, wanted.fleet)[0] is Owner.OURS]
        networks = await self._named_networks(wire, ours)
        found = []
        for one in services:
            labels = one.Spec.Labels or {}
            if owner_of(labels, wanted.fleet)[0] is Owner.OURS:
                label = labels.get(ADDRESS_LABEL, "")
                if label not in wanted.adopted and self._is_elsewhere(label):
                    continue
                address = wanted.adopted.get(label)
                watched = wanted.env.get(address or label, _NOTHING_WATCHED)
                facts = await self._facts(wire, one, tasks, wanted.fleet, watched, networks)
                found.append(facts if address is None else replace(facts, address=address, adopted=label))
            elif name_of(one) in wanted.names or not wanted.ports.isdisjoint(_ports(one)):
                found.append(stranger_service(one, wanted.fleet))
        return NodeContainers(tuple(sorted(found, key=lambda one: (one.name, one.id))), daemon)

    async def inspect(self, container: str, watched: WatchedEnv, fleet: str) -> ContainerFacts | None:
        wire = await self._docker.wire()
        service = await self._service(wire, container)
        if service is None:
            return None
        return await self._facts(
            wire, service, await self._tasks(wire, container), fleet, watched, await self._named_networks(wire, (service,))
        )

    async def _facts(
        self, wire: Wire, service: Service, tasks: Collection[Task], fleet: str, watched: WatchedEnv, networks: Mapping[str, str]
    ) -> ContainerFacts:
        container = service.Spec.TaskTemplate.ContainerSpec
        found = dict(one.partition("=")[::2] for one in (container.Env if container is not None else None) or ())
        secrets = self._docker.secrets.known(watched.secrets, service.Spec.Name)
        same = {name: None if value is None else found.get(name) == value for name, value in sorted(secrets.items())}
        image = await self._docker.image(wire, container.Image) if container is not None and container.Image and container.Args else None
        command = (image.Config.Cmd if image.Config is not None else None) or () if image is not None else None
        own = [one for one in tasks if one.ServiceID == service.ID]
        clean = self._docker.secrets.cleaned(DaemonAnswer(200, service.model_dump_json(by_alias=True).encode(), self.shown)).read(SERVICE)
        return read_service(clean, own, fleet, watched.values, same, networks, command, (await self._placed(wire)).ID)

    def _is_elsewhere(self, address: str) -> bool:
        """Whether a service of ours is for another node of the swarm, of which it may have the name and the ports."""
        try:
            return parse_resource_address(address)[2] != self._node.name
        except ValueError:
            return False

    async def has_image(self, image: str) -> bool:
        """Only asked where the node is the manager itself: another node pulls when the service starts there."""
        wire = await self._docker.wire()
        return not await self._is_manager(wire) or await self._docker.has_image(image)

    async def pull(self, image: str) -> AsyncGenerator[PullProgress, None]:
        wire = await self._docker.wire()
        if await self._is_manager(wire):
            async for told in self._docker.pull(image):
                yield told

    async def logs(self, container: str, lines: int = LAST_LINES) -> tuple[str, ...]:
        wire = await self._docker.wire()
        params = {"stdout": "true", "stderr": "true", "tail": str(lines)}
        answer = await wire.ask_any("GET", _of(container, "/logs"), within=_LOOK, params=params, limit=MIB, cut=True)
        return last_lines(answer.body, lines) if answer.status == 200 else ()

    async def changed(self, container: str, within: float) -> None:
        wire = await self._docker.wire()
        before = await self._signs(wire, container)
        loop = asyncio.get_running_loop()
        end = loop.time() + within
        while (left := end - loop.time()) > 0:
            await asyncio.sleep(min(_POLL, left))
            if await self._signs(wire, container) != before:
                return

    async def _signs(self, wire: Wire, container: str) -> frozenset[tuple[str, str]]:
        return frozenset((one.ID, one.Status.State) for one in await self._tasks(wire, container))

    # -- acting

    async def create(self, spec: ContainerSpec, name: str | None = None) -> str:
        wire = await self._docker.wire()
        self._refuse_what_swarm_cannot(spec)
        called = name or spec.name
        await self._check_name(wire, called, spec.fleet)
        env = self._docker.secrets.env(spec)
        body = await self._body(wire, spec, called, env)
        try:
            body["TaskTemplate"]["ContainerSpec"] |= await self._stored(wire, spec)
            return await self._made(wire, spec, called, body)
        except BaseException:
            with suppress(ContainerError):
                await self._forget_stored(wire, spec.fleet, spec.address)
            raise

    async def _made(self, wire: Wire, spec: ContainerSpec, called: str, body: Body) -> str:
        headers = self._docker.login(spec.image)
        for spelled in (called, f"{called}-{spec.hash[:8]}", f"{called}-{spec.hash[8:16]}"):  # a renamed one still has its first name
            answer = await wire.ask_any(
                "POST", "/services/create", within=_ACT, body={**body, "Name": service_name(spelled)}, headers=headers
            )
            if answer.status == 201:
                return answer.read(CREATED_ID).ID
            if answer.status != 409:
                break
        raise failed("cannot_create", self.shown, f"{spec.address}: {answer.message}")

    async def start(self, container: str) -> None:
        wire = await self._docker.wire()
        service = await self._required(wire, container)
        runs = bool(service.replicas)
        before = {one.ID for one in await self._tasks(wire, container) if not runs or one.DesiredState in _ENDING}
        if not runs:
            await self._scale(wire, container, 1)
        loop = asyncio.get_running_loop()
        end = loop.time() + _START
        while loop.time() < end:
            tasks = [one for one in await self._tasks(wire, container) if one.ID not in before]
            if any(_has_started(one) for one in tasks):
                return
            failure = next((one for one in tasks if _cannot_start(one)), None)
            if failure is not None:
                raise await self._start_failure(wire, container, failure, ends=not runs)
            await asyncio.sleep(_POLL)
        if not runs:
            await self._scale(wire, container, 0)
        raise failed("timeout", self.shown, f"it did not start within {_START:.3g} s", "see docker service ps")

    async def stop(self, container: str, grace: float | None = None) -> None:
        wire = await self._docker.wire()
        service = await self._service(wire, container)
        if service is None:
            return
        if service.replicas:
            await self._scale(wire, container, 0, grace)
        loop = asyncio.get_running_loop()
        end = loop.time() + _START
        while any(one.Status.State in ("running", "starting") for one in await self._tasks(wire, container)):
            if loop.time() > end:
                raise failed("timeout", self.shown, f"it did not end within {_START:.3g} s", "see docker service ps")
            await asyncio.sleep(_POLL)

    async def remove(self, container: str) -> None:
        wire = await self._docker.wire()
        service = await self._service(wire, container)
        if service is None:
            return
        labels = service.Spec.Labels or {}
        address, fleet = labels.get(ADDRESS_LABEL), labels.get(FLEET_LABEL)
        if address is not None and fleet is not None:  # before itself, by which the rest is found where a run is cut short
            await self._update(wire, container, _let_go)
            await self._forget_stored(wire, fleet, address)
        await wire.ask("DELETE", _of(container), within=_ACT, accept=(200, 404))

    async def rename(self, container: str, name: str) -> None:
        wire = await self._docker.wire()
        service = await self._required(wire, container)
        await self._check_name(wire, name, (service.Spec.Labels or {}).get(FLEET_LABEL, ""))
        await self._update(wire, container, lambda body: body["Labels"].update({NAME_LABEL: name}))

    async def copy_in(self, container: str, files: Sequence[ContainerFile]) -> None:
        raise failed("not_in_swarm", self.shown, "a swarm puts no files into a service that is there", "make it anew with its files")

    # -- what all of it needs

    async def _placed(self, wire: Wire) -> SwarmNode:
        """The node of the swarm that is the node of the inventory. Raises ContainerError `no_swarm`, `no_swarm_node`."""
        if self._swarm_node is None:
            answer = await wire.ask_any("GET", "/nodes", within=_LOOK, limit=LARGE)
            if answer.status != 200:
                raise failed("no_swarm", self.shown, answer.message, "name a manager of the swarm under docker.url (docker swarm init)")
            nodes = answer.read(NODES)
            names = {self._node.name, self._node.address}
            known = [one for one in nodes if names & {_hostname(one), (one.Status.Addr if one.Status is not None else None) or ""}]
            if not known and len(nodes) == 1:
                known = nodes
            if len(known) != 1:
                there = ", ".join(sorted(clean_text(_hostname(one)) for one in nodes))
                what = f"{len(known)} nodes of the swarm are called {self._node.name} or {self._node.address}; there are {there}"
                raise failed("no_swarm_node", self.shown, what, "set the host's address to the one in docker node ls")
            self._swarm_node = known[0]
        return self._swarm_node

    async def _is_manager(self, wire: Wire) -> bool:
        return (await self._docker.daemon(wire)).swarm_node == (await self._placed(wire)).ID

    def _refuse_what_swarm_cannot(self, spec: ContainerSpec) -> None:
        if spec.devices:
            what = f"{spec.address}: a swarm gives no device files ({', '.join(spec.devices)}) to services"
            raise failed("not_in_swarm", self.shown, what, "run it on Docker Engine itself: remove docker.swarm")
        if NO_NETWORK in spec.networks:
            what = f"{spec.address}: a swarm has no network `none`"
            raise failed("not_in_swarm", self.shown, what, "make an internal one: docker network create --driver overlay --internal NAME")
        one = next((port for port in spec.published if port.address not in ("0.0.0.0", "")), None)  # noqa: S104
        if one is not None:
            what = f"{spec.address}: a swarm publishes {one.host} on every address of the node, not on {one.address} alone"
            raise failed("not_in_swarm", self.shown, what, "write networks: [host], where the engine itself listens at the host's address")

    async def _check_name(self, wire: Wire, name: str, fleet: str) -> None:
        services = (await wire.ask("GET", "/services", within=_LOOK, limit=LARGE)).read(SERVICES)
        labels = [one.Spec.Labels or {} for one in services if name_of(one) == name]
        if any(one.get(FLEET_LABEL) != fleet or not self._is_elsewhere(one.get(ADDRESS_LABEL, "")) for one in labels):
            raise failed("name_taken", self.shown, f"the name {name} is taken by a service", "rename or remove it")

    async def _body(self, wire: Wire, spec: ContainerSpec, called: str, env: Mapping[str, str]) -> dict[str, Any]:
        node = await self._placed(wire)
        command = spec.command
        if spec.args and command is None and spec.entrypoint is None:
            image = await self._docker.image(wire, spec.image)
            if image is None:
                what = f"{spec.address}: args go after the image's own command, and the manager does not have {spec.image}"
                raise failed("no_such_image", self.shown, what, "write command, or pull the image there")
            command = tuple((image.Config.Cmd if image.Config is not None else None) or ())
        networks = await self._network_targets(wire, spec)
        return service_body(spec, env, command, networks, node, called)

    async def _networks(self, wire: Wire) -> Mapping[str, str]:
        """Names by id. What Swarm calls `host` has an id of its own, which no list has."""
        return {one.Id: one.Name for one in (await wire.ask("GET", "/networks", within=_LOOK)).read(NETWORKS)}

    async def _named_networks(self, wire: Wire, services: Collection[Service]) -> Mapping[str, str]:
        found = dict(await self._networks(wire))
        for service in services:
            for one in service.Spec.TaskTemplate.Networks or ():
                if one.Target and one.Target not in found:
                    answer = await wire.ask_any("GET", f"/networks/{quote(one.Target, safe='')}", within=_LOOK)
                    found[one.Target] = answer.read(NETWORK).Name if answer.status == 200 else one.Target
        return found

    async def _network_targets(self, wire: Wire, spec: ContainerSpec) -> Sequence[Body]:
        known = {name: key for key, name in (await self._networks(wire)).items()}
        for name in spec.networks:
            if name not in known:
                what = f"{spec.address}: there is no network {name}"
                raise failed("no_such_network", self.shown, what, f"make it with docker network create --driver overlay {name}")
        return [{"Target": known[name]} | ({"Aliases": [spec.name]} if name != HOST_NETWORK else {}) for name in spec.networks]

    async def _service(self, wire: Wire, container: str) -> Service | None:
        answer = await wire.ask("GET", _of(container), within=_LOOK, accept=(200, 404), raw=True)
        return answer.read(SERVICE) if answer.status == 200 else None

    async def _required(self, wire: Wire, container: str) -> Service:
        service = await self._service(wire, container)
        if service is None:
            raise failed("no_such_container", self.shown, f"there is no service {container}")
        return service

    async def _tasks(self, wire: Wire, container: str) -> list[Task]:
        filters = json.dumps({"service": [container]})
        answer = await wire.ask("GET", "/tasks", within=_LOOK, params={"filters": filters}, accept=(200, 404), limit=LARGE)
        return answer.read(TASKS) if answer.status == 200 else []

    async def _scale(self, wire: Wire, container: str, replicas: int, grace: float | None = None) -> None:
        def change(body: dict[str, Any]) -> None:
            body["Mode"] = {"Replicated": {"Replicas": replicas}}
            if grace is not None:
                body["TaskTemplate"]["ContainerSpec"]["StopGracePeriod"] = round(grace * _NANOS)

        await self._update(wire, container, change)

    async def _update(self, wire: Wire, container: str, change: Change) -> None:
        """Changes a service as it is now. Its whole specification is sent back, so it is read anew for each change."""
        answer = await wire.ask("GET", _of(container), within=_LOOK, accept=(200,), raw=True)
        found = json.loads(answer.body)
        body = found["Spec"]
        change(body)
        params = {"version": int(found["Version"]["Index"])}
        await wire.ask("POST", _of(container, "/update"), within=_ACT, params=params, body=body)

    async def _start_failure(self, wire: Wire, container: str, task: Task, *, ends: bool) -> ContainerError:
        """`ends`: it is to run no longer; what was to run before goes on waiting for its turn."""
        said = clean_text(task.Status.Err or task.Status.Message or task.Status.State)
        log = await self.logs(container)
        if ends:
            with suppress(ContainerError):
                await self._scale(wire, container, 0)
        code, hint = "start_failed", None
        low = said.lower()
        if "insufficient resources" in low:
            code, hint = "card_unavailable", "the node has no such card free in docker node inspect"
        elif "port" in low and "already in use" in low:
            code, hint = "port_taken", "end what listens there, or declare another port"
        return start_failure(self.shown, said, log, code, hint)

    # -- configs and secrets

    async def _stored(self, wire: Wire, spec: ContainerSpec) -> Body:
        """Makes the configs and secrets that a service's files are, where they are not there yet; what of its specification names them."""
        found: dict[str, list[Body]] = {"Configs": [], "Secrets": []}
        for one in spec.files:
            secret = isinstance(one.content, SecretRef)
            kind = "Secrets" if secret else "Configs"
            content = self._docker.secrets.contents((one,), spec.address)[one.path][0]
            name = stored_name(spec.address, one.path, content)
            key = await self._store(wire, kind.lower(), name, content, spec)
            word = "Secret" if secret else "Config"
            file = {"Name": one.path, "UID": "0", "GID": "0", "Mode": one.mode}
            found[kind].append({f"{word}ID": key, f"{word}Name": name, "File": file})
        return {kind: entries for kind, entries in found.items() if entries}

    async def _store(self, wire: Wire, kind: str, name: str, content: bytes, spec: ContainerSpec) -> str:
        filters = json.dumps({"name": [name]})
        there = (await wire.ask("GET", f"/{kind}", within=_LOOK, params={"filters": filters})).read(STORED)
        if there:
            return there[0].ID
        labels = {FLEET_LABEL: spec.fleet, ADDRESS_LABEL: spec.address}
        body = {"Name": name, "Labels": labels, "Data": base64.b64encode(content).decode()}
        return (await wire.ask("POST", f"/{kind}/create", within=_ACT, body=body)).read(CREATED_ID).ID

    async def _forget_stored(self, wire: Wire, fleet: str, address: str) -> None:
        """Removes the configs and secrets of an address; one that a service still has, such as what took its place, stays: Swarm refuses
        to remove it."""
        filters = json.dumps({"label": [f"{FLEET_LABEL}={fleet}", f"{ADDRESS_LABEL}={address}"]})
        for kind in ("configs", "secrets"):
            for one in (await wire.ask("GET", f"/{kind}", within=_LOOK, params={"filters": filters})).read(STORED):
                await wire.ask_any("DELETE", f"/{kind}/{quote(one.ID, safe='')}", within=_ACT)


def _let_go(body: dict[str, Any]) -> None:
    """Nothing runs of a service, and it has no config or secret any more: Swarm removes none that one has."""
    body["Mode"] = {"Replicated": {"Replicas": 0}}
    for kind in ("Configs", "Secrets"):
        body["TaskTemplate"]["ContainerSpec"].pop(kind, None)


def _has_started(task: Task) -> bool:
    """It runs, or ran: one that ended by itself was started."""
    ran = task.Status.ContainerStatus is not None and bool(task.Status.ContainerStatus.PID or task.Status.ContainerStatus.ExitCode)
    return task.Status.State in ("running", "complete") or (task.Status.State == "failed" and ran and "starting" not in _said(task))


def _cannot_start(task: Task) -> bool:
    return task.Status.State in FAILED or (task.Status.State == "pending" and "no suitable node" in _said(task))


def _said(task: Task) -> str:
    return f"{task.Status.Err or ''} {task.Status.Message or ''}"


def _of(container: str, what: str = "") -> str:
    return f"/services/{quote(container, safe='')}{what}"


def _ports(service: Service) -> frozenset[int]:
    endpoint = service.Spec.EndpointSpec
    return frozenset(one.PublishedPort for one in (endpoint.Ports if endpoint is not None else None) or () if one.PublishedPort)


def _hostname(node: SwarmNode) -> str:
    return (node.Description.Hostname if node.Description is not None else None) or ""
