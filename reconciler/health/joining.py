"""Engines and cards held against each other: what an engine says it holds on cards, and what those cards lost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set

from reconciler.fleet import (
    CardFacts,
    EngineFacts,
    EngineId,
    EngineKind,
    EngineSpec,
    NodeFacts,
    NodeSpec,
    Resident,
    format_bytes,
    format_ratio,
)
from reconciler.health.finding import Finding, error, warning

LEAST_SEEN = 0.5
"""The share of what an engine says it holds on cards that the cards must have lost; engines say estimates."""
_LOG = "journalctl -u ollama -n 50, or the engine's own log"


def joining_findings(
    node: NodeSpec, facts: NodeFacts, before: NodeFacts | None, may_be_on_cpu: Set[tuple[EngineId, str]] = frozenset()
) -> Iterator[Finding]:
    """What does not fit together on a node. `before` are its facts as last recorded; `may_be_on_cpu` residents by engine and name that the
    files let be beside the card."""
    if not facts.cards:
        return
    for spec in node.engines:
        engine = facts.engines.get(spec.id.engine)
        cards = cards_of(spec, facts.cards)
        if engine is None or not engine.reachable or not engine.residents or not cards:
            continue
        yield from _placed(spec, engine, cards, _was_on_cards(spec, before), may_be_on_cpu)
        yield from _said_and_lost(spec, engine, cards, facts.cards)


def cards_of(spec: EngineSpec, cards: Sequence[CardFacts]) -> list[CardFacts]:
    """The cards that an engine is bound to."""
    return [card for card in cards if card.is_named_in(spec.gpus)]


def _was_on_cards(spec: EngineSpec, before: NodeFacts | None) -> bool:
    engine = before.engines.get(spec.id.engine) if before is not None else None
    return engine is not None and any((one.vram_bytes or 0) > 0 for one in engine.residents or ())


def _placed(
    spec: EngineSpec, engine: EngineFacts, cards: Sequence[CardFacts], was: bool, may_be_on_cpu: Set[tuple[EngineId, str]]
) -> Iterator[Finding]:
    residents = engine.residents or ()
    known = [one for one in residents if one.gpu_fraction and (spec.id, one.name) in may_be_on_cpu]
    known += [one for one in residents if one.gpu_fraction is not None and (spec.id, one.name) not in may_be_on_cpu]
    address = f"engine.{spec.id}"
    if known and all(one.gpu_fraction == 0 for one in known):
        if was:
            what = "all its models are on the CPU, and were on the card before: its process or container lost the GPU"
            yield error("lost_gpu", address, what, _regain(spec))
        else:
            what = f"not on the GPU: none of its models is on {_cards(cards)}"
            yield error("not_on_gpu", address, what, _regain(spec))
        return
    for one in known:
        if one.gpu_fraction is not None and one.gpu_fraction < 1 and (spec.id, one.name) not in may_be_on_cpu:
            what = f"only {format_ratio(one.gpu_fraction)} of it is on the GPU, the rest is computed by the CPU"
            yield warning(
                "partial_offload", f"model.{one.name}@{spec.id}", what, "make room on the card, or lower its context; then gpurec plan"
            )


def _regain(spec: EngineSpec) -> str:
    if spec.kind is EngineKind.OLLAMA:
        return (
            "sudo systemctl restart ollama (in a container: docker restart NAME, started with --gpus all); its log says why it found no GPU"
        )
    return "restart it with its card visible (in a container: docker restart NAME, started with --gpus all); its log says why it found none"


def _said_and_lost(spec: EngineSpec, engine: EngineFacts, cards: Sequence[CardFacts], every: Sequence[CardFacts]) -> Iterator[Finding]:
    said = _said(engine.residents or ())
    used = [card.used_bytes for card in cards]
    if not said or None in used or any(card.unified for card in cards):
        return
    lost = sum(count or 0 for count in used)
    where = _cards(cards)
    if lost < said * LEAST_SEEN:
        what = f"it says that {format_bytes(said)} of its models are on the GPU, and {where} lost {format_bytes(lost)}: they run on the CPU"
        yield error("not_on_gpu", f"engine.{spec.id}", what, _LOG)
    for card in every:
        if card in cards or not any(process.engine == spec.id.engine for process in card.processes or ()):
            continue
        what = f"it is bound to {where}, and its processes are on card {card.index}"
        yield error("other_card", f"engine.{spec.id}", what, f"start it with CUDA_VISIBLE_DEVICES={_visible(cards)}")


def _said(residents: Sequence[Resident]) -> int:
    return sum(one.vram_bytes or 0 for one in residents)


def _cards(cards: Sequence[CardFacts]) -> str:
    return ("card " if len(cards) == 1 else "cards ") + ", ".join(str(card.index) for card in cards)


def _visible(cards: Sequence[CardFacts]) -> str:
    return ",".join(card.uuid or str(card.index) for card in cards)
