"""What is loaded beside a model: a projector for images, adapters, a draft model. All of it goes to the first card.

Source: llama.cpp b11434. An adapter's pairs lie with the layers they change (`src/llama-adapter.cpp`; tensors of norms are passed over); a
draft runs with the target's context and slots and a cache of its own type, f16 unless said otherwise
(`common_base_params_to_speculative`). A projector's graph is not worked out here: its weights are told, its compute buffer is unknown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from reconciler.value_class import value_class
from reconciler.vram.geometry import geometry_of
from reconciler.vram.predict import Prediction, predict
from reconciler.vram.settings import RunSettings
from reconciler.vram.tensors import CACHE_TYPES, Header, UnknownLayout

PROJECTORS = frozenset({"clip"})
ADAPTER = "adapter"


@value_class
class Extras:
    """Bytes on the first card: `projector` its weights, `adapters` of all of them, `draft` weights, cache and compute; 0 where there is
    none, None where it is not known. `unknown` says what else is not, in sentences."""

    projector: int = 0
    adapters: int = 0
    draft: int | None = 0
    unknown: tuple[str, ...] = ()

    def plus(self, other: Extras) -> Extras:
        """Both together."""
        draft = None if self.draft is None or other.draft is None else self.draft + other.draft
        return Extras(self.projector + other.projector, self.adapters + other.adapters, draft, (*self.unknown, *other.unknown))

    @property
    def certain(self) -> int:
        return self.projector + self.adapters + (self.draft or 0)


def extras_of(projector: Header | None, adapters: Sequence[Header], draft: Header | None, settings: RunSettings) -> Extras:
    """The bytes of what is loaded beside a model that runs with `settings`. UnknownLayout: a file is not what it is given as."""
    unknown: list[str] = []
    seen = 0
    if projector is not None:
        if projector.architecture not in PROJECTORS:
            raise UnknownLayout.of("this is no projector", hint="give the mmproj file of the model")
        seen = sum(one.bytes for one in projector.tensors)
        unknown.append("the compute buffer of the projector, which grows with the image, is not worked out here")
    changed = sum(_adapter_bytes(one) for one in adapters)
    drafted: int | None = 0
    if draft is not None:
        run = replace(settings, key_type=CACHE_TYPES["f16"], value_type=CACHE_TYPES["f16"])
        found = predict(geometry_of(draft), run)
        drafted = found.cards[0].total
        drafted = None if drafted is None else drafted - found.cards[0].fixed
        unknown += [f"of the draft, {one}" for one in found.unknown]
    return Extras(seen, changed, drafted, tuple(unknown))


def _adapter_bytes(adapter: Header) -> int:
    if adapter.values.get("general.type") != ADAPTER:
        raise UnknownLayout.of("this is no adapter", hint="give a LoRA that was converted to GGUF")
    return sum(one.bytes for one in adapter.tensors if one.name.endswith((".lora_a", ".lora_b")))


def with_extras(prediction: Prediction, extras: Extras) -> Prediction:
    """The prediction with the extras on its first card; what is unknown of them leaves no sum and no upper end."""
    first, *others = prediction.cards
    known = not extras.unknown and extras.draft is not None
    high = first.high + extras.certain + (extras.draft or 0) // 50 if known and first.high is not None else None
    card = replace(first, extra=first.extra + extras.certain, extra_known=known, low=first.low + extras.certain, high=high)
    return replace(prediction, cards=(card, *others), unknown=(*prediction.unknown, *extras.unknown))
