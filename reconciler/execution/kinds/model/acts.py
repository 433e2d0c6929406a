"""What each action on a model looks at, sends, and waits for; before it sends, it asks the engine whether it is so already, or no longer
fits."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Set
from dataclasses import field, replace

from reconciler.engines.protocol import Engine, LoadRequest, PullProgress
from reconciler.execution.actor import Skip
from reconciler.execution.kinds.model.draining import unload_and_wait, until_idle
from reconciler.execution.kinds.model.verify import LEFT_BEHIND, found_wrong
from reconciler.execution.kinds.model.waits import EngineWatch
from reconciler.execution.lookup import find_installed, find_resident, is_there
from reconciler.execution.outcome import ExecutionOptions
from reconciler.fleet import (
    ContextVia,
    EngineError,
    EngineFacts,
    EngineKind,
    ModelSpec,
    Place,
    Problem,
    Residency,
    Resident,
    Scalar,
    format_bytes,
    weights_digest,
)
from reconciler.fleet.matching import WantedResident
from reconciler.planning import ASKED_AGAIN, CONTEXT_DROPPED, OPTIONS_CHANGED, Action, ModelStep, differs_from_before
from reconciler.value_class import value_class

Room = Callable[[EngineFacts], str | None]
"""Why a load may not begin by what the engine shows now, or None."""


@value_class
class Work:
    """A step with all that it needs. `on_progress` hears each word of a pull.

    `model` is None for a resident that nobody wants (only an unload can be such a step); `asked` is None with it. `disk` has the bytes of
    the disk that the engine's models are on, where its node declares them; `beside` are the other engines that keep theirs there.
    """

    step: ModelStep
    engine: Engine
    watch: EngineWatch
    model: ModelSpec | None
    asked: WantedResident | None
    on_progress: Callable[[PullProgress], None]
    room: Room = field(default=lambda facts: None)
    disk: int | None = None
    beside: tuple[Engine, ...] = ()
    options: ExecutionOptions = field(default_factory=ExecutionOptions)


class Act(ABC):
    """One action on a model. `resident` is what is there in the end, `load_seconds` how long our load took."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.resident: Resident | None = None
        self.load_seconds: float | None = None
        self._sent: asyncio.Task[None] | None = None
        self._since = 0.0

    @abstractmethod
    async def look(self, facts: EngineFacts) -> bool:
        """Whether it is so already. Raises Skip where the step no longer fits what is there."""

    async def act(self) -> None:  # noqa: B027
        """Some only wait."""

    async def wait(self) -> None:  # noqa: B027
        """Some are done when they are sent."""

    async def close(self) -> None:
        """Cuts a load that is still being sent: the whole has failed or ended by now."""
        sent, self._sent = self._sent, None
        if sent is not None:
            if not sent.done():
                sent.cancel()
            await asyncio.gather(sent, return_exceptions=True)

    def _send(self, request: LoadRequest) -> None:
        """Sends a load; whether it shows is looked at all the while."""
        self._since = self.work.watch.clock()
        self._sent = asyncio.create_task(self.work.engine.load(request))

    async def _until_resident(self, asked: WantedResident) -> None:
        self.resident = await self.work.watch.until_resident(asked, self._sent)
        self.load_seconds = self.work.watch.clock() - self._since
        await self.close()

    def _wanted(self) -> tuple[ModelSpec, WantedResident]:
        work = self.work
        if work.model is None or work.asked is None:
            raise Skip("not_wanted", f"{work.step.model} is not in the desired state")
        return work.model, work.asked

    def _request(self) -> LoadRequest:
        model, asked = self._wanted()
        return load_request(model, self.work.engine.spec.kind, asked.name)

    def _check_installed(self, facts: EngineFacts) -> None:
        work = self.work
        if facts.installed is not None and find_installed(facts, work.step.engine_name) is None:
            raise Skip("not_installed", f"{work.step.engine_name} is not installed on {work.engine.spec.id}")
        file = find_installed(facts, work.step.engine_name)
        if file is not None and file.remote is not None:
            raise Skip("runs_elsewhere", f"{file.name} is a cloud model: {file.remote} runs it, so it cannot be kept loaded here")
        if work.model is not None and (wrong := _other_weights(work.model, facts, work.step.engine_name)) is not None:
            raise Skip("digest_differs", wrong)

    def _failure(self, code: str, message: str) -> EngineError:
        return EngineError(Problem(message, Place(str(self.work.engine.spec.id))), code)


class _Fetch(Act):
    """What brings a name to its engine's disk."""

    async def look(self, facts: EngineFacts) -> bool:
        return find_installed(facts, self.work.step.engine_name) is not None

    async def wait(self) -> None:
        watch, model, name = self.work.watch, self.work.model, self.work.step.engine_name
        await watch.until_installed(name)
        if model is not None and (wrong := _other_weights(model, await watch.look_until_seen(), name)) is not None:
            raise self._failure("digest_differs", wrong)


class Pull(_Fetch):
    _used: int | None = None
    """Bytes of all that is on the engine's disk, each file of a store once."""

    async def look(self, facts: EngineFacts) -> bool:
        known = facts.installed is not None and all(one.size_bytes is not None for one in facts.installed)
        stores = {_store(facts), *[_store(await one.observe()) for one in self.work.beside]} if known else set()
        self._used = sum(size or 0 for store in stores for size in {file: size for _, file, size in store}.values()) if known else None
        return await super().look(facts)

    async def act(self) -> None:
        work, name, model = self.work, self.work.step.engine_name, self.work.model
        here, before = 0, PullProgress("")
        pulled = work.engine.pull(name if model is None else model.spelled(work.engine.spec.kind, name))
        try:
            async for progress in pulled:
                here, before = here + _found_whole(before, progress), progress
                self._check_disk(name, (progress.total or 0) - here)
                work.on_progress(progress)
        finally:
            if isinstance(pulled, AsyncGenerator):
                await pulled.aclose()

    def _check_disk(self, name: str, missing: int) -> None:
        """What is missing and a tenth of it must fit beside what is there already, where both are known."""
        disk, used = self.work.disk, self._used
        if disk is None or used is None or missing * 11 // 10 <= disk - used:
            return
        what = f"{name} brings {format_bytes(missing)}, and a tenth of that is to stay free: the disk of {format_bytes(disk)} has"
        raise self._failure("disk_full", f"{what} {format_bytes(max(0, disk - used))} left; delete models there, or correct its `disk`")


def _store(facts: EngineFacts) -> Set[tuple[str, str, int | None]]:
    """What an engine has on its disk: names, what is in their files, and bytes. Engines that keep their files in one folder list just the
    same; where anything differs they keep them apart, and of a file that both list there are two."""
    return frozenset((one.name, one.blob or one.digest or one.name, one.size_bytes) for one in facts.installed or ())


def _found_whole(before: PullProgress, now: PullProgress) -> int:
    """The bytes of a layer that is told of for the first time, and all of which is on the disk: another model has it."""
    told = (now.total or 0) - (before.total or 0)
    return told if told > 0 and (now.completed or 0) - (before.completed or 0) == told else 0


class Tag(_Fetch):
    async def act(self) -> None:
        step, context = self.work.step, self.work.step.after.get("context")
        if context is None:
            raise self._failure("no_context", f"the plan does not say which context {step.engine_name} holds")
        await self.work.engine.derive(step.base_name, step.engine_name, {"num_ctx": context})


class Load(Act):
    _coming = False
    """It is being loaded already, so nothing is sent."""

    async def look(self, facts: EngineFacts) -> bool:
        _, asked = self._wanted()
        resident = find_resident(facts, asked.name)
        self._coming = False
        if resident is not None:
            wrong = asked.mismatch(resident)
            if not is_there(resident):
                self._coming = True
                return False
            if wrong is None:
                self.resident = resident
                return True
            if wrong.code != "keep_alive_differs":
                raise Skip("changed_since_plan", f"{resident.name} is resident by now and not as wanted: {wrong.message}")
        self._check_installed(facts)
        if resident is None and (lacking := self.work.room(facts)) is not None:
            raise Skip("no_room", lacking)
        return False

    async def act(self) -> None:
        if not self._coming:
            self._send(self._request())

    async def wait(self) -> None:
        _, asked = self._wanted()
        if self._coming:
            self.resident = await self.work.watch.until_resident(asked)
            return
        await self._until_resident(asked)
        await self._verify(asked)

    async def _verify(self, asked: WantedResident) -> None:
        """A load that its `verify` does not find as it should be is taken back: nothing that was found wrong stays."""
        work = self.work
        if work.model is None or not work.model.verify.asks:
            return
        wrong = await found_wrong(work.engine, self._request(), work.model.verify)
        if wrong is None:
            return
        self.resident = None
        try:
            await unload_and_wait(work.engine, work.watch, asked.name, None, work.options)
        except EngineError as error:
            raise self._failure(LEFT_BEHIND, f"{wrong.message}, and cannot be taken back: {error.problems[0].what}") from error
        raise self._failure(wrong.code, f"{wrong.message}; it was unloaded again: see `gpurec doctor`, or correct its `verify`")


class Reload(Load):
    _before: Resident | None = None

    async def look(self, facts: EngineFacts) -> bool:
        work = self.work
        _, asked = self._wanted()
        resident = self._before = find_resident(facts, asked.name)
        if resident is not None and is_there(resident) and asked.mismatch(resident) is None and _tells_done(work.step, resident):
            self.resident = resident
            return True
        self._check_installed(facts)
        if (lacking := work.room(facts)) is not None:
            raise Skip("no_room", lacking)
        if resident is not None and (busy := await until_idle(work.engine, work.watch, resident, work.options)) is not None:
            raise Skip("busy", busy)
        return False

    async def act(self) -> None:
        work = self.work
        if self._before is not None:
            await unload_and_wait(work.engine, work.watch, self._before.name, self._before, work.options)
        self._send(self._request())

    async def wait(self) -> None:
        try:
            await super().wait()
        except EngineError as error:
            if self._before is None:
                raise
            problem = error.problems[0]
            name = self._wanted()[1].name
            said = replace(problem, what=f"{name} was unloaded and could not be loaded again as wanted: {problem.what}")
            raise type(error)(said, error.code) from error


class Unload(Act):
    _before: Resident | None = None

    async def look(self, facts: EngineFacts) -> bool:
        work, name = self.work, self.work.step.engine_name
        if facts.residents is not None and all(resident.name != name for resident in facts.residents):
            return True
        resident = self._before = next((one for one in facts.residents or () if one.name == name), None)
        if resident is not None and (busy := await until_idle(work.engine, work.watch, resident, work.options)) is not None:
            raise Skip("busy", busy)
        return False

    async def act(self) -> None:
        work = self.work
        await unload_and_wait(work.engine, work.watch, work.step.engine_name, self._before, work.options)


class Update(Act):
    _context: int | None = None
    _pinned_as: WantedResident | None = None

    async def look(self, facts: EngineFacts) -> bool:
        _, asked = self._wanted()
        resident = find_resident(facts, asked.name)
        if resident is None:
            raise Skip("changed_since_plan", f"{asked.name} is not resident any more")
        wrong = asked.mismatch(resident)
        if wrong is None and is_there(resident):
            self.resident = resident
            return True
        self._pinned_as = asked
        if wrong is not None and wrong.code != "keep_alive_differs":
            if differs_from_before(self.work.step, resident) is not None or not self.work.step.before:
                raise Skip("changed_since_plan", wrong.message)
            self._pinned_as = asked.pinned_only()  # the rest was so when the plan was made, and is held
            if self._pinned_as.mismatch(resident) is None:
                self.resident = resident
                return True
        self._context = resident.context
        return False

    async def act(self) -> None:
        request = self._request()
        if self.work.engine.spec.kind is EngineKind.OLLAMA and self._context is not None:
            # A request without the size that it runs with would have Ollama reload it (server/sched.go needsReload).
            request = replace(request, options={**request.options, "num_ctx": self._context})
        self._send(request)

    async def wait(self) -> None:
        await self._until_resident(self._pinned_as or self._wanted()[1])
        self.load_seconds = None


class Wait(Act):
    async def look(self, facts: EngineFacts) -> bool:
        _, asked = self._wanted()
        resident = find_resident(facts, asked.name)
        if resident is not None and is_there(resident) and asked.mismatch(resident) is None:
            self.resident = resident
            return True
        return False

    async def wait(self) -> None:
        self.resident = await self.work.watch.until_resident(self._wanted()[1])


class Remove(Act):
    _there: tuple[str, ...] = ()

    async def look(self, facts: EngineFacts) -> bool:
        step = self.work.step
        names = names_to_delete(step)
        self._there = tuple(name for name in names if find_installed(facts, name) is not None)
        if not self._there and facts.installed is not None:
            return True
        if any(resident.name in names for resident in facts.residents or ()):
            raise Skip("still_resident", f"{step.base_name} is resident, so it is not deleted")
        return False

    async def act(self) -> None:
        for name in self._there:
            await self.work.engine.delete(name)
            await self.work.watch.until_deleted(name)


ACTS: dict[Action, type[Act]] = {
    Action.PULL: Pull,
    Action.TAG: Tag,
    Action.LOAD: Load,
    Action.RELOAD: Reload,
    Action.UNLOAD: Unload,
    Action.UPDATE: Update,
    Action.WAIT: Wait,
    Action.REMOVE: Remove,
}


def _tells_done(step: ModelStep, resident: Resident) -> bool:
    """Whether a resident that is as asked shows that a reload was done: not where what the reload is for cannot be seen."""
    if step.reason.code == CONTEXT_DROPPED:
        return resident.context is not None and resident.context != step.before.get("context")
    return step.reason.code not in (OPTIONS_CHANGED, ASKED_AGAIN)


def names_to_delete(step: ModelStep) -> tuple[str, ...]:
    """All names that a deletion takes from the disk: derived tags first, the one of the model itself last."""
    tags = [step.engine_name, *str(step.after.get("tags", "")).split()]
    return tuple(dict.fromkeys([*(tag for tag in tags if tag != step.base_name), step.base_name]))


def load_request(model: ModelSpec, kind: EngineKind, engine_name: str) -> LoadRequest:
    """What a load sends: the model's options, its context where it is kept in the request, and no layer on the card for a CPU replica."""
    options: dict[str, Scalar] = dict(model.options)
    if kind is EngineKind.OLLAMA:
        if model.wanted_context is not None and (model.context is None or model.context_via is ContextVia.REQUEST):
            options["num_ctx"] = model.wanted_context
        if model.residency is Residency.CPU:
            options["num_gpu"] = 0
    return LoadRequest(engine_name, model.keep_alive, options)


def _other_weights(model: ModelSpec, facts: EngineFacts, name: str) -> str | None:
    """What is wrong with the weights behind `name`, where they are known and pinned."""
    installed = find_installed(facts, name)
    if model.digest is None or installed is None or installed.blob is None or weights_digest(installed.blob) == model.digest:
        return None
    return f"{name} has weights {weights_digest(installed.blob)}, and its digest pins {model.digest}; gpurec pin {model.name} accepts them"
