"""The header of a model is a fact that is asked for once, with `verbose` only where that is needed, and never at the cost of the rest."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from reconciler.engines import Transport, open_engine, remembered
from reconciler.fleet import EngineFacts, EngineId, EngineKind, EngineSpec, FleetFacts, Installed, NodeFacts
from reconciler.vram import header_of_fact

DATA = Path(__file__).parent.parent / "vram" / "data"
FROM = {"modelfile": "FROM /models/blobs/sha256-" + "a" * 64}


def recorded(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DATA / f"ollama_0.34.0_show_{name}.json").read_text("utf-8"))
    return found


class Ollama:
    """Answers as told, and keeps what it was asked about models."""

    def __init__(self) -> None:
        self.plain: dict[str, Any] = recorded("gemma_plain") | FROM
        self.verbose: dict[str, Any] | None = recorded("gemma_verbose") | FROM
        self.names = ["m:latest"]
        self.shows: list[tuple[str, bool]] = []
        self.url = ""

    def answer(self, path: str, body: Mapping[str, Any]) -> tuple[int, object]:
        if path == "/api/version":
            return 200, {"version": "0.34.0"}
        if path == "/api/ps":
            return 200, {"models": []}
        if path == "/api/tags":
            return 200, {"models": [{"name": name, "size": 300_000_000, "digest": f"d-{name}"} for name in self.names]}
        verbose = bool(body.get("verbose"))
        self.shows.append((str(body["model"]), verbose))
        told = self.verbose if verbose else self.plain
        return (200, told) if told is not None else (500, {"error": "no"})


@pytest.fixture
def ollama() -> Iterator[Ollama]:
    served = Ollama()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.reply({})

        def do_POST(self) -> None:
            self.reply(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def reply(self, body: Mapping[str, Any]) -> None:
            status, document = served.answer(self.path, body)
            data = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        served.url = f"http://127.0.0.1:{server.server_address[1]}"
        yield served
        server.shutdown()


def look(server: Ollama, *wanted: str, earlier: FleetFacts | None = None, times: int = 1) -> EngineFacts:
    async def ask() -> EngineFacts:
        async with Transport(known=remembered(earlier) if earlier is not None else None) as transport:
            for _ in range(times):
                facts = await open_engine(EngineSpec(EngineId("n", "e"), EngineKind.OLLAMA, server.url), transport).observe(wanted)
            return facts

    return asyncio.run(ask())


def only(facts: EngineFacts) -> Installed:
    (found,) = facts.installed or ()
    return found


def test_a_wanted_model_tells_its_header_and_one_short_answer_is_enough(ollama: Ollama) -> None:
    found = only(look(ollama, "m", times=3))
    assert found.header is not None
    assert header_of_fact(found.header).architecture == "gemma3"
    assert ollama.shows == [("m:latest", False)]


def test_of_a_model_that_nobody_wants_nothing_is_asked(ollama: Ollama) -> None:
    assert only(look(ollama)).header is None
    assert ollama.shows == []


def test_arrays_that_a_short_answer_leaves_out_are_asked_for(ollama: Ollama) -> None:
    ollama.plain, ollama.verbose = recorded("tiny_arrays_plain") | FROM, recorded("tiny_arrays_verbose") | FROM
    found = only(look(ollama, "m", times=2))
    assert found.header is not None
    assert found.header.keys["llama.attention.head_count"] == (8,) * 8
    assert ollama.shows == [("m:latest", False), ("m:latest", True)]


def test_a_long_answer_that_cannot_be_had_leaves_the_header_unknown_and_the_engine_reachable(ollama: Ollama) -> None:
    ollama.plain, ollama.verbose = recorded("tiny_arrays_plain") | FROM, None
    facts = look(ollama, "m")
    assert facts.reachable
    assert (only(facts).header, only(facts).blob) == (None, "a" * 64)


@pytest.mark.parametrize("tensors", [None, "many", [{"name": "x"}], [{"name": "x", "type": "Q9_9", "shape": [1]}]])
def test_nonsense_in_place_of_tensors_is_an_unknown_header(ollama: Ollama, tensors: object) -> None:
    ollama.plain["tensors"] = tensors
    facts = look(ollama, "m")
    assert facts.reachable, facts.reason
    assert only(facts).header is None


def test_names_on_the_same_weights_share_one_header(ollama: Ollama) -> None:
    ollama.names = ["m:latest", "m:latest-c8192"]
    one, other = look(ollama, "m", "m:latest-c8192").installed or ()
    assert one.header is not None
    assert one.header is other.header


def test_what_the_last_look_recorded_is_not_asked_again(ollama: Ollama) -> None:
    first = look(ollama, "m")
    ollama.shows.clear()
    again = look(ollama, "m", earlier=FleetFacts("2026-01-01T00:00:00Z", {"n": NodeFacts("n", engines={"e": first})}))
    assert ollama.shows == []
    assert again.installed == first.installed


def test_a_projector_counts_as_bytes_beside_the_weights(ollama: Ollama) -> None:
    assert only(look(ollama, "m")).beside_bytes == 0
    ollama.plain["projector_info"] = {"general.architecture": "clip"}
    ollama.names = ["v:latest"]
    found = only(look(ollama, "v"))
    assert found.header is not None
    assert found.beside_bytes == 300_000_000 - sum(tensor.bytes for tensor in header_of_fact(found.header).tensors)


def test_a_baked_context_is_a_fact(ollama: Ollama) -> None:
    ollama.plain["parameters"] = "num_ctx                        8192"
    assert only(look(ollama, "m")).context == 8192
