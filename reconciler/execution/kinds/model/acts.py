"""What each action looks at, sends, and waits for; before it sends, it asks the engine whether it is so already, or no longer fits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

from reconciler.engines.protocol import Engine, LoadRequest, PullProgress
from reconciler.execution.asked import Asked, find_installed, find_resident, is_there
from reconciler.execution.kinds.model.draining import unload_and_wait, until_idle
from reconciler.execution.kinds.model.verify import LEFT_BEHIND, found_wrong
from reconciler.execution.kinds.model.waits import Watch
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
    weights_digest,
)
from reconciler.planning import ASKED_AGAIN, CONTEXT_DROPPED, OPTIONS_CHANGED, Action, Step, differs_from_before

Room = Callable[[EngineFacts], str | None]
"""Why a load may not begin by what the engine shows now, or None."""


class Skip(Exception):
    """The step no longer fits the facts; nothing was sent. `code` and `message` as in the journal."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


@dataclass(frozen=True, slots=True)
class Effect:
    """What a step came to. `satisfied`: it was so already. `resident` is what is there now, `load_seconds` how long our load took."""

    satisfied: bool = False
    resident: Resident | None = None
    load_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Work:
    """A step with all that it needs. `begin` is called right before the first thing is sent; `told` with each word of a pull.

    `model` is None for a resident that nobody wants (only an unload can be such a step); `asked` is None with it.
    """

    step: Step
    engine: Engine
    watch: Watch
    model: ModelSpec | None
    asked: Asked | None
    begin: Callable[[], None]
    told: Callable[[PullProgress], None]
    room: Room = field(default=lambda facts: None)
    options: ExecutionOptions = field(default_factory=ExecutionOptions)


async def carry_out(work: Work) -> Effect:
    """Does one step to its end. Raises Skip, EngineError, Unreachable."""
    act = _ACTS.get(work.step.action)
    if act is None:
        raise Skip("not_supported", f"{work.step.action.value} of {work.step.address} is not carried out by this version")
    return await act(work, await work.watch.look_until_seen())


async def _pull(work: Work, facts: EngineFacts) -> Effect:
    step = work.step
    if find_installed(facts, step.engine_name) is not None:
        return Effect(satisfied=True)
    work.begin()
    if step.base_name == step.engine_name or find_installed(facts, step.base_name) is None:
        model, kind = work.model, work.engine.spec.kind
        async for progress in work.engine.pull(step.base_name if model is None else model.spelled(kind, step.base_name)):
            work.told(progress)
    if step.base_name != step.engine_name:
        context = step.after.get("context")
        if context is None:
            raise _failure(work, "no_context", f"the plan does not say which context {step.engine_name} holds")
        await work.engine.derive(step.base_name, step.engine_name, {"num_ctx": context})
    await work.watch.until_installed(step.engine_name)
    if work.model is not None and (wrong := _other_weights(work.model, await work.watch.look_until_seen(), step.engine_name)) is not None:
        raise _failure(work, "digest_differs", wrong)
    return Effect()


async def _load(work: Work, facts: EngineFacts) -> Effect:
    model, asked = _wanted(work)
    resident = find_resident(facts, asked.name)
    if resident is not None:
        wrong = asked.differs(resident)
        if not is_there(resident):
            work.begin()
            return Effect(resident=await work.watch.until_resident(asked))
        if wrong is None:
            return Effect(satisfied=True, resident=resident)
        if wrong.code != "keep_alive_differs":
            raise Skip("changed_since_plan", f"{resident.name} is resident by now and not as wanted: {wrong.message}")
    _check_installed(work, facts)
    if resident is None and (lacking := work.room(facts)) is not None:
        raise Skip("no_room", lacking)
    work.begin()
    return await _send_load_and_verify(work, load_request(model, work.engine.spec.kind, asked.name), asked)


async def _reload(work: Work, facts: EngineFacts) -> Effect:
    model, asked = _wanted(work)
    resident = find_resident(facts, asked.name)
    if resident is not None and is_there(resident) and asked.differs(resident) is None and _tells_done(work.step, resident):
        return Effect(satisfied=True, resident=resident)
    _check_installed(work, facts)
    if (lacking := work.room(facts)) is not None:
        raise Skip("no_room", lacking)
    if resident is not None and (busy := await until_idle(work.engine, work.watch, resident, work.options)) is not None:
        raise Skip("busy", busy)
    work.begin()
    if resident is not None:
        await unload_and_wait(work.engine, work.watch, resident.name, resident, work.options)
    try:
        return await _send_load_and_verify(work, load_request(model, work.engine.spec.kind, asked.name), asked)
    except EngineError as error:
        if resident is None:
            raise
        problem = error.problems[0]
        told = replace(problem, what=f"{asked.name} was unloaded and could not be loaded again as wanted: {problem.what}")
        raise type(error)(told, error.code) from error


def _tells_done(step: Step, resident: Resident) -> bool:
    """Whether a resident that is as asked shows that a reload was done: not where what the reload is for cannot be seen."""
    if step.reason.code == CONTEXT_DROPPED:
        return resident.context is not None and resident.context != step.before.get("context")
    return step.reason.code not in (OPTIONS_CHANGED, ASKED_AGAIN)


async def _unload(work: Work, facts: EngineFacts) -> Effect:
    name = work.step.engine_name
    if facts.residents is not None and all(resident.name != name for resident in facts.residents):
        return Effect(satisfied=True)
    resident = next((one for one in facts.residents or () if one.name == name), None)
    if resident is not None and (busy := await until_idle(work.engine, work.watch, resident, work.options)) is not None:
        raise Skip("busy", busy)
    work.begin()
    await unload_and_wait(work.engine, work.watch, name, resident, work.options)
    return Effect()


async def _update(work: Work, facts: EngineFacts) -> Effect:
    model, asked = _wanted(work)
    resident = find_resident(facts, asked.name)
    if resident is None:
        raise Skip("changed_since_plan", f"{asked.name} is not resident any more")
    wrong = asked.differs(resident)
    if wrong is None and is_there(resident):
        return Effect(satisfied=True, resident=resident)
    if wrong is not None and wrong.code != "keep_alive_differs":
        if differs_from_before(work.step, resident) is not None or not work.step.before:
            raise Skip("changed_since_plan", wrong.message)
        asked = Asked(asked.name, pinned=asked.pinned)  # the rest was so when the plan was made, and is held
        if asked.differs(resident) is None:
            return Effect(satisfied=True, resident=resident)
    work.begin()
    request = load_request(model, work.engine.spec.kind, asked.name)
    if work.engine.spec.kind is EngineKind.OLLAMA and resident.context is not None:
        # A request without the size that it runs with would have Ollama reload it (server/sched.go needsReload).
        request = replace(request, options={**request.options, "num_ctx": resident.context})
    return replace(await _send_load(work, request, asked), load_seconds=None)


async def _wait(work: Work, facts: EngineFacts) -> Effect:
    _, asked = _wanted(work)
    resident = find_resident(facts, asked.name)
    if resident is not None and is_there(resident) and asked.differs(resident) is None:
        return Effect(satisfied=True, resident=resident)
    work.begin()
    return Effect(resident=await work.watch.until_resident(asked))


async def _remove(work: Work, facts: EngineFacts) -> Effect:
    names = names_to_delete(work.step)
    there = [name for name in names if find_installed(facts, name) is not None]
    if not there and facts.installed is not None:
        return Effect(satisfied=True)
    if any(resident.name in names for resident in facts.residents or ()):
        raise Skip("still_resident", f"{work.step.base_name} is resident, so it is not deleted")
    work.begin()
    for name in there:
        await work.engine.delete(name)
        await work.watch.until_deleted(name)
    return Effect()


def names_to_delete(step: Step) -> tuple[str, ...]:
    """All names that a deletion takes from the disk: derived tags first, the one of the model itself last."""
    tags = [step.engine_name, *str(step.after.get("tags", "")).split()]
    return tuple(dict.fromkeys([*(tag for tag in tags if tag != step.base_name), step.base_name]))


_ACTS: dict[Action, Callable[[Work, EngineFacts], Awaitable[Effect]]] = {
    Action.PULL: _pull,
    Action.LOAD: _load,
    Action.RELOAD: _reload,
    Action.UNLOAD: _unload,
    Action.UPDATE: _update,
    Action.WAIT: _wait,
    Action.REMOVE: _remove,
}


async def _send_load(work: Work, request: LoadRequest, asked: Asked) -> Effect:
    """Sends a load and looks, all the while, whether it shows. The request itself is cut only when the whole has failed or ended."""
    started = work.watch.clock()
    sent = asyncio.ensure_future(work.engine.load(request))
    try:
        resident = await work.watch.until_resident(asked, sent)
        return Effect(resident=resident, load_seconds=work.watch.clock() - started)
    finally:
        if not sent.done():
            sent.cancel()
        await asyncio.gather(sent, return_exceptions=True)


async def _send_load_and_verify(work: Work, request: LoadRequest, asked: Asked) -> Effect:
    """A load that its `verify` does not find as it should be is taken back: nothing that was found wrong stays."""
    effect = await _send_load(work, request, asked)
    if work.model is None or not work.model.verify.asks:
        return effect
    wrong = await found_wrong(work.engine, request, work.model.verify)
    if wrong is None:
        return effect
    try:
        await unload_and_wait(work.engine, work.watch, asked.name, None, work.options)
    except EngineError as error:
        raise _failure(work, LEFT_BEHIND, f"{wrong.message}, and cannot be taken back: {error.problems[0].what}") from error
    raise _failure(work, wrong.code, f"{wrong.message}; it was unloaded again: see `gpurec doctor`, or correct its `verify`")


def load_request(model: ModelSpec, kind: EngineKind, engine_name: str) -> LoadRequest:
    """What a load sends: the model's options, its context where it is kept in the request, and no layer on the card for a CPU replica."""
    options: dict[str, Scalar] = dict(model.options)
    if kind is EngineKind.OLLAMA:
        if model.wanted_context is not None and (model.context is None or model.context_via is ContextVia.REQUEST):
            options["num_ctx"] = model.wanted_context
        if model.residency is Residency.CPU:
            options["num_gpu"] = 0
    return LoadRequest(engine_name, model.keep_alive, options)


def _wanted(work: Work) -> tuple[ModelSpec, Asked]:
    if work.model is None or work.asked is None:
        raise Skip("not_wanted", f"{work.step.model} is not in the desired state")
    return work.model, work.asked


def _check_installed(work: Work, facts: EngineFacts) -> None:
    if facts.installed is not None and find_installed(facts, work.step.engine_name) is None:
        raise Skip("not_installed", f"{work.step.engine_name} is not installed on {work.engine.spec.id}")
    if work.model is not None and (wrong := _other_weights(work.model, facts, work.step.engine_name)) is not None:
        raise Skip("digest_differs", wrong)


def _other_weights(model: ModelSpec, facts: EngineFacts, name: str) -> str | None:
    """What is wrong with the weights behind `name`, where they are known and pinned."""
    installed = find_installed(facts, name)
    if model.digest is None or installed is None or installed.blob is None or weights_digest(installed.blob) == model.digest:
        return None
    return f"{name} has weights {weights_digest(installed.blob)}, and its digest pins {model.digest}; gpurec pin {model.name} accepts them"


def _failure(work: Work, code: str, message: str) -> EngineError:
    return EngineError(Problem(message, Place(str(work.engine.spec.id))), code)
