"""What containers wrote, and what pulls tell."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from reconciler.containers import ContainerError
from reconciler.containers.output import last_lines
from reconciler.containers.pulls import LONGEST_UNPACKING, PullReader


def frame(stream: int, text: bytes) -> bytes:
    return bytes([stream, 0, 0, 0]) + len(text).to_bytes(4, "big") + text


def test_a_log_is_the_last_lines_of_both_streams_without_their_frames() -> None:
    body = frame(1, b"one\n") + frame(2, b"two\nth") + frame(1, b"ree\n\n")
    assert last_lines(body, 2) == ("two", "three")
    assert last_lines(body, 0) == ()


def test_a_log_of_a_terminal_has_no_frames() -> None:
    assert last_lines(b"plain\r\ntext", 20) == ("plain", "text")


@pytest.mark.parametrize(
    "body", [b"", frame(1, b"whole\n") + b"\1\0\0\0\0\0", frame(1, b"whole\n") + b"\1\0\0\0\xff\xff\xff\xff", b"\1\0\0\0"]
)
def test_a_log_that_was_cut_gives_what_is_whole(body: bytes) -> None:
    assert last_lines(body, 20) in ((), ("whole",), ("\ufffd\ufffd\ufffd\ufffd",))


def test_a_log_cannot_forge_a_terminal() -> None:
    assert last_lines(frame(1, b"\x1b[31mred\n"), 20) == ("\ufffd[31mred",)


def line(**said: object) -> bytes:
    return json.dumps(said).encode()


def layer(name: str, status: str, current: int = 0, total: int = 0) -> bytes:
    return line(id=name, status=status, progressDetail={"current": current, "total": total} if total else {})


def test_progress_is_what_is_downloaded_of_all_layers_and_unpacking_only_goes_on() -> None:
    reader = PullReader("a:1", "box")
    said = [
        (line(status="Pulling from a", id="1"), True, (None, None)),
        (layer("x", "Downloading", 10**6, 4 * 10**6), True, (10**6, 4 * 10**6)),
        (layer("y", "Downloading", 10**6, 2 * 10**6), True, (2 * 10**6, 6 * 10**6)),
        (layer("x", "Downloading", 4 * 10**6, 4 * 10**6), True, (5 * 10**6, 6 * 10**6)),
        (layer("x", "Extracting", 10**6, 4 * 10**6), True, (5 * 10**6, 6 * 10**6)),
        (layer("x", "Extracting", 10**6, 4 * 10**6), False, (5 * 10**6, 6 * 10**6)),
    ]
    for raw, goes_on, bytes_ in said:
        assert bool(reader.take(raw)) is goes_on
        assert (reader.progress.completed, reader.progress.total) == bytes_


def test_unpacking_that_is_told_in_seconds_goes_on_for_a_while() -> None:
    reader = PullReader("a:1", "box")
    unpacking = [
        line(id="x", status="Extracting", progressDetail={"current": second, "units": "s"}) for second in range(1, 2 * LONGEST_UNPACKING)
    ]
    assert sum(bool(reader.take(one)) for one in unpacking) == LONGEST_UNPACKING
    assert not reader.take(unpacking[-1])


def test_trying_again_for_ever_is_no_progress() -> None:
    reader = PullReader("a:1", "box")
    assert sum(reader.take(layer("x", f"Retrying in {seconds} seconds")) for seconds in range(100)) <= 1


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ({"error": "manifest unknown"}, "no_such_image"),
        ({"errorDetail": {"message": "manifest for a:1 not found"}, "error": "x"}, "no_such_image"),
        ({"error": "pull access denied for a, repository does not exist or may require 'docker login'"}, "no_access"),
        ({"error": "unauthorized: authentication required"}, "no_access"),
        ({"error": "no space left on device"}, "pull_failed"),
    ],
)
def test_an_error_inside_a_stream_is_an_error(said: Mapping[str, object], code: str) -> None:
    with pytest.raises(ContainerError, match="a:1 cannot be pulled") as caught:
        PullReader("a:1", "box").take(json.dumps(said).encode())
    assert caught.value.code == code


def test_a_line_that_is_no_json_is_refused() -> None:
    with pytest.raises(ContainerError) as caught:
        PullReader("a:1", "box").take(b"<html>")
    assert caught.value.code == "not_its_protocol"
