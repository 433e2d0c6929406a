"""A stream of progress is bounded in count and in time, and read once, however it comes."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Iterator

import pytest
from servers import serving

from reconciler.engines import PullProgress, Transport, open_engine, pulling
from reconciler.engines.lines import Lines
from reconciler.engines.pulling import LEAST_BYTES, PullMeter
from reconciler.fleet import MIB, EngineError, EngineId, EngineKind, EngineSpec

START = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def line(**fields: object) -> bytes:
    return json.dumps(fields).encode() + b"\n"


async def pull(lines: Iterator[bytes], pause: float = 0.0, stall: float = 0.5, longest: float = 60.0) -> list[PullProgress]:
    async def talk(_: str, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(START)
        for one in lines:
            writer.write(chunk(one))
            await writer.drain()
            await asyncio.sleep(pause)
        writer.write(b"0\r\n\r\n")

    async with serving(talk) as server, Transport(stall=stall, longest=longest) as transport:
        spec = EngineSpec(EngineId("n", "e"), EngineKind.OLLAMA, server.url)
        return [progress async for progress in open_engine(spec, transport).pull("m:1")]


SAME = itertools.repeat(line(status="pulling manifest"))
CRUMBS = (line(status="pulling", digest="sha256:a", total=2**50, completed=one) for one in itertools.count())
WORDS = (line(status=f"word {one}") for one in itertools.count())


@pytest.mark.parametrize("lines", [SAME, CRUMBS], ids=["the same word", "a byte at a time"])
def test_a_pull_that_drips_without_getting_anywhere_ends_with_the_stall_limit(lines: Iterator[bytes]) -> None:
    with pytest.raises(EngineError, match="sent nothing that goes on for 0") as raised:
        asyncio.run(pull(lines, pause=0.02))
    assert raised.value.code == "timeout"


def test_a_pull_that_goes_on_for_ever_ends_in_the_end() -> None:
    with pytest.raises(EngineError, match="did not end within 1s"):
        asyncio.run(pull(WORDS, pause=0.02, longest=1.0))


def test_a_pull_of_ever_new_layers_is_refused_before_it_fills_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulling, "MOST_LAYERS", 100)
    lines = (line(status="pulling", digest=f"sha256:{one:064d}", total=1) for one in itertools.count())
    with pytest.raises(EngineError, match="m:1 cannot be pulled: it names more than 100 layers"):
        asyncio.run(pull(lines, stall=60.0))


def test_ever_new_words_and_layers_are_no_progress_without_bytes() -> None:
    meter = PullMeter()
    lines = [(f"word {one}", None, None, None) for one in range(100)] + [("pulling", f"sha256:{one}", 0, 10**9) for one in range(100)]
    assert sum(meter.take(*one) for one in lines) == pulling.MOST_WITHOUT_BYTES
    assert meter.take("pulling", "sha256:0", LEAST_BYTES, 10**9)
    assert meter.take("pulling", "sha256:new", 0, 10**9)


def test_a_pull_of_ever_new_words_ends_with_the_stall_limit_after_a_few() -> None:
    with pytest.raises(EngineError, match=r"sent nothing that goes on for 0\.5 s"):
        asyncio.run(pull(WORDS))


def test_what_is_all_there_has_its_time_to_be_checked() -> None:
    meter, size = PullMeter(), 40 * 10**9
    assert meter.take("pulling a", "sha256:a", size // 2, size) == 1
    assert meter.take("pulling a", "sha256:a", size, size) > 13
    assert meter.take("verifying sha256 digest", None, None, None) > 13  # 40 GB at 50 MB/s: 800 s
    assert meter.take("verifying sha256 digest", None, None, None) == 0
    assert PullMeter().take("pulling a", "sha256:a", 10**18, 10**18) == pulling.LONGEST_CHECK


def test_a_line_in_pieces_of_one_byte_is_cut_as_one_in_one_piece() -> None:
    lines = Lines(MIB)
    said = b"a" * 300_000 + b"\n\n" + b"b" * 100_000
    found = [one for place in range(len(said)) for one in lines.take(said[place : place + 1])]
    assert [len(one) for one in (*found, *lines.take(None))] == [300_000, 100_000]  # copied anew with each byte it would take minutes


def test_a_pull_that_goes_on_is_told_of_layer_by_layer_and_each_state_once() -> None:
    big = 10 * LEAST_BYTES
    lines = [line(status="pulling manifest")] * 3
    lines += [line(status="pulling a", digest="sha256:a", total=big, completed=one * LEAST_BYTES) for one in range(11)]
    lines += [line(status="pulling b", digest="sha256:b", total=100, completed=100)] * 5
    lines += [line(status="verifying sha256 digest"), line(status="success")]
    told = asyncio.run(pull(iter(lines), stall=5.0))
    assert [(one.status, one.completed, one.total) for one in told[:2]] == [("pulling manifest", None, None), ("pulling a", 0, big)]
    assert (told[-1].status, told[-1].completed, told[-1].total) == ("success", big + 100, big + 100)
    assert len(told) == 1 + 11 + 1 + 2


def test_what_a_layer_has_is_never_more_than_its_size_and_may_begin_again() -> None:
    meter = PullMeter()
    assert meter.take("pulling", "sha256:a", 10**15, 100)
    assert (meter.completed, meter.total) == (100, 100)
    meter.take("pulling", "sha256:a", 0, 200)
    assert (meter.completed, meter.total) == (0, 200)
