"""What an engine's own start decided and is not as asked: told as drift, and no step, since no call to that engine changes it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from reconciler.fleet import OLLAMA_VARIABLES, EngineKind, EngineSpec, Scalar, told_by_options, told_by_start
from reconciler.planning.kinds.model.replica import Replica
from reconciler.planning.plan import Drift, Note

CODE = "engine_fixed_options"


def fixed_options(replicas: Sequence[tuple[str, EngineSpec, Replica]], drifted: frozenset[str]) -> tuple[list[Drift], list[Note]]:
    """Of replicas, by address and engine, where that takes neither context nor options through its API. `drifted` are told already as other
    than applied."""
    drift, notes = [], []
    for address, spec, replica in replicas:
        if replica.restarts:
            continue  # its start is about to decide anew
        if replica.context_wrong and not replica.sets_context:
            found = replica.resident.context if replica.resident is not None else None
            if address not in drifted:
                drift.append(Drift(address, CODE, "context", replica.model.context, found))
            asked = replica.model.context
            change = f"set OLLAMA_CONTEXT_LENGTH={asked}" if replica.kind is EngineKind.OLLAMA else "change its preset or command line"
            message = f"serves context {found}, wanted {asked}; {change}"
            notes.append(Note(address, CODE, message))
        for name, wanted, told in told_otherwise(replica):
            drift.append(Drift(address, CODE, f"options.{name}", wanted, told))
            notes.append(Note(address, CODE, f"runs with {name} {told}, wanted {wanted}; change its preset or command line"))
        for name, wanted, told in run_otherwise(replica, spec):
            drift.append(Drift(address, CODE, name, wanted, told))
            change = f"set {OLLAMA_VARIABLES[name]}" if replica.kind is EngineKind.OLLAMA else "change its preset or command line"
            notes.append(Note(address, CODE, f"runs with {name} {_word(told)}, wanted {_word(wanted)}; {change}"))
    return drift, notes


def told_otherwise(replica: Replica) -> Iterator[tuple[str, Scalar, Scalar]]:
    """Options asked for that the engine tells to be other ones: (name, wanted, told). What it does not tell is unknown."""
    resident = replica.resident
    if replica.sets_options or resident is None or resident.options is None:
        return
    told = {_key(name): value for name, _, value in (option.partition("=") for option in resident.options)}
    for name, wanted in sorted(replica.model.options.items()):
        found = told.get(_key(name))
        if found is not None and not _same(wanted, found):
            yield name, wanted, found


def run_otherwise(replica: Replica, spec: EngineSpec) -> Iterator[tuple[str, Scalar, Scalar]]:
    """The same of what its start is to decide by keys of the model: by the options that its engine tells, and by its environment."""
    resident = replica.resident
    if replica.given_at_start or resident is None or not any(replica.model.runs.items()):
        return
    kind = replica.kind
    told = told_by_start(spec) if kind is EngineKind.OLLAMA else told_by_options(kind, resident.options)
    for name, wanted in replica.model.runs.asked_of(kind).items():
        found = told.get(name)
        if found is not None and found != wanted:
            yield name, wanted, found


def _word(value: Scalar) -> str:
    return str(value).lower()


def _key(name: str) -> str:
    return name.strip().removeprefix("LLAMA_ARG_").replace("_", "-").lower()


def _same(wanted: Scalar, told: str) -> bool:
    """Numbers by value, everything else by its word."""
    if isinstance(wanted, (int, float)) and not isinstance(wanted, bool):
        try:
            return float(told) == float(wanted)
        except ValueError:
            return False
    return str(wanted).lower() == told.strip().lower()
