"""Who is resident, who must go, and when (Ollama server/sched.go).

One load at a time. A runner belongs to a blob, so two tags on one file share it. The first model is always tried and may end up partly on
the CPU; a further one must be predicted to fit into 80% of what the scheduler *believes* free, else others are evicted, shortest keep-alive
first, a pinned one too. Belief: while a runner of ours is up, memory taken by other programs is not seen.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

from reconciler.sim.cards import Allocation, Card
from reconciler.sim.clock import Clock
from reconciler.sim.errors import OutOfMemory
from reconciler.sim.faults import LOAD_KINDS, Faults
from reconciler.sim.ollama.library import Installed
from reconciler.sim.ollama.names import spellings
from reconciler.sim.ollama.options import RunnerOptions
from reconciler.sim.ollama.runners import Runner, fit, predicted_bytes
from reconciler.sim.spec import SimEngine

_FOR_EVER = timedelta(microseconds=(2**63 - 1) // 1000)
"""The largest Go duration, about 292 years: what a negative keep-alive becomes."""
_DIED = "llama-server process has terminated: exit status 1: "


class QueueFull(Exception):
    """As many loads wait as OLLAMA_MAX_QUEUE lets: answered with 503 and this text."""

    def __init__(self) -> None:
        super().__init__("server busy, please try again.  maximum pending requests exceeded")


class LoadFailed(Exception):
    """A load that the server answers with 500 and this text."""


class Scheduler:
    """The residents of one server process; a restarted process has a new one."""

    def __init__(
        self, spec: SimEngine, cards: Sequence[Card], ram: Card, clock: Clock, faults: Faults, duration: Callable[[int], float]
    ) -> None:
        self._spec, self._cards, self._ram = spec, tuple(cards), ram
        self._clock, self._faults, self._duration = clock, faults, duration
        self._runners: dict[str, Runner] = {}
        self._allocations: set[Allocation] = set()
        self._free_at_first_load: dict[Card, int] = {}
        self._loading = asyncio.Lock()
        self._pending = 0
        self._ended = False
        self._most = spec.max_loaded if spec.max_loaded else 3 * max(1, len(self._cards))

    def residents(self) -> list[Runner]:
        """Longest remaining life first, as /api/ps lists them."""
        return sorted(self._runners.values(), key=lambda runner: (-runner.expires_at.timestamp(), runner.entry.name))

    def end(self) -> None:
        """The process ends: all memory is back at once."""
        self._ended = True
        self._runners.clear()
        for allocation in tuple(self._allocations):
            self._free(allocation)

    def sweep(self) -> None:
        """Unloads what has expired."""
        now = self._clock.now()
        for runner in self.residents():
            if not runner.in_flight and runner.expires_at <= now:
                self._unload(runner)

    def expire(self, blob: str) -> None:
        """`keep_alive: 0`: unloads when idle; nothing when it is not resident."""
        runner = self._runners.get(blob)
        if runner is not None:
            runner.keep, runner.doomed = 0.0, True
            if not runner.in_flight:
                self._unload(runner)

    async def hold(self, entry: Installed, options: RunnerOptions, keep: float | None) -> Runner:
        """The runner for a request, loaded or reloaded where need be; give it back with `let_go`. `keep` None leaves the keep-alive.

        Raises LoadFailed. Cancelled in the middle of a load it gives all memory back.
        """
        runner = self._runners.get(entry.blob)
        if runner is None or runner.doomed or runner.options.needs_reload(options):
            async with self._turn():
                runner = self._runners.get(entry.blob)
                if runner is not None and (runner.doomed or runner.options.needs_reload(options)):
                    await self._evict(runner)
                    runner = None
                runner = runner or await self._load(entry, options, self._spec.keep_alive if keep is None else keep)
                runner.in_flight += 1
        else:
            runner.in_flight += 1
        if keep is not None:
            runner.keep = keep
        return runner

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """One load at a time; of the others so many wait. Raises QueueFull."""
        if self._pending > self._spec.max_queue:
            raise QueueFull
        self._pending += 1
        try:
            async with self._loading:
                yield
        finally:
            self._pending -= 1

    def let_go(self, runner: Runner) -> None:
        """A request has ended: from now on its keep-alive runs."""
        runner.in_flight -= 1
        if runner.in_flight or self._runners.get(runner.entry.blob) is not runner:
            return
        runner.idle.set()
        runner.expires_at = self._expiry(runner.keep)
        if runner.doomed or runner.keep <= 0:
            self._unload(runner)
        elif not math.isinf(runner.keep):
            self._clock.at(runner.expires_at, self.sweep)

    async def _load(self, entry: Installed, options: RunnerOptions, keep: float) -> Runner:
        model = entry.model
        parallel = 1 if model.embedding else self._spec.num_parallel
        total = model.resident_bytes(options.num_ctx, parallel)
        cards = await self._make_room(predicted_bytes(model, options, parallel), options)
        fault = self._faults.strike_model(LOAD_KINDS, spellings(entry.name))
        if not self._runners:
            self._free_at_first_load = {card: card.free + self._on_its_way_back(card) for card in self._cards}
        allocation = await self._allocate(entry, total, options, cards)
        try:
            if fault is not None and fault.kind == "hang_load":
                await asyncio.Event().wait()
            await self._clock.sleep(self._duration(total))
            if fault is not None:
                text = "error loading model" if fault.kind == "fail_load" else "cudaMalloc failed: out of memory"
                raise LoadFailed(_DIED + (fault.text or text))
            if self._ended:
                raise LoadFailed(_DIED + "terminated")
        except BaseException:
            self._free(allocation)
            raise
        on_cards = sum(count for card, count in allocation.parts if card in self._cards)
        on_cards = max(0, on_cards - model.overhead)
        runner = Runner(entry, options, keep, allocation, total if self._cards else 0, on_cards, self._expiry(keep))
        self._runners[entry.blob] = runner
        return runner

    async def _make_room(self, predicted: int, options: RunnerOptions) -> tuple[Card, ...]:
        """Evicts until the load may be tried; the cards that it may use."""
        while self._runners:
            if len(self._runners) < self._most:
                cards = self._predicted_to_fit(predicted)
                if cards is not None or options.num_gpu == 0:
                    return cards or ()
            await self._evict(self._victim())
        cards = self._predicted_to_fit(predicted)
        return self._cards if cards is None else cards

    def _predicted_to_fit(self, predicted: int) -> tuple[Card, ...] | None:
        """One card if 80% of what is believed free on it is enough, else all if together they are; None when not."""
        if not self._cards:
            return ()
        believed = {card: self._believed_free(card) for card in self._cards}
        best = max(self._cards, key=lambda card: believed[card])
        if predicted * 10 <= believed[best] * 8:
            return (best,)
        return self._cards if len(self._cards) > 1 and predicted * 10 <= sum(believed.values()) * 8 else None

    def _believed_free(self, card: Card) -> int:
        if not self._runners:
            return card.free
        ours = _on_card(card, (runner.allocation for runner in self._runners.values()))
        return max(0, self._free_at_first_load.get(card, card.free) - ours)

    def _on_its_way_back(self, card: Card) -> int:
        """What runners that were unloaded still hold."""
        return _on_card(card, self._allocations - {runner.allocation for runner in self._runners.values()})

    async def _allocate(self, entry: Installed, total: int, options: RunnerOptions, cards: Sequence[Card]) -> Allocation:
        """Out of memory is tried once more with everybody else evicted."""
        while True:
            try:
                lies = fit(entry.model, total, options.num_gpu, cards, self._ram, self._spec.fit_margin)
                allocation = Allocation(lies.parts)
            except OutOfMemory as error:
                if not self._runners:
                    text = str(error) if str(error).startswith("model requires") else f"{_DIED}cudaMalloc failed: out of memory"
                    raise LoadFailed(text) from None
                for runner in self.residents():
                    await self._evict(runner)
                continue
            self._allocations.add(allocation)
            return allocation

    def _victim(self) -> Runner:
        """Idle ones first, then the shortest keep-alive, then the path of the blob. Not least recently used."""
        return min(self._runners.values(), key=lambda runner: (runner.in_flight > 0, runner.keep, runner.entry.blob))

    async def _evict(self, runner: Runner) -> None:
        """Ends when the memory is back."""
        runner.doomed = True
        if runner.in_flight:
            runner.idle.clear()
            await runner.idle.wait()
        self._unload(runner)
        await runner.gone.wait()

    def _unload(self, runner: Runner) -> None:
        """Out of /api/ps at once; the memory comes back `release_seconds` later."""
        if self._runners.get(runner.entry.blob) is not runner:
            return
        del self._runners[runner.entry.blob]

        def released() -> None:
            self._free(runner.allocation)
            runner.gone.set()

        self._clock.later(self._spec.release_seconds, released)

    def _free(self, allocation: Allocation) -> None:
        allocation.free()
        self._allocations.discard(allocation)

    def _expiry(self, keep: float) -> datetime:
        return self._clock.now() + (_FOR_EVER if math.isinf(keep) else min(_FOR_EVER, timedelta(seconds=min(keep, 1e9))))


def _on_card(card: Card, allocations: Iterable[Allocation]) -> int:
    return sum(count for allocation in allocations for part, count in allocation.parts if part is card)
