"""What the engine itself would do with a load, as the board stands: the rules of `admission`, asked about a slot and a model."""

from __future__ import annotations

from reconciler.admission import FIT_TARGET, ModelToLoad, PendingLoad, any_order_holds, arrange, cache_per_token, predicted_bytes
from reconciler.capacity import Charges, EngineState, believed_free, most_unused, on_cards, unused_beside
from reconciler.fleet import MIB, STARTED_WITH_MODEL, Applied, EngineKind, ModelSpec, format_bytes
from reconciler.needs.run_settings import in_ram, installed_on
from reconciler.vram import Need


def load_of(slot: EngineState, model: ModelSpec, applied: Applied) -> ModelToLoad:
    """A model as this engine would see it before it loads it. With a number of layers asked for nothing is predicted."""
    installed = installed_on(slot, model)
    layers, batch = model.options.get("num_gpu"), model.options.get("num_batch")
    cpu = in_ram(slot, model) or layers == 0
    if installed is None or (isinstance(layers, int) and layers > 0):
        return ModelToLoad(cpu=cpu)
    return ModelToLoad(
        file_bytes=None if installed.size_bytes is None else installed.size_bytes - installed.beside_bytes,
        cache_per_token=None if installed.header is None else cache_per_token(installed.header.keys),
        context=None if installed.header is None else slot.knowledge.cells(slot, model, applied),
        batch=batch if isinstance(batch, int) else None,
        embedding=installed.embedding is True,
        cpu=cpu,
    )


def coming_of(slot: EngineState, model: ModelSpec, charges: Charges, applied: Applied) -> PendingLoad:
    """A load by what is certain of its prediction: with the file's size alone, that."""
    load = load_of(slot, model, applied)
    least, _ = predicted_bytes(load)
    return PendingLoad(None if load.cpu else least, on_cards(charges))


def would_evict(slot: EngineState, new: PendingLoad | None = None) -> bool:
    """Whether this engine would evict somebody for one of its loads to come (and `new`), whatever their order."""
    if not slot.rules.memory or not slot.cards or None in [card.total for card in slot.cards]:
        return False
    coming = [*slot.coming.values(), *(() if new is None else (new,))]
    if all(one.predicted is None for one in coming):
        return False
    free = believed_free(slot) - (new.charged if new is not None else 0)
    return not any_order_holds(coming, free) and arrange(coming, free, slot.placed <= len(slot.coming)) is None


def spilling(slot: EngineState, need: Need) -> str:
    """Why this engine would put a part of a model on the CPU, with its own numbers."""
    free = format_bytes(most_unused(slot) or 0)
    margin = format_bytes(slot.rules.fit_margin or 0)
    left = f"it leaves {margin} of a card free ({FIT_TARGET}), and {free} are free for the {format_bytes(need.bytes)} that it needs"
    return f"would put a part of it on the CPU: {left}"


def evicting(slot: EngineState, model: ModelSpec, applied: Applied) -> str:
    """Why this engine would evict somebody for `model`, with its own numbers."""
    rules = slot.rules
    if slot.full and slot.facts is not None and slot.facts.mode == STARTED_WITH_MODEL:
        return "has its one model, or is to have it, which it is started with"
    if slot.full:
        return f"holds or is to hold the {rules.most} models that it allows ({rules.most_from}); for one more it evicts another"
    least, most = predicted_bytes(load_of(slot, model, applied))
    free = format_bytes(max(0, believed_free(slot)))
    predicted = "" if least is None else f"it predicts {'' if most is not None else 'at least '}{format_bytes(least)}, and "
    return f"would evict another model: {predicted}a further model must fit into 80% of the {free} that it believes free"


def would_leave_less(slot: EngineState, model: ModelSpec, need: Need) -> tuple[str, str]:
    """The lines that would help where an engine would put a part of a model on the CPU."""
    left = unused_beside(slot, need.bytes) // MIB
    said = f"`env: {{{FIT_TARGET}: {left}}}` of that engine in the inventory says so"
    return (
        f"{slot.id} leaves less of its card free: {FIT_TARGET}={left} for its process, and {said}",
        f"a part of it may be computed by the CPU: `min_gpu_fraction: 0.9` under models.{model.name}",
    )


def would_take_more(slot: EngineState) -> str:
    """The line that would help where an engine holds as many models as it allows."""
    one_more = (slot.rules.most or 0) + 1
    if slot.kind is EngineKind.OLLAMA:
        name = slot.rules.most_from
        said = f"`env: {{{name}: {one_more}}}` of that engine in the inventory says so"
        return f"{slot.id} takes {one_more} models: {name}={one_more} for its process, and {said}"
    return f"{slot.id} takes {one_more} models: `{slot.rules.most_from} {one_more}` for its process"
