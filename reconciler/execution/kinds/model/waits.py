"""Looking at an engine until it shows what was promised. Deadlines are seconds of the run's own clock; nothing here sends a change."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Collection

from reconciler.engines.protocol import Engine
from reconciler.execution.actor import Clock, Sleep
from reconciler.execution.lookup import find_installed, find_resident, is_there
from reconciler.execution.outcome import ExecutionOptions
from reconciler.fleet import EngineError, EngineFacts, Place, Problem, Resident, Unreachable, format_duration
from reconciler.fleet.matching import Mismatch, WantedResident

_SURE_LOOKS = 2
"""A wrong field counts when seen so often in a row: an engine may still show the runner that it is about to replace."""
_SURE_CODES = frozenset({"cpu_fallback", "not_on_cpu", "context_differs", "load_failed"})
"""What will not come right by waiting; the rest (a pin, a model not yet listed) gets `settle_seconds`."""


class EngineWatch:
    """Looks at one engine for one step. Failed looks are put up with, up to the options' number; good ones in a row make up for them."""

    def __init__(self, engine: Engine, wanted: Collection[str], options: ExecutionOptions, clock: Clock, sleep: Sleep) -> None:
        self._engine, self._wanted, self._options = engine, wanted, options
        self.clock, self._sleep = clock, sleep
        self._failed_looks = self._good_looks = 0
        self.first: EngineFacts | None = None
        """What was seen first, and what last."""
        self.last: EngineFacts | None = None

    async def look(self) -> EngineFacts | None:
        """Facts of now; None when this look failed or follows a failed one too closely to be believed. Raises Unreachable when one look too
        many failed."""
        facts = await self._engine.observe(self._wanted)
        if facts.reachable:
            self._good_looks += 1
            if self._failed_looks and self._good_looks < self._options.trusted_looks:
                return None
            self._failed_looks = 0
            self.first, self.last = self.first or facts, facts
            return facts
        self._good_looks = 0
        self._failed_looks += 1
        if self._failed_looks > self._options.tolerated_looks:
            what = facts.reason or "it does not answer"
            raise Unreachable(Problem(what, Place(str(self._engine.spec.id)), "bring the engine up, then plan again"))
        return None

    async def look_until_seen(self) -> EngineFacts:
        """The first look that succeeds."""
        while (facts := await self.look()) is None:
            await self.pause()
        return facts

    async def pause(self) -> None:
        await self._sleep(self._options.poll_seconds)

    async def at_most(self, asking: Awaitable[None], seconds: float) -> bool:
        """Whether `asking` ended within so many seconds; what takes longer is cut. Raises what it raises."""
        asked, pause = asyncio.ensure_future(asking), asyncio.ensure_future(self._sleep(seconds))
        try:
            await asyncio.wait({asked, pause}, return_when=asyncio.FIRST_COMPLETED)
            if asked.done():
                await asked
            return asked.done()
        finally:
            asked.cancel()
            pause.cancel()
            await asyncio.gather(asked, pause, return_exceptions=True)

    async def until_gone(self, name: str, within: float | None = None) -> None:
        """Until `name` is no resident. Raises EngineError `still_resident` when it stays longer than `within` seconds (None: as long as
        what is asked for may take to show); Unreachable."""
        patience = self._options.settle_seconds if within is None else within
        deadline = self.clock() + patience
        while True:
            facts = await self.look()
            if facts is not None and facts.residents is not None and all(resident.name != name for resident in facts.residents):
                return
            if self.clock() >= deadline:
                after = format_duration(patience)
                raise self.error("still_resident", f"{name} is still resident {after} after its unload; a request may hold it busy")
            await self.pause()

    async def until_installed(self, name: str) -> None:
        """Until `name` is on the engine's disk. Raises EngineError `not_installed`; Unreachable."""
        deadline = self.clock() + self._options.settle_seconds
        while True:
            facts = await self.look()
            if facts is not None and (facts.installed is None or find_installed(facts, name) is not None):
                return
            if self.clock() >= deadline:
                raise self.error("not_installed", f"the engine said that {name} was fetched and does not list it")
            await self.pause()

    async def until_deleted(self, name: str) -> None:
        """Until `name` is no more on the engine's disk. Raises EngineError `still_installed`; Unreachable."""
        deadline = self.clock() + self._options.settle_seconds
        while True:
            facts = await self.look()
            if facts is not None and (facts.installed is None or find_installed(facts, name) is None):
                return
            if self.clock() >= deadline:
                raise self.error("still_installed", f"the engine said that {name} was deleted and still lists it")
            await self.pause()

    async def until_resident(self, asked: WantedResident, sent: asyncio.Task[None] | None = None) -> Resident:
        """Until the model is resident as asked. `sent` is the load request under way: it ends when the engine says so and is never cut by
        our patience, short of the engine's `load_timeout` for the whole.

        Raises EngineError (the load's own failure, `load_failed`, `load_timeout`, `not_resident`, or the code of the field that is not as
        asked) or Unreachable.
        """
        limit, settle = self._engine.spec.load_timeout, self._options.settle_seconds
        deadline = self.clock() + limit
        settled: float | None = None
        wrong: Mismatch | None = None
        seen = 0
        while True:
            in_flight = sent is not None and not sent.done()
            try:
                facts = await self.look()
            except Unreachable:
                _raise_failure(sent)  # the engine said why before it went away
                raise
            now = self.clock()
            if facts is not None:
                resident = find_resident(facts, asked.name)
                problem = _problem(facts, resident, asked)
                if resident is not None and problem is None and is_there(resident):
                    if not in_flight or (settled is not None and now >= settled):
                        return resident
                    settled = now + settle if settled is None else settled
                elif not in_flight:
                    _raise_failure(sent)
                    settled = now + settle if settled is None or problem is None else settled
                    seen = seen + 1 if problem is not None and wrong is not None and problem.code == wrong.code else 1
                    wrong = problem
                    if problem is not None and (now >= settled or (problem.code in _SURE_CODES and seen >= _SURE_LOOKS)):
                        raise self.error(problem.code, problem.message)
                else:
                    settled = None
            if now >= deadline:
                raise self.error("load_timeout", f"{asked.name} was not resident {format_duration(limit)} after its load began")
            await self._pause_or(sent)

    async def _pause_or(self, sent: asyncio.Task[None] | None) -> None:
        """A pause that ends early when the request does."""
        if sent is None or sent.done():
            await self.pause()
            return
        pause = asyncio.ensure_future(self.pause())
        try:
            await asyncio.wait({sent, pause}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            pause.cancel()

    def error(self, code: str, message: str) -> EngineError:
        return EngineError(Problem(message, Place(str(self._engine.spec.id))), code)


def _problem(facts: EngineFacts, resident: Resident | None, asked: WantedResident) -> Mismatch | None:
    """What speaks against "resident as asked"; None when nothing does, or while the engine is still loading it."""
    if resident is not None:
        return asked.mismatch(resident) if is_there(resident) else None
    installed = find_installed(facts, asked.name)
    if installed is not None and installed.failed:
        return Mismatch("load_failed", f"the engine could not load {asked.name}; its log says why")
    return Mismatch("not_resident", f"the load of {asked.name} ended and it is not resident")


def _raise_failure(sent: asyncio.Task[None] | None) -> None:
    if sent is not None and sent.done() and (failure := sent.exception()) is not None:
        raise failure
