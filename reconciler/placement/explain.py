"""Why replicas have no place: every engine that was asked, with its reason in words, and what would help."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from reconciler.capacity import EngineState
from reconciler.fleet import Applied, Desired, ModelSpec, fixed_otherwise, format_bytes, format_capability
from reconciler.needs.run_settings import installed_on
from reconciler.placement.company import NEVER_WITH, WITH
from reconciler.placement.eligibility import refusal
from reconciler.placement.engine_admission import evicting, spilling
from reconciler.placement.fit import part_on, spills
from reconciler.placement.hints import would_help
from reconciler.placement.reasons import SPREAD, Reasons, reason_at
from reconciler.placement.residents import need_on
from reconciler.placement.result import MissingReplicas, PassedOver, Placement
from reconciler.value_class import value_class

CANDIDATES_SHOWN = 32
"""How many engines of an unplaced model are listed one by one; all are counted by reason."""
HOLDERS_NAMED = 3
"""How many of those that hold an engine's cards are named."""
_OF_ROOM = frozenset({"insufficient_vram", "memory_limit"})


@value_class
class EngineRefusal:
    """One engine's answer: the reason's code, and the same in words with the numbers that matter. Of a model with variants that of the last
    one, which asks least, and each one's own in `variants`."""

    engine: str
    code: str
    message: str
    variants: tuple[PassedOver, ...] = ()


@value_class
class UnplacedExplanation:
    """All answers for one unplaced model. `refused` is bounded, `counts` is not, short of a plan with a great many unplaced models: then
    `not_looked_at` counts the rest."""

    lacking: MissingReplicas
    needed_bytes: int | None
    refused: tuple[EngineRefusal, ...]
    counts: Mapping[str, int]
    would_fit_if: tuple[str, ...]


def explain(placement: Placement, lacking: MissingReplicas, applied: Applied, desired: Desired) -> UnplacedExplanation:
    """The reasons of every engine of the model's nodes, as the board stands at the end of placement."""
    model = lacking.model
    board = placement.board
    asked = lacking.asked
    slots = asked if asked is not None else tuple(slot for node in model.nodes for slot in board.by_node.get(node, ()))
    slots = tuple(slot for slot in slots if model.engine in (None, slot.kind)) or slots
    taken = placement.slots_of(model.name)
    counts: Counter[str] = Counter()
    if placement.looks_left < len(slots) > CANDIDATES_SHOWN:
        counts["not_looked_at"] = len(slots) - CANDIDATES_SHOWN
        slots = slots[:CANDIDATES_SHOWN]
    placement.looks_left -= len(slots)
    shown: list[EngineRefusal] = []
    variants = model.alternatives()
    least = variants[-1]
    needed: int | None = least.vram
    reasons = Reasons(placement.states, least, applied)
    for slot in slots:
        if slot in taken:
            continue
        code = reasons.at(slot)
        if code == SPREAD:
            code = _of_company(placement, model, slot)
        counts[code] += 1
        if needed is None:
            need = need_on(slot, least, applied)
            needed = need.bytes if need is not None else None
        if len(shown) < CANDIDATES_SHOWN:
            shown.append(_refused(slot, code, variants, applied, placement))
    return UnplacedExplanation(
        lacking, needed, tuple(shown), dict(sorted(counts.items())), would_help(lacking, counts, placement, applied, desired)
    )


def _refused(slot: EngineState, code: str, variants: Sequence[ModelSpec], applied: Applied, placement: Placement) -> EngineRefusal:
    held = _held_by(slot, placement) if code in (*_OF_ROOM, NEVER_WITH) else ""
    words = in_words(code, slot, variants[-1], applied) + held
    if variants[-1].variant is None or refusal(slot, variants[-1]) is not None:
        return EngineRefusal(str(slot.id), code, words)
    each = [(one.variant or one.name, reason_at(slot, one, applied), one) for one in variants]
    every = tuple(PassedOver(name, why, in_words(why, slot, one, applied)) for name, why, one in each)
    return EngineRefusal(str(slot.id), code, "; ".join(f"{one.name} {one.message}" for one in every) + held, every)


def _of_company(placement: Placement, model: ModelSpec, slot: EngineState) -> str:
    """Why a model that would fit has no place: whom it may not be beside, or must be; else another replica of it."""
    there = {name for card in slot.cards or () for name in placement.holders.get(card, {})}
    if there & set(placement.foes.get(model.name, ())):
        return NEVER_WITH
    return SPREAD if set(model.with_models) <= there and (not model.with_models or len(slot.cards or ()) == 1) else WITH


def _held_by(slot: EngineState, placement: Placement) -> str:
    """Who holds the cards of an engine, the largest first, as a clause; empty where nobody known does."""
    holders: Counter[str] = Counter({"other programs": slot.foreign})
    for card in slot.cards or ():
        for name, count in placement.holders.get(card, {}).items():
            holders[name] = max(holders[name], count)
    said = [f"{name} {format_bytes(count)}" for name, count in sorted(holders.items(), key=lambda one: (-one[1], one[0])) if count]
    if not said:
        return ""
    more = f" and {len(said) - HOLDERS_NAMED} more" if len(said) > HOLDERS_NAMED else ""
    return f"; held by {', '.join(said[:HOLDERS_NAMED])}{more}"


def in_words(code: str, slot: EngineState, model: ModelSpec, applied: Applied) -> str:
    """A reason code as a phrase with this engine's numbers."""
    need = need_on(slot, model, applied)
    needs = format_bytes(need.bytes) if need is not None else "an unknown amount"
    cards = slot.cards or ()
    match code:
        case "too_large":
            return f"needs {needs} > {format_bytes(slot.whole)} usable"
        case "insufficient_vram" if model.is_split and need is not None:
            part, free = part_on(slot, model, need, applied), min(slot.rooms(), default=0)
            return f"needs {format_bytes(part)} on each of its {len(cards)} cards > {format_bytes(free)} free of one"
        case "insufficient_vram":
            free = max(slot.rooms(), default=0)
            usable = max((card.usable or 0 for card in cards), default=0)
            return f"needs {needs} > {format_bytes(free)} free of {format_bytes(usable)} usable"
        case "memory_limit":
            return f"needs {needs}, more than its memory_limit of {format_bytes(slot.spec.memory_limit or 0)} leaves"
        case "kv_cache_fraction":
            cache = format_bytes(slot.knowledge.cache(slot, model, applied) or 0)
            left = max((card.cache_left for card in cards if card.cache_left is not None), default=0)
            return f"its KV cache of {cache} is more than the {format_bytes(left)} that limits.kv_cache_fraction leaves"
        case "insufficient_ram":
            return f"needs {needs} > {format_bytes(max(0, slot.ram.free))} free RAM"
        case "engine_would_evict":
            if need is not None and not slot.full and spills(slot, model, need, applied):
                return spilling(slot, need)
            return evicting(slot, model, applied)
        case "runs_elsewhere":
            file = installed_on(slot, model)
            host = file.remote if file is not None else None
            return f"a cloud model: {host or 'another server'} runs it, so it takes no memory here and cannot be kept loaded"
        case "free_vram":
            free = min((card.free for card in cards if card.usable is not None), default=0)
            return f"{format_bytes(max(0, free))} free, and at least {format_bytes(model.when.free_vram or 0)} must be before it comes"
        case "no_card":
            return "has no card"
        case "card_fault":
            return next(
                (card.facts.fault for card in cards if card.facts is not None and card.facts.fault is not None), "its card is at fault"
            )
        case "compute_capability":
            have = [card.facts.compute_capability for card in cards if card.facts is not None and card.facts.compute_capability is not None]
            return f"compute capability {format_capability(min(have)) if have else 'unknown'}, wanted {model.requires.compute_capability}"
        case "engine_fixed_options":
            fixed = fixed_otherwise(slot.spec, model.runs)
            if fixed is None:
                return "its start decided other options"
            says = "does not set" if fixed.found is None else "sets"
            return f"its start {says} {' '.join(word for word in (fixed.name, fixed.found) if word)}, wanted {fixed.wanted}"
        case "split_cards":
            wanted, bind = model.runs.split_cards or 0, f"bind an engine to {model.runs.split_cards} cards with `gpus`"
            return f"has {len(cards)} {'card' if len(cards) == 1 else 'cards'}, and `split` asks for {wanted}; {bind}"
        case "unreachable":
            return slot.facts.reason if slot.facts is not None and slot.facts.reason else "cannot be reached"
        case _:
            return _PHRASES.get(code, code.replace("_", " "))


_PHRASES = {
    "not_looked_at": "not looked at, so many models have no place",
    "engine_kind": "another kind of engine",
    "labels": "its node lacks a required label",
    "engine_on_gpu": "this kind of engine cannot be told to use the CPU",
    "cards_unknown": "its cards are not known",
    "vram_unknown": "the size of its card is not known",
    "foreign_unknown": "what other programs use of its card cannot be read, and policy.unknown_foreign is refuse",
    "card_too_small": "its card is smaller than requires.vram",
    "compute_capability_unknown": "its compute capability is not known",
    "dtype": "its card lacks the required dtype",
    "driver": "its driver is too old",
    "driver_unknown": "its driver is not known",
    "outside_limit": "outside --limit",
    "engine_fixed_model": "serves the one model that its process was started with",
    "not_installed": "the model is not installed there, and this engine cannot pull",
    "digest_differs": "other weights are installed there than its digest pins",
    "no_kv_cache": "this kind of engine cannot be given that `kv_cache`",
    "no_flash_attention": "this kind of engine cannot be given `flash_attention`",
    "no_idle": "this kind of engine cannot be told after what `idle` time it unloads a model",
    "split_slices": "its cards are slices (MIG): a process sees one of them, so that nothing is split over several",
    "no_split": "this kind of engine cannot be told to `split` a model so",
    "no_parallel": "this kind of engine cannot be given `parallel`",
    "need_unknown": "its memory need is unknown; declare `vram`",
    "shared_runner_conflict": "another name of the same weights is wanted there with other options; give both the same",
    "ram_unknown": "the node's RAM is not known",
    "spread": "another replica is there already",
    NEVER_WITH: "a model that it is never on one card with is there",
    WITH: "a model that must be on its card is not there, or nobody can tell",
    "already_here": "a replica is there already",
}
