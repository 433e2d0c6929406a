"""Servers that are only looked at: one of OpenAI's API with its models, and a service with its health and its share of a card."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.sim.cards import Allocation, Card, split
from reconciler.sim.engine import Engine, Ground
from reconciler.sim.http import Request, Response, json_response, text_response
from reconciler.sim.spec import SimEngine

_CREATED = 1_780_000_000
_CONTEXT = 4096


class OtherEngine(Engine):
    """Holds all its models from its start to its end. `service`: it lists none of them."""

    def __init__(self, node: str, spec: SimEngine, cards: Sequence[Card], ram: Card, ground: Ground) -> None:
        super().__init__(node, spec, cards, ram, ground)
        self._held: list[Allocation] = []

    def _boot(self) -> None:
        for model in self.spec.installed:
            count = model.resident_bytes(model.context or min(model.context_train, _CONTEXT))
            self._held.append(Allocation(split(count, self.cards) if self.cards else [(self.ram, count)]))

    def _forget(self) -> None:
        for one in self._held:
            one.free()
        self._held = []

    def _residents(self) -> dict[str, int]:
        listed = self.spec.installed if self.spec.kind == "openai" else ()
        return {model.name: held.bytes for model, held in zip(listed, self._held, strict=False)}

    async def _answer(self, request: Request) -> Response:
        key = self.spec.api_key
        if key is not None and request.path != "/health" and request.headers.get("authorization") != f"Bearer {key}":
            return self._failure(401, "Unauthorized")
        match request.method, request.path:
            case "GET", "/health":
                return text_response("")
            case "GET", "/v1/models" if self.spec.kind == "openai":
                entry = {"object": "model", "created": _CREATED, "owned_by": "sim"}
                data = [{"id": model.name, **entry, "max_model_len": model.context_train} for model in self.spec.installed]
                return json_response({"object": "list", "data": data})
        return self._failure(404, "Not Found")

    def _failure(self, status: int, text: str) -> Response:
        return json_response({"error": {"message": text, "code": status}}, status)
