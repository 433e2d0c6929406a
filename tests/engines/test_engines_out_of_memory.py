"""Memory that ran out, in the words of every library below an engine."""

from __future__ import annotations

import pytest

from reconciler.engines.out_of_memory import is_out_of_memory


@pytest.mark.parametrize(
    "said",
    [
        "CUDA error: out of memory",
        "ggml_backend_cuda_buffer_type_alloc_buffer: allocating 4096.00 MiB on device 0: cudaMalloc failed: out of memory",
        "cuBLAS error: CUBLAS_STATUS_ALLOC_FAILED",
        "hipErrorOutOfMemory",
        "ROCm error: out of memory",
        "HIP out of memory. Tried to allocate 2.00 GiB",
        "vk::Device::allocateMemory: ErrorOutOfDeviceMemory",
        "VK_ERROR_OUT_OF_HOST_MEMORY",
        "ggml_vulkan: Device memory allocation of size 5368709120 failed.",
        "error: Insufficient Memory (00000008:kIOGPUCommandBufferCallbackErrorOutOfMemory)",
        "UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY",
        "can't allocate 4294967296 Bytes of memory on device",
        "torch.OutOfMemoryError: CUDA out of memory.",
        "No available memory for the cache blocks. Try increasing `gpu_memory_utilization`",
        "model requires more system memory (9.0 GiB) than is available (4.0 GiB)",
        "unable to allocate CUDA0 buffer",
        "std::bad_alloc",
        "CUDA error: the resource allocation failed",
        "CL_MEM_OBJECT_ALLOCATION_FAILURE",
        "ggml_opencl: CL_OUT_OF_RESOURCES",
        "The model's max seq len (32768) is larger than the maximum number of tokens that can be stored in KV cache (15296).",
        "aclrtMalloc failed: ACL_ERROR_RT_MEMORY_ALLOCATION",
        "musaErrorMemoryAllocation",
    ],
)
def test_memory_that_ran_out_is_told_by_every_tools_words(said: str) -> None:
    assert is_out_of_memory(said)


@pytest.mark.parametrize("said", ["model not found", "the memory of this session", "unexpected EOF", "invalid memory layout"])
def test_other_failures_are_not_about_memory(said: str) -> None:
    assert not is_out_of_memory(said)
