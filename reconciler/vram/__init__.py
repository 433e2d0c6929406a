"""How many bytes a model needs, and how we know."""

from __future__ import annotations

from reconciler.vram.asked import AS_THE_ENGINE, Asked
from reconciler.vram.builds import REFERENCE_BUILD, Backend
from reconciler.vram.catalogue import NO_CATALOGUE, Catalogue, KnownGpu, KnownModel, Trust
from reconciler.vram.checkpoint import Checkpoint, checkpoint_of
from reconciler.vram.extras import Extras, extras_of, with_extras
from reconciler.vram.fit import MOST_PARALLEL, Largest, context_at, largest, largest_context, largest_parallel, steps_of
from reconciler.vram.geometry import Geometry, Layer, geometry_of
from reconciler.vram.measured import SeenLoad, fixed_of, learned
from reconciler.vram.need import FILE_SIZE_FACTOR, Need, every_need, known_need
from reconciler.vram.ollama import OllamaServer, default_context, ollama_server, ollama_settings
from reconciler.vram.predict import FIXED_START, CardNeed, HostNeed, Prediction, predict, ram_bytes
from reconciler.vram.quantisation import Quantisation
from reconciler.vram.reservation import BATCHED_TOKENS as VLLM_BATCHED_TOKENS
from reconciler.vram.reservation import UTILIZATION as VLLM_UTILIZATION
from reconciler.vram.reservation import Reservation, VllmNeed, VllmSettings, reservation, vllm_need
from reconciler.vram.runnable import check_runnable
from reconciler.vram.settings import N_UBATCH, RunSettings
from reconciler.vram.shape import Family, ListedShape, Shape, ShapeTrust, check_shape, header_of_shape
from reconciler.vram.tensors import CACHE_TYPES, TENSOR_TYPES, Header, TensorInfo, TensorType, UnknownLayout
from reconciler.vram.told import LlamaMeta, fact_of, header_of_fact, header_of_show, leaves_out_arrays, meta_of_models

__all__ = [
    "AS_THE_ENGINE",
    "CACHE_TYPES",
    "FILE_SIZE_FACTOR",
    "FIXED_START",
    "MOST_PARALLEL",
    "NO_CATALOGUE",
    "N_UBATCH",
    "REFERENCE_BUILD",
    "TENSOR_TYPES",
    "VLLM_BATCHED_TOKENS",
    "VLLM_UTILIZATION",
    "Asked",
    "Backend",
    "CardNeed",
    "Catalogue",
    "Checkpoint",
    "Extras",
    "Family",
    "Geometry",
    "Header",
    "HostNeed",
    "KnownGpu",
    "KnownModel",
    "Largest",
    "Layer",
    "ListedShape",
    "LlamaMeta",
    "Need",
    "OllamaServer",
    "Prediction",
    "Quantisation",
    "Reservation",
    "RunSettings",
    "SeenLoad",
    "Shape",
    "ShapeTrust",
    "TensorInfo",
    "TensorType",
    "Trust",
    "UnknownLayout",
    "VllmNeed",
    "VllmSettings",
    "check_runnable",
    "check_shape",
    "checkpoint_of",
    "context_at",
    "default_context",
    "every_need",
    "extras_of",
    "fact_of",
    "fixed_of",
    "geometry_of",
    "header_of_fact",
    "header_of_shape",
    "header_of_show",
    "known_need",
    "largest",
    "largest_context",
    "largest_parallel",
    "learned",
    "leaves_out_arrays",
    "meta_of_models",
    "ollama_server",
    "ollama_settings",
    "predict",
    "ram_bytes",
    "reservation",
    "steps_of",
    "vllm_need",
    "with_extras",
]
