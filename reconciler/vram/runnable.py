"""Loads that llama.cpp itself refuses: no figure is given for them. Source: `llama_init_from_model` in `src/llama-context.cpp`, b11434."""

from __future__ import annotations

from reconciler.vram.builds import HEADS_NEVER
from reconciler.vram.geometry import Geometry
from reconciler.vram.settings import RunSettings
from reconciler.vram.tensors import UnknownLayout


def check_runnable(geometry: Geometry, settings: RunSettings) -> None:
    """UnknownLayout says what llama.cpp would not load: quantised values without flash attention, and latent attention with two types of
    cache, and drafting (MTP) by a head that is not there. Heads that are no whole number of a type's blocks are refused where the cache is
    counted."""
    attention = settings.flash_attention and geometry.flash_attention
    if settings.value_type.quantised and not attention:
        hint = "use --flash-attention on" if geometry.flash_attention else "use --kv-cache f16"
        raise UnknownLayout.of("llama.cpp quantises the values of its cache only with flash attention", hint=hint)
    if settings.drafted and not geometry.head:
        raise UnknownLayout.of("the file has no head that predicts more than one token (nextn_predict_layers)", hint="leave --mtp out")
    if settings.drafted and geometry.architecture in HEADS_NEVER:
        raise UnknownLayout.of(f"llama.cpp does not load the draft head of {geometry.architecture}", hint="leave --mtp out")
    if geometry.compressed and settings.key_type != settings.value_type:
        raise UnknownLayout.of(f"llama.cpp runs {geometry.architecture} with one type of cache only", hint="give one --kv-cache type")
