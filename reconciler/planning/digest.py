"""The digest of a plan: what two people mean when they say "the same plan"."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

from reconciler.planning.canonical import canonical_json
from reconciler.planning.plan import FORMAT_VERSION, ModelHours, Step


def plan_digest(
    lineage: str | None,
    config_digest: str,
    solver: str,
    steps: Sequence[Step],
    hours: Sequence[ModelHours] = (),
    version: str = FORMAT_VERSION,
) -> str:
    """`sha256:…` over format, lineage, config digest, solver, which models with hours are wanted, steps and their preconditions, in
    canonical JSON.

    Times, durations, the serial and probe noise (what a model holds just now, and for how long it is kept) are left out, so the same facts
    and files give the same digest on any machine.
    """
    whole = hashlib.sha256()
    head: dict[str, object] = {"format_version": version, "lineage": lineage, "config_digest": config_digest, "solver": solver}
    if hours:
        head["hours"] = {one.model: one.wanted for one in hours}
    for part in _parts(head, steps, version == "1.0"):
        whole.update(canonical_json(part))
        whole.update(b"\n")
    return f"sha256:{whole.hexdigest()}"


def _parts(head: Mapping[str, object], steps: Sequence[Step], first_format: bool) -> Iterable[Mapping[str, object]]:
    yield head
    for step in steps:
        yield {
            "id": step.id,
            "address": step.address,
            "action": step.action,
            "reason": step.reason.code,
            "cause": step.cause,
            "needs": sorted(step.needs),
            **step.promise(),
            "preconditions": [[p.fact, p.at_least, p.equals] for p in step.preconditions],
            "after": dict(step.after),
            **({} if first_format else {"node": step.node, "made_for": step.made_for, "before": dict(step.started_from())}),
        }
