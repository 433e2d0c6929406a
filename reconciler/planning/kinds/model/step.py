"""A step about a model on an engine."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence

from reconciler.fleet import CardId, EngineId, replica_address
from reconciler.planning.plan import Action, Fields, Json, Step, VariantRefusal
from reconciler.value_class import value_class

MODEL = "model"
ONE_AT_A_TIME = frozenset({Action.LOAD, Action.RELOAD, Action.UPDATE, Action.WAIT})
"""Actions of which one engine does one at a time: each of them may have the server load."""


@value_class
class VariantChoice:
    """Which variant of its model a step is about, and why it is none of the better ones."""

    name: str  #: Name of the variant.
    passed_over: tuple[VariantRefusal, ...] = ()  #: The better ones, and why it is none of them.


@value_class(kw_only=True)
class ModelStep(Step):
    """One change of a model on an engine. A tag of the name `engine_name` is made from `base_name` with `after["context"]`."""

    model: str  #: Name of the model in the files.
    engine: str  #: Name of the engine on its node.
    engine_name: str  #: Name to use on the engine.
    base_name: str  #: Name that a pull fetches, and that a tag of the name `engine_name` is made from.
    gpus: tuple[CardId, ...] = ()  #: Cards that it is charged to, with `vram_bytes` on each.
    gpu_candidates: tuple[CardId, ...] | None = None  #: Cards of which the engine takes one by itself; null: `gpus` says which.
    vram_bytes: int | None = None  #: Bytes on each of its cards; null: not known.
    vram_source: str | None = None  #: Where `vram_bytes` comes from; null: not known.
    measured_bytes: int | None = None  #: All bytes that such a load took; null: never measured.
    reported_bytes: int | None = None  #: Those of `measured_bytes` that the engine told of; null: the card itself was seen.
    predicted_bytes: int | None = None  #: Bytes that would be predicted in place of a measured need; null: no prediction.
    variant: VariantChoice | None = None  #: Which variant of its model it is about; null: it has none.

    @property
    def at(self) -> EngineId:
        return EngineId(self.node, self.engine)

    @property
    def name_there(self) -> str:
        return self.engine_name

    @property
    def places(self) -> tuple[Hashable, ...]:
        return (self.at, self.node)

    @property
    def lane(self) -> Hashable | None:
        return self.at if self.action in ONE_AT_A_TIME else None

    @property
    def cards(self) -> tuple[CardId, ...]:
        """Those that it is charged to."""
        return self.gpus or self.gpu_candidates or ()

    @property
    def contradiction(self) -> str | None:
        return None if self.address == replica_address(self.model, self.at) else f"it is not about its address {self.address!r}"

    def particulars(self) -> Mapping[str, Json]:
        measured: dict[str, Json] = {}
        if self.measured_bytes is not None:
            reported = {} if self.reported_bytes is None else {"reported_bytes": self.reported_bytes}
            measured = {"measured_bytes": self.measured_bytes, **reported, "predicted_bytes": self.predicted_bytes}
        return {
            "model": self.model,
            "engine": self.engine,
            "engine_name": self.engine_name,
            "base_name": self.base_name,
            "gpus": list(self.gpus),
            "gpu_candidates": None if self.gpu_candidates is None else list(self.gpu_candidates),
            "vram_bytes": self.vram_bytes,
            "vram_source": self.vram_source,
            **measured,
            "variant": None if self.variant is None else {"name": self.variant.name, "passed_over": refusals(self.variant.passed_over)},
        }

    def promise(self) -> Mapping[str, Json]:
        return {
            "engine_name": self.engine_name,
            "base_name": self.base_name,
            "gpus": list(self.gpus),
            "gpu_candidates": None if self.gpu_candidates is None else list(self.gpu_candidates),
            "vram_bytes": None if self.action is Action.UNLOAD else self.vram_bytes,
        }

    def started_from(self) -> Fields:
        """Under which name it runs and with which context; how much of it is on a card, and for how long it is kept, is probe noise."""
        return {name: self.before[name] for name in ("name", "context") if name in self.before}

    def compared(self) -> Mapping[str, Json]:
        return {
            "engine_name": self.engine_name,
            "base_name": self.base_name,
            "card": ",".join(map(str, self.gpus)) or None,
            "card_candidates": None if self.gpu_candidates is None else ",".join(map(str, self.gpu_candidates)),
            "vram_bytes": None if self.action is Action.UNLOAD else self.vram_bytes,
            "vram_source": self.vram_source,
        }


def refusals(of: Sequence[VariantRefusal]) -> list[Json]:
    return [{"name": one.name, "reason": one.reason, "message": one.message} for one in of]


def model_steps(steps: Iterable[Step]) -> Iterator[ModelStep]:
    """Those of models among the steps of a plan."""
    return (step for step in steps if isinstance(step, ModelStep))
