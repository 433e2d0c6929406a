"""A saved plan is carried out only while it is the plan that would be made now."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from reconciler.fleet import NOTHING_APPLIED, Applied, GpurecError, StalePlan
from reconciler.operations import saved_plan_checks as stale
from reconciler.planning import Action, Cause, ModelStep, Plan, Reason, plan_digest


def step(model: str, **changes: Any) -> ModelStep:
    base = ModelStep(
        id=model, address=f"model.{model}@n/e", action=Action.LOAD, reason=Reason("missing", "not resident"), cause=Cause.PENDING,
        model=model, node="n", engine="e", engine_name=model, base_name=model,
    )  # fmt: skip
    return replace(base, **changes)


def plan(*steps: ModelStep, lineage: str | None = "l", **changes: Any) -> Plan:
    digest = plan_digest(lineage, "sha256:c", "builtin", steps)
    return replace(Plan("lab", lineage, 1, "sha256:c", "t", digest, steps, 0, 0), **changes)


def test_the_same_plan_is_accepted_even_by_a_state_made_since() -> None:
    stale.check_same(plan(step("a")), plan(step("a")))
    stale.check_same(plan(step("a"), lineage=None), plan(step("a"), lineage="new"))


@pytest.mark.parametrize(
    ("fresh", "says"),
    [
        ((), "load model.a@n/e, is no longer there"),
        ((step("a"), step("b")), r"step 2, load model.b@n/e \(not resident\), would be new"),
        ((step("b"),), "step 1 was load model.a@n/e and would be load model.b@n/e now"),
        ((step("a", vram_bytes=5),), "step 1, load model.a@n/e, differs in its bytes"),
        ((step("a", after={"context": 1}),), "differs in its options"),
    ],
)
def test_a_plan_that_moved_is_stale_and_names_the_first_step_that_differs(fresh: tuple[ModelStep, ...], says: str) -> None:
    with pytest.raises(StalePlan, match=says) as caught:
        stale.check_same(plan(step("a")), plan(*fresh))
    assert caught.value.exit_code == 6


@pytest.mark.parametrize(
    ("saved", "config", "applied", "says"),
    [
        (plan(), "sha256:other", Applied("l"), "desired state changed"),
        (plan(), "sha256:c", Applied("m"), "another state"),
        (plan(), "sha256:c", NOTHING_APPLIED, r"there is none here.*--state, or bring it back"),
        (plan(lineage=None), "sha256:c", Applied("l", serial=3), "applied something since"),
    ],
)
def test_a_plan_of_other_files_or_another_state_is_stale(saved: Plan, config: str, applied: Applied, says: str) -> None:
    with pytest.raises(StalePlan, match=says):
        stale.check_origin(saved, "lab", config, applied)


def test_a_plan_of_another_fleet_is_an_error_that_says_which() -> None:
    with pytest.raises(GpurecError, match="use --fleet lab") as caught:
        stale.check_origin(plan(), "other", "sha256:c", Applied("l"))
    assert caught.value.exit_code == 1


def test_a_plan_without_lineage_fits_a_state_that_has_applied_nothing() -> None:
    stale.check_origin(plan(lineage=None), "lab", "sha256:c", NOTHING_APPLIED)
    stale.check_origin(plan(lineage=None), "lab", "sha256:c", Applied("just-made"))


def test_a_plan_made_without_a_state_goes_on_in_a_state_that_knows_no_other() -> None:
    saved = plan(lineage=None)
    stale.check_origin(saved, "lab", "sha256:c", Applied("l", serial=2), [saved.digest])
    with pytest.raises(StalePlan, match="applied something since"):
        stale.check_origin(saved, "lab", "sha256:c", Applied("l", serial=2), [saved.digest, "sha256:other"])
