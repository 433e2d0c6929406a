"""vLLM's OpenAI server (vllm/entrypoints/openai/api_server.py, vllm/entrypoints/serve/): one model a process, a share of each card.

The share of the card, what a sleep gives back of it, and LoRA adapters are from its source and documentation: the CPU build that the real
suite runs has none of them. The rest was seen on 0.32.0, a request to a sleeper that waits until somebody wakes it too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from reconciler.sim.cards import Allocation, Card
from reconciler.sim.engine import Engine, Ground
from reconciler.sim.errors import OutOfMemory, SimError
from reconciler.sim.faults import LOAD_KINDS
from reconciler.sim.http import Request, Response, json_response, text_response
from reconciler.sim.llamacpp.answers import inference
from reconciler.sim.spec import MIB, SimEngine
from reconciler.sim.vllm.metrics import metrics_text

_CREATED = 1_780_000_000
_ASLEEP_BYTES = 1024 * MIB
"""What a sleeping instance keeps of a card: its CUDA context and graphs."""
_BLOCK_SIZE = 16
_LEVELS = {"1": "weights_offloaded", "2": "discard_all"}


class VllmEngine(Engine):
    """`vllm serve`. Nothing listens until the model is loaded; a start that fails ends the process."""

    def __init__(self, node: str, spec: SimEngine, cards: Sequence[Card], ram: Card, ground: Ground) -> None:
        super().__init__(node, spec, cards, ram, ground)
        if len(spec.installed) != 1:
            raise SimError(f"{self.id}: a vLLM has just one model, not {len(spec.installed)}")
        self._model = spec.installed[0]
        self._held: Allocation | None = None
        self._ready = False
        self._asleep: str | None = None
        self._awake = asyncio.Event()
        self._adapters: dict[str, str] = {}

    def _boot(self) -> None:
        self._awake.set()
        self._adapters = {name: f"/adapters/{name}" for name in self.spec.lora}
        self.spawn(self._start())

    def _forget(self) -> None:
        if self._held is not None:
            self._held.free()
        self._held, self._ready, self._asleep = None, False, None

    def _heed_port(self) -> None:
        if self._ready or not self._alive:
            super()._heed_port()
        elif self._http.is_open:
            self._http.close()

    def _residents(self) -> dict[str, int]:
        if not self._ready or self._held is None:
            return {}
        return {self._model.name: sum(count for card, count in self._held.parts if card in self.cards)}

    async def _start(self) -> None:
        """At its start the share must be free, or it exits (vllm/v1/worker/utils.py request_memory)."""
        fault = self.faults.strike_model(LOAD_KINDS, (self._model.name,))
        try:
            self._held = Allocation(self._awake_parts())
        except OutOfMemory:
            await self.clock.sleep(self.spec.load_seconds)
            self.exit()
            return
        if fault is not None and fault.kind == "hang_load":
            return
        await self.clock.sleep(self.load_duration(self._held.bytes))
        if fault is not None:
            self.exit()
            return
        self._ready = True
        self._heed_port()

    def _awake_parts(self) -> list[tuple[Card, int]]:
        """The share of the whole of every card, whatever the model; RAM for its weights where there is none."""
        if not self.cards:
            return [(self.ram, self._model.resident_bytes(self._context))]
        return [(card, int((card.total or 0) * self.spec.gpu_memory_utilization)) for card in self.cards]

    @property
    def _context(self) -> int:
        return min(self._model.context or self.spec.default_context or self._model.context_train, self._model.context_train)

    @property
    def _names(self) -> tuple[str, ...]:
        return self.spec.served_names or (self._model.name,)

    async def _answer(self, request: Request) -> Response:
        key = self.spec.api_key
        if key is not None and request.path.startswith("/v1") and request.headers.get("authorization") != f"Bearer {key}":
            return json_response({"error": "Unauthorized"}, 401)
        match request.method, request.path:
            case "GET", "/health" | "/ping":
                return Response(200, body=b"")
            case "GET", "/version":
                return json_response({"version": self.spec.version or "0.32.0"})
            case "GET", "/load":
                return json_response({"server_load": 0})
            case "GET", "/metrics":
                return text_response(metrics_text(self._names[0], self._config_labels(), self._asleep))
            case "GET", "/v1/models":
                return json_response({"object": "list", "data": [*self._base_cards(), *self._adapter_cards()]})
            case "GET", "/is_sleeping" if self.spec.sleep_mode:
                return json_response({"is_sleeping": self._asleep is not None})
            case "POST", "/sleep" if self.spec.sleep_mode:
                return self._sleep(request.query.get("level", "1"))
            case "POST", "/wake_up" if self.spec.sleep_mode:
                return self._wake()
            case "POST", "/v1/load_lora_adapter" if self.spec.lora:
                return self._load_adapter(request)
            case "POST", "/v1/unload_lora_adapter" if self.spec.lora:
                return self._unload_adapter(request)
            case "POST", "/v1/chat/completions" | "/v1/completions" | "/v1/embeddings":
                return await self._infer(request)
        return json_response({"detail": "Not Found"}, 404)

    def _config_labels(self) -> dict[str, str]:
        return {
            "block_size": str(_BLOCK_SIZE),
            "cache_dtype": "auto",
            "enable_prefix_caching": "True",
            "gpu_memory_utilization": str(self.spec.gpu_memory_utilization),
            "num_gpu_blocks": str(max(1, self._context // _BLOCK_SIZE)),
        }

    def _base_cards(self) -> list[dict[str, object]]:
        root = f"/models/{self._model.name}"
        return [_card(name, root, None, self._context) for name in self._names]

    def _adapter_cards(self) -> list[dict[str, object]]:
        return [_card(name, path, self._names[0], None) for name, path in self._adapters.items()]

    def _sleep(self, level: str) -> Response:
        if level not in _LEVELS:
            return json_response({"detail": "Internal Server Error"}, 500)
        if self._asleep is None and self._held is not None and self.cards:
            self._held.free()
            self._held = Allocation([(card, min(_ASLEEP_BYTES, int((card.total or 0) * 0.1))) for card in self.cards])
        self._asleep = _LEVELS[level]
        self._awake.clear()
        return json_response({"status": "sleeping", "level": int(level)})

    def _wake(self) -> Response:
        if self._asleep is not None and self._held is not None:
            self._held.free()
            try:
                self._held = Allocation(self._awake_parts())
            except OutOfMemory:
                self.exit()
                return Response(drop=True)
        self._asleep = None
        self._awake.set()
        return json_response({"status": "awake", "tags": None})

    def _load_adapter(self, request: Request) -> Response:
        name, path = _texts(request, "lora_name", "lora_path")
        if not name or not path:
            return _error(400, "Both 'lora_name' and 'lora_path' must be provided.")
        if name in self._adapters:
            return _error(400, f"The lora adapter '{name}' has already been loaded.")
        self._adapters[name] = path
        return text_response(f"Success: LoRA adapter '{name}' added successfully.")

    def _unload_adapter(self, request: Request) -> Response:
        (name,) = _texts(request, "lora_name")
        if name not in self._adapters:
            return _error(404, f"The lora adapter '{name}' cannot be found.")
        del self._adapters[name]
        return text_response(f"Success: LoRA adapter '{name}' removed successfully.")

    async def _infer(self, request: Request) -> Response:
        (name,) = _texts(request, "model")
        if name not in self._names and name not in self._adapters:
            return _error(404, f"The model `{name}` does not exist.")
        await self._awake.wait()
        await self.clock.sleep(self.spec.answer_seconds)
        return inference(request.path, self._model, bool(self.cards), timed=False)

    def _failure(self, status: int, text: str) -> Response:
        return _error(status, text)


def _card(name: str, root: str, parent: str | None, context: int | None) -> dict[str, object]:
    return {
        "id": name,
        "object": "model",
        "created": _CREATED,
        "owned_by": "vllm",
        "root": root,
        "parent": parent,
        "max_model_len": context,
        "permission": [],
    }


def _error(status: int, message: str) -> Response:
    kind = {404: "NotFoundError", 400: "BadRequestError"}.get(status, "InternalServerError")
    return json_response({"error": {"message": message, "type": kind, "param": None, "code": status}}, status)


def _texts(request: Request, *keys: str) -> tuple[str, ...]:
    body = request.document() or {}
    return tuple(found if isinstance(found := body.get(key), str) else "" for key in keys)
