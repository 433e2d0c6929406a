"""The exit status of every command: one function over what holds, in the order of the command."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import pytest
from cli_lab import SMALL, Lab, served

from reconciler.fleet import GpurecError, GuardRefused, LockHeld, StalePlan
from reconciler.operations.exit_status import ORDER, Command, ExitStatus, check_all, exit_status, of_error
from reconciler.sim import builtin_fleet
from reconciler.state import open_writer

ERROR, CHANGED, INCOMPLETE, UNREACHABLE = ExitStatus.ERROR, ExitStatus.CHANGED, ExitStatus.INCOMPLETE, ExitStatus.UNREACHABLE
LOCKED, STALE, REFUSED, INTERRUPTED = ExitStatus.LOCKED, ExitStatus.STALE, ExitStatus.REFUSED, ExitStatus.INTERRUPTED
NO_PLACE = SMALL + "  huge: {engine: ollama, on: ollama, vram: 700GiB}\n"
RARE = NO_PLACE.replace("700GiB}", "700GiB, best_effort: true}")


@pytest.mark.parametrize(
    ("command", "first_of"),
    [
        (Command.APPLY, [INTERRUPTED, ERROR, REFUSED, STALE, LOCKED, INCOMPLETE, UNREACHABLE]),
        (Command.PLAN, [INTERRUPTED, ERROR, REFUSED]),
        (Command.PLAN_DETAILED, [INTERRUPTED, ERROR, REFUSED, INCOMPLETE, CHANGED, UNREACHABLE]),
        (Command.DRIFT, [INTERRUPTED, ERROR, REFUSED, CHANGED, UNREACHABLE]),
        (Command.LOOK, [INTERRUPTED, ERROR, UNREACHABLE]),
        (Command.CHECK, [INTERRUPTED, ERROR, LOCKED]),
    ],
)
def test_of_several_that_hold_the_first_in_the_order_of_the_command_counts(command: Command, first_of: list[ExitStatus]) -> None:
    assert exit_status(command, ()) is ExitStatus.DONE
    for count in range(1, len(first_of) + 1):
        for holds in combinations(first_of, count):
            assert exit_status(command, set(holds)) is holds[0]


@pytest.mark.parametrize("command", list(Command))
def test_what_a_command_never_says_decides_nothing(command: Command) -> None:
    assert exit_status(command, set(ExitStatus) - set(ORDER[command])) is ExitStatus.DONE


def test_statuses_are_the_numbers_of_the_contract() -> None:
    assert [int(one) for one in ExitStatus] == [0, 1, 2, 3, 4, 5, 6, 7, 130]


@pytest.mark.parametrize(
    ("kinds", "first"),
    [
        ([LockHeld, StalePlan, GuardRefused, GpurecError], GpurecError),
        ([LockHeld, StalePlan, GuardRefused], GuardRefused),
        ([LockHeld, StalePlan], StalePlan),
        ([LockHeld], LockHeld),
    ],
)
def test_of_several_checks_the_most_urgent_error_is_raised(kinds: list[type[GpurecError]], first: type[GpurecError]) -> None:
    def failing(kind: type[GpurecError]) -> None:
        raise kind.of("no")

    with pytest.raises(first) as caught:
        check_all(Command.APPLY, *(lambda kind=kind: failing(kind) for kind in kinds))
    assert of_error(caught.value) == first.exit_code
    check_all(Command.APPLY, lambda: None)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with served(builtin_fleet("demo").with_time_scale(0), tmp_path) as lab:
        yield lab


def test_a_plan_in_detail_ends_with_what_its_apply_would_end_with(lab: Lab) -> None:
    lab.want(NO_PLACE)
    assert lab.run("plan").exit_code == 0
    assert lab.run("plan", "--detailed-exitcode").exit_code == 3  # also before the rest is applied
    assert lab.run("apply", "--auto-approve").exit_code == 3
    assert lab.run("plan", "--detailed-exitcode").exit_code == 3
    lab.want(RARE)
    assert lab.run("plan", "--detailed-exitcode").exit_code == 0
    assert lab.run("apply", "--auto-approve").exit_code == 0


def test_no_place_goes_before_an_engine_that_cannot_be_reached(lab: Lab) -> None:
    assert lab.run("apply", "--auto-approve").exit_code == 0
    lab.fleet.engines["bea/ollama"].kill()
    for command in (("plan", "--detailed-exitcode"), ("apply", "--auto-approve"), ("status",), ("facts",), ("drift",)):
        assert lab.run(*command).exit_code == 4, command
    lab.want(SMALL.replace("nomic", "other") + "  huge: {engine: llamacpp, on: llamacpp, vram: 700GiB}\n")
    assert lab.run("plan", "--detailed-exitcode").exit_code == 3
    assert lab.run("plan").exit_code == 0


def test_what_is_told_or_written_of_the_fleet_ends_alike_where_an_engine_cannot_be_reached(lab: Lab) -> None:
    assert lab.run("apply", "--auto-approve").exit_code == 0
    looks = (
        ("facts",),
        ("status",),
        ("models",),
        ("check", "nomic-embed-text"),
        ("explain", "model.nomic-embed-text@ada/ollama"),
        ("top", "--once"),
        ("import",),
        ("pin",),
    )
    assert {command: lab.run(*command).exit_code for command in looks} == dict.fromkeys(looks, 0)
    lab.fleet.engines["bea/ollama"].kill()
    assert {command: lab.run(*command).exit_code for command in looks} == dict.fromkeys(looks, 4)
    assert lab.run("plan").exit_code == 0  # it only warns


def test_a_pin_of_models_that_the_engine_cannot_have_is_whole_without_it(lab: Lab) -> None:
    lab.want("version: 1\nmodels: {a: {engine: ollama, on: ada}, b: {engine: ollama, on: bea}}\n")
    lab.fleet.engines["bea/ollama"].kill()
    assert lab.run("pin", "a").exit_code == 0
    assert lab.run("pin", "b").exit_code == 4


def test_a_guard_and_a_stale_plan_are_said_before_a_lock(lab: Lab) -> None:
    assert lab.run("plan", "--out", "a.plan").exit_code == 0
    assert lab.run("apply", "--auto-approve").exit_code == 0
    lab.want(SMALL.replace("nomic-embed-text", "tinyllama") + "policy: {guards: {max_unload: 0}}\n")
    with open_writer(lab.state, command="gpurec apply"):
        lab.fleet.engines["ada/ollama"].requests.clear()
        assert lab.run("apply", "--auto-approve").exit_code == 7
        assert lab.run("apply", "a.plan").exit_code == 6
        lab.want(SMALL)
        assert lab.run("apply", "--auto-approve").exit_code == 5
        assert lab.run("apply", "--auto-approve", "--expect-digest", "sha256:0").exit_code == 6
        assert lab.run("lock", "status").exit_code == 5


def test_a_guard_is_said_before_another_digest(lab: Lab) -> None:
    assert lab.run("apply", "--auto-approve").exit_code == 0
    lab.want(SMALL.replace("nomic-embed-text", "tinyllama") + "policy: {guards: {max_unload: 0}}\n")
    assert lab.run("apply", "--auto-approve", "--expect-digest", "sha256:0").exit_code == 7
    lab.run("plan", "--out", "refused.plan")
    assert lab.run("apply", "refused.plan", "--expect-digest", "sha256:0").exit_code == 7
