"""A simulated Docker Engine: the routes of its API, and what they do to containers and images.

Its words and status codes are those of moby (daemon/, api/server/); it is held to a real one by the conformance suite for containers.
Containers have no file system beyond the files that were put into them, and no network of their own.
"""

from __future__ import annotations

import asyncio
import io
import itertools
import json
import re
import tarfile
from collections.abc import AsyncGenerator, Collection, Mapping

from reconciler.sim.clock import Clock
from reconciler.sim.docker.containers import Container, Json, as_mapping, default_host_config, merged_config
from reconciler.sim.docker.documents import framed, image, inspected, listed, wanted_by
from reconciler.sim.docker.images import Image, Library
from reconciler.sim.docker.processes import Processes, Refused
from reconciler.sim.faults import Faults
from reconciler.sim.faulty import struck
from reconciler.sim.http import LOOPBACK, HttpServer, Request, Response, json_response, ndjson_response
from reconciler.sim.requests import LoggedRequest, RequestLog

NEWEST_API, OLDEST_API = (1, 51), (1, 24)
_NAME = re.compile(r"/?[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_VERSIONED = re.compile(r"/v([0-9]{1,3})\.([0-9]{1,3})(/.*)")
_GRACE = 10.0
_PULL_STEPS = 4


class DockerDaemon:
    """One daemon. `cards` are the UUIDs of the cards that it can give to containers, by CDI too where `cdi`. Use it from the thread of its
    event loop: `open`, `aclose`; what tests do by hand they do over HTTP, as by hand one does."""

    def __init__(
        self,
        library: Library,
        clock: Clock,
        *,
        cards: Collection[str] = (),
        cdi: bool = False,
        pull_seconds: float = 0.0,
        version: str = "28.5.2",
        api: tuple[int, int] = NEWEST_API,
        order: itertools.count[int] | None = None,
    ) -> None:
        self.library = library
        self.clock = clock
        self.faults = Faults()
        self.version, self.api = version, api
        self._pull_seconds = pull_seconds
        self._processes = Processes(clock, cards, cdi=cdi)
        self._log = RequestLog(order if order is not None else itertools.count())
        self._http = HttpServer(self._receive)
        self._ids = itertools.count(1)
        self._socket = ""
        self._volumes: dict[str, Json] = {}

    # -- the process

    @property
    def port(self) -> int:
        return self._http.port

    @property
    def url(self) -> str:
        return f"tcp://{LOOPBACK}:{self.port}" if self.port else f"unix://{self._socket}"

    @property
    def requests(self) -> list[LoggedRequest]:
        """Every request so far, in the order of arrival; paths without their version."""
        return self._log.entries()

    def forget_requests(self) -> None:
        self._log.clear()

    @property
    def containers(self) -> list[Container]:
        return list(self._processes.containers.values())

    def open(self, at: int | str = 0) -> None:
        """Listens on a port of loopback (0: any) or on a socket file. Raises PortTaken."""
        self._socket = str(at)
        self._http.bind(at)
        self._http.open()

    def close(self) -> None:
        """The daemon is away: connections are refused, containers go on (live-restore). `reopen` brings it back."""
        self._http.close()

    def reopen(self) -> None:
        self._http.open()

    async def aclose(self) -> None:
        tasks = [task for one in self.containers for task in (one.task, one.watch) if task is not None]
        for one in self.containers:
            one.stopped_by_hand = True
            self._processes.end(one, 137)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._http.aclose()

    # -- requests

    async def _receive(self, request: Request) -> Response:
        match = _VERSIONED.fullmatch(request.path)
        path = match[3] if match is not None else request.path
        plain = Request(request.method, path, request.query, request.headers, request.body)
        self._log.add(plain)

        async def answer() -> Response:
            try:
                if match is not None:
                    self._check_version((int(match[1]), int(match[2])))
                return await self._answer(plain)
            except Refused as refused:
                return json_response({"message": refused.message}, refused.status)

        return await struck(self.faults, plain, answer, lambda status, text: json_response({"message": text}, status))

    def _check_version(self, asked: tuple[int, int]) -> None:
        word = ".".join(map(str, asked))
        if asked > self.api:
            raise Refused(400, f"client version {word} is too new. Maximum supported API version is {'.'.join(map(str, self.api))}")
        if asked < OLDEST_API:
            oldest = ".".join(map(str, OLDEST_API))
            raise Refused(400, f"client version {word} is too old. Minimum supported API version is {oldest}, please upgrade your client")

    async def _answer(self, request: Request) -> Response:
        parts = request.path.strip("/").split("/")
        match request.method, parts:
            case "GET", ["_ping"]:
                return Response(200, "text/plain; charset=utf-8", b"OK", (("Api-Version", ".".join(map(str, self.api))),))
            case "GET", ["version"]:
                oldest = ".".join(map(str, OLDEST_API))
                return json_response(
                    {"Version": self.version, "ApiVersion": ".".join(map(str, self.api)), "MinAPIVersion": oldest, "Os": "linux"}
                )
            case "GET", ["info"]:
                return json_response(self._info())
            case "GET", ["events"]:
                return ndjson_response(self._processes.events(_filters(request)))
            case "GET", ["containers", "json"]:
                return self._list(request)
            case "POST", ["containers", "create"]:
                return self._create(request)
            case "POST", ["images", "create"]:
                return self._pull(request)
            case "GET", ["volumes"]:
                asked = _filters(request).get("name")
                words = [str(one) for one in asked] if isinstance(asked, list) else [""]
                return json_response({"Volumes": [one for name, one in self._volumes.items() if any(word in name for word in words)]})
            case "POST", ["volumes", "create"]:
                return self._make_volume(request.document() or {})
            case "POST", ["networks", "create"]:
                name = str((request.document() or {}).get("Name") or "")
                self._processes.networks.add(name)
                return json_response({"Id": name, "Warning": ""}, 201)
            case "GET", ["networks", name]:
                if name not in self._processes.networks:
                    raise Refused(404, f"network {name} not found")
                return json_response({"Name": name, "Id": name, "Driver": "bridge"})
            case "POST", ["networks", name, "connect"]:
                return self._connect(name, request)
            case method, ["images", *name] if name:
                return self._image(method, "/".join(name), request)
            case method, ["containers", name, *rest]:
                return await self._container(method, self._find(name), "/".join(rest), request)
        raise Refused(404, "page not found")

    def _make_volume(self, asked: Json) -> Response:
        volume = {"Name": asked.get("Name"), "Driver": asked.get("Driver") or "local", "Options": asked.get("DriverOpts")}
        self._volumes[str(volume["Name"])] = volume
        return json_response(volume, 201)

    def _info(self) -> Json:
        devices = [{"Source": "cdi", "ID": f"nvidia.com/gpu={card}"} for card in self._processes.cards] if self._processes.cdi else []
        return {
            "ID": "simulated",
            "ServerVersion": self.version,
            "Containers": len(self._processes.containers),
            "Runtimes": {"runc": {"path": "runc"}} | ({"nvidia": {"path": "nvidia-container-runtime"}} if self._processes.cards else {}),
            "DefaultRuntime": "runc",
            "SecurityOptions": ["name=seccomp,profile=builtin"],
            "Swarm": {"NodeID": "", "LocalNodeState": "inactive"},
            "OperatingSystem": "simulated",
            "CDISpecDirs": ["/etc/cdi", "/var/run/cdi"],
        } | ({"DiscoveredDevices": devices} if self._processes.cdi else {})

    def _list(self, request: Request) -> Response:
        everything = request.query.get("all") in ("1", "true", "True")
        filters = _filters(request)
        found = [one for one in self.containers if (everything or one.is_live or filters.get("status")) and wanted_by(filters, one)]
        return json_response([listed(one) for one in reversed(found)])

    def _find(self, name: str) -> Container:
        found = self._processes.containers.get(name) or next((one for one in self.containers if one.name == name), None)
        if found is None and len(name) >= 4:
            found = next((one for key, one in self._processes.containers.items() if key.startswith(name)), None)
        if found is None:
            raise Refused(404, f"No such container: {name}")
        return found

    def _free_name(self, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise Refused(400, f"Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
        name = name.removeprefix("/")
        holder = next((one for one in self.containers if one.name == name), None)
        if holder is not None:
            raise Refused(
                409,
                f'Conflict. The container name "/{name}" is already in use by container "{holder.id}". '
                "You have to remove (or rename) that container to be able to reuse that name.",
            )
        return name

    def _create(self, request: Request) -> Response:
        asked = request.document()
        if asked is None:
            raise Refused(400, "invalid JSON: the body is no object")
        name = str(asked.get("Image") or "")
        found = self.library.find(name) if name else None
        if found is None:
            raise Refused(404, f"No such image: {name if '@' in name or ':' in name.rpartition('/')[2] else name + ':latest'}")
        number = next(self._ids)
        own_name = self._free_name(request.query.get("name") or f"simulated_{number}")
        host = default_host_config(as_mapping(asked.get("HostConfig")))
        mode = str(host["NetworkMode"])
        container = Container(
            f"{number:064x}",
            own_name,
            found,
            merged_config(asked, found),
            host,
            ["bridge" if mode == "default" else mode],
            self.clock.now(),
        )
        self._processes.containers[container.id] = container
        self._processes.tell(container, "create")
        return json_response({"Id": container.id, "Warnings": []}, 201)

    def _connect(self, network: str, request: Request) -> Response:
        if network not in self._processes.networks:
            raise Refused(404, f"network {network} not found")
        container = self._find(str((request.document() or {}).get("Container") or ""))
        container.networks = [*container.networks, network]
        return Response(200)

    async def _container(self, method: str, container: Container, what: str, request: Request) -> Response:
        query = request.query
        match method, what:
            case "GET", "json":
                return json_response(inspected(container))
            case "GET", "logs":
                return self._logs(container, query)
            case "POST", "start":
                if container.is_live:
                    return Response(304)
                container.stopped_by_hand = False
                self._processes.start(container)
                return Response(204)
            case "POST", "stop":
                if not container.is_live:
                    return Response(304)
                grace = query.get("t") or container.config.get("StopTimeout")
                await self._processes.stop(container, float(str(grace)) if grace is not None else _GRACE)
                return Response(204)
            case "POST", "restart":
                await self._processes.stop(container, float(query.get("t") or _GRACE))
                container.stopped_by_hand = False
                self._processes.start(container)
                return Response(204)
            case "POST", "kill":
                if not container.is_live:
                    raise Refused(409, f"Cannot kill container: {container.id}: Container {container.id} is not running")
                if query.get("signal", "SIGKILL") in ("SIGKILL", "KILL", "9") or container.running is not None:
                    container.stopped_by_hand = True
                    self._processes.end(container, 137)
                return Response(204)
            case "POST", "rename":
                try:
                    container.name = self._free_name(query.get("name") or "")
                except Refused as refused:
                    raise Refused(refused.status, f"Error when allocating new name: {refused.message}") from None
                return Response(204)
            case "POST", "wait":
                return await self._wait(container, query.get("condition") or "not-running")
            case "POST", "update":
                container.host.update({key: value for key, value in (request.document() or {}).items() if value is not None})
                return json_response({"Warnings": []})
            case "PUT", "archive":
                return self._put(container, request)
            case "DELETE", "":
                return self._remove(container, force=query.get("force") in ("1", "true", "True"))
        raise Refused(404, "page not found")

    async def _wait(self, container: Container, condition: str) -> Response:
        while container.is_live if condition == "not-running" else container.id in self._processes.containers:
            await container.changed.wait()
        return json_response({"StatusCode": container.exit_code, "Error": None})

    def _remove(self, container: Container, *, force: bool) -> Response:
        if container.is_live:
            if not force:
                what = f"You cannot remove a running container {container.id}. "
                raise Refused(409, what + "Stop the container before attempting removal or force remove")
            container.stopped_by_hand = True
            self._processes.end(container, 137)
        del self._processes.containers[container.id]
        self._processes.tell(container, "destroy")
        return Response(204)

    def _put(self, container: Container, request: Request) -> Response:
        try:
            with tarfile.open(fileobj=io.BytesIO(request.body)) as tar:
                for entry in tar:
                    content = tar.extractfile(entry) if entry.isfile() else None
                    if content is not None:
                        container.files[f"{request.query.get('path', '/').rstrip('/')}/{entry.name.lstrip('/')}"] = content.read()
        except tarfile.TarError as error:
            raise Refused(400, f"cannot read the archive: {error}") from None
        return Response(200)

    def _logs(self, container: Container, query: Mapping[str, str]) -> Response:
        wanted = {stream for stream, name in ((1, "stdout"), (2, "stderr")) if query.get(name) in ("1", "true", "True")}
        if not wanted:
            raise Refused(400, "Bad parameters: you must choose at least one stream")
        lines = [one for one in container.log if one[0] in wanted]
        tail = query.get("tail", "all")
        if tail.isdigit():
            lines = lines[len(lines) - min(len(lines), int(tail)) :]
        return Response(200, "application/vnd.docker.multiplexed-stream", framed(lines))

    # -- images

    def _image(self, method: str, name: str, request: Request) -> Response:
        if method == "GET" and name.endswith("/json"):
            found = self.library.find(name.removesuffix("/json"))
            if found is None:
                raise Refused(404, f"No such image: {name.removesuffix('/json')}")
            return json_response(image(found, self.library))
        if method == "POST" and name.endswith("/tag"):
            source = name.removesuffix("/tag")
            if not self.library.tag(source, f"{request.query.get('repo', '')}:{request.query.get('tag') or 'latest'}"):
                raise Refused(404, f"No such image: {source}")
            return Response(201)
        raise Refused(404, "page not found")

    def _pull(self, request: Request) -> Response:
        name, tag = request.query.get("fromImage", ""), request.query.get("tag", "latest")
        spelled = f"{name}@{tag}" if tag.startswith("sha256:") else f"{name}:{tag}"
        found = self.library.in_registry(spelled)
        if found is None:
            raise Refused(404, f"manifest for {spelled} not found: manifest unknown: manifest unknown")
        return ndjson_response(self._pulled(found, spelled, name, tag))

    async def _pulled(self, found: Image, spelled: str, name: str, tag: str) -> AsyncGenerator[object, None]:
        yield {"status": f"Pulling from {name}", "id": tag}
        for number, size in enumerate(found.layers):
            layer = f"{found.id.removeprefix('sha256:')[:10]}{number:02d}"
            yield {"status": "Pulling fs layer", "progressDetail": {}, "id": layer}
            for step in range(1, _PULL_STEPS + 1):
                await self.clock.sleep(self._pull_seconds / _PULL_STEPS / len(found.layers))
                yield {"status": "Downloading", "progressDetail": {"current": size * step // _PULL_STEPS, "total": size}, "id": layer}
                fault = self.faults.strike_model(("fail_pull",), (found.name,))
                if fault is not None:
                    text = fault.text or "unexpected EOF"
                    yield {"errorDetail": {"message": text}, "error": text}
                    return
            yield {"status": "Pull complete", "progressDetail": {}, "id": layer}
        self.library.add(found, spelled)
        yield {"status": f"Digest: {found.digest}"}
        yield {"status": f"Status: Downloaded newer image for {spelled}"}


def _filters(request: Request) -> Mapping[str, object]:
    text = request.query.get("filters")
    if not text:
        return {}
    try:
        return as_mapping(json.loads(text))
    except ValueError:
        raise Refused(400, "invalid filter") from None
