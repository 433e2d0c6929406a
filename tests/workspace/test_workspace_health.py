"""`policy.health`, `policy.breaker` and `policy.remediation` of a desired state."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from reconciler.fleet import USUAL_HEALTH, USUAL_REMEDIATION, Breaker, Health, Policy, Remediation
from reconciler.workspace import Workspace

Load = Callable[..., Workspace]
Sentences = Callable[..., list[str]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{}", Policy()),
        ("{health: {}}", Policy(health=USUAL_HEALTH)),
        (
            "{health: {interval: 200ms, timeout: 2s, unhealthy_after: 5, healthy_after: 2}}",
            Policy(health=Health(0.2, 2.0, 5, 2)),
        ),
        ("{health: {timeout: 1m}}", Policy(health=Health(None, 60.0, 3, 1))),
        ("{breaker: {}}", Policy(breaker=Breaker(5, 60.0))),
        ("{breaker: {failures: 2, reset: 5m}}", Policy(breaker=Breaker(2, 300.0))),
        ("{remediation: {}}", Policy(remediation=USUAL_REMEDIATION)),
        ("{remediation: {retries: 0, backoff: 500ms, per_hour: 0}}", Policy(remediation=Remediation(0, 0.5, 0))),
    ],
)
def test_workspace_health_breaker_and_remediation_are_read_and_the_breaker_is_off_unless_written(
    load: Load, text: str, expected: Policy
) -> None:
    assert load(desired=f"version: 1\npolicy: {text}\n").desired.policy == expected


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{health: {interval: 0}}", "'interval'"),
        ("{health: {timeout: -1s}}", "'timeout'"),
        ("{health: {unhealthy_after: 0}}", "'unhealthy_after'"),
        ("{health: {healthy_after: 1.5}}", "'healthy_after'"),
        ("{health: {intervall: 1s}}", "did you mean 'interval'?"),
        ("{breaker: {failures: 0}}", "'failures'"),
        ("{breaker: {reset: soon}}", "'reset'"),
        ("{remediation: {retries: -1}}", "'retries'"),
        ("{remediation: {per_hour: 1.5}}", "'per_hour'"),
        ("{remediation: {backoff: 0}}", "'backoff'"),
        ("{breaker: 5}", "must be a mapping"),
    ],
)
def test_workspace_wrong_health_breaker_or_remediation_is_refused_with_its_place(problems: Sentences, text: str, told: str) -> None:
    (sentence,) = problems(desired=f"version: 1\npolicy: {text}\n")
    assert told in sentence
    assert sentence.startswith("desired/x.yaml:2:")
