"""Carries out the steps of any kind of resource but models: looks whether it is so already, acts, looks again, and records it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Set
from dataclasses import field
from pathlib import Path
from typing import Protocol

from reconciler.engines.keys import Keys
from reconciler.execution.actor import Failure, Progress, Skip
from reconciler.execution.step import Run
from reconciler.fleet import NOTHING_APPLIED, Applied, AppliedResource, Desired, Fleet, FleetFacts, GpurecError, Problem, ResourceFacts
from reconciler.planning import Action, Step
from reconciler.planning.plan import Cause
from reconciler.planning.resource import RESTART, AnyKind, changed_since, differing, is_done, repaired
from reconciler.value_class import value_class


@value_class
class ActorContext:
    """What an actor works for: the folder of the workspace (relative paths are below it), the fleet whose nodes it reaches, and the seconds
    between two looks at something that it waits for. `applied` is the state as it was at the beginning; `keys` are the secrets that were
    read so far, to be taken out of what comes back."""

    root: Path
    fleet: Fleet
    poll_seconds: float = 0.5
    applied: Applied = NOTHING_APPLIED
    keys: Keys = field(default_factory=Keys)


@value_class
class Surroundings:
    """What is known when resources are looked at: the files, the state, and what probing showed. Without `asks_nodes` nothing may be sent
    to a node, and with `part` nothing to others than these: what only a node can say is then as it was last applied. `state` is the file of
    the state, where it is one."""

    fleet: Fleet
    desired: Desired
    facts: FleetFacts
    applied: Applied
    asks_nodes: bool = True
    state: Path | None = None
    part: Set[str] | None = None

    def asks(self, node: str) -> bool:
        """Whether anything may be sent to this node."""
        return self.asks_nodes and (self.part is None or node in self.part)


class ResourceActor(Protocol):
    """The I/O of one kind of resource, for one look or one run."""

    @property
    def kind(self) -> AnyKind: ...

    async def observe(self, around: Surroundings) -> Mapping[str, ResourceFacts]:
        """What is there of all that the files ask for and the state owns, by address. What cannot be seen is unknown, with the reason."""
        ...

    async def look(self, step: Step) -> ResourceFacts:
        """What is there now of the resource of a step."""
        ...

    async def act(self, step: Step, progress: Progress) -> None:
        """Creates, updates or removes it; `progress` hears of what takes long. Raises GpurecError; then nothing is half done."""
        ...

    async def wait(self, step: Step) -> ResourceFacts:
        """What is there once it is as asked, or as far as it came within the kind's own bound."""
        ...

    def applied(self, step: Step, found: ResourceFacts) -> AppliedResource:
        """What the state keeps of it."""
        ...

    async def aclose(self) -> None:
        """Ends the connections that it opened."""
        ...


class NotAsAsked(GpurecError):
    """A resource was changed and is not as it was to be."""

    code = "not_as_asked"


Holds = Callable[[Step], Awaitable[tuple[str, str] | None]]
"""Why a step is not to run at this very moment, as code and sentence; None where it may."""


class StepOfResource:
    """One step, as the executor drives it."""

    def __init__(self, run: Run, actor: ResourceActor, step: Step, progress: Progress, holds: Holds) -> None:
        self._run, self._actor, self._step, self._progress, self._holds = run, actor, step, progress, holds
        self._found: ResourceFacts | None = None

    async def look(self) -> bool:
        step, kind = self._step, self._actor.kind
        if step.only_while_due and step.address not in self._run.state.applied().resources:
            return True
        found = self._found = await self._actor.look(step)
        if found.exists is None:
            raise Skip("unknown", found.reason or "nothing is known about it now")
        if is_done(kind, step, found):
            return True
        changed = changed_since(kind, step, found)
        if found.exists != bool(step.before) or changed:
            how = f"was changed ({', '.join(changed)})" if changed else "came" if found.exists else "is gone"
            raise Skip("changed_since_plan", f"it {how} since the plan was made")
        if (held := await self._holds(step)) is not None:
            raise Skip(*held)
        return False

    def begin(self) -> None:
        """What has to follow is due from now on, even if the run ends the next moment."""
        if due := self._step.makes_due:
            self._run.state.record_resources([AppliedResource(address) for address in due])
        if self._step.reason.code == RESTART:
            self._run.state.record_incident(self._step.address, RESTART, "")

    async def act(self) -> None:
        self._run.state.prove_held()
        await self._actor.act(self._step, self._progress)

    async def wait(self) -> None:
        step, kind = self._step, self._actor.kind
        found = self._found = await self._actor.wait(step)
        if not is_done(kind, step, found):
            wrong = ", ".join(differing(kind, step.after, found.fields)) or ("it is still there" if found.exists else "it is not there")
            raise NotAsAsked(Problem(f"it was changed and is not as asked: {wrong}", None, "see who else writes it, then plan again"))

    async def close(self) -> None:
        """Nothing is left open."""

    def keep(self) -> None:
        state, step = self._run.state, self._step
        if step.action is Action.REMOVE or step.only_while_due:
            state.record_resources((), (step.address,))
        elif self._found is not None:
            state.record_resources((self._actor.applied(step, self._found),))
            if step.cause is Cause.DRIFT and not self._actor.kind.marks_its_own:
                code, asked = repaired(step.address, step.after)
                state.record_incident(step.address, code, asked)

    async def failed(self, error: GpurecError) -> Failure:
        return Failure()

    def pause(self, error: GpurecError, tries: int) -> float | None:
        return None

    def given_up(self, error: GpurecError) -> None:
        """It is never tried again."""
