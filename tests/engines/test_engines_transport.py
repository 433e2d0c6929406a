"""What the way to a node holds to, whatever the node does: bounds in bytes and time, no other host, TLS, and keys that stay put."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from reconciler.engines import Transport, open_engine
from reconciler.fleet import MIB, EngineError, EngineFacts, EngineId, EngineKind, EngineSpec, SecretRef, Tls

TEN_GB = 10**10
KEY = "s3cret-key-0123456789"
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Server:
    """A server that does as it is told; counts connections and the bytes that it could get rid of."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self.connections = self.sent = 0
        self.url = ""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            await reader.readuntil(b"\r\n\r\n")
            await self._talk(reader, writer)
        except (ConnectionError, ssl.SSLError):
            pass  # the client had enough
        finally:
            writer.close()

    async def pour(self, writer: asyncio.StreamWriter, chunk: bytes, most: int = TEN_GB) -> None:
        while self.sent < most:
            writer.write(chunk)
            self.sent += len(chunk)
            await writer.drain()


@asynccontextmanager
async def serving(server: Server, context: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    running = await asyncio.start_server(server.answer, "127.0.0.1", 0, ssl=context)
    server.url = f"{'https' if context else 'http'}://127.0.0.1:{running.sockets[0].getsockname()[1]}"
    async with running:
        yield server


def spec(url: str, **more: object) -> EngineSpec:
    fields = {"timeout": 5.0, **more}
    return EngineSpec(EngineId("n", "e"), EngineKind.OLLAMA, url, **fields)  # type: ignore[arg-type]


async def look(url: str, environ: Mapping[str, str] | None = None, **more: object) -> EngineFacts:
    async with Transport(environ=environ, backoff=0.001, stall=5.0) as transport:
        return await open_engine(spec(url, **more), transport).observe()


def one_sentence(facts: EngineFacts, *words: str) -> None:
    assert facts.reason is not None
    assert "\n" not in facts.reason
    assert all(word in facts.reason for word in words), facts.reason


@pytest.mark.parametrize("head", [b"Connection: close\r\n", b"Content-Length: %d\r\n" % TEN_GB, b""])
def test_an_answer_of_ten_gigabytes_is_cut_early(head: bytes) -> None:
    async def run() -> None:
        async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n" + head + b"\r\n")
            await server.pour(writer, b" " * 65536)

        server = Server(talk)
        async with serving(server):
            facts = await look(server.url)
        assert facts.reason_code == "too_large"
        one_sentence(facts, server.url, "answered more than")
        assert server.sent < 400 * MIB

    asyncio.run(run())


def test_headers_without_end_are_cut_early() -> None:
    async def run() -> None:
        async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\n")
            await server.pour(writer, b"X-Filler: " + b"x" * 4000 + b"\r\n")

        server = Server(talk)
        async with serving(server):
            facts = await look(server.url)
        assert facts.reason_code == "not_its_protocol"
        one_sentence(facts, server.url)
        assert server.sent < 100 * MIB

    asyncio.run(run())


@pytest.mark.parametrize(("chunk", "code"), [(b"x" * 65536, "too_large"), (b"\n" * 65536, "timeout")])
def test_a_pull_without_lines_ends(chunk: bytes, code: str) -> None:
    async def run() -> None:
        async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
            await server.pour(writer, chunk)

        server = Server(talk)
        async with serving(server), Transport(stall=0.3) as transport:
            with pytest.raises(EngineError) as caught:
                async for _ in open_engine(spec(server.url), transport).pull("m:1"):
                    pass
        assert caught.value.code == code
        assert server.sent < TEN_GB

    asyncio.run(run())


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(status: int) -> None:
    async def run() -> None:
        async def never(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
            raise AssertionError("nobody may come here")

        async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(f"HTTP/1.1 {status} Moved\r\nLocation: {other.url}/{KEY}\r\nContent-Length: 0\r\n\r\n".encode())
            await writer.drain()

        other, server = Server(never), Server(talk)
        async with serving(other), serving(server):
            facts = await look(server.url, {"K": KEY}, bearer=SecretRef("env", "K"))
        assert facts.reason_code == "redirected"
        one_sentence(facts, server.url, f"redirects to {other.url}/(the key)")
        assert other.connections == 0

    asyncio.run(run())


class Authority:
    """A certificate authority of our own, made by the openssl command."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.file = folder / "ca.pem"
        self._openssl(
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=Lab CA",
            "-addext", "keyUsage=critical,keyCertSign", "-keyout", "ca.key", "-out", "ca.pem",
        )  # fmt: skip

    def server(self, names: str, *, days: int = 1) -> ssl.SSLContext:
        """The context of a server whose certificate is for `names` (`IP:…`, `DNS:…`) and valid for so many days."""
        (self._folder / "ext").write_text(f"subjectAltName={names}\n")
        self._openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x", "-keyout", "s.key", "-out", "s.csr")
        self._openssl(
            "x509", "-req", "-in", "s.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", str(days), "-extfile", "ext",
            "-out", "s.pem",
        )  # fmt: skip
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._folder / "s.pem", self._folder / "s.key")
        return context

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self._folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


async def no_such_page(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    await writer.drain()


def tls_look(context: ssl.SSLContext, tls: Tls) -> EngineFacts:
    async def run() -> EngineFacts:
        async with serving(Server(no_such_page), context) as server:
            return await look(server.url, tls=tls)

    return asyncio.run(run())


SPOKEN_TO = "not_its_protocol"
"""What a server gets that has no page: it was trusted, and asked."""


def test_a_server_vouched_for_by_the_own_authority_is_spoken_to(authority: Authority) -> None:
    context = authority.server("IP:127.0.0.1")
    assert tls_look(context, Tls(ca=str(authority.file))).reason_code == SPOKEN_TO
    refused = tls_look(context, Tls())
    assert refused.reason_code == "tls"
    one_sentence(refused, "https://127.0.0.1", "check tls.ca")


@pytest.mark.parametrize(
    ("names", "days", "says"),
    [("DNS:other.example", 1, "IP address mismatch"), ("IP:10.0.0.1", 1, "mismatch"), ("IP:127.0.0.1", -1, "expired")],
)
def test_a_certificate_for_another_host_or_another_time_is_one_clear_sentence(
    authority: Authority, names: str, days: int, says: str
) -> None:
    context = authority.server(names, days=days)
    facts = tls_look(context, Tls(ca=str(authority.file)))
    assert facts.reason_code == "tls"
    one_sentence(facts, "https://127.0.0.1", says)
    assert tls_look(context, Tls(ca=str(authority.file), verify=False)).reason_code == SPOKEN_TO


def test_a_server_that_speaks_no_tls_is_told() -> None:
    async def bad_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    async def run() -> EngineFacts:
        server = await asyncio.start_server(bad_request, "127.0.0.1", 0)
        async with server:
            return await look(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}")

    facts = asyncio.run(run())
    assert facts.reason_code == "tls"
    one_sentence(facts, "https://127.0.0.1", "TLS failed")


@pytest.mark.parametrize("content", [None, "", "-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n"])
def test_an_authority_file_that_cannot_be_used_is_one_sentence(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)

    async def run() -> EngineFacts:
        from reconciler.probes import probe_engine

        async with Transport() as transport:
            return await probe_engine(spec("https://127.0.0.1:9", tls=Tls(ca=str(path))), transport)

    facts = asyncio.run(run())
    assert facts.reason_code == "tls"
    one_sentence(facts, "n/e", str(path), "check tls.ca")


def echoing(status: int) -> Talk:
    """A server that answers with what it was sent, key and all."""

    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = f'{{"error": "you sent Bearer {KEY}", "version": "{KEY}", "models": []}}'.encode()
        writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
        await writer.drain()

    return talk


@pytest.mark.parametrize("status", [200, 400, 401, 403, 500])
def test_a_key_that_a_server_echoes_stays_out_of_the_facts(status: int, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY + "\n")

    async def run() -> EngineFacts:
        async with serving(Server(echoing(status))) as server:
            return await look(server.url, bearer=SecretRef("file", str(tmp_path / "key")))

    facts = asyncio.run(run())
    assert KEY not in repr(facts)
    assert facts.reachable is (status == 200)
    assert (facts.reason_code == "key_refused") is (status in (401, 403))


@pytest.mark.parametrize(
    ("host", "status", "code", "says"),
    [
        ("localhost", 403, "host_refused", "refuses the host name"),
        ("127.0.0.1", 403, "key_refused", "asks for a key"),
        ("localhost", 401, "key_refused", "asks for a key"),
    ],
)
def test_an_ollama_that_refuses_a_host_name_is_told_from_a_proxy_that_asks_for_a_key(host: str, status: int, code: str, says: str) -> None:
    async def run() -> EngineFacts:
        async with serving(Server(echoing(status))) as server:
            return await look(server.url.replace("127.0.0.1", host))

    facts = asyncio.run(run())
    assert facts.reason_code == code
    one_sentence(facts, says)


def test_a_connection_that_fails_is_told_in_the_words_of_the_system() -> None:
    one_sentence(asyncio.run(look("http://127.0.0.1:9")), "cannot be connected to: connection refused; check that the engine runs")


@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "No such file"), ("", "is empty"), ("a\nb", "no header can carry"), ("x" * 70_000, "larger than 64 KiB"), ("/", "directory")],
)
def test_a_key_file_that_holds_no_key_is_one_sentence_without_its_content(tmp_path: Path, content: str | None, says: str) -> None:
    path = tmp_path / "key"
    if content == "/":
        path.mkdir()
    elif content is not None:
        path.write_text(content)
    facts = asyncio.run(look("http://127.0.0.1:9", bearer=SecretRef("file", str(path))))
    assert facts.reason_code == "missing_key"
    one_sentence(facts, says, "n/e")
    assert "x" * 20 not in str(facts.reason)


def test_too_many_requests_is_busy_and_no_wrong_kind() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n")

    async def asked() -> EngineFacts:
        async with serving(Server(talk)) as server:
            return await look(server.url)

    facts = asyncio.run(asked())
    assert (facts.reachable, facts.reason_code) == (False, "busy")
    assert facts.reason is not None
    assert facts.reason.endswith("status 429: too many requests; try again later")
