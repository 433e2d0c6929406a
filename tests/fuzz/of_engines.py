"""What model servers answer: their JSON with values changed, their bodies as bytes, and their HTTP as bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from drawing import Choices, as_json, changed
from oracle import Surface, is_ours
from served import Answers, answered, ask

from reconciler.engines import LoadRequest, Transport, open_engine
from reconciler.engines.out_of_memory import is_out_of_memory
from reconciler.fleet import EngineId, EngineKind, EngineSpec, FleetFacts, NodeFacts
from reconciler.probes import facts_from_json, facts_to_json

AT = EngineId("n", "e")
SHA = "a" * 64
Document = Any
SHOW = {
    "modelfile": f"FROM /root/.ollama/models/blobs/sha256-{SHA}\nPARAMETER num_ctx 4096\n", "parameters": "num_ctx 4096\nstop \"<s>\"",
    "capabilities": ["completion", "tools"],
    "model_info": {
        "general.architecture": "llama", "general.file_type": 15, "llama.block_count": 2, "llama.context_length": 8192,
        "llama.embedding_length": 256, "llama.feed_forward_length": 512, "llama.attention.head_count": 4,
        "llama.attention.head_count_kv": [2, 2], "llama.vocab_size": 1000, "tokenizer.ggml.tokens": None,
    },
    "tensors": [{"name": "blk.0.attn_k.weight", "type": "Q4_K", "shape": [256, 128]},
                {"name": "output.weight", "type": "Q6_K", "shape": [256, 1000]}],
    "projector_info": {"general.architecture": "clip"},
}  # fmt: skip
OLLAMA: Mapping[str, Document] = {
    "GET /api/version": {"version": "0.34.0"},
    "GET /api/tags": {"models": [{"name": "llama3.1:latest", "size": 10**9, "digest": SHA, "capabilities": ["completion"]}]},
    "GET /api/ps": {"models": [{
        "name": "llama3.1:latest", "size": 2 * 10**9, "size_vram": 10**9, "digest": SHA, "expires_at": "2318-01-01T00:00:00.123456789Z",
        "context_length": 4096,
    }]},
    "POST /api/show": SHOW,
    "POST /api/generate": {"done": True, "eval_count": 9, "eval_duration": 10**9, "response": "x", "error": None},
    "POST /api/embed": {"embeddings": [[0.1, -0.2]]},
    "POST /api/pull": {"status": "pulling", "digest": f"sha256:{SHA}", "total": 100, "completed": 7},
    "POST /api/create": {"status": "success"},
    "DELETE /api/delete": {"error": "model not found"},
}  # fmt: skip
PRESET = "[llama3.1]\nctx-size = 4096\nn-gpu-layers = 99\n"
LLAMACPP: Mapping[str, Document] = {
    "GET /props": {
        "role": "router", "max_instances": 4, "build_info": "b10760-abc", "model_alias": "m", "model_path": "/m.gguf", "is_sleeping": False,
        "default_generation_settings": {"n_ctx": 4096}, "total_slots": 2,
    },
    "GET /models": {"data": [{
        "id": "llama3.1", "aliases": ["l"], "status": {"value": "loaded", "failed": False, "preset": PRESET},
        "meta": {"n_ctx": 4096, "size": 10**9, "n_params": 10**9, "n_vocab": 1000, "n_embd": 256},
    }]},
    "GET /slots": [{"id": 0, "is_processing": False}],
    "POST /models/load": {"success": True},
    "POST /models/unload": {"success": True, "error": {"code": 500, "message": "x", "type": "server_error"}},
    "POST /v1/embeddings": {"data": [{"embedding": [0.1, 0.2]}]},
    "POST /v1/completions": {"usage": {"completion_tokens": 9}, "timings": {"predicted_per_second": 40.5}},
}  # fmt: skip
VLLM_METRICS = """# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{model_name="m",engine="0"} 0.0
vllm:num_requests_waiting{model_name="m",engine="0"} 1.0
vllm:engine_sleep_state{engine="0",sleep_state="awake"} 1.0
vllm:cache_config_info{block_size="16",cache_dtype="auto",enable_prefix_caching="True",gpu_memory_utilization="0.9"} 1.0
"""
VLLM: Mapping[str, Document] = {
    "GET /health": "",
    "GET /version": {"version": "0.32.0"},
    "GET /v1/models": {"data": [{"id": "m", "parent": None, "max_model_len": 4096}, {"id": "l", "parent": "m"}]},
    "GET /metrics": VLLM_METRICS,
    "POST /v1/embeddings": {"data": [{"embedding": [0.1, 0.2]}]},
    "POST /v1/completions": {"usage": {"completion_tokens": 9}},
}
LLAMASWAP: Mapping[str, Document] = {
    "GET /v1/models": {"data": [{"id": "m"}, {"id": "n"}]},
    "GET /running": {"running": [{"model": "m", "state": "ready", "ttl": 300}]},
    "GET /api/version": {"version": "v224"},
    "GET /upstream/m/health": {"status": "ok"},
    "POST /api/models/unload/m": {"msg": "ok"},
    "POST /v1/completions": {"usage": {"completion_tokens": 9}},
}
OPENAI: Mapping[str, Document] = {
    "GET /v1/models": {"data": [{"id": "m", "max_model_len": 4096}, {"id": "n", "state": "not-loaded", "status": {"value": "unloaded"}}]},
    "POST /v1/embeddings": {"data": [{"embedding": [0.1, 0.2]}]},
    "POST /v1/completions": {"usage": {"completion_tokens": 9}},
}
STATUSES = (200, 200, 200, 200, 400, 404, 500, 503)


def body_of(document: Document) -> bytes:
    return document.encode() if isinstance(document, str) else as_json(document)


def drawn(usual: Mapping[str, Document], data: bytes) -> Answers:
    """Usual answers, of which one or two are changed by value, sent with another status, or replaced by bytes."""
    choices = Choices(data)
    bodies = {way: answered(body_of(document)) for way, document in usual.items()}
    for _ in range(1 + choices.below(2)):
        way = choices.of([*usual])
        as_bytes = isinstance(usual[way], str) or choices.below(4) == 0
        status = choices.of(STATUSES)
        bodies[way] = answered(choices.rest() if as_bytes else as_json(changed(usual[way], choices)), status)

    def answer(asked: str) -> bytes:
        return bodies.get(asked.partition("?")[0]) or answered(b"{}", 404)

    return answer


async def converse(transport: Transport, kind: EngineKind) -> object:
    """Everything that an engine is asked. What cannot be done says so and the next is asked."""
    engine = open_engine(EngineSpec(AT, kind, "http://e:1", timeout=5.0, load_timeout=5.0), transport)
    facts = await engine.observe(("llama3.1", "m"))
    found: list[object] = [facts]
    name = "m" if kind in (EngineKind.VLLM, EngineKind.LLAMASWAP, EngineKind.OPENAI) else "llama3.1"
    request = LoadRequest(name, -1.0, {"num_ctx": 4096}, embedding=None)
    for talk in (
        lambda: engine.busy(name),
        lambda: engine.load(request),
        lambda: engine.vector_length(request),
        lambda: engine.write(request, 16),
        lambda: engine.unload(name),
        lambda: pulled(engine.pull(name)),
        lambda: engine.derive(name, "t", {"num_ctx": 4096}),
        lambda: engine.delete(name),
    ):
        try:
            found.append(await talk())
        except Exception as error:
            if not is_ours(error):
                raise
    whole = FleetFacts("2026-01-01T00:00:00Z", {"n": NodeFacts("n", None, None, {"e": facts})})
    found.append(facts_from_json(facts_to_json(whole), "f"))
    return found


async def pulled(parts: Any) -> list[object]:
    return [part async for part in parts]


def surface(kind: EngineKind, usual: Mapping[str, Document]) -> Surface:
    def seeds() -> list[bytes]:
        return [bytes([1, way, 1, 0, 1, place, 7, value]) for way in range(len(usual)) for place in (0, 3, 9) for value in (3, 12)]

    return Surface(f"engine-{kind.value}", lambda data: ask(drawn(usual, data), lambda transport: converse(transport, kind)), seeds)


def take_http(data: bytes) -> object:
    """The bytes are the whole answer to every request of the kind that the first of them says."""
    kind = [*EngineKind][data[0] % len(EngineKind)] if data else EngineKind.OLLAMA
    return ask(lambda _: data[1:], lambda transport: converse(transport, kind))


def http_seeds() -> list[bytes]:
    usual = answered(json.dumps(OLLAMA["GET /api/tags"]).encode())
    chunked = (
        b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n5\r\n{"a":\r\n2\r\n1}\r\n0\r\n\r\n'
    )
    away = b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n"
    return [bytes([kind]) + answer for kind in range(len(EngineKind)) for answer in (usual, chunked, away, b"HTTP/1.0 200\r\n\r\n{}")]


def take_said(data: bytes) -> object:
    return is_out_of_memory(data.decode("utf-8", "replace"))


SURFACES = (
    surface(EngineKind.OLLAMA, OLLAMA),
    surface(EngineKind.LLAMACPP, LLAMACPP),
    surface(EngineKind.VLLM, VLLM),
    surface(EngineKind.LLAMASWAP, LLAMASWAP),
    surface(EngineKind.OPENAI, OPENAI),
    Surface("engine-http", take_http, http_seeds),
    Surface("engine-out-of-memory", take_said, lambda: [b"CUDA error: out of memory", b"unable to allocate CUDA0 buffer"]),
)
