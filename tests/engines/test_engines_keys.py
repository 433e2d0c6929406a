"""Keys never get out: whatever a server makes of one that it was sent, or that another engine was sent, it is gone before it is a value."""

from __future__ import annotations

import asyncio
import base64
import html
import json
import time
from collections.abc import Callable, Mapping
from urllib.parse import quote, unquote

import pytest
from servers import answer

from reconciler.engines import LoadRequest, Transport, open_engine
from reconciler.engines.keys import Keys
from reconciler.fleet import EngineError, EngineId, EngineKind, EngineSpec, Fleet, FleetFacts, NodeSpec, SecretRef
from reconciler.probes import facts_to_json, probe_fleet

KEY = 'sk-lab/AbC+def%20"<&>==\\0123456789'
OTHER = "another/key+of+the+fleet=="
FORMS: Mapping[str, Callable[[str], str]] = {
    "plain": lambda key: key,
    "json": lambda key: json.dumps(key)[1:-1],
    "json, slash": lambda key: json.dumps(key)[1:-1].replace("/", r"\/"),
    "json, all": lambda key: "".join(f"\\u{ord(one):04x}" for one in key),
    "json, capitals": lambda key: "".join(f"\\u{ord(one):04X}" for one in key),
    "json in json": lambda key: json.dumps(json.dumps(key)[1:-1].replace("/", r"\/"))[1:-1],
    "percent": quote,
    "percent, all": lambda key: "".join(f"%{ord(one):02x}" for one in key),
    "percent twice": lambda key: quote(quote(key, safe=""), safe=""),
    "html": html.escape,
    "html, decimal": lambda key: "".join(f"&#{ord(one)};" for one in key),
    "html, hexadecimal": lambda key: "".join(f"&#x{ord(one):x};" for one in key),
    "hexadecimal digits": lambda key: key.encode().hex(),
    "hexadecimal digits of the header": lambda key: f"Bearer {key}".encode().hex().upper(),
    "base64": lambda key: base64.b64encode(key.encode()).decode(),
    "base64 of the header": lambda key: base64.b64encode(f"Bearer {key}".encode()).decode(),
    "base64 of a pair": lambda key: base64.urlsafe_b64encode(f"u:{key}.".encode()).decode(),
    "base64 in an url": lambda key: quote(base64.b64encode(f"Bearer {key}".encode()).decode(), safe=""),
    "back to front": lambda key: json.dumps(key[::-1])[1:-1],
    "base32": lambda key: base64.b32encode(f"Bearer {key}".encode()).decode(),
    "base64 twice": lambda key: base64.b64encode(base64.b64encode(f"Bearer {key}".encode())).decode(),
    "base64 twice, of a pair": lambda key: base64.b64encode(b"auth: " + base64.b64encode(f"u:{key}".encode())).decode(),
    "utf-16": lambda key: json.dumps(key.encode("utf-16-le").decode("latin-1"))[1:-1],
    "utf-16, big end first": lambda key: json.dumps(key.encode("utf-16-be").decode("latin-1"))[1:-1],
    "base64 in json": lambda key: base64.b64encode(f"Bearer {key}".encode()).decode().replace("/", r"\/").replace("+", r"\u002b"),
}


def readings(text: str) -> set[str]:
    """The text as whoever finds it may read it."""
    found = {text}
    for _ in range(4):
        for one in list(found):
            found |= {html.unescape(one), unquote(one), json_off(one), one.replace("\0", "")}
    return found


def json_off(text: str) -> str:
    try:
        return str(json.loads(f'"{text}"'))
    except ValueError:
        return text


def is_in(key: str, text: str) -> bool:
    core = [base64.b64encode(b"\0" * before + key.encode()).decode()[4:-4] for before in range(3)]
    twice = [base64.b64encode(b"\0" * before + one.encode()).decode()[4:-4] for before in range(3) for one in core]
    small = [base64.b32encode(b"\0" * before + key.encode()).decode()[8:-8] for before in range(5)]
    needles = (key, key[::-1], *core, *twice, *small, key.encode().hex(), key.encode().hex().upper())
    return any(needle in one or needle in one.replace("-", "+").replace("_", "/") for one in readings(text) for needle in needles)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("key", [KEY, OTHER, "x" * 150 + "/+end"], ids=["odd", "usual", "long"])
def test_a_key_is_taken_out_in_whatever_form_it_comes(form: str, key: str) -> None:
    keys = Keys()
    keys.add(key)
    said = f'{{"error":"invalid token {FORMS[form](key)}, try again"}}'
    assert is_in(key, said[20:-13])
    left = keys.without(said.encode()).decode()
    assert not is_in(key, left)
    assert left == "(the key)" or "(the key)" in left


@pytest.mark.parametrize("form", FORMS)
def test_a_key_is_found_among_many(form: str) -> None:
    keys = Keys()
    for number in range(300):
        keys.add(f"key-of-engine-{number}-{number * 7919}")
    keys.add("short-one")
    keys.add(OTHER)
    for before in range(16):
        left = keys.without(b"." * before + f'{{"error":"invalid token {FORMS[form](OTHER)}, short-one"}}'.encode()).decode()
        assert not is_in(OTHER, left)
        assert "short-one" not in left


def test_text_without_a_key_stays_as_it_is() -> None:
    keys = Keys()
    keys.add(KEY)
    for said in ("", "hello", json.dumps({"template": "{{ .Prompt }}\n<|im_start|>\\u0041 %2f &amp; 100%"}), "é\\ud800%ff"):
        assert keys.without(said.encode()) == said.encode()


@pytest.mark.parametrize("body", [b"\\u0041" * 500_000, b"%41" * 1_000_000, b"\\" * 3_000_000, b"&#65;" * 600_000, b"sk-lab/A" * 400_000])
def test_a_search_for_keys_takes_time_by_the_length_of_the_text(body: bytes) -> None:
    keys = Keys()
    keys.add(KEY)
    started = time.process_time()
    keys.without(body)
    assert time.process_time() - started < 10.0  # about one second; a search that goes back would take minutes


async def echoing(form: Callable[[str], str], learnt: str = "") -> FleetFacts:
    """Two engines of one node: the one is sent a key, and both say one back wherever they can."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        sent = next((line[22:] for line in head.split("\r\n") if line.startswith("Authorization: Bearer ")), learnt)
        said = form(sent)
        pages = {
            "/api/version": f'{{"version":"{said}"}}',
            "/api/tags": f'{{"models":[{{"name":"{said}:1","size":9,"digest":"{said}"}}]}}',
            "/api/ps": f'{{"models":[{{"name":"{said}:1","size":9,"size_vram":9,"digest":"x"}}]}}',
        }
        path = head.split(" ")[1]
        writer.write(answer(pages[path].encode()) if path in pages else answer(f'{{"error":"{said}"}}'.encode(), status="500 No"))
        writer.close()

    running = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{running.sockets[0].getsockname()[1]}"
    first = EngineSpec(EngineId("n", "a"), EngineKind.OLLAMA, url)
    last = EngineSpec(EngineId("n", "b"), EngineKind.OLLAMA, url, bearer=SecretRef("env", "LAB_KEY"))
    fleet = Fleet("f", {"n": NodeSpec("n", "n", (first, last), ())})
    async with running, Transport(environ={"LAB_KEY": KEY}, backoff=0.001) as transport:
        return await probe_fleet(fleet, {}, transport=transport, at="2026-01-01T00:00:00Z", concurrency=1)


@pytest.mark.parametrize("form", FORMS)
def test_an_engine_that_knows_the_key_of_another_cannot_bring_it_into_the_facts(form: str) -> None:
    said = FORMS["json"] if form in ("plain", "html") else FORMS[form]  # its quotes would end the JSON string
    facts = asyncio.run(echoing(said, learnt=KEY))
    text = facts_to_json(facts)
    assert not is_in(KEY, text)
    for one in json.loads(text)["facts"]["nodes"]["n"]["engines"].values():
        assert not is_in(KEY, str(one))


async def refused_load(said: Callable[[str], bytes]) -> str:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        sent = next((line[22:] for line in head.split("\r\n") if line.startswith("Authorization: Bearer ")), "")
        writer.write(said(sent))
        writer.close()

    running = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{running.sockets[0].getsockname()[1]}"
    spec = EngineSpec(EngineId("n", "a"), EngineKind.OLLAMA, url, bearer=SecretRef("env", "LAB_KEY"))
    async with running, Transport(environ={"LAB_KEY": OTHER}) as transport:
        try:
            await open_engine(spec, transport).load(LoadRequest("m:1", embedding=False))
        except EngineError as error:
            return str(error)
    raise AssertionError("it was not refused")


@pytest.mark.parametrize(
    "said",
    [
        lambda key: answer(json.dumps({"error": key}).replace("/", r"\/").encode(), status="500 No"),
        lambda key: answer(b"", f"Location: http://h/?k={quote(key)}", status="302 Found"),
        lambda key: f"HTTP/1.1 200 OK\r\nbad header {key}\r\n\r\n".encode(),
        lambda key: f"{key} is no status line\r\n\r\n".encode(),
    ],
    ids=["body", "location", "header", "status line"],
)
def test_a_sentence_about_a_failure_holds_no_key(said: Callable[[str], bytes]) -> None:
    sentence = asyncio.run(refused_load(said))
    assert not is_in(OTHER, sentence)
