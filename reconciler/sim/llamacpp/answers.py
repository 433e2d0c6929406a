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


def completion(model: str) -> Response:
    choice = {"index": 0, "message": {"role": "assistant", "content": "This answer is simulated."}, "finish_reason": "stop"}
    return json_response({"id": "chatcmpl-1", "object": "chat.completion", "created": CREATED, "model": model, "choices": [choice]})


class LlamaServer(Engine):
    """What router and single mode share."""

    def _failure(self, status: int, text: str) -> Response:
        return error(status, text)

    @property
    def build_info(self) -> str:
        return self.spec.version or "b10760-sim"
