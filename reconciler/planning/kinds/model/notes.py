"""What a plan says beside its steps: asked-for fields that other clients can undo, that an engine does not tell, or that are not kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from reconciler.capacity import total
from reconciler.fleet import (
    AS_ENGINE_RUNS,
    OLLAMA_VARIABLES,
    STARTED_WITH_MODEL,
    Applied,
    ContextVia,
    Desired,
    EngineKind,
    Ensure,
    ModelSpec,
    fixed_otherwise,
    format_bytes,
    gets_preset,
    replica_address,
    told_by_options,
    told_by_start,
)
from reconciler.needs.run_settings import in_ram
from reconciler.placement import EngineState, Occupancy, Placement
from reconciler.planning.kinds.model.changes import Changes
from reconciler.planning.plan import Action, Drift, Note

_OPTIONS_FROM = {
    EngineKind.LLAMACPP: "llama.cpp takes options from its preset",
    EngineKind.VLLM: "vLLM takes options from its command line",
    EngineKind.LLAMASWAP: "llama-swap takes options from its configuration",
}


def notes_on_models(desired: Desired, board: Occupancy) -> tuple[Note, ...]:
    """What users should know about fields that other clients can undo, or that an engine does not show; one note a model."""
    kinds = {slot.kind for slot in board}

    def may_be_on(kind: EngineKind, model: ModelSpec) -> bool:
        there = (slot for node in model.nodes for slot in board.by_node.get(node, ()))
        return kind in kinds and model.engine in (None, kind) and any(slot.kind is kind for slot in there)

    notes: list[Note] = []
    for model in desired.models:
        address = f"model.{model.name}"
        if model.ensure is not Ensure.LOADED:
            notes.extend(_unseen(model, address, [slot for node in model.nodes for slot in board.by_node.get(node, ())]))
            continue
        if model.context is not None and may_be_on(EngineKind.OLLAMA, model):
            notes.extend(_context_note(model, address))
        if model.runs != AS_ENGINE_RUNS:
            notes.extend(_unseen(model, address, [slot for node in model.nodes for slot in board.by_node.get(node, ())]))
        for kind, source in _OPTIONS_FROM.items():
            if model.options and may_be_on(kind, model) and _has_external(kind, model, board):
                notes.append(Note(address, "engine_fixed_options", f"{source}, not from gpurec"))
    return tuple(notes)


def _context_note(model: ModelSpec, address: str) -> list[Note]:
    tag = model.engine_name(EngineKind.OLLAMA)
    if model.variants and model.context_via is ContextVia.TAG:
        message = f"clients must ask for the tag of the variant that is loaded, such as {tag}; its plain name has the server's context"
        return [Note(address, "context_tag", message)]
    if model.context_via is ContextVia.TAG:
        message = f"clients must ask for {tag}; a request for {model.base_name(EngineKind.OLLAMA)} reloads it with the server's context"
        return [Note(address, "context_tag", message)]
    if model.context_via is ContextVia.REQUEST:
        return [Note(address, "context_request", "any client that sends no num_ctx reloads it with the server's context")]
    return []


def _told_at_start(slot: EngineState) -> bool:
    """Whether gpurec says how models are run there, when it starts it."""
    return (slot.facts is not None and slot.facts.mode == STARTED_WITH_MODEL) or gets_preset(slot.spec)


def _has_external(kind: EngineKind, model: ModelSpec, board: Occupancy) -> bool:
    """Whether there is an engine of this kind that is not started with its model by gpurec."""
    slots = (slot for node in model.nodes for slot in board.by_node.get(node, ()))
    return any(slot.kind is kind and not _told_at_start(slot) for slot in slots)


_TELLS = {
    EngineKind.OLLAMA: "Ollama tells it to nobody; start it with {variables}, and say so under `env` of the engine",
    EngineKind.LLAMACPP: "its preset or command line decides it, and a server tells it only where a preset says it",
    EngineKind.VLLM: "its command line decides it, and the server does not tell it",
}


def _unseen(model: ModelSpec, address: str, slots: Sequence[EngineState]) -> Iterator[Note]:
    """What is asked of starts that are not ours, and that nobody can see there: neither drift nor pending, so it is said once a kind."""
    for kind, why in _TELLS.items():
        unknown: set[str] = set()
        for slot in slots:
            if slot.kind is not kind or model.engine not in (None, kind) or _told_at_start(slot):
                continue
            told = told_by_start(slot.spec)
            for one in (slot.facts.residents if slot.facts is not None else None) or ():
                if kind is not EngineKind.OLLAMA and one.name == model.base_name(kind):
                    told = told_by_options(kind, one.options)
            if model.runs.refused_by(kind) is None and fixed_otherwise(slot.spec, model.runs) is None:  # else it has no place there
                unknown |= {key.partition(".")[0] for key, _ in model.runs.asked_of(kind).items() if told.get(key) is None}
        if unknown:
            keys = ", ".join(sorted(unknown))
            variables = [name for key, name in OLLAMA_VARIABLES.items() if key.partition(".")[0] in unknown]
            yield Note(address, "not_observable", f"asked-for {keys}: {why.format(variables=' and '.join(variables))}")


def other_weights(changes: Changes) -> tuple[list[Drift], list[Note]]:
    """Weights that are not the pinned ones: told, and no step."""
    drift, notes = [], []
    for address, replica in changes.other_weights:
        pinned, found = replica.model.digest, replica.other_weights or ""
        drift.append(Drift(address, "digest", "digest", pinned, found))
        message = f"has weights {found[:19]}, pinned are {(pinned or '')[:19]}; bring those back, or run gpurec pin to accept these"
        notes.append(Note(address, "digest_differs", message))
    return drift, notes


def adopted_unseen(changes: Changes) -> list[Note]:
    """Residents that are adopted though nobody can tell whether they run with the options that are asked for: Ollama does not say
    (`/api/ps` has the context only)."""
    notes = []
    for change in changes.every:
        options = [name.removeprefix("options.") for name in change.after if name.startswith("options.")]
        if change.action is Action.ADOPT and change.slot.kind is EngineKind.OLLAMA and options:
            told = f"is adopted as it runs, since Ollama does not tell {', '.join(options)}"
            message = f"{told}; --replace {change.address} loads it with what is asked for"
            notes.append(Note(change.address, "options_unknown", message))
    return notes


def uncounted_caches(placement: Placement, applied: Applied) -> list[Note]:
    """Replicas whose KV cache nobody can compute, on cards that bound it."""
    why = "its KV cache cannot be computed there, so limits.kv_cache_fraction does not count it"
    bounded = {slot for slot in placement.board if slot.bounds_cache}
    return [
        Note(replica_address(target.model.name, target.slot.id), "cache_unknown", why)
        for target in placement.targets
        if target.slot in bounded
        and target.model.ensure is Ensure.LOADED
        and not in_ram(target.slot, target.model)
        and target.slot.knowledge.cache(target.slot, target.model, applied) is None
    ]


def left_over(placement: Placement) -> list[Note]:
    """Residents whose name means other weights by now: they hold their memory, and no request reaches them."""
    return [
        Note(
            f"engine.{found.slot.id}",
            "left_over",
            f"older weights of {found.resident.shown} still run, though its name means others by now: they hold "
            f"{format_bytes(total(found.charges))} until their keep-alive ends or the engine is started again",
        )
        for found in placement.unwanted
        if found.left_over and found.slot.selected
    ]
