"""What `policy.health` changes: how often and how long a run looks at an engine, and how many failed looks it puts up with."""

from __future__ import annotations

from dataclasses import replace

from reconciler.execution.outcome import ExecutionOptions
from reconciler.fleet import EngineSpec, Health


def with_health(options: ExecutionOptions, health: Health) -> ExecutionOptions:
    """The options of a run under a policy of health."""
    return replace(
        options,
        poll_seconds=options.poll_seconds if health.interval is None else health.interval,
        tolerated_looks=health.unhealthy_after - 1,
        trusted_looks=health.healthy_after,
    )


def looked_at(spec: EngineSpec, health: Health) -> EngineSpec:
    """The engine as an apply asks it: one look takes at most the policy's timeout, where it has one."""
    return spec if health.timeout is None else replace(spec, timeout=health.timeout)
