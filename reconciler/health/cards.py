"""Cards: faults, errors, heat, and what they cannot do for the engines and models that are to use them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from reconciler.fleet import (
    CardFacts,
    EngineKind,
    EngineSpec,
    Heat,
    ModelSpec,
    NodeFacts,
    NodeSpec,
    Policy,
    Pressure,
    format_bytes,
    format_capability,
)
from reconciler.health.finding import Finding, error, warning

_LEAST_CAPABILITY: Mapping[EngineKind, tuple[int, int]] = {EngineKind.OLLAMA: (5, 0), EngineKind.VLLM: (7, 0)}
"""Ollama: docs/gpu.md. vLLM: the requirements of its installation guide."""
_LEAST_DRIVER: Mapping[EngineKind, tuple[int, ...]] = {EngineKind.OLLAMA: (531,)}
"""Ollama: docs/gpu.md."""
_LAST = "it is the last choice for what is new"
_HOT = {Heat.WARNING: _LAST, Heat.THROTTLING: "it takes nothing new", Heat.CRITICAL: "nothing is loaded there"}
_FULL = {Pressure.HIGH: _LAST, Pressure.CRITICAL: "it takes nothing new"}
_COOL = "check fans and power: nvidia-smi -q -d TEMPERATURE,PERFORMANCE"
_HELD_DOWN = frozenset(("hw_slowdown", "hw_thermal_slowdown", "sw_thermal_slowdown", "hw_power_brake_slowdown"))


def card_findings(node: NodeSpec, facts: NodeFacts, models: Sequence[ModelSpec], policy: Policy) -> Iterator[Finding]:
    """What is wrong with the cards of a node. `models` are those that may be placed there; `policy` says what is hot and what is full."""
    for card in facts.cards or ():
        address = f"gpu.{node.name}/{card.index}"
        yield from _state(card, address)
        yield from _levels(card, address, policy)
        engines = [spec for spec in node.engines if card.is_named_in(spec.gpus)]
        yield from _too_old(card, address, engines, models)


def _state(card: CardFacts, address: str) -> Iterator[Finding]:
    if card.fault is not None:
        yield error("card_fault", address, card.fault, "sudo nvidia-smi --gpu-reset on its node, or reboot it")
    if card.xid:
        yield warning("xid", address, f"the driver's last error about it is XID {card.xid}", "sudo dmesg | grep Xid on its node")
    if card.ecc_errors:
        yield warning(
            "ecc",
            address,
            f"{card.ecc_errors} uncorrected ECC errors since the driver was loaded",
            "nvidia-smi -q -d ECC,ROW_REMAPPER on its node",
        )
    reasons = sorted(_HELD_DOWN & set(card.throttle or ()))
    if reasons:
        heat = f" at {card.temperature:.0f} °C" if card.temperature is not None else ""
        yield warning(
            "throttled",
            address,
            f"its clocks are held down{heat}: {', '.join(reasons)}",
            "check fans and power: nvidia-smi -q -d PERFORMANCE",
        )


def _levels(card: CardFacts, address: str, policy: Policy) -> Iterator[Finding]:
    """The levels of the policy that make a load wait, or its card the last choice; how hot it was before is not looked at."""
    heat = policy.thermal.level(card.temperature) if policy.thermal is not None else Heat.NORMAL
    if heat is not Heat.NORMAL:
        yield warning("hot", address, f"at {card.temperature or 0:.0f} °C {_HOT[heat]} (policy.thermal.{heat.name.lower()})", _COOL)
    pressure = policy.memory_pressure.level(card) if policy.memory_pressure is not None else Pressure.LOW
    if pressure in _FULL:
        used = f"{format_bytes(card.used_bytes or 0)} of {format_bytes(card.total_bytes or 0)} are used: {_FULL[pressure]}"
        yield warning(
            "full", address, f"{used} (policy.memory_pressure.{pressure.name.lower()})", "nvidia-smi on its node says who uses it"
        )


def _too_old(card: CardFacts, address: str, engines: Sequence[EngineSpec], models: Sequence[ModelSpec]) -> Iterator[Finding]:
    for kind in sorted({spec.kind for spec in engines}):
        least, driver = _LEAST_CAPABILITY.get(kind), _LEAST_DRIVER.get(kind)
        if least is not None and card.compute_capability is not None and card.compute_capability < least:
            what = (
                f"compute capability {format_capability(card.compute_capability)} is below {format_capability(least)}, which {kind} needs"
            )
            yield error("capability_too_low", address, what, "leave this card out of the engine's `gpus`, or use llama.cpp")
        if driver is not None and card.compute_capability is not None and card.driver is not None and card.driver < driver:
            yield error("driver_too_old", address, f"driver {_dotted(card.driver)} is below {_dotted(driver)}, which {kind} needs", _UPDATE)
    for model in models:
        wanted = model.requires
        if wanted.driver is not None and card.driver is not None and not wanted.driver.holds(card.driver):
            what = f"driver {_dotted(card.driver)} is not {wanted.driver}, which {model.name} asks for"
            yield warning("driver_too_old", address, what, _UPDATE)
        bound, capability = wanted.compute_capability, card.compute_capability
        if bound is not None and capability is not None and not bound.holds(capability):
            what = f"compute capability {format_capability(capability)} is not {bound}, which {model.name} asks for"
            yield warning("capability_too_low", address, what, f"leave its node out of `on:` of {model.name}")


_UPDATE = "update the driver of its node (sudo apt install nvidia-driver-580), then reboot"


def _dotted(version: Sequence[int]) -> str:
    return ".".join(str(part) for part in version)
