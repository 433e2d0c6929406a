"""What a step promised, and whether what probing shows is that. A field whose fact is unknown never speaks against it."""

from __future__ import annotations

from dataclasses import dataclass

from reconciler.fleet import (
    FOREVER,
    ContextVia,
    EngineFacts,
    EngineKind,
    Identity,
    Installed,
    ModelSpec,
    Residency,
    Resident,
    ResidentStatus,
    format_ratio,
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is wrong with a resident: a reason code and a sentence."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Asked:
    """How a model should be resident. None: not asked for, or it cannot be set on that engine. Fractions are of its bytes, on cards."""

    name: str
    context: int | None = None
    min_fraction: float | None = None
    max_fraction: float | None = None
    pinned: bool = False

    def differs(self, resident: Resident) -> Verdict | None:
        """The first field that is known and not as asked."""
        fraction = resident.gpu_fraction
        if fraction is not None and self.min_fraction is not None and fraction < self.min_fraction:
            message = f"{format_ratio(fraction)} of {resident.name} is on the card, wanted {format_ratio(self.min_fraction)}"
            return Verdict("cpu_fallback", message)
        if fraction is not None and self.max_fraction is not None and fraction > self.max_fraction:
            return Verdict("not_on_cpu", f"{format_ratio(fraction)} of {resident.name} is on the card, wanted on the CPU")
        if self.context is not None and resident.context is not None and resident.context != self.context:
            return Verdict("context_differs", f"{resident.name} runs with context {resident.context}, wanted {self.context}")
        if self.pinned and resident.pinned is False:
            return Verdict("keep_alive_differs", f"{resident.name} would expire, wanted for ever")
        return None


def asked_of(model: ModelSpec, kind: EngineKind, engine_name: str, has_cards: bool) -> Asked:
    """How `model` should be resident on an engine of `kind`.

    Only Ollama takes a context through its API; with `context_via: engine` its own start decides, and what differs then is drift that no
    load mends, told by the plan.
    """
    sets_context = kind is EngineKind.OLLAMA and model.context_via is not ContextVia.ENGINE
    return Asked(
        name=engine_name,
        context=model.wanted_context if sets_context else None,
        min_fraction=model.min_gpu_fraction if has_cards and model.residency is not Residency.CPU else None,
        max_fraction=0.0 if has_cards and model.residency is Residency.CPU and kind is EngineKind.OLLAMA else None,
        pinned=model.keep_alive == FOREVER,
    )


def find_installed(facts: EngineFacts, name: str) -> Installed | None:
    return next((model for model in facts.installed or () if model.name == name), None)


def find_resident(facts: EngineFacts, name: str) -> Resident | None:
    """The resident that a request under that name reaches."""
    return Identity(facts).resident(name)


def is_there(resident: Resident | None) -> bool:
    """Whether it holds its memory or sleeps; not while it is still being loaded."""
    return resident is not None and resident.status is not ResidentStatus.LOADING
