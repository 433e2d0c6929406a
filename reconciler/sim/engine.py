"""What all simulated engines share: a process behind a port, its faults, its log, and the cards that it may use."""

from __future__ import annotations

import asyncio
import itertools
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from typing import TypeVar

from reconciler.sim.cards import Card
from reconciler.sim.clock import Clock
from reconciler.sim.errors import SimError
from reconciler.sim.faults import KINDS, Faults
from reconciler.sim.faulty import struck
from reconciler.sim.http import LOOPBACK, HttpServer, Request, Response
from reconciler.sim.requests import LoggedRequest, RequestLog
from reconciler.sim.spec import GIB, FaultSpec, SimEngine

T = TypeVar("T")
_CALL_SECONDS = 30.0


class Ground:
    """What the engines of a fleet stand on: clock, loop, the order of requests; and the way in from other threads."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.order = itertools.count()
        self.loop: asyncio.AbstractEventLoop | None = None
        self._thread: int | None = None

    def attach(self) -> None:
        self.loop, self._thread = asyncio.get_running_loop(), threading.get_ident()

    def detach(self) -> None:
        self.loop = self._thread = None

    def call(self, act: Callable[[], T]) -> T:
        """Runs `act` in the fleet's thread and gives back what it returned. Raises SimError when the fleet does not run."""
        if self.loop is None:
            raise SimError("the simulated fleet is not running; start it first")
        if threading.get_ident() == self._thread:
            return act()
        answer: Future[T] = Future()

        def run() -> None:
            try:
                answer.set_result(act())
            except BaseException as error:  # noqa: BLE001 (handed over to the thread that asked)
                answer.set_exception(error)

        self.loop.call_soon_threadsafe(run)
        return answer.result(_CALL_SECONDS)


class Engine(ABC):
    """An engine of a running fleet. The public methods may be called from any thread."""

    def __init__(self, node: str, spec: SimEngine, cards: Sequence[Card], ram: Card, ground: Ground) -> None:
        self.id = f"{node}/{spec.name}"
        self.spec = spec
        self.cards = tuple(cards)
        self.ram = ram
        self.ground = ground
        self.clock = ground.clock
        self.faults = Faults(spec.faults)
        self._log = RequestLog(ground.order)
        self._http = HttpServer(self._receive)
        self._tasks: set[asyncio.Task[None]] = set()
        self._alive = False
        self.on_exit: Callable[[], None] | None = None
        """Called when the process ends by itself: whoever runs it may start it again."""

    @property
    def port(self) -> int:
        return self._http.port

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def requests(self) -> list[LoggedRequest]:
        """Every request so far, (method, path, body or None, running number over the fleet), in the order of arrival."""
        return self.ground.call(self._log.entries) if self.ground.loop is not None else self._log.entries()

    @property
    def alive(self) -> bool:
        """Whether the process runs; its port may be closed all the same (fault `down`)."""
        return self._alive

    @property
    def residents(self) -> dict[str, int]:
        """What is loaded now: name to bytes on cards."""
        return self.ground.call(self._residents)

    def forget_requests(self) -> None:
        """Empties the request log."""
        self.ground.call(self._log.clear)

    def restart(self) -> None:
        """The process is restarted: no resident, no keep-alive, no load in progress; what is installed stays. Memory is back at once."""
        self.ground.call(self._end_and_begin)

    def kill(self) -> None:
        """The process ends: its port is closed, its memory is free."""
        self.ground.call(self._end)

    def revive(self) -> None:
        """The process is started again, empty; nothing when it runs."""
        self.ground.call(lambda: None if self._alive else self._begin())

    def set_fault(
        self,
        kind: str,
        *,
        paths: Sequence[str] = (),
        models: Sequence[str] = (),
        count: int | None = None,
        seconds: float = 1.0,
        status: int = 500,
        text: str | None = None,
        location: str = "http://redirected.invalid/",
        size: int = 10 * 10**9,
    ) -> None:
        """One more fault, in force from the next request on. See `faults.py` for kinds and keys. Raises SimError for an unknown kind."""
        if kind not in KINDS:
            raise SimError(f"there is no fault {kind!r}; the kinds are {', '.join(sorted(KINDS))}")
        spec = FaultSpec(kind, tuple(paths), tuple(models), count, seconds, status, text, location, size)
        self.ground.call(lambda: self.faults.add(spec))
        self.ground.call(self._heed_port)

    def clear_faults(self, kind: str | None = None) -> None:
        """Ends the faults of one kind, or all."""
        self.ground.call(lambda: self.faults.clear(kind))
        self.ground.call(self._heed_port)

    async def start(self) -> None:
        self.launch()
        await asyncio.sleep(0)

    def launch(self) -> None:
        """Takes its port and begins. Raises PortTaken."""
        self._http.bind(self.spec.port)
        self._begin()

    def end(self) -> None:
        """Ends, and gives its port back."""
        self._end()
        self._http.close(keep_port=False)

    async def stop(self) -> None:
        tasks = tuple(self._tasks)
        self._end()
        await self._http.aclose()
        await asyncio.gather(*tasks, return_exceptions=True)

    def load_duration(self, resident_bytes: int) -> float:
        return self.spec.load_seconds + self.spec.seconds_per_gib * resident_bytes / GIB

    def exit(self) -> None:
        """The process ends by itself."""
        self._end()
        if self.on_exit is not None:
            self.on_exit()

    def spawn(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        """Work of the process in the background; it ends with the process."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _begin(self) -> None:
        self._alive = True
        self._boot()
        self._heed_port()

    def _end_and_begin(self) -> None:
        self._end()
        self._begin()

    def _end(self) -> None:
        self._alive = False
        for task in tuple(self._tasks):
            task.cancel()
        self._http.close()
        self._forget()

    def _heed_port(self) -> None:
        if self._alive and not self.faults.close_port:
            self._http.open()
        elif self._http.is_open:
            self._http.close()

    async def _receive(self, request: Request) -> Response:
        self._log.add(request)
        return await struck(self.faults, request, lambda: self._answer(request), self._failure)

    @abstractmethod
    async def _answer(self, request: Request) -> Response:
        """The engine's own answer."""

    @abstractmethod
    def _failure(self, status: int, text: str) -> Response:
        """An error in the engine's own form."""

    @abstractmethod
    def _residents(self) -> dict[str, int]: ...

    @abstractmethod
    def _boot(self) -> None:
        """The process has just started."""

    @abstractmethod
    def _forget(self) -> None:
        """The process has ended: nothing is resident, all memory is free."""
