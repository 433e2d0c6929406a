"""Plan, apply and plan again over real HTTP servers, with the adapters that users have."""

from __future__ import annotations

import asyncio
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from reconciler.engines.llamacpp import LlamaCpp
from reconciler.engines.ollama import Ollama
from reconciler.engines.protocol import Engine
from reconciler.engines.transport import Transport
from reconciler.execution import ExecutionOptions, Outcome, execute
from reconciler.execution.kinds.model.recording import charged
from reconciler.fleet import (
    Applied,
    AppliedReplica,
    CardFacts,
    CardSpec,
    Desired,
    EngineId,
    EngineKind,
    EngineSpec,
    Fleet,
    FleetFacts,
    ModelSpec,
    NodeFacts,
    NodeSpec,
)
from reconciler.planning import Plan, make_plan, wanted_names
from reconciler.sim import SimFleet, builtin_fleet, running
from reconciler.state import open_reader, open_writer


def _fleet(sim: SimFleet) -> Fleet:
    nodes = {}
    for node in sim.spec.nodes:
        engines = tuple(
            EngineSpec(EngineId(node.name, one.name), EngineKind(one.kind), sim.engines[f"{node.name}/{one.name}"].url)
            for one in node.engines
        )
        cards = tuple(CardSpec(index, vram=gpu.vram) for index, gpu in enumerate(node.gpus))
        nodes[node.name] = NodeSpec(node.name, "127.0.0.1", engines, gpus=cards)
    return Fleet("demo", nodes)


def _engine(spec: EngineSpec, transport: Transport) -> Engine:
    return LlamaCpp(spec, transport) if spec.kind is EngineKind.LLAMACPP else Ollama(spec, transport)


async def _plan_and_apply(fleet: Fleet, wanted: Desired, path: Path) -> tuple[Plan, Outcome]:
    transport = Transport()
    engines = {spec.id: _engine(spec, transport) for node in fleet.nodes.values() for spec in node.engines}
    try:
        with open_writer(path, command="apply") as state:
            applied = state.applied()
            facts = await _facts(fleet, wanted, applied, engines)
            plan = make_plan(fleet, wanted, facts, applied, config_digest="c", created_at="")
            run = state.begin_run(plan.digest, "c", "apply")
            outcome = await execute(
                plan,
                fleet,
                wanted,
                facts=facts,
                engines=engines.__getitem__,
                state=state,
                run_id=run,
                options=ExecutionOptions(poll_seconds=0.05),
            )
            state.finish_run(run, outcome.result)
            return plan, outcome
    finally:
        for engine in engines.values():
            await engine.aclose()


def read_applied(path: Path) -> Applied:
    with closing(open_reader(path)) as state:
        return state.applied()


async def _facts(fleet: Fleet, wanted: Desired, applied: Applied, engines: dict[EngineId, Engine]) -> FleetFacts:
    names = wanted_names(fleet, wanted, applied)
    nodes = {}
    for node in fleet.nodes.values():
        seen = {spec.id.engine: await engines[spec.id].observe(names.get(spec.id, ())) for spec in node.engines}
        nodes[node.name] = NodeFacts(node.name, tuple(CardFacts(card.index, total_bytes=card.vram) for card in node.gpus or ()), None, seen)
    return FleetFacts("2026-01-01T00:00:00Z", nodes)


def test_an_apply_over_real_servers_leaves_an_empty_plan_and_repairs_what_was_lost(tmp_path: Path) -> None:
    with running(builtin_fleet("demo").on_free_ports()) as sim:
        fleet = _fleet(sim)
        wanted = Desired(
            (
                ModelSpec("llama3.1:8b", ("ada",), on="ada", context=8192, vram=9 * 2**30),
                ModelSpec("nomic-embed-text", ("bea",), on="bea", vram=2**30),
                ModelSpec("mistral:7b", ("ada",), on="ada", vram=6 * 2**30),
                ModelSpec("tinyllama-1b", ("cleo",), on="cleo", engine=EngineKind.LLAMACPP, vram=2 * 2**30),
            )
        )

        def apply() -> tuple[Plan, Outcome]:
            return asyncio.run(_plan_and_apply(fleet, wanted, tmp_path / "s.db"))

        plan, outcome = apply()
        assert outcome.exit_code == 0, outcome.results
        assert outcome.done == len(plan.steps) == 6  # a tag, a download, four loads
        charged = {row.model: row.charges for row in read_applied(tmp_path / "s.db").replicas.values()}
        assert charged == {
            "llama3.1:8b": ((0, 9 * 2**30),),
            "nomic-embed-text": ((0, 2**30),),
            "mistral:7b": ((0, 6 * 2**30),),
            "tinyllama-1b": ((0, 2 * 2**30),),
        }

        sim.forget_requests()
        plan, _ = apply()
        assert plan.steps == ()
        assert plan.charges == {}, "a load is charged once, when it is placed"
        assert {row.model: row.charges for row in read_applied(tmp_path / "s.db").replicas.values()} == charged
        sent = [(one.method, one.path) for engine in sim.engines.values() for one in engine.requests if one.method != "GET"]
        assert {path for _, path in sent} <= {"/api/show"}

        sim.engines["ada/ollama"].restart()
        plan, outcome = apply()
        assert [(step.action, step.reason.code) for step in plan.steps] == [("load", "missing")] * 2
        assert outcome.exit_code == 0, outcome.results
        plan, _ = apply()
        assert plan.steps == ()
        assert plan.charges == {}, "a load is charged once, when it is placed"
        assert {row.model: row.charges for row in read_applied(tmp_path / "s.db").replicas.values()} == charged


def test_a_state_of_before_learns_what_its_replicas_are_charged_with_from_the_next_apply(tmp_path: Path) -> None:
    with running(builtin_fleet("demo").on_free_ports()) as sim:
        fleet, path = _fleet(sim), tmp_path / "s.db"
        wanted = Desired((ModelSpec("nomic-embed-text", ("bea",), on="bea", vram=2**30),))
        asyncio.run(_plan_and_apply(fleet, wanted, path))
        (known,) = read_applied(path).replicas.values()
        with open_writer(path, command="an earlier gpurec") as state:
            state.begin_run("", "", "")
            state.record([replace(known, charges=None)])
        plan, _ = asyncio.run(_plan_and_apply(fleet, wanted, path))
        assert plan.steps == ()
        (again,) = read_applied(path).replicas.values()
        assert again.charges is not None
        assert [card for card, _ in again.charges] == [0]


def test_a_replica_keeps_what_it_is_charged_with_where_its_step_is_already_done() -> None:
    row = AppliedReplica("model.m@n/e", "m", EngineId("n", "e"), "m:latest", charges=((0, 2**30),))
    plan = make_plan(Fleet("f", {}), Desired(()), FleetFacts("", {}), Applied(), config_digest="c", created_at="")
    assert charged(plan, row.address, row) == row.charges, "a plan says only what the state does not say yet"
    assert charged(replace(plan, charges={row.address: ((1, 5),)}), row.address, row) == ((1, 5),)
    assert charged(plan, row.address, None) is None
