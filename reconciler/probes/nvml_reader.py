"""Reads the NVIDIA cards of this machine through NVML and prints one JSON document. Runs as a process of its own, by its path.

A call into a sick driver may never return, and a thread that hangs there would keep gpurec from ending; a process can be left behind. It
imports nothing of gpurec, so it starts quickly. What a driver does not support, or does not know, is null. Protocol facts: nvml.h, and
pynvml of nvidia-ml-py.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

Document = dict[str, Any]

_NOT_SUPPORTED, _LOST, _RESET = 3, 15, 16
_FAULTS = {_LOST: "the driver has lost it (GPU is lost)", _RESET: "it must be reset before it can be used again"}
_MOST_CARDS = 256
_NO_VALUE = 2**64 - 1


class Asking:
    """Asks NVML about one device: an error of NVML is None, and one that says that the device is lost is kept as its fault. `code` is that
    of the last error."""

    def __init__(self, nvml: Any) -> None:
        self.nvml = nvml
        self.fault: str | None = None
        self.code: int | None = None
        # What nvidia-ml-py raises where an old driver lacks the newest form of a call; it is no NVMLError.
        self._mismatch: type[Exception] = getattr(nvml, "NVMLLibraryMismatchError", nvml.NVMLError)

    def __call__(self, name: str, *arguments: object, **named: object) -> Any:
        function: Callable[..., Any] | None = getattr(self.nvml, name, None)
        if function is None:
            return None
        try:
            return function(*arguments, **named)
        except self.nvml.NVMLError as error:
            self.code = error.value
            self.fault = self.fault or _FAULTS.get(error.value)
            return None
        except self._mismatch:
            return None


def read() -> Document:
    """Everything NVML tells; `error` with its code and text where it cannot be asked at all."""
    try:
        import pynvml as nvml
    except ImportError as error:
        return {"error": {"code": -1, "text": f"the Python package nvidia-ml-py cannot be imported: {error}"}}
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        return {"error": {"code": error.value, "text": str(error)}}
    ask = Asking(nvml)
    try:
        count = min(nvml.nvmlDeviceGetCount(), _MOST_CARDS)
    except nvml.NVMLError as error:
        return {"error": {"code": error.value, "text": str(error)}}
    return {
        "driver": _text(ask("nvmlSystemGetDriverVersion")),
        "cuda": ask("nvmlSystemGetCudaDriverVersion_v2"),
        "ram_bytes": _ram(),
        "devices": [_device(nvml, index) for index in range(count)],
    }


def _device(nvml: Any, index: int) -> Document:
    ask = Asking(nvml)
    handle = ask("nvmlDeviceGetHandleByIndex", index)
    if handle is None:
        return {"index": index, "fault": ask.fault or "the driver gives no access to it"}
    mode = ask("nvmlDeviceGetMigMode", handle)
    mig = None if mode is None else mode[0] == 1
    utilisation = ask("nvmlDeviceGetUtilizationRates", handle)
    capability = ask("nvmlDeviceGetCudaComputeCapability", handle)
    throttle = ask("nvmlDeviceGetCurrentClocksEventReasons", handle)
    if throttle is None:
        throttle = ask("nvmlDeviceGetCurrentClocksThrottleReasons", handle)
    device: Document = {
        "index": index,
        "uuid": _text(ask("nvmlDeviceGetUUID", handle)),
        "name": _text(ask("nvmlDeviceGetName", handle)),
        **_memory(ask, handle),
        "celsius": _celsius(ask, handle),
        "milliwatt": ask("nvmlDeviceGetPowerUsage", handle),
        "limit_milliwatt": ask("nvmlDeviceGetEnforcedPowerLimit", handle),
        "percent": None if utilisation is None else utilisation.gpu,
        "throttle": throttle,
        "ecc": ask("nvmlDeviceGetTotalEccErrors", handle, nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, nvml.NVML_VOLATILE_ECC),
        "capability": None if capability is None else list(capability),
        "mig": mig,
        "processes": _processes(ask, handle),
        "slices": _slices(ask, handle) if mig else [],
    }
    return device | {"fault": ask.fault}


def _celsius(ask: Asking, handle: object) -> Any:
    """The older call is to be removed, the newer one is not in older drivers."""
    found = ask("nvmlDeviceGetTemperature", handle, ask.nvml.NVML_TEMPERATURE_GPU)
    return ask("nvmlDeviceGetTemperatureV", handle, ask.nvml.NVML_TEMPERATURE_GPU) if found is None else found


def _memory(ask: Asking, handle: object) -> Document:
    """Bytes. Drivers before 510 have only the first form, whose `used` holds what the driver reserves. A card without memory of its own
    does not support the question; any other error says nothing of that."""
    second = getattr(ask.nvml, "nvmlMemory_v2", None)
    found = ask("nvmlDeviceGetMemoryInfo", handle, version=second) if second is not None else None
    if found is not None:
        return {"total": found.total, "used": found.used, "free": found.free, "reserved": found.reserved}
    found = ask("nvmlDeviceGetMemoryInfo", handle)
    if found is None:
        return {"total": None, "used": None, "memory_of_node": ask.code == _NOT_SUPPORTED}
    return {"total": found.total, "used": found.used, "free": found.free}


def _processes(ask: Asking, handle: object) -> list[Document] | None:
    """Every process once, with the most that any list says it holds; None where the driver does not tell."""
    held: dict[int, int | None] = {}
    known = False
    for kind in ("Compute", "Graphics", "MPSCompute"):
        found = ask(f"nvmlDeviceGet{kind}RunningProcesses", handle)
        if found is None:
            found = ask(f"nvmlDeviceGet{kind}RunningProcesses_v2", handle)
        known = known or (found is not None and kind == "Compute")
        for process in found or ():
            count = process.usedGpuMemory
            count = None if count is None or count == _NO_VALUE else count
            before = held.get(process.pid)
            held[process.pid] = count if before is None else before if count is None else max(before, count)
    if not known:
        return None
    return [{"pid": pid, "bytes": count, "name": _text(ask("nvmlSystemGetProcessName", pid))} for pid, count in sorted(held.items())]


def _slices(ask: Asking, handle: object) -> list[Document]:
    """A slice is a GPU instance, which is what has memory: compute instances share that of theirs, and are shown as the first of them."""
    found = []
    seen = set()
    for index in range(min(ask("nvmlDeviceGetMaxMigDeviceCount", handle) or 0, _MOST_CARDS)):
        own = Asking(ask.nvml)
        part = own("nvmlDeviceGetMigDeviceHandleByIndex", handle, index)
        if part is None:
            continue
        instance = own("nvmlDeviceGetGpuInstanceId", part)
        if instance is not None and instance in seen:
            continue
        seen.add(instance)
        slice_: Document = {
            "index": index,
            "uuid": _text(own("nvmlDeviceGetUUID", part)),
            "name": _text(own("nvmlDeviceGetName", part)),
            **_memory(own, part),
            "processes": _processes(own, part),
        }
        found.append(slice_ | {"fault": own.fault})
    return found


def _ram() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemTotal:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        return None
    return None


def _text(value: object) -> str | None:
    """Old wrappers give bytes."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, str) else None


if __name__ == "__main__":
    json.dump(read(), sys.stdout)
