"""How many bytes a model needs, and how we know."""

from __future__ import annotations

from reconciler.vram.geometry import Geometry, Layer, geometry_of
from reconciler.vram.need import FILE_SIZE_FACTOR, Need, known_need
from reconciler.vram.predict import CardNeed, HostNeed, Prediction, predict
from reconciler.vram.settings import REFERENCE_BUILD, RunSettings
from reconciler.vram.tensors import CACHE_TYPES, TENSOR_TYPES, Header, TensorInfo, TensorType, UnknownLayout

__all__ = [
    "CACHE_TYPES",
    "FILE_SIZE_FACTOR",
    "REFERENCE_BUILD",
    "TENSOR_TYPES",
    "CardNeed",
    "Geometry",
    "Header",
    "HostNeed",
    "Layer",
    "Need",
    "Prediction",
    "RunSettings",
    "TensorInfo",
    "TensorType",
    "UnknownLayout",
    "geometry_of",
    "known_need",
    "predict",
]
