"""What a plan says of engines whose own rules are not known: how they decide about its loads nobody can foretell."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

from reconciler.admission import FIT_MARGIN, FIT_TARGET
from reconciler.capacity import EngineState, is_fitted, most_unused
from reconciler.fleet import Answers, EngineKind, ModelSpec, format_bytes
from reconciler.planning.kinds.model.change import Change
from reconciler.planning.plan import Action, Note

_LOADS = (Action.LOAD, Action.RELOAD)
_KINDS = {
    EngineKind.OLLAMA: "Ollama", EngineKind.LLAMACPP: "llama.cpp", EngineKind.VLLM: "vLLM", EngineKind.LLAMASWAP: "llama-swap",
}  # fmt: skip


def own_rules_notes(changes: Sequence[Change], models: Callable[[Change], ModelSpec | None]) -> list[Note]:
    """One note for all engines of a kind and build whose rules are not known, and one for each that may put a part of a load on the CPU by
    a setting that nobody told; of engines that get a load only. `models` tells what a change loads."""
    loads = [change for change in changes if change.action in _LOADS and change.takes]
    return [*_unknown_rules(loads), *_default_margins(loads, models)]


def _unknown_rules(loads: Sequence[Change]) -> list[Note]:
    alike: dict[tuple[EngineKind, str], set[EngineState]] = defaultdict(set)
    for load in loads:
        if not load.slot.rules.known:
            build = load.slot.facts.build if load.slot.facts is not None else None
            alike[load.slot.kind, build or "of unknown version"].add(load.slot)
    notes = []
    for (kind, build), slots in sorted(alike.items()):
        first = min(slots, key=lambda slot: slot.id)
        rest = f" and {len(slots) - 1} more" if len(slots) > 1 else ""
        message = f"{_KINDS[kind]} {build}{rest}: its own rules about loads are not known, so it may evict others, or put a part on the CPU"
        notes.append(Note(f"engine.{first.id}", "own_rules_unknown", message))
    return notes


def _default_margins(loads: Sequence[Change], models: Callable[[Change], ModelSpec | None]) -> list[Note]:
    """Loads after which less of the card is free than llama-server's fit leaves where nobody says otherwise."""
    notes: dict[str, Note] = {}
    unused = Answers(most_unused)
    for load in loads:
        free = unused[load.slot]
        if free is None or free >= FIT_MARGIN:
            continue
        slot, model = load.slot, models(load)
        if slot.rules.memory and slot.rules.fit_margin is None and model is not None and is_fitted(slot, model):
            left = f"{format_bytes(max(0, free))} of its card stay free"
            usual = f"by default it leaves {format_bytes(FIT_MARGIN)} and puts a part of a model on the CPU for that"
            help_ = f"where it was started with {FIT_TARGET}, `env` of that engine in the inventory says so"
            notes.setdefault(str(slot.id), Note(f"engine.{slot.id}", "may_spill", f"{left}; {usual}; {help_}"))
    return list(notes.values())
