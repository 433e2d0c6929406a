"""A daemon of containers in memory, with the rules of a real one that gpurec relies on: names and ports are had once, what is started may
fail, labels say whose it is. It keeps what was asked of it, so that a test can say what was sent."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from reconciler.containers import LAST_LINES, ContainerError
from reconciler.engines.protocol import PullProgress
from reconciler.fleet import (
    ADDRESS_LABEL,
    FLEET_LABEL,
    SPEC_LABEL,
    ContainerFacts,
    ContainerFile,
    ContainersLookedFor,
    ContainerSpec,
    ContainerState,
    DaemonFacts,
    NodeContainers,
    Owner,
    Problem,
    SecretRef,
    WatchedEnv,
)

Heard = Callable[["Made"], None]


@dataclass(slots=True)
class Made:
    """A container. `log` is what it wrote; `dies` that its program ends at once when it is started."""

    id: str
    name: str
    spec: ContainerSpec
    state: ContainerState = ContainerState.CREATED
    labels: Mapping[str, str] = field(default_factory=dict)
    exit_code: int | None = None
    log: tuple[str, ...] = ()
    image_id: str = "sha256:" + "0" * 64


class MemoryDaemon:
    """`started` and `ended` hear of containers that begin and end to run. `broken` maps an image to the last lines of a program that ends
    at once; `refused_cards` cannot be given to any; `away` is why the daemon cannot be reached; `cut` ends a run right after a request of
    that name (see `Cut`)."""

    def __init__(self, images: Sequence[str] = (), started: Heard | None = None, ended: Heard | None = None) -> None:
        self.images = set(images)
        self.registry: set[str] = set()
        self.containers: dict[str, Made] = {}
        self.broken: dict[str, tuple[str, ...]] = {}
        self.refused_cards: set[str] = set()
        self.away: str | None = None
        self.cut: str | None = None
        self.requests: list[str] = []
        self.started = started or (lambda made: None)
        self.ended = ended or (lambda made: None)
        self._ids = itertools.count(1)

    def named(self, name: str) -> Made:
        return next(one for one in self.containers.values() if one.name == name)

    @property
    def names(self) -> list[str]:
        return sorted(one.name for one in self.containers.values())

    @property
    def changes(self) -> list[str]:
        """What was asked of it that changes something."""
        return [one for one in self.requests if not one.startswith(("observe", "inspect", "logs"))]

    def add_stranger(self, spec: ContainerSpec, labels: Mapping[str, str] | None = None) -> Made:
        """A container that gpurec did not make."""
        made = Made(f"s{next(self._ids)}", spec.name, spec, ContainerState.RUNNING, labels or {})
        self.containers[made.id] = made
        return made

    def end(self, name: str, exit_code: int = 137) -> None:
        """Its program ends."""
        made = self.named(name)
        made.state, made.exit_code = ContainerState.EXITED, exit_code
        self.ended(made)


class Cut(BaseException):
    """The run was killed here."""


class MemoryHost:
    """The daemon as one run reaches it."""

    def __init__(self, daemon: MemoryDaemon, shown: str = "box (memory)") -> None:
        self.daemon, self.shown = daemon, shown

    async def observe(self, wanted: ContainersLookedFor) -> NodeContainers:
        self._note("observe")
        if self.daemon.away is not None:
            return NodeContainers(None, None, self.daemon.away, "unreachable")
        found = []
        for made in self.daemon.containers.values():
            facts = self._facts(made, wanted.env.get(made.labels.get(ADDRESS_LABEL, ""), WatchedEnv()), wanted.fleet)
            near = made.name in wanted.names or any(port.host in wanted.ports for port in facts.ports)
            if facts.owner is Owner.OURS or near:
                found.append(facts)
        return NodeContainers(tuple(found), DaemonFacts("28.5.2", "1.51"))

    async def inspect(self, container: str, watched: WatchedEnv, fleet: str) -> ContainerFacts | None:
        self._note("inspect")
        made = self.daemon.containers.get(container)
        return self._facts(made, watched, fleet) if made is not None else None

    async def has_image(self, image: str) -> bool:
        return image in self.daemon.images

    async def pull(self, image: str) -> AsyncIterator[PullProgress]:
        self._note(f"pull {image}")
        if image not in self.daemon.registry:
            raise self._error(f"there is no image {image}", "no_such_image")
        self.daemon.images.add(image)
        yield PullProgress("pulled", 1, 1)

    async def create(self, spec: ContainerSpec, name: str | None = None) -> str:
        name = name or spec.name
        self._note(f"create {name}")
        if spec.image not in self.daemon.images:
            raise self._error(f"there is no image {spec.image}", "no_such_image")
        self._free(name)
        labels = {**spec.labels, FLEET_LABEL: spec.fleet, ADDRESS_LABEL: spec.address, SPEC_LABEL: spec.hash}
        made = Made(f"c{next(self.daemon._ids)}", name, replace(spec, files=()), labels=labels)
        self.daemon.containers[made.id] = made
        self._cut("create")  # its files are put into it by a request of their own
        made.spec = spec
        return made.id

    async def start(self, container: str) -> None:
        made = self._made(container)
        self._note(f"start {made.name}")
        if made.state is ContainerState.RUNNING:
            return
        mine = {(port.host, port.protocol) for port in made.spec.published}
        for other in self.daemon.containers.values():
            if other is not made and other.state is ContainerState.RUNNING and mine & {(p.host, p.protocol) for p in other.spec.published}:
                raise self._error(f"port is already allocated to {other.name}", "port_taken")
        if refused := self.daemon.refused_cards & {*made.spec.cards}:
            raise self._error(f"the daemon cannot give it card {min(refused)}", "card_unavailable")
        if (log := self.daemon.broken.get(made.spec.image)) is not None:
            made.state, made.exit_code, made.log = ContainerState.EXITED, 1, log
            return
        made.state = ContainerState.RUNNING
        self.daemon.started(made)
        self._cut("start")

    async def stop(self, container: str, grace: float | None = None) -> None:
        made = self.daemon.containers.get(container)
        if made is None or made.state is not ContainerState.RUNNING:
            return
        self._note(f"stop {made.name}")
        made.state, made.exit_code = ContainerState.EXITED, 0
        self.daemon.ended(made)
        self._cut("stop")

    async def remove(self, container: str) -> None:
        made = self.daemon.containers.pop(container, None)
        if made is None:
            return
        self._note(f"remove {made.name}")
        if made.state is ContainerState.RUNNING:
            self.daemon.ended(made)
        self._cut("remove")

    async def rename(self, container: str, name: str) -> None:
        made = self._made(container)
        self._note(f"rename {made.name} {name}")
        if made.name != name:
            self._free(name)
        made.name = name
        self._cut("rename")

    async def copy_in(self, container: str, files: Sequence[ContainerFile]) -> None:
        made = self._made(container)
        self._note(f"copy {made.name}")
        made.spec = replace(made.spec, files=tuple(files))

    async def logs(self, container: str, lines: int = LAST_LINES) -> tuple[str, ...]:
        return self._made(container).log[-lines:]

    async def changed(self, container: str, within: float) -> None:
        """Nothing happens here by itself."""

    async def aclose(self) -> None:
        """Nothing is open."""

    def _facts(self, made: Made, watched: WatchedEnv, fleet: str) -> ContainerFacts:
        of = made.labels.get(FLEET_LABEL)
        owner = Owner.OURS if of == fleet else Owner.OTHER_FLEET if of is not None else Owner.FOREIGN
        spec = made.spec
        ports = spec.published if made.state is ContainerState.RUNNING or owner is Owner.OURS else ()
        if owner is not Owner.OURS:
            whose = f"fleet {of!r}" if of is not None else "somebody else"
            return ContainerFacts(made.id, made.name, spec.image, made.state, owner, whose, ports)
        plain = {name: value for name, value in spec.env.items() if not isinstance(value, SecretRef)}
        image_command = ("serve",)
        return ContainerFacts(
            made.id,
            made.name,
            spec.image,
            made.state,
            owner,
            f"fleet {fleet!r}",
            ports,
            address=made.labels.get(ADDRESS_LABEL),
            spec=made.labels.get(SPEC_LABEL),
            image_id=made.image_id,
            image_now="sha256:" + "0" * 64,
            exit_code=made.exit_code,
            restarts=0,
            command=(*(spec.command if spec.command is not None else image_command), *spec.args),
            entrypoint=spec.entrypoint or ("/bin/engine",),
            image_command=image_command,
            image_entrypoint=("/bin/engine",),
            env={name: value for name, value in plain.items() if name in watched.values},
            secrets=dict.fromkeys(watched.secrets, True),
            mounts=spec.mounts,
            network_mode=spec.networks[0] if spec.networks else "default",
            networks=spec.networks or ("bridge",),
            restart=spec.restart,
            shm_size=spec.shm_size or 64 * 2**20,
            cpus=spec.cpus or 0.0,
            memory=spec.memory or 0,
            cards=spec.cards,
            devices=spec.devices,
            groups=spec.groups,
            healthcheck=spec.healthcheck,
            labels=made.labels,
            privileges=(),
        )

    def _note(self, request: str) -> None:
        self.daemon.requests.append(request)
        if self.daemon.away is not None and request != "observe":
            raise self._error(self.daemon.away, "unreachable")

    def _cut(self, request: str) -> None:
        if self.daemon.cut == request:
            self.daemon.cut = None
            raise Cut

    def _made(self, container: str) -> Made:
        made = self.daemon.containers.get(container)
        if made is None:
            raise self._error(f"there is no container {container}", "no_such_container")
        return made

    def _free(self, name: str) -> None:
        if any(one.name == name for one in self.daemon.containers.values()):
            raise self._error(f"the name {name} is taken", "name_taken")

    def _error(self, what: str, code: str) -> ContainerError:
        return ContainerError(Problem(what), code)
