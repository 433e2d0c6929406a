"""Every tool's words for memory that ran out, in one list: an engine passes on what the library below it said."""

from __future__ import annotations

import re

_WORDS = (
    r"out[ _]?of[ _]?(?:(?:device|host|gpu|pool)[ _]?)?memory",  # CUDA, HIP and ROCm, Vulkan, Metal, SYCL and Level Zero, torch and vLLM
    r"CUBLAS_STATUS_ALLOC_FAILED|CUDNN_STATUS_ALLOC_FAILED|the resource allocation failed",  # the last is cuBLAS in words
    r"CL_MEM_OBJECT_ALLOCATION_FAILURE|CL_OUT_OF_(?:HOST_MEMORY|RESOURCES)|ACL_ERROR_RT_MEMORY_ALLOCATION",  # OpenCL, Ascend
    r"(?:cuda|musa)(?:Malloc|MemCreate|ErrorMemoryAllocation)|hip(?:Malloc|ErrorMemoryAllocation)|rocblas_status_memory_error",
    r"HSA_STATUS_ERROR_OUT_OF_RESOURCES|PI_ERROR_OUT_OF_RESOURCES|UR_RESULT_ERROR_OUT_OF_RESOURCES",
    r"device memory allocation of size|exceeds device memory allocation limit",  # ggml's Vulkan
    r"can.?t allocate [0-9]{1,20} bytes of memory|std::bad_alloc|cannot allocate memory",  # ggml's SYCL, C++, libc
    r"insufficient memory|unable to allocate|failed to allocate|not enough (?:gpu |system |device )?memory",  # Metal, llama.cpp, Ollama
    r"requires more (?:system|gpu) memory",
    r"no available memory for the cache blocks",
    r"larger than the available KV cache memory|tokens that can be stored in KV cache|less than desired GPU memory utilization",  # vLLM
)
_SAID = re.compile("|".join(_WORDS), re.IGNORECASE)


def is_out_of_memory(said: str) -> bool:
    """Whether a message says that there was not enough memory, of a card or of the machine."""
    return _SAID.search(said) is not None
