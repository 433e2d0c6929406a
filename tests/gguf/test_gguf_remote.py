"""Headers over HTTP byte ranges, from a real server on this machine: few requests, bounds on everything, and only safe redirects."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner
from test_gguf_reader import header, number, tensor, text
from vram.shapes import write
from vram.truth_models import truth_model

from reconciler.cli.main import cli
from reconciler.fleet import GpurecError
from reconciler.gguf import read_model, read_url
from reconciler.gguf.remote import MOST_REDIRECTS, Budget, RemoteError, redirected

Answer = tuple[int, dict[str, str], bytes]


@dataclass
class Served:
    """Files by path, how ranges are answered, and what was asked."""

    files: dict[str, bytes] = field(default_factory=dict)
    answer: Callable[[str, int, int], Answer | None] = lambda path, first, last: None
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    port: int = 0

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}/{path}"

    def reply(self, path: str, wanted: str | None) -> Answer:
        body = self.files.get(path.split("?")[0].lstrip("/"))
        span = re.fullmatch(r"bytes=(\d+)-(\d+)", wanted or "")
        first, last = (int(one) for one in span.groups()) if span else (0, -1)
        special = self.answer(path, first, last)
        if special is not None:
            return special
        if body is None:
            return 404, {}, b"no such file"
        piece = body[first : last + 1]
        return 206, {"Content-Range": f"bytes {first}-{first + len(piece) - 1}/{len(body)}", "ETag": '"1"'}, piece


@contextmanager
def serving() -> Iterator[Served]:
    served = Served()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.asked.append((self.path, self.headers.get("Range")))
            served.headers.append(dict(self.headers))
            status, headers, body = served.reply(self.path, self.headers.get("Range"))
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            with suppress(ConnectionError):
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing is logged."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def served() -> Iterator[Served]:
    with serving() as one:
        yield one


def small(words: int = 0) -> bytes:
    vocabulary = text("tokenizer.ggml.tokens") + b"\x09\0\0\0" + b"\x08\0\0\0" + words.to_bytes(8, "little") + text("a word") * words
    return header([text("general.architecture") + b"\x08\0\0\0" + text("llama"), vocabulary, number("llama.block_count", 3)], [
        tensor("token_embd.weight", (32, 8)),
    ]) + bytes(4096)  # fmt: skip


def test_a_header_behind_a_url_is_that_of_the_file(served: Served) -> None:
    served.files["m.gguf"] = small()
    found = read_url(served.url("m.gguf"))
    assert (found.header.values["llama.block_count"], found.header.tensors[0].shape) == (3, (32, 8))
    assert (found.names, found.bytes) == ((served.url("m.gguf"),), len(small()))
    assert served.asked == [("/m.gguf", "bytes=0-1048575")]


def test_a_long_vocabulary_takes_a_few_growing_ranges_and_never_the_whole_file(served: Served) -> None:
    served.files["m.gguf"] = small(700_000) + bytes(30 * 2**20)
    assert read_url(served.url("m.gguf")).header.values["llama.block_count"] == 3
    assert len(served.asked) == 3
    assert (
        sum(int(to) - int(since) + 1 for _, span in served.asked for since, to in [(span or "").removeprefix("bytes=").split("-")])
        < 14 * 2**20
    )


def test_all_parts_of_a_split_model_are_read(served: Served, tmp_path: Path) -> None:
    parts = [header([number("split.count", 2), number("llama.block_count", 3)], [tensor(f"blk.{part}.x", (32,))]) for part in range(2)]
    for part, body in enumerate(parts, 1):
        served.files[f"m-0000{part}-of-00002.gguf"] = body
        (tmp_path / f"m-0000{part}-of-00002.gguf").write_bytes(body)
    remote = read_url(served.url("m-00001-of-00002.gguf") + "?download=true")
    assert remote.header == read_model(tmp_path / "m-00001-of-00002.gguf").header
    assert remote.names[1].endswith("m-00002-of-00002.gguf?download=true")


def test_the_query_of_a_url_which_may_be_a_signature_is_not_repeated(served: Served) -> None:
    served.answer = lambda path, first, last: (403, {}, b"")
    with pytest.raises(RemoteError) as caught:
        read_url(served.url("m.gguf?signature=5ecret"))
    assert "5ecret" not in str(caught.value.problems)


def test_the_command_says_of_a_url_what_it_says_of_the_file(served: Served, tmp_path: Path) -> None:
    model = truth_model("llama-1b")
    write(tmp_path / "m.gguf", model)
    with (tmp_path / "m.gguf").open("rb") as file:
        served.files["m.gguf"] = file.read(8 * 2**20)
    size = (tmp_path / "m.gguf").stat().st_size

    def whole(path: str, first: int, last: int) -> Answer:
        piece = served.files["m.gguf"][first : last + 1]
        return 206, {"Content-Range": f"bytes {first}-{first + len(piece) - 1}/{size}"}, piece

    served.answer = whole
    local, remote = (
        json.loads(CliRunner().invoke(cli, ["check", what, "--context", "4096", "--format", "json"]).stdout)
        for what in (str(tmp_path / "m.gguf"), served.url("m.gguf"))
    )
    assert remote.pop("file") == served.url("m.gguf")
    assert local.pop("file") == str(tmp_path / "m.gguf")
    assert remote == local
    assert remote["total_bytes"] > 0


def refused(served: Served, path: str = "m.gguf") -> str:
    with pytest.raises(GpurecError) as caught:
        read_url(served.url(path))
    (problem,) = caught.value.problems
    return problem.what


def test_a_server_without_ranges_is_not_downloaded_from(served: Served) -> None:
    body = small() + bytes(50 * 2**20)
    served.answer = lambda path, first, last: (200, {}, body)
    assert refused(served) == "its server sends whole files only, no byte ranges"


@pytest.mark.parametrize(("status", "told"), [(404, "answers 404"), (401, "answers 401"), (416, "answers 416"), (500, "answers 500")])
def test_a_file_that_cannot_be_had_is_told_by_its_status(served: Served, status: int, told: str) -> None:
    served.answer = lambda path, first, last: (status, {}, b"")
    assert told in refused(served)


@pytest.mark.parametrize(
    "span",
    ["bytes 5-4100/8192", "bytes 0-10/8192", "bytes 0-8191/*", "bytes 0-9223372036854775807/9223372036854775807", "items 0-8191/8192", ""],
)
def test_another_range_than_was_asked_for_is_refused(served: Served, span: str) -> None:
    served.answer = lambda path, first, last: (206, {"Content-Range": span}, bytes(8192))
    assert refused(served) == "its server answers another range than it was asked for"


def test_a_body_that_is_longer_or_shorter_than_its_range_is_refused(served: Served) -> None:
    for extra in (-1, 1):
        served.answer = lambda path, first, last, extra=extra: (206, {"Content-Range": "bytes 0-8191/8192"}, bytes(8192 + extra))
        assert "bytes of a range of 8192" in refused(served)


def test_a_compressed_answer_is_refused(served: Served) -> None:
    encoded = {"Content-Range": "bytes 0-8191/8192", "Content-Encoding": "gzip"}
    served.answer = lambda path, first, last: (206, encoded, bytes(8192))
    assert "another range" in refused(served)


def test_a_file_that_changes_between_two_ranges_is_refused(served: Served) -> None:
    body = small(400_000)

    def changing(path: str, first: int, last: int) -> Answer:
        piece = body[first : last + 1]
        return 206, {"Content-Range": f"bytes {first}-{first + len(piece) - 1}/{len(body)}", "ETag": f'"{first}"'}, piece

    served.answer = changing
    assert refused(served) == "the file changed while it was read"


def test_a_size_that_is_a_lie_does_not_make_the_header_longer(served: Served) -> None:
    body = small()
    lie = {"Content-Range": f"bytes 0-1048575/{2**60}"}
    served.answer = lambda path, first, last: (206, lie, body + bytes(2**20 - len(body)))
    assert read_url(served.url("m.gguf")).bytes == 2**60
    huge = header([text("k") + b"\x09\0\0\0\x08\0\0\0" + (2**50).to_bytes(8, "little")], [], key_count=1)
    served.answer = lambda path, first, last: (206, lie, huge + bytes(2**20 - len(huge)))
    assert "claims 1125899906842624 strings" in refused(served)


def test_a_vocabulary_without_end_is_refused_within_the_budget(served: Served) -> None:
    endless = header([text("k") + b"\x09\0\0\0\x08\0\0\0" + (4_000_000).to_bytes(8, "little")], [], key_count=1)
    body = endless + text("a word") * 800_000
    served.answer = lambda path, first, last: (206, {"Content-Range": f"bytes {first}-{last}/{2**40}"}, body[first : last + 1])
    for budget in (Budget(bytes=2**22), Budget(requests=1), Budget(clock=iter((0.0, 1.0, 2.0, 999.0)).__next__)):
        with pytest.raises(RemoteError, match=r"takes more than|is not there after"):
            read_url(served.url("m.gguf"), budget)


def test_a_redirect_on_the_same_host_is_followed_and_remembered(served: Served) -> None:
    served.files["real.gguf"] = small(200_000)
    target = served.url("real.gguf")
    served.answer = lambda path, first, last: (302, {"Location": target}, b"") if path == "/m.gguf" else None
    assert read_url(served.url("m.gguf")).header.values["llama.block_count"] == 3
    assert [path for path, _ in served.asked] == ["/m.gguf", "/real.gguf", "/real.gguf"]


def test_redirects_without_end_are_refused(served: Served) -> None:
    served.answer = lambda path, first, last: (302, {"Location": path + "x"}, b"")
    assert refused(served) == f"it redirects more than {MOST_REDIRECTS} times"
    assert len(served.asked) == MOST_REDIRECTS + 1


@pytest.mark.parametrize(
    ("before", "location", "after"),
    [
        ("https://hub.example/m.gguf", "https://cdn.example/x?sig=1", "https://cdn.example/x?sig=1"),
        ("https://hub.example/a/m.gguf", "/b", "https://hub.example/b"),
        ("http://hub.example/m.gguf", "https://hub.example/m.gguf", "https://hub.example/m.gguf"),
        ("http://hub.example/m.gguf", "http://hub.example:81/m.gguf", "http://hub.example:81/m.gguf"),
        ("http://hub.example/m.gguf", "http://127.0.0.1/m.gguf", None),
        ("https://hub.example/m.gguf", "http://hub.example/m.gguf", None),
        ("https://hub.example/m.gguf", "http://169.254.169.254/latest", None),
        ("https://hub.example/m.gguf", "file:///etc/passwd", None),
        ("https://hub.example/m.gguf", "https://user:word@cdn.example/x", None),
        ("https://hub.example/m.gguf", "", None),
        ("https://hub.example/m.gguf", "https://cdn.example/" + "x" * 9000, None),
    ],
)
def test_a_redirect_keeps_to_https_or_to_its_host(before: str, location: str, after: str | None) -> None:
    if after is not None:
        assert redirected(before, location, before) == after
        return
    with pytest.raises(RemoteError, match="which is not followed"):
        redirected(before, location, before)


@pytest.mark.parametrize("url", ["https://", "http:///m.gguf", "https://user:pa55@hub.example/m.gguf", "https://hub.example/" + "x" * 9000])
def test_a_url_that_is_none_or_holds_a_password_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(GpurecError) as caught:
        read_url(url)
    assert "pa55" not in str(caught.value.problems[0])


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("http://user:pa55@hub.example:8081/m.gguf?sig=1", "http://hub.example:8081/m.gguf: "),
        ("http://hub.example:port/m.gguf?sig=1", "http://hub.example:port/m.gguf: "),
        ("https://user:pa55@hub.example/m.gguf", "https://hub.example/m.gguf: "),
    ],
)
def test_a_refused_url_is_named_with_its_port(url: str, named: str) -> None:
    with pytest.raises(GpurecError) as caught:
        read_url(url)
    assert caught.value.problems[0].sentence().startswith(named)


def test_a_redirect_that_is_not_followed_is_named_with_its_port() -> None:
    with pytest.raises(RemoteError, match=r"redirects to http://other\.example:8443, which"):
        redirected("https://hub.example/m.gguf", "http://other.example:8443/m.gguf?sig=1", "https://hub.example/m.gguf")


def test_a_signature_is_not_repeated_where_a_part_has_no_number(served: Served) -> None:
    served.files["m.gguf"] = header([number("split.count", 3)], [])
    with pytest.raises(GpurecError) as caught:
        read_url(served.url("m.gguf?sig=secret"))
    assert "name does not say which" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_no_credentials_are_sent(served: Served) -> None:
    served.files["m.gguf"] = small()
    read_url(served.url("m.gguf"))
    assert not {"authorization", "cookie"} & {name.lower() for name in served.headers[0]}


def test_a_host_that_does_not_answer_is_one_sentence(served: Served) -> None:
    port = served.port
    with serving() as other:
        gone = other.url("m.gguf")
    assert port != other.port
    with pytest.raises(RemoteError, match="cannot be read: ConnectError"):
        read_url(gone)
