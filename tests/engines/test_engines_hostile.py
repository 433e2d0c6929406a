"""What an engine may answer, and what is made of it: one sentence with the url, a code, and nothing worse."""

from __future__ import annotations

import asyncio
import ssl

import pytest

from reconciler.engines import LoadRequest, Transport, open_engine
from reconciler.fleet import EngineError, EngineId, EngineKind, EngineSpec, SecretRef
from reconciler.sim import read_sim_text, running

FLEET = """
time_scale: 0
nodes:
  o: {{gpus: [{{name: card, vram: 8GiB}}], engines: {{e: {{kind: {kind}, installed: [{{name: {name}, size: 1GB}}]}}}}}}
"""


def spec(url, kind=EngineKind.OLLAMA, **more):
    return EngineSpec(EngineId("o", "e"), kind, url, **{"timeout": 2.0, **more})


def look(url, kind=EngineKind.OLLAMA, environ=None, **more):
    async def ask():
        async with Transport(environ=environ, backoff=0.001) as transport:
            return await open_engine(spec(url, kind, **more), transport).observe()

    return asyncio.run(ask())


@pytest.fixture(params=[kind for kind in EngineKind if kind.serves_models])
def engine(request):
    with running(read_sim_text(FLEET.format(kind=request.param, name='"m:1"'), "hostile")) as fleet:
        server = fleet.engines["o/e"]
        while request.param is EngineKind.VLLM and not look(server.url, request.param).reachable:
            continue  # it listens when its model is loaded
        server.forget_requests()
        yield server, request.param


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ({"kind": "garbage"}, "not_its_protocol"),
        ({"kind": "huge"}, "too_large"),
        ({"kind": "redirect", "location": "http://169.254.169.254/latest"}, "redirected"),
        ({"kind": "cut"}, "cut"),
        ({"kind": "status", "status": 500}, "http_5xx"),
        ({"kind": "slow", "seconds": 30}, "timeout"),
    ],
    ids=lambda value: value if isinstance(value, str) else value["kind"],
)
def test_what_is_not_the_protocol_is_unreachable_with_its_reason(engine, fault, code):
    server, kind = engine
    server.set_fault(**fault)
    facts = look(server.url, kind, timeout=0.5 if code == "timeout" else 5.0)
    if kind is EngineKind.VLLM and code in ("cut", "timeout"):
        code = "starting_or_down"  # from outside the two are one
    assert (facts.reachable, facts.reason_code) == (False, code)
    assert facts.installed is None
    assert facts.residents is None
    assert server.url in facts.reason
    assert "\n" not in facts.reason


def test_a_server_that_fails_once_is_asked_again(engine):
    server, kind = engine
    server.set_fault("status", status=500, count=1)
    assert look(server.url, kind).reachable


@pytest.mark.parametrize("kind", list(EngineKind))
def test_a_closed_port_is_refused_and_of_a_vllm_that_may_be_its_start(kind):
    facts = look("http://127.0.0.1:9", kind)
    assert (facts.reachable, facts.reason_code) == (False, "starting_or_down" if kind is EngineKind.VLLM else "refused")


def test_a_missing_key_is_told_before_anything_is_sent(engine):
    server, kind = engine
    facts = look(server.url, kind, environ={}, bearer=SecretRef("env", "NO_SUCH_KEY"))
    assert facts.reason_code == "missing_key"
    assert "NO_SUCH_KEY" in facts.reason
    assert server.requests == []


def test_control_characters_in_a_name_are_made_visible():
    name = r'"evil\e[2Jname:1"'
    with running(read_sim_text(FLEET.format(kind="ollama", name=name), "hostile")) as fleet:
        facts = look(fleet.engines["o/e"].url)
    assert facts.reachable
    assert all(installed.name.isprintable() for installed in facts.installed)


def test_probing_sends_nothing_that_changes_anything(engine):
    server, kind = engine
    look(server.url, kind)
    assert {(method, path) for method, path, *_ in server.requests} <= {
        ("GET", "/api/version"),
        ("GET", "/api/tags"),
        ("GET", "/api/ps"),
        ("POST", "/api/show"),
        ("GET", "/props"),
        ("GET", "/models"),
        ("GET", "/health"),
        ("GET", "/version"),
        ("GET", "/metrics"),
        ("GET", "/v1/models"),
        ("GET", "/running"),
    }


@pytest.mark.parametrize("engine", [EngineKind.VLLM], indirect=True)
def test_a_vllm_that_says_that_its_engine_died_is_neither_starting_nor_down(engine):
    server, kind = engine
    server.set_fault("status", status=503, paths=["/health"])
    facts = look(server.url, kind)
    assert (facts.reachable, facts.reason_code) == (False, "http_5xx")
    assert "has died" in facts.reason


@pytest.mark.parametrize("engine", [EngineKind.VLLM], indirect=True)
def test_metrics_that_cannot_be_read_leave_the_options_of_a_vllm_unknown(engine):
    server, kind = engine
    server.set_fault("garbage", paths=["/metrics"])
    facts = look(server.url, kind)
    assert facts.reachable
    assert [resident.options for resident in facts.residents] == [None]


def test_a_load_is_not_cut_by_the_probe_timeout():
    text = (
        FLEET.format(kind="ollama", name='"m:1"')
        .replace("time_scale: 0", "time_scale: 1")
        .replace("kind: ollama,", "kind: ollama, load_seconds: 1.8,")
    )
    with running(read_sim_text(text, "slow")) as fleet:
        url = fleet.engines["o/e"].url

        async def load():
            async with Transport() as transport:
                engine = open_engine(spec(url, timeout=1.5), transport)
                await engine.load(LoadRequest("m:1", keep_alive=-1))
                return await engine.observe()

        facts = asyncio.run(load())
    assert [resident.name for resident in facts.residents] == ["m:1"]


def test_a_load_that_never_answers_ends_with_the_load_timeout():
    with running(read_sim_text(FLEET.format(kind="ollama", name='"m:1"'), "hang")) as fleet:
        server = fleet.engines["o/e"]
        server.set_fault("hang_load")

        async def load():
            async with Transport() as transport:
                await open_engine(spec(server.url, load_timeout=0.3), transport).load(LoadRequest("m:1"))

        with pytest.raises(EngineError) as raised:
            asyncio.run(load())
    assert raised.value.code == "timeout"


def test_out_of_memory_is_named():
    with running(read_sim_text(FLEET.format(kind="ollama", name='"m:1"'), "oom")) as fleet:
        server = fleet.engines["o/e"]
        server.set_fault("oom")

        async def load():
            async with Transport() as transport:
                await open_engine(spec(server.url), transport).load(LoadRequest("m:1"))

        with pytest.raises(EngineError) as raised:
            asyncio.run(load())
    assert raised.value.code == "out_of_memory"


def test_an_engine_whose_certificate_nobody_vouches_for_is_not_spoken_to(tmp_path):
    import subprocess

    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", *names], check=True, capture_output=True)

    async def both():
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)

        async def answer(reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        from reconciler.fleet import Tls

        async with server, Transport() as transport:
            refused = await open_engine(spec(url), transport).observe()
            trusted = await open_engine(spec(url, tls=Tls(ca=str(certificate))), transport).observe()
        return refused, trusted

    refused, trusted = asyncio.run(both())
    assert refused.reason_code == "tls"
    assert trusted.reason_code == "not_its_protocol"


@pytest.mark.parametrize("kind", list(EngineKind))
def test_every_kind_has_an_adapter(kind):
    assert open_engine(spec("http://127.0.0.1:9", kind), Transport()).spec.kind is kind
