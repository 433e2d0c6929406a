"""Runner options (Ollama api/types.go Options and Runner): which ones a request ends up with, and which change means a reload."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from reconciler.sim.spec import GIB, Parameter, SimModel

AUTO = -1
_INTEGERS = ("num_ctx", "num_batch", "num_gpu", "num_thread", "draft_num_predict")
_SMALLEST_CONTEXT = 4


class BadOption(ValueError):
    """An option of the wrong type, in Ollama's words."""


@dataclass(frozen=True, slots=True)
class RunnerOptions:
    """The options that belong to the runner and not to one request. `num_gpu` -1: as many layers as fit. `batch_auto`: nobody asked for
    a batch size."""

    num_ctx: int
    num_batch: int = 512
    num_gpu: int = AUTO
    num_thread: int = 0
    draft_num_predict: int = 4
    main_gpu: int | None = None
    use_mmap: bool | None = None
    batch_auto: bool = field(default=True, compare=False)

    def needs_reload(self, wanted: RunnerOptions) -> bool:
        """Whether a runner with these options must be started again for a request with `wanted` (server/sched.go needsReload).

        A request that names no `num_gpu` never asks for a reload because of it: what sits on the CPU stays there.
        """
        if wanted.num_gpu < 0:
            return replace(self, num_gpu=AUTO) != replace(wanted, num_gpu=AUTO)
        return self != wanted


def default_context(total_vram: int) -> int:
    """`num_ctx` when nobody says, fixed at server start (server/routes.go Serve)."""
    if total_vram >= 47 * GIB:
        return 262_144
    return 32_768 if total_vram >= 23 * GIB else 4_096


def runner_options(model: SimModel, asked: object, context: int) -> RunnerOptions:
    """Defaults, then what is baked into the model, then the request. Raises BadOption. Unknown names are ignored, as Ollama does."""
    merged: dict[str, object] = {"num_ctx": context, **model.parameters}
    if asked is not None:
        if not isinstance(asked, Mapping):
            raise BadOption("json: cannot unmarshal options into Go struct field GenerateRequest.options of type map[string]interface {}")
        merged.update(asked)
    numbers = {name: _integer(name, merged[name]) for name in _INTEGERS if merged.get(name) is not None}
    wanted_context = max(_SMALLEST_CONTEXT, min(numbers.pop("num_ctx", context), model.context_train))
    batch_auto = "num_batch" not in numbers
    numbers.setdefault("num_batch", _automatic_batch(model, wanted_context))
    main_gpu, use_mmap = merged.get("main_gpu"), merged.get("use_mmap")
    if use_mmap is not None and not isinstance(use_mmap, bool):
        raise BadOption('option "use_mmap" must be of type boolean')
    return RunnerOptions(
        wanted_context,
        main_gpu=_integer("main_gpu", main_gpu) if main_gpu is not None else None,
        use_mmap=use_mmap,
        batch_auto=batch_auto,
        **numbers,
    )


def baked_parameters(given: object) -> dict[str, Parameter] | None:
    """The `parameters` of /api/create; None when they are no object of plain values."""
    if given is None:
        return {}
    if not isinstance(given, dict) or not all(isinstance(value, (int, float, str, bool)) for value in given.values()):
        return None
    return {str(name): value for name, value in given.items()}


def _integer(name: str, value: object) -> int:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise BadOption(f'option "{name}" must be of type integer')
    return value


def _automatic_batch(model: SimModel, context: int) -> int:
    if model.embedding:
        return min(2048, context)
    return 512 if context <= 4096 else 1024 if context <= 32_768 else 2048
