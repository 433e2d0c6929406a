"""Error bodies, the key check and the model entries of llama-server (tools/server/server-http.cpp, server-context.cpp, README.md)."""

from __future__ import annotations

from reconciler.sim.engine import Engine
from reconciler.sim.http import Request, Response, json_response
from reconciler.sim.spec import SimEngine, SimModel

CREATED = 1_780_000_000
DEFAULT_CONTEXT = 4096
PUBLIC_PATHS = frozenset({"/health", "/v1/health", "/"})
_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    500: "server_error",
    501: "not_supported_error",
    503: "unavailable_error",
}


def error(status: int, message: str) -> Response:
    return json_response({"error": {"code": status, "message": message, "type": _TYPES.get(status, "server_error")}}, status)


def not_found() -> Response:
    return error(404, "File Not Found")


def key_refused(request: Request, api_key: str | None) -> bool:
    """Whether a key is needed here and the right one was not given, as `Authorization: Bearer` or `X-Api-Key`."""
    if api_key is None or request.path in PUBLIC_PATHS:
        return False
    given = request.headers.get("x-api-key") or request.headers.get("authorization", "").removeprefix("Bearer ")
    return given != api_key


def context_of(model: SimModel, spec: SimEngine) -> int:
    """Context of one slot that the model is started with."""
    return min(model.context or spec.default_context or DEFAULT_CONTEXT, model.context_train)


def meta(model: SimModel, spec: SimEngine) -> dict[str, object]:
    """`meta` of a running model: `n_ctx` is per slot, `size` the bytes of its tensors."""
    return {
        "vocab_type": 2,
        "n_vocab": 128_256,
        "n_ctx": context_of(model, spec),
        "n_ctx_train": model.context_train,
        "n_embd": model.embedding_length,
        "n_params": max(1, model.size * 8 // 5),
        "size": model.weights,
        "ftype": f"{model.quantization[:4]} - Medium",
    }


def inference(path: str, model: SimModel, on_cards: bool, *, timed: bool = True) -> Response:
    """The answer to one request: a vector of the model's length, or words and (`timed`, of llama.cpp only) how fast they were written."""
    if path.endswith(("/embeddings", "/embedding")):
        vector = [1.0] + [0.0] * (model.embedding_length - 1)
        return json_response({"object": "list", "model": model.name, "data": [{"object": "embedding", "index": 0, "embedding": vector}]})
    words = "This answer is simulated."
    choice = {"index": 0, "text": words, "message": {"role": "assistant", "content": words}, "finish_reason": "stop"}
    answer: dict[str, object] = {"id": "chatcmpl-1", "object": "chat.completion", "created": CREATED, "model": model.name}
    answer |= {"choices": [choice], "usage": {"prompt_tokens": 5, "completion_tokens": 4, "total_tokens": 9}}
    timings = {"timings": {"predicted_n": 4, "predicted_per_second": model.speed(on_cards)}} if timed else {}
    return json_response(answer | timings)


class LlamaServer(Engine):
    """What router and single mode share."""

    def _failure(self, status: int, text: str) -> Response:
        return error(status, text)

    @property
    def build_info(self) -> str:
        return self.spec.version or "b10760-sim"
