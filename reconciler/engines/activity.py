"""What engines tell of the requests that they serve, from their Prometheus pages. Counts are since the engine's start.

llama.cpp: tools/server/README, "GET /metrics" (needs `--metrics`; it counts tokens, and no requests). vLLM: docs/design/metrics.md.
"""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.engines.metrics import Sample
from reconciler.fleet import Activity


def of_llamacpp(found: Iterable[Sample]) -> Activity:
    """Of one model: a single server's page, or a router's with `?model=`."""
    values = {one.name.removeprefix("llamacpp:"): one.value for one in found}
    return Activity(
        values.get("requests_processing"),
        values.get("requests_deferred"),
        tokens=values.get("tokens_predicted_total"),
        token_seconds=values.get("tokens_predicted_seconds_total"),
    )


def of_vllm(found: Iterable[Sample]) -> Activity:
    """Of the base model and all that is served beside it, over all engines of the process."""
    sums: dict[str, float] = {}
    for one in found:
        name = one.name.removeprefix("vllm:")
        if name == "request_success_total":
            name = f"{name} {one.labels.get('finished_reason', '')}"
        sums[name] = sums.get(name, 0.0) + one.value
    finished = any(name.startswith("request_success_total ") for name in sums)
    return Activity(
        sums.get("num_requests_running"),
        sums.get("num_requests_waiting"),
        sums.get("e2e_request_latency_seconds_count"),
        sums.get("e2e_request_latency_seconds_sum"),
        sums.get("generation_tokens_total"),
        failed=sums.get("request_success_total error", 0.0) if finished else None,
    )
