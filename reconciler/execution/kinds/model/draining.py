"""Taking a resident away: a busy one is given time first, and one that stays gets its keep-alive back."""

from __future__ import annotations

from dataclasses import replace

from reconciler.engines.protocol import Engine, LoadRequest
from reconciler.execution.kinds.model.waits import EngineWatch
from reconciler.execution.outcome import ExecutionOptions
from reconciler.fleet import FOREVER, EngineError, EngineKind, Resident, ResidentStatus, format_duration


async def until_idle(engine: Engine, watch: EngineWatch, resident: Resident, options: ExecutionOptions) -> str | None:
    """Waits, at most `drain_seconds`, until a resident answers nobody. Why it is still not to be unloaded, or None.

    An engine that does not tell (Ollama) is not waited for here: its unload waits for the requests that run.
    """
    if options.drain_seconds is None or resident.status is not ResidentStatus.LOADED:
        return None
    deadline = watch.clock() + options.drain_seconds
    while await engine.busy(resident.name):
        if watch.clock() >= deadline:
            if options.force:
                return None
            return f"{resident.name} is still busy after {format_duration(options.drain_seconds)}; --force unloads it all the same"
        await watch.pause()
    return None


async def unload_and_wait(engine: Engine, watch: EngineWatch, name: str, resident: Resident | None, options: ExecutionOptions) -> None:
    """Unloads and waits until it is gone, `drain_seconds` where those are given. An unload that the engine refuses has still succeeded when
    the model is gone. What is still resident in the end gets its keep-alive back, unless `force`. Raises EngineError, Unreachable: the
    first reason, whatever becomes of what is done about it."""
    try:
        await engine.unload(name)
    except EngineError:
        if not await _is_gone(watch, name):
            raise
    try:
        await watch.until_gone(name, options.drain_seconds)
    except EngineError as error:
        if error.code == "still_resident" and resident is not None and engine.spec.kind is EngineKind.OLLAMA and not options.force:
            outcome = await _give_back(engine, watch, resident, options)
            problem = error.problems[0]
            told = replace(problem, what=f"{problem.what}; {outcome}", hint="try again, or --force to let it go when it can")
            raise EngineError(told, error.code) from error
        raise


async def _is_gone(watch: EngineWatch, name: str) -> bool:
    """Whether one look shows that `name` is no resident; one that fails shows nothing."""
    try:
        facts = await watch.look()
    except EngineError:
        return False
    return facts is not None and facts.residents is not None and all(one.name != name for one in facts.residents)


async def _give_back(engine: Engine, watch: EngineWatch, resident: Resident, options: ExecutionOptions) -> str:
    """Gives a resident its keep-alive back, as far as that goes quickly; a clause that says what came of it."""
    try:
        ended = await watch.at_most(engine.load(as_it_was(resident)), options.settle_seconds)
    except EngineError as error:
        return f"its keep-alive could not be given back: {error.problems[0].what}"
    if not ended:
        after = format_duration(options.settle_seconds)
        return f"its keep-alive could not be given back: the engine did not answer within {after}, so it goes as soon as it can"
    return "it has its keep-alive back"


def as_it_was(resident: Resident) -> LoadRequest:
    """A request that changes nothing but the keep-alive: with the size that it runs with, or Ollama would reload it (needsReload)."""
    keep_alive = FOREVER if resident.pinned else resident.expires_in
    return LoadRequest(resident.name, keep_alive, {"num_ctx": resident.context} if resident.context is not None else {})
