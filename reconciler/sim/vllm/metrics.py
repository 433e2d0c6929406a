"""/metrics of vLLM: the series that an observer may want, in Prometheus' text form 0.0.4."""

from __future__ import annotations

from collections.abc import Mapping

_SLEEP_STATES = ("awake", "weights_offloaded", "discard_all")


def metrics_text(model: str, cache: Mapping[str, str], asleep: str | None) -> str:
    """`cache` are the labels of cache_config_info, `asleep` the sleep state, None when awake."""
    whose = f'engine="0",model_name="{model}"'
    state = asleep or "awake"
    labels = ",".join(f'{key}="{value}"' for key, value in sorted({**cache, "engine": "0"}.items()))
    lines = [
        "# TYPE vllm:num_requests_running gauge",
        f"vllm:num_requests_running{{{whose}}} 0.0",
        "# TYPE vllm:num_requests_waiting gauge",
        f"vllm:num_requests_waiting{{{whose}}} 0.0",
        "# TYPE vllm:engine_sleep_state gauge",
        *(f'vllm:engine_sleep_state{{{whose},sleep_state="{name}"}} {float(name == state)}' for name in _SLEEP_STATES),
        "# TYPE vllm:kv_cache_usage_perc gauge",
        f"vllm:kv_cache_usage_perc{{{whose}}} 0.0",
        "# TYPE vllm:cache_config_info gauge",
        f"vllm:cache_config_info{{{labels}}} 1.0",
    ]
    return "\n".join(lines) + "\n"
