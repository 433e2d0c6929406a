"""Servers with one model, given at their start: vLLM, and llama.cpp without a router. The model that placement puts there is an argument.

vLLM's options are those of `vllm serve --help`, llama-server's those of tools/server/README.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from reconciler.admission import utilization_of
from reconciler.fleet import CardCharges, CardFacts, EngineKind, EngineSpec, ModelSpec, Scalar, is_router, said_by
from reconciler.value_class import value_class


@value_class
class GivenModel:
    """The model that a server is started with: its name there, and the bytes that it is granted on each of its cards (None: nobody
    knows)."""

    spec: ModelSpec
    name: str
    charges: CardCharges | None = None


def takes_one_model(engine: EngineSpec) -> bool:
    """Whether an engine that gpurec starts has one model for as long as it runs."""
    if engine.owned is None:
        return False
    if engine.kind is EngineKind.VLLM:
        return True
    return engine.kind is EngineKind.LLAMACPP and not is_router(engine.owned)


def model_arguments(engine: EngineSpec, cards: Sequence[CardFacts], model: GivenModel) -> tuple[str, ...]:
    """What starts the engine with a model; what the files' own `args` say is not said twice."""
    assert engine.owned is not None
    given = set(said_by(engine.owned.args))
    groups = [*(_of_vllm(cards, model) if engine.kind is EngineKind.VLLM else _of_llamacpp(model))]
    own = {name for *names, _ in (*groups, *model.spec.runs.arguments(engine.kind)) for name in names}
    groups += model.spec.runs.arguments(engine.kind)
    groups += [group for group in _of_options(model.spec.options) if group[0] not in own]
    return tuple(word for group in groups if given.isdisjoint(_names(group)) for word in (group[0], *group[len(_names(group)) :]))


def _names(group: Sequence[str]) -> Sequence[str]:
    """The names of an option, without its value."""
    return [word for word in group[:-1] if word.startswith("-")] or group[:1]


def option_arguments(options: Mapping[str, Scalar]) -> tuple[str, ...]:
    """`options` of an engine as arguments."""
    return tuple(word for group in _of_options(options) for word in group)


def _of_options(options: Mapping[str, Scalar]) -> Iterator[tuple[str, ...]]:
    """`options` as arguments: `n_gpu_layers: 99` is `--n-gpu-layers 99`, true a bare `--name`, false `--no-name`."""
    for key, value in sorted(options.items()):
        name = key.lstrip("-").replace("_", "-")
        if isinstance(value, bool):
            yield (f"--{name}" if value else f"--no-{name}",)
        else:
            yield (f"-{name}" if len(name) == 1 else f"--{name}", str(value))


def _of_vllm(cards: Sequence[CardFacts], model: GivenModel) -> Sequence[tuple[str, ...]]:
    groups: list[tuple[str, ...]] = [("--model", model.name), ("--served-model-name", model.name)]
    if (share := _share(cards, model.charges)) is not None:
        groups.append(("--gpu-memory-utilization", share))
    if model.spec.wanted_context is not None:
        groups.append(("--max-model-len", str(model.spec.wanted_context)))
    if len(cards) > 1 and model.spec.runs.split_cards is None:
        groups.append(("--tensor-parallel-size", str(len(cards))))
    return groups


def _share(cards: Sequence[CardFacts], charges: CardCharges | None) -> str | None:
    """The part of its cards that its grant is, the least of them, rounded down to 0.01."""
    totals = {card.index: card.total_bytes for card in cards}
    shares = [utilization_of(count, total) for index, count in charges or () if (total := totals.get(index)) is not None]
    known = [share for share in shares if share is not None]
    return str(min(known)) if known and len(known) == len(shares) else None


def _of_llamacpp(model: GivenModel) -> Sequence[tuple[str, ...]]:
    """A name that ends in `.gguf` is a file of the container, any other one of Hugging Face."""
    file = ("-m", model.name) if model.name.endswith(".gguf") else ("-hf", model.name)
    groups: list[tuple[str, ...]] = [file, ("--alias", model.name)]
    if model.spec.wanted_context is not None:
        groups.append(("-c", "--ctx-size", str(model.spec.wanted_context * (model.spec.runs.parallel or 1))))
    return groups
