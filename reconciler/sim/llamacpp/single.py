"""Single mode: one model from the command line, loaded as the process starts (llama.cpp tools/server/server.cpp)."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.sim.cards import Card
from reconciler.sim.engine import Ground
from reconciler.sim.errors import SimError
from reconciler.sim.http import Request, Response, json_response, text_response
from reconciler.sim.llamacpp.answers import CREATED, LlamaServer, context_of, error, inference, key_refused, meta, not_found
from reconciler.sim.llamacpp.process import LoadDied, ModelProcess
from reconciler.sim.spec import SimEngine


class SingleEngine(LlamaServer):
    """`llama-server -m FILE`. 503 on every path while it loads; a load that fails ends the process, and the port is closed."""

    def __init__(self, node: str, spec: SimEngine, cards: Sequence[Card], ram: Card, ground: Ground) -> None:
        super().__init__(node, spec, cards, ram, ground)
        if len(spec.installed) != 1:
            raise SimError(f"{self.id}: a llama-server in single mode has just one model, not {len(spec.installed)}")
        self._model = spec.installed[0]
        self._process: ModelProcess | None = None
        self._ready = self._asleep = False
        self._used = 0

    def _boot(self) -> None:
        self._ready = self._asleep = False
        self._process = ModelProcess(self, self._model)
        self.spawn(self._run(self._process))

    def _forget(self) -> None:
        if self._process is not None:
            self._process.free()
        self._process, self._ready = None, False

    async def _run(self, process: ModelProcess) -> None:
        try:
            await process.load()
        except LoadDied:
            self.exit()
        else:
            self._ready, self._asleep = True, False
            self._doze_when_idle()

    def _doze_when_idle(self) -> None:
        """`--sleep-idle-seconds`: as in router mode."""
        self._used += 1
        used, process = self._used, self._process

        def doze() -> None:
            if self._used == used and self._process is process and process is not None and self._ready:
                process.free()
                self._asleep = True

        if self.spec.sleep_idle > 0:
            self.clock.later(self.spec.sleep_idle, doze)

    def _residents(self) -> dict[str, int]:
        return {self._model.name: self._process.bytes_on_cards} if self._ready and self._process is not None else {}

    async def _answer(self, request: Request) -> Response:
        if key_refused(request, self.spec.api_key):
            return error(401, "Invalid API Key")
        if not self._ready:
            return error(503, "Loading model")
        match request.method, request.path:
            case "GET", "/health" | "/v1/health":
                return json_response({"status": "ok"})
            case "GET", "/props":
                return json_response(self._props())
            case "GET", "/models" | "/v1/models":
                return json_response(self._listing())
            case "GET", "/slots":
                context = context_of(self._model, self.spec)
                slot = {"n_ctx": context, "speculative": False, "is_processing": False}
                return json_response([{"id": number, **slot} for number in range(self.spec.num_parallel)])
            case "GET", "/metrics":
                if not self.spec.metrics:
                    return error(501, "This server does not support metrics endpoint. Start it with `--metrics`")
                return text_response("# TYPE llamacpp:requests_processing gauge\nllamacpp:requests_processing 0\n")
            case "POST", "/props":
                return error(501, "This server does not support changing global properties. Start it with `--props`")
            case "POST", "/v1/chat/completions" | "/v1/completions" | "/completion" | "/v1/embeddings" | "/embedding":
                if self._asleep:
                    self._process = ModelProcess(self, self._model)
                    await self._run(self._process)
                await self.clock.sleep(self.spec.answer_seconds)
                self._doze_when_idle()
                return inference(request.path, self._model, bool(self._process and self._process.whole))
        return not_found()

    def _props(self) -> dict[str, object]:
        return {
            "default_generation_settings": {"params": {}, "n_ctx": context_of(self._model, self.spec)},
            "total_slots": self.spec.num_parallel,
            "model_alias": self._model.name,
            "model_path": f"/models/{self._model.name}.gguf",
            "modalities": {"vision": False, "video": False, "audio": False},
            "endpoint_slots": True,
            "endpoint_props": False,
            "endpoint_metrics": self.spec.metrics,
            "chat_template": "",
            "bos_token": "<s>",
            "eos_token": "</s>",
            "build_info": self.build_info,
            "is_sleeping": self._asleep,
        }

    def _listing(self) -> dict[str, object]:
        name = self._model.name
        entry = {
            "id": name,
            "aliases": [name],
            "tags": [],
            "object": "model",
            "created": CREATED,
            "owned_by": "llamacpp",
            "architecture": {"input_modalities": ["text"], "output_modalities": ["text"]},
            "meta": meta(self._model, self.spec),
        }
        return {"models": [{"name": name, "model": name, "details": {}}], "object": "list", "data": [entry]}
