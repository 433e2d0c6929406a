"""The shapes of what the API answers and takes, as JSON Schema; that of a plan is the one that is shipped."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache

from reconciler.operations.schemas import schema_text
from reconciler.service.http.operations import Schema

TEXT: Schema = {"type": "string"}
WHOLE: Schema = {"type": "integer"}
FLAG: Schema = {"type": "boolean"}
CARD: Schema = {"type": ["integer", "string"]}
COUNT: Schema = {"type": "integer", "minimum": 0}


def is_plain(text: str) -> bool:
    """At most 255 letters, digits, signs and blanks of ASCII, without a blank at an end: which types and models of agents are named by."""
    return _PLAIN.fullmatch(text) is not None


def maybe(kind: str) -> Schema:
    return {"type": [kind, "null"]}


def listed(of: Schema) -> Schema:
    return {"type": "array", "items": of}


def shape(**keys: Schema) -> Schema:
    """An object that has all of these keys, and may have others."""
    return {"type": "object", "required": list(keys), "properties": keys}


MAYBE_TEXT, MAYBE_WHOLE, MAYBE_NUMBER, MAYBE_FLAG = map(maybe, ("string", "integer", "number", "boolean"))
SECONDS_AGO: Schema = {"type": ["number", "null"], "minimum": 0}
ALIVE = shape(status={"const": "alive"})
READY = shape(status={"enum": ["ready", "not ready"]}, last_look_seconds_ago=SECONDS_AGO, error=MAYBE_TEXT)
PLAN: Schema = {"$ref": "#/components/schemas/Plan"}
STATUS = shape(
    fleet=TEXT,
    serial=COUNT,
    at=TEXT,
    replicas=listed(shape(address=TEXT, standing=TEXT, detail=TEXT, vram_bytes=MAYBE_WHOLE, context=MAYBE_WHOLE, owned=FLAG)),
    agents=listed(shape(address=TEXT, standing=TEXT, detail=TEXT, uses=MAYBE_TEXT, owned=FLAG)),
    engines=listed(shape(engine=TEXT, kind=TEXT, reachable=FLAG, reason=MAYBE_TEXT, build=MAYBE_TEXT)),
    cards=listed(shape(node=TEXT, gpu=CARD, name=MAYBE_TEXT, total_bytes=MAYBE_WHOLE, used_bytes=MAYBE_WHOLE, assumed=FLAG)),
    steps=COUNT,
    drift=COUNT,
    pending=COUNT,
)
DRIFT = shape(fleet=TEXT, drift=listed(shape(address=TEXT, kind=TEXT, field=TEXT)), deferred=listed(shape(node=TEXT, reason=TEXT)))
CONDITIONS = shape(conditions=listed(shape(topic=TEXT, subject=TEXT, message=TEXT)))
RUN = shape(id=COUNT, serial=COUNT, who=TEXT, host=TEXT, command=TEXT, started_at=TEXT, finished_at=MAYBE_TEXT, result=TEXT)
RUNS = shape(runs=listed(RUN))
EXPLANATION = shape(address=TEXT, why=shape(code=TEXT, message=TEXT), standing=MAYBE_TEXT, steps=listed(shape(id=TEXT, action=TEXT)))
ROUTE = shape(
    model_name=TEXT,
    backend=MAYBE_TEXT,
    port=MAYBE_WHOLE,
    served_name=MAYBE_TEXT,
    reason=TEXT,
    gpu_id={"type": ["integer", "string", "null"]},
    estimated_duration_ms=MAYBE_WHOLE,
    will_exceed_memory=FLAG,
    candidates=listed(shape(engine=TEXT, served_name=TEXT, verdict=TEXT)),
)
AGENT = shape(id=TEXT, name=TEXT, type=TEXT, model=MAYBE_TEXT, config=maybe("object"), requires_gpu=MAYBE_FLAG, by=TEXT, at=TEXT)
AGENTS = shape(agents=listed(AGENT))
RELEASED = shape(id=TEXT, status={"const": "released"})
_PLAIN = re.compile("[!-~]([ -~]{0,253}[!-~])?")
"""Names of types and models, as a whole: what can be printed of ASCII."""
ALLOCATE: Schema = {
    "type": "object",
    "required": ["name", "type"],
    "additionalProperties": False,
    "properties": {
        "name": {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$"},
        "type": {"type": "string", "pattern": f"^{_PLAIN.pattern}$"},
        "model": {"type": ["string", "null"], "pattern": f"^{_PLAIN.pattern}$"},
        "config": {"type": ["object", "null"]},
        "requires_gpu": MAYBE_FLAG,
    },
}
BALANCE = shape(node=TEXT, gpu=CARD, total_bytes=MAYBE_WHOLE, usable_bytes=MAYBE_WHOLE, foreign_bytes=MAYBE_WHOLE, placed_bytes=WHOLE)
ALLOCATIONS = shape(
    allocations=listed(shape(address=TEXT, model=TEXT, node=TEXT, engine=TEXT, vram_bytes=MAYBE_WHOLE)),
    agents=listed(shape(address=TEXT, agent=TEXT, node=TEXT, uses=MAYBE_TEXT, standing=TEXT)),
    gpus=listed(BALANCE),
)
GPU = shape(
    id=TEXT,
    memory_used_gb=MAYBE_NUMBER,
    memory_total_gb=MAYBE_NUMBER,
    memory_available_gb=MAYBE_NUMBER,
    utilization_percent=MAYBE_NUMBER,
    temperature_c=MAYBE_NUMBER,
    power_draw_w=MAYBE_NUMBER,
    is_throttled=MAYBE_FLAG,
)
SERVED = shape(vram_gb=MAYBE_NUMBER, backend=TEXT, avg_latency_ms=MAYBE_NUMBER, queue_size=MAYBE_WHOLE, failure_count=MAYBE_WHOLE)
GPU_STATUS = shape(gpu={"anyOf": [GPU, {"type": "null"}]}, models={"type": "object", "additionalProperties": SERVED})
KNOWN_MODELS = shape(
    models=listed(
        shape(
            model=TEXT,
            engine=TEXT,
            installed=WHOLE,
            vram_bytes=MAYBE_WHOLE,
            vram_source=MAYBE_TEXT,
            resident_on=listed(TEXT),
        )
    )
)
FORECAST = shape(
    fleet=TEXT, hours=COUNT, cards=listed(shape(node=TEXT, gpu=CARD, known=FLAG, reason=TEXT, used_bytes=MAYBE_WHOLE, points=listed({})))
)
OPTIMAL = shape(models=listed(shape(model_name=TEXT, backend=TEXT, engine=TEXT, fit=TEXT, reasons=listed(TEXT))))
BENCH = shape(model_name=TEXT, engine=TEXT, time_to_first_token_ms=MAYBE_NUMBER, tokens_per_second=MAYBE_NUMBER)
APPROVE: Schema = {
    "type": "object",
    "required": ["digest"],
    "additionalProperties": False,
    "properties": {"digest": {"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"}},
}
STARTED = shape(digest=TEXT, status={"const": "started"})
PAYMENTS = shape(
    settings=shape(price_per_unit=MAYBE_WHOLE, ticket_ev=MAYBE_WHOLE, max_face_value=MAYBE_WHOLE),
    tickets=shape(count=COUNT, face_value_wei=COUNT, expected_value_wei=COUNT),
)
WEI: Schema = {"oneOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": "^[0-9]{1,78}$"}]}
TICKET: Schema = {
    "type": "object",
    "required": ["id", "face_value", "win_probability", "timestamp"],
    "additionalProperties": False,
    "properties": {
        "id": {"type": "string", "minLength": 1, "maxLength": 255},
        "sender": {"type": ["string", "null"], "maxLength": 255},
        "face_value": WEI,
        "win_probability": {"oneOf": [{"type": "number", "minimum": 0, "maximum": 1}, {"type": "string"}]},
        "timestamp": {"type": "integer", "minimum": 0},
    },
}
TICKETED = shape(id=TEXT, status={"enum": ["recorded", "known", "waiting"]})


@cache
def shared() -> Mapping[str, Schema]:
    """The schema of a plan with what it is made of, under names of its own."""
    text = schema_text("plan").replace("#/$defs/", "#/components/schemas/Plan")
    plan = json.loads(text)
    parts = plan.pop("$defs")
    plan.pop("$schema")
    return {"Plan": plan, **{f"Plan{name}": part for name, part in parts.items()}}
