"""One small request to a model that was just loaded: how long its vectors are, how fast it writes. By OpenAI's API."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from typing import Annotated

from msgspec import Meta
from msgspec.json import Decoder

from reconciler.engines.answers import not_its_protocol
from reconciler.engines.shapes import Count, Rate, answered, read_shape
from reconciler.engines.transport import LARGE, Answer, Channel
from reconciler.fleet import EngineError, Place, Problem
from reconciler.value_class import value_class

TEXT = "Count from one to a hundred in words."
TOKENS = 16
"""How many are asked for: enough to measure, few enough to wait for on a CPU."""


@answered
class _Vector:
    embedding: list[float | None]


@answered
class _Vectors:
    data: Annotated[list[_Vector], Meta(min_length=1)]


@answered
class _Usage:
    completion_tokens: Count = None


@answered
class _Timings:
    """llama.cpp tells how fast it wrote, without the prompt and the network (its tools/server/README)."""

    predicted_per_second: Rate = None


@answered
class _Completion:
    usage: _Usage
    timings: _Timings | None = None


_VECTORS, _COMPLETION = Decoder(_Vectors), Decoder(_Completion)


async def vector_length(channel: Channel, name: str) -> int:
    """The length of the vector that a model makes of a short text."""
    answer = await _asked(channel, "/v1/embeddings", {"model": name, "input": TEXT}, name)
    return sound_length(read_shape(_VECTORS, answer.body, answer.url).data[0].embedding, answer.url)


def sound_length(vector: Sequence[float | None], url: str) -> int:
    """The length of a vector that something can be found by. Raises Unreachable for one with a number that is none (NaN, which some servers
    write as null, or infinity), or of nothing but zeros: that is how a broken kernel or a wrong pooling looks."""
    for place, number in enumerate(vector):
        if number is None or not math.isfinite(number):
            said = "null" if number is None else f"{number}"
            raise not_its_protocol(url, f"made a vector that holds {said} (number {place + 1} of {len(vector)})")
    if vector and not any(vector):
        raise not_its_protocol(url, f"made a vector of {len(vector)} zeros")
    return len(vector)


@value_class
class Written:
    """A trial: the tokens that were written, the seconds of the whole request, and by the server's own clock (None: it does not tell) those
    of the writing alone, or its speed."""

    tokens: int | None
    seconds: float
    url: str
    writing: float | None = None
    told: float | None = None

    @property
    def rate(self) -> float:
        """Tokens a second: by the server's own clock where it tells, else over the whole request. Raises Unreachable for figures that no
        server can mean."""
        if self.told is not None:
            return self.told
        return rate(self.tokens, self.seconds if self.writing is None else self.writing, self.url)


async def write(channel: Channel, name: str, tokens: int) -> Written:
    """Has a model write so many tokens at most."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    body = {"model": name, "prompt": TEXT, "max_tokens": tokens, "temperature": 0}
    answer = await _asked(channel, "/v1/completions", body, name)
    seconds = loop.time() - start
    found = read_shape(_COMPLETION, answer.body, answer.url)
    told = found.timings.predicted_per_second if found.timings is not None else None
    return Written(found.usage.completion_tokens, seconds, answer.url, told=told)


def rate(tokens: int | None, seconds: float, url: str) -> float:
    """Tokens a second. Raises Unreachable for figures that no server can mean."""
    if not tokens or not 0 < seconds < float("inf"):
        raise not_its_protocol(url, f"told {'no' if tokens is None else tokens} tokens in {seconds:g} s")
    return tokens / seconds


async def _asked(channel: Channel, path: str, body: Mapping[str, object], name: str) -> Answer:
    answer = await channel.ask("POST", path, within=channel.spec.load_timeout, body=body, limit=LARGE)
    if answer.status != 200:
        what = f"{name} does not answer {path}: {answer.message} (status {answer.status})"
        raise EngineError(Problem(what, Place(f"{channel.spec.id} at {channel.shown}")), "trial_failed")
    return answer
