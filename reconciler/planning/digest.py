"""The digest of a plan: what two people mean when they say "the same plan"."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence

from reconciler.planning.plan import FORMAT_VERSION, Action, Step


def plan_digest(lineage: str | None, config_digest: str, solver: str, steps: Sequence[Step]) -> str:
    """`sha256:…` over format, lineage, config digest, solver, steps and their preconditions, in canonical JSON.

    Times, durations, the serial and probe noise (what a model holds just now, and for how long it is kept) are left out, so the same facts
    and files give the same digest on any machine.
    """
    whole = hashlib.sha256()
    canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    head = {"format_version": FORMAT_VERSION, "lineage": lineage, "config_digest": config_digest, "solver": solver}
    for part in _parts(head, steps):
        whole.update(canonical.encode(part).encode())
        whole.update(b"\n")
    return f"sha256:{whole.hexdigest()}"


def _parts(head: Mapping[str, object], steps: Sequence[Step]) -> Iterable[Mapping[str, object]]:
    yield head
    for step in steps:
        yield {
            "id": step.id,
            "address": step.address,
            "action": step.action.value,
            "reason": step.reason.code,
            "cause": step.cause.value,
            "engine_name": step.engine_name,
            "base_name": step.base_name,
            "needs": sorted(step.needs),
            "gpus": step.gpus,
            "gpu_candidates": step.gpu_candidates,
            "vram_bytes": None if step.action is Action.UNLOAD else step.vram_bytes,
            "preconditions": [[p.fact, p.at_least, p.equals] for p in step.preconditions],
            "before": started_from(step),
            "after": dict(step.after),
        }


def started_from(step: Step) -> Mapping[str, object]:
    """What a step changes from, as far as two looks at the same thing say the same: under which name it runs, and with which context."""
    return {name: step.before[name] for name in ("name", "context") if name in step.before}
