"""What containers of a simulated Docker Engine do: start, run, end, start again, get well or ill; and who is told of it."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Collection, Iterable, Mapping
from contextlib import suppress

from reconciler.sim.clock import Clock
from reconciler.sim.docker.containers import NEVER, Container, Json, as_mapping, texts
from reconciler.sim.docker.documents import event, hears, stamp
from reconciler.sim.docker.process import Exit, NoSuchProgram, Sleep, Write, acts_of, exit_code
from reconciler.sim.errors import SimError

_NETWORKS = ("bridge", "host", "none")
_NO_DRIVER = 'could not select device driver "{driver}" with capabilities: {capabilities}'


class Refused(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


class Processes:
    """The containers of a daemon, by id, and what they share: networks, published ports, cards by UUID.

    How long a program sleeps, a health check pauses and a restart waits is real time, however fast the fleet's own work is; the grace of a
    stop is the fleet's own."""

    def __init__(self, clock: Clock, cards: Collection[str], *, cdi: bool) -> None:
        self.cards, self.cdi = tuple(cards), cdi
        self.containers: dict[str, Container] = {}
        self.networks: set[str] = set(_NETWORKS)
        self._clock = clock
        self._listeners: set[asyncio.Queue[Json]] = set()
        self._pids = itertools.count(4_000)

    def start(self, container: Container) -> None:
        """Raises Refused; then it is as it was, with the reason in its `error`."""
        try:
            self._check_start(container)
            self._run(container)
        except Refused as refused:
            container.error = refused.message
            container.exit_code = 127 if refused.status == 400 else 128
            raise
        container.error, container.exit_code, container.oom_killed = "", 0, False
        container.pid, container.status = next(self._pids), "running"
        container.started, container.finished = stamp(self._clock.now()), NEVER if container.finished == NEVER else container.finished
        self.tell(container, "start")
        self._watch_health(container)

    def _check_start(self, container: Container) -> None:
        for network in container.networks:
            if network not in self.networks:
                raise Refused(404, f"network {network} not found")
        for one in texts_of_requests(container.host.get("DeviceRequests")):
            self._check_cards(one)
        for address, port, _, protocol in container.published:
            for other in self.containers.values():
                taken = (
                    other is not container
                    and other.is_live
                    and any(
                        port == theirs and protocol == kind and (address == at or "0.0.0.0" in (address, at))  # noqa: S104
                        for at, theirs, _, kind in other.published
                    )
                )
                if taken:
                    raise Refused(
                        500,
                        f"driver failed programming external connectivity on endpoint {container.name} ({container.id}): "
                        f"Bind for {address}:{port} failed: port is already allocated",
                    )

    def _check_cards(self, request: Mapping[str, object]) -> None:
        driver, ids = str(request.get("Driver") or ""), texts(request.get("DeviceIDs"))
        groups = request.get("Capabilities")
        capabilities = "[" + " ".join(f"[{' '.join(texts(one))}]" for one in (groups if isinstance(groups, list) else [])) + "]"
        if driver == "cdi":
            if not self.cdi:
                raise Refused(500, _NO_DRIVER.format(driver=driver, capabilities=capabilities))
            unknown = [name for name in ids if name.removeprefix("nvidia.com/gpu=") not in self.cards]
            if unknown:
                raise Refused(500, f"CDI device injection failed: unresolvable CDI devices {', '.join(unknown)}")
            return
        if not self.cards or driver not in ("", "nvidia"):
            raise Refused(500, _NO_DRIVER.format(driver=driver, capabilities=capabilities))
        if request.get("Count") and ids:
            raise Refused(500, "cannot set both Count and DeviceIDs on device request")
        for name in ids:
            if name not in self.cards and not (name.isdigit() and int(name) < len(self.cards)):
                raise Refused(500, f"nvidia-container-cli: device error: {name}: unknown device: unknown")

    def _run(self, container: Container) -> None:
        program = container.image.program
        if program is not None:
            try:
                container.running = program(container, lambda code: self.end(container, code))
            except SimError as error:
                at = f"driver failed programming external connectivity on endpoint {container.name} ({container.id})"
                raise Refused(500, f"{at}: Error starting userland proxy: {error}") from None
            return
        try:
            acts = acts_of(container.argv, container.env, container.files)
        except NoSuchProgram as error:
            said = "failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process"
            raise Refused(400, f'{said}: exec: "{error}": executable file not found in $PATH: unknown') from None
        container.task = asyncio.ensure_future(self._perform(container, acts))

    async def _perform(self, container: Container, acts: Iterable[Write | Sleep | Exit]) -> None:
        await asyncio.sleep(0)
        for act in acts:
            if isinstance(act, Write):
                container.log.append((act.stream, act.text))
            elif isinstance(act, Sleep):
                await asyncio.sleep(act.seconds)
            else:
                container.task = None
                self.end(container, act.code)
                return

    def end(self, container: Container, code: int) -> None:
        """Its process ended. What its restart policy says comes after."""
        if not container.is_live:
            return
        for task in (container.task, container.watch):
            if task is not None:
                task.cancel()
        container.task = container.watch = None
        if container.running is not None:
            running, container.running = container.running, None
            running.end()
        container.status, container.exit_code, container.pid = "exited", code, 0
        container.finished = stamp(self._clock.now())
        if container.health is not None:
            container.health = "unhealthy"
        self.tell(container, "die")
        if not container.stopped_by_hand and _restarts(container, code):
            container.status = "restarting"
            container.restarts += 1
            container.task = asyncio.ensure_future(self._again(container))

    async def _again(self, container: Container) -> None:
        await asyncio.sleep(min(60.0, 0.1 * 2.0 ** (container.restarts - 1)))
        container.task = None
        container.status = "exited"
        with suppress(Refused):
            self.start(container)

    async def stop(self, container: Container, grace: float) -> None:
        container.stopped_by_hand = True
        if container.status == "restarting":
            if container.task is not None:
                container.task.cancel()
            container.task, container.status = None, "exited"
        elif container.running is not None:
            self.end(container, 0)
        elif container.is_live:
            waiting = asyncio.ensure_future(self._clock.sleep(grace))
            ended = asyncio.ensure_future(self.ended(container))
            await asyncio.wait({waiting, ended}, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            ended.cancel()
            self.end(container, 137)

    async def ended(self, container: Container) -> None:
        while container.is_live:
            await container.changed.wait()

    def _watch_health(self, container: Container) -> None:
        check = as_mapping(container.config.get("Healthcheck"))
        test = texts(check.get("Test"))
        if test[:1] not in (["CMD"], ["CMD-SHELL"]):
            return
        argv = test[1:] if test[0] == "CMD" else ["sh", "-c", *test[1:]]
        interval, start = _seconds(check.get("Interval"), 30.0), _seconds(check.get("StartInterval"), 5.0)
        retries = int(str(check.get("Retries") or 3))
        container.health, container.failing = "starting", 0
        pause = min(interval, start) if _seconds(check.get("StartPeriod"), 0.0) else interval
        container.watch = asyncio.ensure_future(self._check_health(container, argv, pause, interval, retries))

    async def _check_health(self, container: Container, argv: list[str], pause: float, interval: float, retries: int) -> None:
        while True:
            await asyncio.sleep(pause)
            good = exit_code(argv, container.env, container.files) == 0
            container.failing = 0 if good else container.failing + 1
            health = "healthy" if good else "unhealthy" if container.failing >= retries else container.health
            if health != container.health:
                container.health = health
                self.tell(container, f"health_status: {health}")
            pause = interval

    def tell(self, container: Container, action: str) -> None:
        told = event(container, action, self._clock.now())
        for listener in self._listeners:
            listener.put_nowait(told)
        container.changed.set()
        container.changed = asyncio.Event()

    async def events(self, filters: Mapping[str, object]) -> AsyncGenerator[object, None]:
        heard: asyncio.Queue[Json] = asyncio.Queue()
        self._listeners.add(heard)
        try:
            while True:
                told = await heard.get()
                if hears(filters, told):
                    yield told
        finally:
            self._listeners.discard(heard)


def texts_of_requests(value: object) -> list[dict[str, object]]:
    return [as_mapping(one) for one in value] if isinstance(value, list) else []


def _restarts(container: Container, code: int) -> bool:
    policy = as_mapping(container.host.get("RestartPolicy"))
    name, most = policy.get("Name"), int(str(policy.get("MaximumRetryCount") or 0))
    if name == "on-failure":
        return code != 0 and (not most or container.restarts < most)
    return name in ("always", "unless-stopped")


def _seconds(nanos: object, usual: float) -> float:
    return nanos / 1e9 if isinstance(nanos, (int, float)) and nanos else usual
