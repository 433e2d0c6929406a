"""An engine in memory that does what a test tells it, on a clock that moves only when everybody waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from reconciler.engines.protocol import LoadRequest, PullProgress
from reconciler.engines.trial import Written
from reconciler.execution import Event, ExecutionOptions, Outcome, StopSignal, execute
from reconciler.fleet import (
    NOTHING_APPLIED,
    Applied,
    AppliedReplica,
    CardFacts,
    CardSpec,
    Desired,
    EngineError,
    EngineFacts,
    EngineId,
    EngineKind,
    EngineSpec,
    Fleet,
    FleetFacts,
    Heat,
    Installed,
    ModelSpec,
    NodeFacts,
    NodeSpec,
    Policy,
    Problem,
    Resident,
    ResidentStatus,
    Scalar,
    replica_address,
)
from reconciler.planning import Action, CardBalance, Cause, ModelStep, Plan, Precondition, Reason, Value
from reconciler.state import JournalRow, Learned, Measurement, Rename, RunRecord, SettledStep, StepStatus

GIB = 2**30
NOW = "2026-01-01T00:00:00Z"


class Time:
    """Seconds that pass only when every task that could run is waiting."""

    def __init__(self) -> None:
        self.now = 0.0
        self._waiting: list[float] = []

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        until = self.now + seconds
        self._waiting.append(until)
        try:
            while self.now < until:
                first = min(self._waiting)  # before and after: whoever is awake for a moment waits again by then
                for _ in range(25):
                    await asyncio.sleep(0)
                if self.now < until and first == min(self._waiting) == until:
                    self.now = until
        finally:
            self._waiting.remove(until)


@dataclass
class ScriptedEngine:
    """`load_takes` seconds; `shown` overrides how a loaded model shows; `fails` are errors by (verb, name), used up one by one;
    after those of `dies_after` it answers no more."""

    spec: EngineSpec
    time: Time
    installed: set[str] = field(default_factory=set)
    residents: dict[str, Resident] = field(default_factory=dict)
    blobs: dict[str, str] = field(default_factory=dict)
    remote: dict[str, str] = field(default_factory=dict)
    load_takes: float = 2.0
    release_takes: float = 0.0
    shown: dict[str, Resident] = field(default_factory=dict)
    fails: dict[tuple[str, str], list[EngineError]] = field(default_factory=dict)
    failed_loads: set[str] = field(default_factory=set)
    dies_after: set[tuple[str, str]] = field(default_factory=set)
    returns_at_once: bool = False
    busy_until: dict[str, float] = field(default_factory=dict)
    down_looks: int = 0
    down: bool = False
    hangs: bool = False
    evicts: bool = False
    log: list[tuple[str, str]] = field(default_factory=list)
    requests: list[LoadRequest] = field(default_factory=list)
    looks: int = 0
    loading: int = 0
    most_loading: int = 0
    vectors: int = 768
    speed: float = 100.0
    pull_lines: Sequence[PullProgress] = (PullProgress("pulling", 1, 2), PullProgress("success", 2, 2))
    _behind: list[asyncio.Task[None]] = field(default_factory=list)

    async def observe(self, wanted: Collection[str] = ()) -> EngineFacts:
        self.looks += 1
        await asyncio.sleep(0)
        if self.down or self.down_looks > 0:
            self.down_looks -= 1
            return EngineFacts(self.spec.id, self.spec.kind, False, "connection refused", "refused")
        installed = tuple(
            Installed(name, 7, blob=self.blobs.get(name), failed=name in self.failed_loads, remote=self.remote.get(name))
            for name in sorted(self.installed)
        )
        return EngineFacts(self.spec.id, self.spec.kind, True, installed=installed, residents=tuple(self.residents.values()))

    async def pull(self, name: str) -> AsyncIterator[PullProgress]:
        self.log.append(("pull", name))
        for line in self.pull_lines:
            yield line
        self._fail("pull", name)
        self.installed.add(name)

    async def derive(self, base: str, tag: str, parameters: Mapping[str, Scalar]) -> None:
        self.log.append(("derive", f"{tag} from {base} with {dict(parameters)}"))
        self._fail("derive", tag)
        self.installed.add(tag)

    async def busy(self, name: str) -> bool | None:
        await asyncio.sleep(0)
        return None if name not in self.busy_until else self.time.now < self.busy_until[name]

    async def delete(self, name: str) -> None:
        self.log.append(("delete", name))
        self._fail("delete", name)
        self.installed.discard(name)

    async def load(self, request: LoadRequest) -> None:
        self.log.append(("load", request.name))
        self.requests.append(request)
        self.loading += 1
        self.most_loading = max(self.most_loading, self.loading)
        try:
            if self.returns_at_once:
                self.residents[request.name] = Resident(request.name, ResidentStatus.LOADING)
                self._behind.append(asyncio.ensure_future(self._become(request)))
                return
            await (asyncio.Event().wait() if self.hangs else self.time.sleep(self.load_takes))
            self._fail("load", request.name)
            self._show(request)
        finally:
            self.loading -= 1

    async def _become(self, request: LoadRequest) -> None:
        await self.time.sleep(self.load_takes)
        if ("load", request.name) in self.fails:
            self.residents.pop(request.name)
            self.failed_loads.add(request.name)
        else:
            self._show(request)

    def _show(self, request: LoadRequest) -> None:
        asked = request.options.get("num_ctx")
        context = asked if isinstance(asked, int) else 4096
        if "-c" in request.name:
            context = int(request.name.rpartition("-c")[2])
        if self.evicts:
            self.residents.clear()
        default = loaded(request.name, GIB, context=context, pinned=request.keep_alive == -1)
        self.residents[request.name] = self.shown.get(request.name, default)

    async def unload(self, name: str) -> None:
        self.log.append(("unload", name))
        self._fail("unload", name)
        if self.release_takes:
            self._behind.append(asyncio.ensure_future(self._leave(name)))
        else:
            self.residents.pop(name, None)

    async def _leave(self, name: str) -> None:
        await self.time.sleep(self.release_takes)
        self.residents.pop(name, None)

    async def vector_length(self, request: LoadRequest) -> int:
        self.log.append(("vector", request.name))
        self._fail("vector", request.name)
        return self.vectors

    async def write(self, request: LoadRequest, tokens: int) -> Written:
        self.log.append(("speed", request.name))
        self.requests.append(request)
        self._fail("speed", request.name)
        return Written(tokens, 1.0, self.spec.url, told=self.speed)

    async def aclose(self) -> None: ...

    def _fail(self, verb: str, name: str) -> None:
        left = self.fails.get((verb, name))
        if left:
            self.down = self.down or (verb, name) in self.dies_after
            raise left.pop(0)


class ListedState:
    """A StateWriter that keeps what it is told in lists."""

    took_over: str | None = None

    def __init__(self, applied: Applied = NOTHING_APPLIED) -> None:
        self.replicas: dict[str, AppliedReplica] = dict(applied.replicas)
        self.journaled: dict[str, tuple[StepStatus, str | None]] = {}
        self.order: list[tuple[str, str]] = []
        self.heat: dict[tuple[str, int], Heat] = dict(applied.heat)
        self.tags: dict[str, str] = {}
        self.incidents: list[tuple[str, str]] = []
        self.measurements: list[Measurement] = []
        self.learned: list[Learned] = []
        self.facts: FleetFacts | None = None

    def applied(self) -> Applied:
        return Applied("lineage", 1, dict(self.replicas), heat=dict(self.heat))

    def recorded_facts(self) -> FleetFacts | None:
        return self.facts

    def runs(self, last: int = 20, *, of_plans: bool = False) -> Sequence[RunRecord]:
        return ()

    def journal(self, run_id: int) -> Sequence[JournalRow]:
        return ()

    def own_tag(self, at: EngineId, name: str, base: str) -> None:
        self.tags[name] = base

    def forget_tags(self, at: EngineId, names: Sequence[str]) -> None:
        for name in names:
            self.tags.pop(name, None)

    def renames(self) -> Sequence[Rename]:
        return ()

    def close(self) -> None: ...

    def prove_held(self) -> None: ...

    def begin_run(self, plan_digest: str, config_digest: str, command: str, inventory: str | None = None) -> int:
        return 1

    def step_started(self, run_id: int, step_id: str, address: str, action: str) -> None:
        self.journaled[step_id] = (StepStatus.STARTED, None)
        self.order.append(("started", step_id))

    def step_finished(self, run_id: int, step_id: str, status: StepStatus, reason: str | None = None) -> None:
        self.journaled[step_id] = (status, reason)
        self.order.append((status.value, step_id))

    def steps_settled(self, run_id: int, steps: Sequence[SettledStep]) -> None:  # type: ignore[override]
        for step in steps:
            self.journaled[step.step_id] = (step.status, step.reason)

    def record(self, replicas: Sequence[AppliedReplica], gone: Sequence[str] = ()) -> None:  # type: ignore[override]
        for address in gone:
            self.replicas.pop(address, None)
        self.replicas.update({row.address: row for row in replicas})

    def record_heat(self, levels: Mapping[tuple[str, int], Heat]) -> None:
        self.heat.update(levels)

    def record_incident(self, address: str, code: str, asked: str, *, at: str | None = None, evictor: str | None = None) -> None:
        self.incidents.append((address, code) if evictor is None else (address, code, evictor))

    def measure(self, measurements: Sequence[Measurement]) -> None:  # type: ignore[override]
        self.measurements.extend(measurements)

    def learn(self, needs: Sequence[Learned]) -> None:  # type: ignore[override] # a list keeps them
        self.learned.extend(needs)

    def record_facts(self, facts: FleetFacts) -> None:
        self.facts = facts

    def finish_run(self, run_id: int, result: str) -> int:
        return 1


def loaded(name: str, size: int = GIB, fraction: float = 1.0, context: int | None = 4096, pinned: bool | None = True) -> Resident:
    return Resident(name, size_bytes=size, vram_bytes=int(size * fraction), context=context, pinned=pinned)


def refused(code: str = "out_of_memory") -> EngineError:
    return EngineError(Problem("the engine says no"), code)


@dataclass
class Room:
    """A fleet of scripted engines, one a node, each with one card of 8 GiB; and a run over it."""

    kind: EngineKind = EngineKind.OLLAMA
    nodes: Sequence[str] = ("a",)
    cards: int = 1
    disk: int | None = None
    beside: ScriptedEngine | None = None
    load_timeout: float = 900.0
    models: list[ModelSpec] = field(default_factory=list)
    steps: list[ModelStep] = field(default_factory=list)
    state: ListedState = field(default_factory=ListedState)
    time: Time = field(default_factory=Time)
    events: list[Event] = field(default_factory=list)
    stop: StopSignal = field(default_factory=StopSignal)
    options: ExecutionOptions = field(default_factory=ExecutionOptions)
    policy: Policy = field(default_factory=Policy)
    balances: tuple[CardBalance, ...] | None = None
    cards_now: tuple[CardFacts, ...] | None = None
    placed: dict[str, str] = field(default_factory=dict)
    forgotten: tuple[str, ...] = ()
    engines: dict[str, ScriptedEngine] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for node in self.nodes:
            spec = EngineSpec(EngineId(node, "e"), self.kind, f"http://{node}:1", load_timeout=self.load_timeout)
            self.engines[node] = ScriptedEngine(spec, self.time, returns_at_once=self.kind is EngineKind.LLAMACPP)

    @property
    def engine(self) -> ScriptedEngine:
        return self.engines[self.nodes[0]]

    def want(self, name: str, node: str | None = None, **fields: object) -> str:
        """A wanted model, installed and placed; returns its address."""
        at = EngineId(node or self.nodes[0], "e")
        model = ModelSpec(name, (at.node,), **fields)  # type: ignore[arg-type]
        if all(known.name != name for known in self.models):
            self.models.append(model)
        address = replica_address(name, at)
        self.placed[address] = model.engine_name(self.kind)
        self.engines[at.node].installed.add(model.engine_name(self.kind))
        return address

    def step(
        self,
        action: Action,
        name: str,
        *,
        node: str | None = None,
        needs: Sequence[ModelStep] = (),
        grows: int | None = None,
        frees: int | None = None,
        reason: str = "r",
        after: Mapping[str, Value] | None = None,
    ) -> ModelStep:
        at = EngineId(node or self.nodes[0], "e")
        model = next((known for known in self.models if known.name == name), None)
        address = replica_address(name, at)
        base = model.base_name(self.kind) if model is not None else name
        step = ModelStep(
            id=f"{action.value}:{address}",
            address=address,
            action=action,
            reason=Reason(reason, ""),
            cause=Cause.PENDING,
            model=name,
            node=at.node,
            engine=at.engine,
            engine_name=model.engine_name(self.kind) if model is not None and action is not Action.PULL else base,
            base_name=base,
            needs=tuple(needed.id for needed in needs),
            gpus=(0,),
            vram_bytes=frees if frees is not None else grows,
            preconditions=(Precondition(f"{at.node}/0.free_bytes", at_least=grows),) if grows is not None else (),
            after=after or {},
        )
        self.steps.append(step)
        return step

    @property
    def plan(self) -> Plan:
        gpus = self.balances
        if gpus is None:
            gpus = tuple(CardBalance(node, 0, 8 * GIB, 8 * GIB, 0, True, 0, 0, 0) for node in self.nodes)
        return Plan("f", None, 0, "c", NOW, "d", tuple(self.steps), 0, 0, gpus=gpus, placed=dict(self.placed), forgotten=self.forgotten)

    @property
    def fleet(self) -> Fleet:
        cards = tuple(CardSpec(index, vram=8 * GIB) for index in range(self.cards))
        return Fleet(
            "f",
            {
                name: NodeSpec(name, name, tuple(one.spec for one in (engine, self.beside) if one is not None), gpus=cards, disk=self.disk)
                for name, engine in self.engines.items()
            },
        )

    async def facts(self) -> FleetFacts:
        nodes = {}
        for name, engine in self.engines.items():
            cards = tuple(CardFacts(index, total_bytes=8 * GIB) for index in range(self.cards))
            nodes[name] = NodeFacts(name, cards, None, {"e": await replace(engine, log=[]).observe()})
        return FleetFacts(NOW, nodes)

    def run(self, facts: FleetFacts | None = None, cut_after: float | None = None) -> Outcome:
        async def look(nodes: Collection[str]) -> Mapping[str, tuple[CardFacts, ...]]:
            return {} if self.cards_now is None else dict.fromkeys(nodes, self.cards_now)

        async def go() -> Outcome:
            seen = facts or await self.facts()
            work = execute(
                self.plan,
                self.fleet,
                Desired(tuple(self.models), policy=self.policy),
                facts=seen,
                engines=lambda at: self.beside if self.beside is not None and at == self.beside.spec.id else self.engines[at.node],
                state=self.state,  # type: ignore[arg-type]
                run_id=1,
                clock=self.time.clock,
                sleep=self.time.sleep,
                options=self.options,
                listen=self.events.append,
                stop=self.stop,
                cards=look,
            )
            if cut_after is None:
                return await work
            task = asyncio.ensure_future(work)
            await self.time.sleep(cut_after)
            task.cancel()
            return await task

        return asyncio.run(go())

    def codes(self, outcome: Outcome) -> dict[str, str | None]:
        return {result.step_id: result.code for result in outcome.results}
