"""A Docker Engine as a host of containers, by the Docker Engine API 1.40 to 1.51; what a daemon answers comes in by `answers`."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncGenerator, Awaitable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import Protocol
from urllib.parse import quote
from weakref import WeakValueDictionary

from reconciler.containers.answers import bears_labels_of, names_of, owner_of, read_container, read_daemon, same_secrets, stranger
from reconciler.containers.leading import leads_of
from reconciler.containers.making import archive, create_body, version_of
from reconciler.containers.output import last_lines
from reconciler.containers.protocol import LAST_LINES, ContainerError
from reconciler.containers.pulls import PullReader, pull_failure
from reconciler.containers.sent_secrets import SentSecrets
from reconciler.containers.shapes import (
    CREATED,
    IMAGE,
    INFO,
    INSPECTED,
    LISTED,
    VERSION,
    ImageAnswer,
    Inspected,
    Listed,
)
from reconciler.containers.wire import LARGE, DaemonAnswer, Params, Wire, failed, refusal
from reconciler.engines.foreign_text import clean_text
from reconciler.engines.keys import Keys
from reconciler.engines.last_net import caught
from reconciler.engines.protocol import PullProgress
from reconciler.fleet import (
    ADDRESS_LABEL,
    HOST_NETWORK,
    MIB,
    NO_NETWORK,
    ContainerFacts,
    ContainerFile,
    ContainersLookedFor,
    ContainerSpec,
    DaemonFacts,
    EngineError,
    NodeContainers,
    Owner,
    RegistryLogin,
    WatchedEnv,
    full_image,
    registry_of,
)

NEWEST_API, OLDEST_API = (1, 51), (1, 40)
_LOOK, _ACT = 10.0, 60.0
"""Seconds that a question, and a change, may take."""
_LONGEST_GRACE = 600.0
_AT_ONCE, _AT_WORK = 4, 32
"""Containers that are looked into at one time, of one daemon and of all: more connections make a daemon slower, and what waits for this
process itself would run out of its time."""
_LOOKS: WeakValueDictionary[int, asyncio.Semaphore] = WeakValueDictionary()
"""What all looks of one loop that are under way share, by the loop."""
_MOST_LOG = 1 * MIB
_EVENTS = ("start", "die", "health_status", "oom", "destroy")
_NOTHING_WATCHED = WatchedEnv()


class DaemonWay(Protocol):
    """How a daemon is reached."""

    @property
    def shown(self) -> str: ...

    async def open(self) -> Wire:
        """The connection, made or made again where it has ended. Raises ContainerError."""
        ...

    async def ends_of(self, paths: Sequence[str]) -> Mapping[str, str]:
        """Where paths of its node end when all links are followed, as far as anybody can tell. Raises CannotTell."""
        ...

    async def aclose(self) -> None: ...


class DockerHost:
    """One daemon. `environ` is where `env:` secrets are read (the process's by default); `keys` learns every secret that is sent, so that
    no log and no message brings one back. A pull ends where it gets nowhere for `pull_stall` seconds."""

    def __init__(
        self,
        way: DaemonWay,
        keys: Keys,
        *,
        logins: Sequence[RegistryLogin] = (),
        environ: Mapping[str, str] | None = None,
        pull_stall: float = 300.0,
    ) -> None:
        self._way = way
        self.secrets = SentSecrets(keys, environ)
        self._logins = {one.registry: one for one in logins}
        self._pull_stall = pull_stall
        self._opening = asyncio.Lock()
        self._prefix = ""
        self._daemon: DaemonFacts | None = None

    @property
    def shown(self) -> str:
        return self._way.shown

    async def aclose(self) -> None:
        await self._way.aclose()

    # -- looking

    async def observe(self, wanted: ContainersLookedFor) -> NodeContainers:
        return await looked(self._observed(wanted), self.shown)

    async def _observed(self, wanted: ContainersLookedFor) -> NodeContainers:
        wire = await self.wire()
        daemon = await self.daemon(wire)
        listed = (await wire.ask("GET", "/containers/json", within=_LOOK, params={"all": "true"}, limit=LARGE)).read(LISTED)
        found = await _Look(self, wire, wanted).of(listed)
        leads = await leads_of(wire, wanted.sources, self._way.ends_of, _LOOK)
        return NodeContainers(tuple(sorted(found, key=lambda one: (one.name, one.id))), daemon, leads=leads)

    async def inspect(self, container: str, watched: WatchedEnv, fleet: str) -> ContainerFacts | None:
        wire = await self.wire()
        return await _Look(self, wire, ContainersLookedFor(fleet)).one(container, watched)

    async def has_image(self, image: str) -> bool:
        return await self.image(await self.wire(), image) is not None

    async def image(self, wire: Wire, image: str) -> ImageAnswer | None:
        """What an image's name, or its id, means to the daemon; None where it has none."""
        answer = await wire.ask("GET", f"/images/{quote(image, safe='/:@')}/json", within=_LOOK, accept=(200, 404))
        return answer.read(IMAGE) if answer.status == 200 else None

    async def logs(self, container: str, lines: int = LAST_LINES) -> tuple[str, ...]:
        params: Params = {"stdout": "true", "stderr": "true", "tail": lines}
        wire = await self.wire()
        answer = await wire.ask_any("GET", _of(container, "/logs"), within=_LOOK, params=params, limit=_MOST_LOG, cut=True)
        return last_lines(answer.body, lines) if answer.status == 200 else ()

    async def changed(self, container: str, within: float) -> None:
        filters = json.dumps({"container": [container], "event": list(_EVENTS), "type": ["container"]})
        wire = await self.wire()
        with suppress(TimeoutError):
            async with (
                asyncio.timeout(within),
                aclosing(wire.lines("GET", "/events", params={"filters": filters}, stall=within + 1)) as seen,
            ):
                await anext(seen, None)

    # -- images

    async def pull(self, image: str) -> AsyncGenerator[PullProgress, None]:
        name = full_image(image)
        repository, at, digest = name.partition("@")
        if not at:
            repository, _, digest = name.rpartition(":")
        wire = await self.wire()
        reader = PullReader(image, self.shown)
        params = {"fromImage": repository, "tag": digest}
        try:
            lines = wire.lines(
                "POST", "/images/create", params=params, stall=self._pull_stall, headers=self.login(name), goes_on=reader.take
            )
            async with aclosing(lines):
                async for _ in lines:
                    yield reader.progress
        except ContainerError as error:
            if error.code == "daemon_error":
                raise pull_failure(image, error.problems[0].what, self.shown) from None
            raise
        if await self.image(wire, image) is None:
            raise failed("pull_failed", self.shown, f"{image} is not there though its pull ended without an error")

    def login(self, image: str) -> Mapping[str, str]:
        registry = registry_of(image)
        login = self._logins.get(registry)
        if login is None:
            return {}
        password = self.secrets.of(login.password, f"the registry {registry}")
        server = "https://index.docker.io/v1/" if registry == "docker.io" else registry
        document = json.dumps({"username": login.user, "password": password, "serveraddress": server})
        return {"X-Registry-Auth": base64.urlsafe_b64encode(document.encode()).decode()}

    # -- acting

    async def create(self, spec: ContainerSpec, name: str | None = None) -> str:
        wire = await self.wire()
        env, files = self.secrets.env(spec), self.secrets.contents(spec.files, spec.address)
        image = await self.image(wire, spec.image)
        if image is None:
            raise failed("no_such_image", self.shown, f"{spec.address}: there is no image {spec.image}", "pull it, or set pull: missing")
        if bears_labels_of(image, spec.all_labels):
            what = f"{spec.address}: the image {spec.image} has the labels of this very container"
            raise failed("not_ours", self.shown, what, "commit it under another tag, and name that one as the image")
        for network in spec.networks:
            answer = await wire.ask("GET", f"/networks/{quote(network, safe='')}", within=_LOOK, accept=(200, 404))
            if answer.status == 404 and network not in (HOST_NETWORK, NO_NETWORK):
                what = f"{spec.address}: there is no network {network}"
                raise failed("no_such_network", self.shown, what, f"make it with docker network create {network}")
        body = create_body(spec, env, (image.Config.Cmd if image.Config is not None else None) or (), await self.daemon(wire))
        answer = await wire.ask_any("POST", "/containers/create", within=_ACT, params={"name": name or spec.name}, body=body)
        if answer.status != 201:
            raise _create_refusal(answer, spec, name or spec.name)
        made = answer.read(CREATED).Id
        try:
            for network in spec.networks[1:]:
                await wire.ask("POST", f"/networks/{quote(network, safe='')}/connect", within=_ACT, body={"Container": made})
            await self._put(wire, made, files)
        except BaseException:
            with suppress(ContainerError):
                await self.remove(made)
            raise
        return made

    async def start(self, container: str) -> None:
        wire = await self.wire()
        answer = await wire.ask_any("POST", _of(container, "/start"), within=_ACT)
        if answer.status not in (204, 304):
            raise _start_refusal(answer, await self._log_of_failure(container))

    async def stop(self, container: str, grace: float | None = None) -> None:
        wire = await self.wire()
        params = {} if grace is None else {"t": round(grace)}
        within = (grace if grace is not None else _LONGEST_GRACE) + _ACT
        await wire.ask("POST", _of(container, "/stop"), within=within, params=params, accept=(204, 304, 404))

    async def remove(self, container: str) -> None:
        wire = await self.wire()
        params = {"force": "true", "v": "true"}
        answer = await wire.ask("DELETE", _of(container), within=_ACT, params=params, accept=(204, 404, 409))
        if answer.status == 409:
            await wire.ask("POST", _of(container, "/wait"), within=_ACT, params={"condition": "removed"}, accept=(200, 404))

    async def rename(self, container: str, name: str) -> None:
        wire = await self.wire()
        answer = await wire.ask_any("POST", _of(container, "/rename"), within=_ACT, params={"name": name})
        if answer.status == 409:
            raise refusal(answer, "name_taken", "rename or remove the container that has the name")
        if answer.status != 204:
            raise refusal(answer, "no_such_container" if answer.status == 404 else "daemon_error")

    async def copy_in(self, container: str, files: Sequence[ContainerFile]) -> None:
        await self._put(await self.wire(), container, self.secrets.contents(files, container[:12]))

    async def _put(self, wire: Wire, container: str, files: Mapping[str, tuple[bytes, int]]) -> None:
        if files:
            content = archive(files)
            await wire.ask("PUT", _of(container, "/archive"), within=_ACT, params={"path": "/"}, content=content, accept=(200,))

    # -- what all of it needs

    async def wire(self) -> Wire:
        async with self._opening:
            wire = await self._way.open()
            if not self._prefix:
                self._prefix = await self._negotiated(wire)
            wire.prefix = self._prefix
            return wire

    async def _negotiated(self, wire: Wire) -> str:
        told = (await wire.ask("GET", "/version", within=_LOOK)).read(VERSION)
        newest, oldest = version_of(told.ApiVersion or ""), version_of(told.MinAPIVersion or "")
        api = min(NEWEST_API, newest)
        if api < OLDEST_API:
            what = f"its API is {told.ApiVersion and clean_text(told.ApiVersion)}, gpurec needs {_dotted(OLDEST_API)}"
            raise failed("too_old", self.shown, what, "upgrade Docker Engine to 19.03 or later")
        if api < oldest:
            raise failed(
                "too_new", self.shown, f"its API begins with {_dotted(oldest)}, gpurec knows {_dotted(NEWEST_API)}", "upgrade gpurec"
            )
        return f"/v{_dotted(api)}"

    async def daemon(self, wire: Wire) -> DaemonFacts:
        if self._daemon is None:
            info = (await wire.ask("GET", "/info", within=_LOOK)).read(INFO)
            self._daemon = read_daemon(info, wire.prefix.removeprefix("/v"))
        return self._daemon

    async def _log_of_failure(self, container: str) -> tuple[str, ...]:
        try:
            return await self.logs(container)
        except ContainerError:
            return ()


async def looked(looking: Awaitable[NodeContainers], shown: str) -> NodeContainers:
    """What a look at a daemon tells; where it is away or talks nonsense, why its containers are unknown."""

    def unknown(error: ContainerError | EngineError) -> NodeContainers:
        return NodeContainers(None, None, error.problems[0].sentence(), error.code)

    async def told() -> NodeContainers:
        try:
            return await looking
        except ContainerError as error:
            return unknown(error)

    return await caught(told(), shown, unknown)


class _Look:
    """One look at a daemon: what images mean is asked once."""

    def __init__(self, host: DockerHost, wire: Wire, wanted: ContainersLookedFor) -> None:
        self._host, self._wire, self._wanted = host, wire, wanted
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._all_slots = _LOOKS.setdefault(id(asyncio.get_running_loop()), asyncio.Semaphore(_AT_WORK))
        self._images: dict[str, asyncio.Future[ImageAnswer | None]] = {}

    async def of(self, listed: Sequence[Listed]) -> list[ContainerFacts]:
        wanted = self._wanted
        adopted = {one.Id: by for one in listed if (by := self._adopted(one)) is not None}
        ours = {one.Id: one for one in listed if owner_of(one.Labels, wanted.fleet)[0] is Owner.OURS and one.Id not in adopted}
        others = [stranger(one, wanted.fleet) for one in listed if one.Id not in adopted and one.Id not in ours and self._in_the_way(one)]
        try:
            async with asyncio.TaskGroup() as group:
                looks = [group.create_task(self._listed(one)) for one in ours.values()]
                taken = [group.create_task(self._taken_over(one, *by)) for one, by in adopted.items()]
        except* ContainerError as errors:
            raise _first(errors) from None
        found = [one for look in (*looks, *taken) if (one := look.result()) is not None]
        others += [
            replace(stranger(ours[one.id], wanted.fleet), owner=one.owner, whose=one.whose)
            for one in found
            if one.owner is not Owner.OURS and self._in_the_way(ours[one.id])
        ]
        return [*others, *(one for one in found if one.owner is Owner.OURS)]

    def _adopted(self, one: Listed) -> tuple[str, str] | None:
        """The address that it counts as ours with, and by what: its name or id where it is nobody's by its labels, else their address."""
        adopted = self._wanted.adopted
        owner = owner_of(one.Labels, self._wanted.fleet)[0] if adopted else Owner.OTHER_FLEET
        if owner is Owner.OURS:
            label = (one.Labels or {}).get(ADDRESS_LABEL, "")
            return (adopted[label], label) if label in adopted else None
        if owner is Owner.FOREIGN:
            return next(((adopted[name], one.Id) for name in (one.Id, *names_of(one)) if name in adopted), None)
        return None

    async def _taken_over(self, container: str, address: str, by: str) -> ContainerFacts | None:
        found = await self.one(container, self._wanted.env.get(address, _NOTHING_WATCHED))
        return replace(found, owner=Owner.OURS, address=address, adopted=by) if found is not None else None

    def _in_the_way(self, one: Listed) -> bool:
        wanted = self._wanted
        if wanted.on_host and one.HostConfig is not None and one.HostConfig.NetworkMode == HOST_NETWORK:
            return True
        ports = {port.PublicPort for port in one.Ports or ()}
        return not wanted.names.isdisjoint(names_of(one)) or not wanted.ports.isdisjoint(port for port in ports if port is not None)

    async def _listed(self, one: Listed) -> ContainerFacts | None:
        return await self.one(one.Id, self._wanted.env.get((one.Labels or {}).get(ADDRESS_LABEL, ""), _NOTHING_WATCHED))

    async def one(self, container: str, watched: WatchedEnv) -> ContainerFacts | None:
        host = self._host
        secrets = host.secrets.known(watched.secrets, container[:12])
        async with self._slots, self._all_slots:
            answer = await self._wire.ask("GET", _of(container, "/json"), within=_LOOK, accept=(200, 404), raw=True)
            if answer.status == 404:
                return None
            same = same_secrets(answer.read(INSPECTED), secrets)
            seen = host.secrets.cleaned(answer).read(INSPECTED)
            image, now = await self._images_of(seen)
        return read_container(seen, self._wanted.fleet, watched.values, same, image, now)

    async def _images_of(self, seen: Inspected) -> tuple[ImageAnswer | None, str | None]:
        """The image that it was made of, and the id of what its name means now."""
        now = await self._image(seen.Config.Image) if seen.Config.Image else None
        if now is not None and now.Id == seen.Image:
            return now, now.Id
        return (await self._image(seen.Image) if seen.Image else None), now.Id if now is not None else None

    async def _image(self, name: str) -> ImageAnswer | None:
        future = self._images.get(name)
        if future is None:
            future = self._images[name] = asyncio.ensure_future(self._host.image(self._wire, name))
        return await future


def _of(container: str, what: str = "") -> str:
    return f"/containers/{quote(container, safe='')}{what}"


def _first(errors: BaseExceptionGroup[ContainerError]) -> ContainerError:
    first = errors.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


def _create_refusal(answer: DaemonAnswer, spec: ContainerSpec, name: str) -> ContainerError:
    if answer.status == 409:
        what = f"{spec.address}: the name {name} is taken: {answer.message}"
        return failed("name_taken", answer.shown, what, "rename or remove the container that has it")
    if answer.status == 404 and "image" in answer.message.lower():
        return failed("no_such_image", answer.shown, f"{spec.address}: {answer.message}", "pull it, or set pull: missing")
    return failed("cannot_create", answer.shown, f"{spec.address}: {answer.message}")


_CARD_SIGNS = ("could not select device driver", "cdi device injection failed", "nvidia-container-cli", "unknown device", "device error")
_PORT_SIGNS = ("port is already allocated", "address already in use", "failed to bind")


def _start_refusal(answer: DaemonAnswer, log: Sequence[str]) -> ContainerError:
    said, low = answer.message, answer.message.lower()
    code, hint = "start_failed", None
    if answer.status == 404:
        code = "no_such_container" if "no such container" in low else "start_failed"
    elif any(sign in low for sign in _CARD_SIGNS):
        code, hint = "card_unavailable", "install nvidia-container-toolkit on the node, and check that it has this card (nvidia-smi -L)"
    elif any(sign in low for sign in _PORT_SIGNS):
        code, hint = "port_taken", "end what listens there, or declare another port"
    return start_failure(answer.shown, said, log, code, hint)


def start_failure(shown: str, said: str, log: Sequence[str], code: str = "start_failed", hint: str | None = None) -> ContainerError:
    """A start that failed, with the last lines of what the container wrote."""
    wrote = "; it wrote:\n  " + "\n  ".join(log) if log else ""
    error = failed(code, shown, f"{said}{wrote}", hint)
    return ContainerError(error.problems[0], code, log)
