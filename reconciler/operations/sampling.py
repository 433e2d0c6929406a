"""A look as a frame of history: what each card and each model was like, and how fast models were since the look before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import replace
from datetime import datetime

from reconciler.capacity import in_use
from reconciler.fleet import (
    Activity,
    CardKey,
    CardSample,
    EngineId,
    Frame,
    ModelKey,
    ModelSample,
    parse_replica_address,
    replica_address,
)
from reconciler.operations.apply_result import ApplyResult
from reconciler.operations.proposal import Proposal
from reconciler.state import StepStatus
from reconciler.value_class import value_class

_MODEL = "model."


@value_class
class Before:
    """What the look before found, so that counts become rates and a loss is seen. `frame` None: there was none."""

    frame: Frame | None = None
    activity: Mapping[ModelKey, Activity] | None = None


def sample(seen: Proposal, result: ApplyResult | None, before: Before) -> tuple[Frame, Before]:
    """The frame of one look, with what became of its plan (None: it was not carried out), and what the next one is to be compared with.

    A failure is a load or another step of a model that failed, a replica that was lost in a run, one that is owned and to be loaded and was
    resident a look ago and is not now, and a request that the engine counts as failed.
    """
    names = {(row.at, row.engine_name): row.model for row in seen.applied.replicas.values()}
    activity = {_address(names, at, name): one for (at, name), one in seen.activity.items()}
    failed = list(_failed(result)) if result is not None else []
    earlier, models = before.activity or {}, dict(_residents(seen, names))
    was = before.frame.models if before.frame is not None else {}
    for address, row in seen.applied.replicas.items():
        engine = seen.facts.engine(row.at)
        if address not in models and engine is not None and engine.reachable and engine.residents is not None:
            models[address] = ModelSample(0.0)
            lost = address in was and was[address].resident == 1.0 and row.ensure == "loaded"
            failed.extend([address] if lost else [])
    found = {
        address: _with_rates(one, activity.get(address), earlier.get(address), failed.count(address)) for address, one in models.items()
    }
    frame = Frame(seconds_of(seen.facts.at), cards=_cards(seen), models=dict(sorted(found.items())))
    return frame, Before(frame, activity)


def only_of(frame: Frame, nodes: Set[str]) -> Frame:
    """What a frame has of some of its nodes."""
    cards = {key: one for key, one in frame.cards.items() if key[0] in nodes}
    return replace(frame, cards=cards, models={at: one for at, one in frame.models.items() if parse_replica_address(at)[1].node in nodes})


def seconds_of(at: str) -> int:
    """Seconds since 1970 of a time as facts have it."""
    return int(datetime.fromisoformat(at).timestamp())


def _address(names: Mapping[tuple[EngineId, str], str], at: EngineId, resident: str) -> ModelKey:
    return replica_address(names.get((at, resident), resident), at)


def _residents(seen: Proposal, names: Mapping[tuple[EngineId, str], str]) -> Iterable[tuple[ModelKey, ModelSample]]:
    for node in seen.facts.nodes.values():
        for engine in node.engines.values():
            for one in engine.residents or ():
                address = _address(names, engine.id, one.name)
                charged = seen.plan.residents.get(address)
                held = one.vram_bytes if one.vram_bytes is not None else charged.vram_bytes if charged is not None else None
                yield address, ModelSample(1.0, held)


def _failed(result: ApplyResult) -> Iterable[ModelKey]:
    yield from (one.address for one in result.steps if one.status is StepStatus.FAILED and one.address.startswith(_MODEL))
    yield from (one.address for one in result.lost if one.ours)


def _with_rates(one: ModelSample, now: Activity | None, before: Activity | None, failures: int) -> ModelSample:
    """Counts that are less than they were are of another process: then nobody knows since when."""
    if now is None:
        return ModelSample(one.resident, one.vram_bytes, failures=failures)
    then = before or Activity()
    requests, seconds = _more(now.requests, then.requests), _more(now.request_seconds, then.request_seconds)
    tokens, writing = _more(now.tokens, then.tokens), _more(now.token_seconds, then.token_seconds)
    return ModelSample(
        one.resident,
        one.vram_bytes,
        seconds / requests if requests and seconds is not None else None,
        tokens / writing if tokens and writing else None,
        now.waiting,
        failures + round(_more(now.failed, then.failed) or 0),
    )


def _more(now: float | None, before: float | None) -> float | None:
    return now - before if now is not None and before is not None and now >= before else None


def _cards(seen: Proposal) -> Mapping[CardKey, CardSample]:
    known = {(name, card.index): card for name, node in seen.facts.nodes.items() for card in node.cards or ()}
    found: dict[CardKey, CardSample] = {}
    for one in seen.plan.gpus:
        card = known.get((one.node, one.gpu))
        used = in_use(card.used_bytes if card is not None else None, one.before_bytes, one.foreign_bytes)
        if card is None:
            found[one.node, one.gpu] = CardSample(used, one.total_bytes)
            continue
        throttled = None if card.throttle is None else float(bool(card.throttle))
        found[one.node, one.gpu] = CardSample(used, one.total_bytes, card.utilisation, card.temperature, card.power, throttled)
    return found


def model_of(address: ModelKey) -> str:
    """The name of the model in an address of history."""
    return parse_replica_address(address)[0]
