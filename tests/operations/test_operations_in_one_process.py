"""Operations as a service calls them: in one event loop, again and again, with nothing printed and nothing kept."""

from __future__ import annotations

import ast
import asyncio
import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_lab import POLL, Lab, served

import reconciler.operations
from reconciler.execution import RunFinished, StepDone, StopSignal
from reconciler.fleet import LockHeld
from reconciler.operations.apply import check_saved_plan, plan_to_apply
from reconciler.operations.drift import find_drift
from reconciler.operations.observation import PlanOptions, look
from reconciler.operations.plan_file import save_plan
from reconciler.operations.proposal import plan_fleet
from reconciler.operations.reporter import LockAwaited, NodeProbed, OperationEvent, ProbingEnded, ProbingStarted
from reconciler.operations.run import ApplyOptions, carry_out
from reconciler.operations.settings import WorkspaceSettings
from reconciler.operations.workspace import load
from reconciler.sim import builtin_fleet
from reconciler.state import open_writer

MODULES = sorted(Path(reconciler.operations.__path__[0]).glob("*.py"))


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with served(builtin_fleet("demo").with_time_scale(0), tmp_path) as lab:
        yield lab


@pytest.fixture
def settings(lab: Lab) -> WorkspaceSettings:
    return WorkspaceSettings(lab.root, poll_seconds=POLL)


def test_a_caller_plans_applies_and_finds_drift_in_one_loop(
    lab: Lab, settings: WorkspaceSettings, capfd: pytest.CaptureFixture[str]
) -> None:
    events: list[OperationEvent] = []

    async def service() -> None:
        proposal, options = await plan_to_apply(settings, PlanOptions(), ApplyOptions(), events.append)
        assert [step.node for step in proposal.plan.steps] == ["ada", "bea"]
        done = await carry_out(settings, proposal, options, events.append)
        assert (done.serial, [one.status.value for one in done.steps]) == (1, ["done", "done"])
        assert (await plan_fleet(settings)).plan.empty
        lab.fleet.engines["bea/ollama"].restart()
        assert [one.address for one in (await find_drift(settings)).counted] == ["model.nomic-embed-text@bea/ollama"]
        saved = lab.root / "a.plan"
        save_plan(saved, (await plan_fleet(settings)).plan)
        checked, options = await check_saved_plan(settings, saved, ApplyOptions())
        assert (await carry_out(settings, checked, options)).serial == 2

    asyncio.run(service())
    assert capfd.readouterr() == ("", "")
    assert isinstance(events[0], ProbingStarted)
    assert sum(isinstance(event, NodeProbed) for event in events) == 3
    assert any(isinstance(event, ProbingEnded) for event in events)
    assert sum(isinstance(event, StepDone) for event in events) == 2
    assert any(isinstance(event, RunFinished) for event in events)


def test_looks_at_several_workspaces_go_on_at_once(lab: Lab, settings: WorkspaceSettings) -> None:
    async def service() -> list[int]:
        seen = await asyncio.gather(*(look(settings) for _ in range(3)), load(settings))
        return [len(one.facts.nodes) for one in seen[:3]]

    assert asyncio.run(service()) == [3, 3, 3]


def test_nothing_is_left_behind_for_the_collector(settings: WorkspaceSettings) -> None:
    frozen = gc.get_freeze_count()
    asyncio.run(plan_fleet(settings))
    assert gc.isenabled()
    assert gc.get_freeze_count() <= frozen  # what other tests froze may be gone meanwhile


def test_the_wait_for_a_lock_leaves_the_loop_free(lab: Lab, settings: WorkspaceSettings) -> None:
    assert lab.run("apply", "--auto-approve").exit_code == 0

    async def service() -> None:
        waits = asyncio.Event()

        def report(event: OperationEvent) -> None:
            if isinstance(event, LockAwaited):
                waits.set()

        with open_writer(lab.state, command="another"):
            waiting = asyncio.ensure_future(plan_to_apply(settings, PlanOptions(), ApplyOptions(lock_timeout=60), report))
            await waits.wait()
            with pytest.raises(LockHeld):
                await plan_to_apply(settings, PlanOptions(), ApplyOptions())
        assert (await waiting)[0].plan.empty

    asyncio.run(service())


def test_a_stop_before_the_first_step_does_nothing_and_says_so(lab: Lab, settings: WorkspaceSettings) -> None:
    stop = StopSignal()
    stop.request_stop()

    async def service() -> None:
        proposal, options = await plan_to_apply(settings, PlanOptions(), ApplyOptions())
        done = await carry_out(settings, proposal, options, stop=stop)
        assert (done.interrupted, {one.status.value for one in done.steps}) == (True, {"skipped"})

    asyncio.run(service())
    assert not any(engine.residents for engine in lab.fleet.engines.values())


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_no_operation_prints_asks_starts_a_loop_or_touches_the_collector(path: Path) -> None:
    calls = {ast.unparse(node.func) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)}
    assert not calls & {"print", "input", "asyncio.run", "gc.freeze", "gc.disable", "click.echo", "signal.signal", "sys.exit"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_no_operation_keeps_anything_in_its_module(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Global | ast.Nonlocal)]
    decorators = {ast.unparse(one) for node in ast.walk(tree) for one in getattr(node, "decorator_list", ())}
    assert not {one for one in decorators if "cache" in one}
