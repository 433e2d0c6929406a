"""How fast a model was, for people and as JSON."""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.fleet import format_duration
from reconciler.value_class import value_class
from reconciler.views.escape import escape


@value_class
class Bench:
    """`first_token_seconds` is the time of a whole request for one token, with its prompt. `tokens` were written in `seconds`, at
    `tokens_per_second` by the engine's own clock where it tells. `load_seconds` is what its last load by gpurec took, None: not known."""

    model: str
    engine: str
    backend: str
    first_token_seconds: float
    tokens: int
    seconds: float
    tokens_per_second: float
    load_seconds: float | None


def bench_text(one: Bench) -> str:
    """Four lines."""
    load = "not known" if one.load_seconds is None else format_duration(one.load_seconds)
    return (
        f"{escape(one.model)} on {escape(one.engine)} ({one.backend})\n"
        f"  first token after  {one.first_token_seconds * 1000:,.0f} ms\n"
        f"  writes             {one.tokens_per_second:.4g} tokens/s ({one.tokens:,} in {format_duration(one.seconds)})\n"
        f"  its load took      {load}\n"
    )


def bench_document(one: Bench) -> Mapping[str, object]:
    """Milliseconds for a service's sake, as in its other documents; unknown is null."""
    return {
        "format_version": "1.0",
        "model_name": one.model,
        "engine": one.engine,
        "backend": one.backend,
        "time_to_first_token_ms": round(one.first_token_seconds * 1000, 1),
        "tokens": one.tokens,
        "duration_ms": round(one.seconds * 1000, 1),
        "tokens_per_second": round(one.tokens_per_second, 2),
        "load_seconds": one.load_seconds,
    }
