"""What tools on nodes and exporters say about cards."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

from drawing import Choices, as_json, changed
from oracle import Surface

from reconciler.engines.transport import Answer
from reconciler.fleet import NodeSpec, ProbeSpec
from reconciler.probes.dcgm import cards_of_dcgm
from reconciler.probes.exporter import cards_of_exporter
from reconciler.probes.nvml import seen_of as seen_of_nvml
from reconciler.probes.prometheus import PrometheusCards
from reconciler.probes.script import MARK, sections
from reconciler.probes.shell import seen_of

AT = "2026-01-01T00:00:00Z"
NODE = NodeSpec("a", "a")
DATA = Path(__file__).parents[1] / "probes" / "data"
LINUX = {
    "os": "Linux",
    "clock": "1790000000",
    "meminfo": "MemTotal: 65536000 kB",
    "pci": "0x10de 0000:01:00.0 nvidia\n0x1002 0000:02:00.0 amdgpu",
}
PROCESSES = {"ps": "   1    0 init\n  99    1 ollama\n", "ss": 'LISTEN 0 128 *:11434 *:* users:(("ollama",pid=99,fd=3))'}
AMD = {
    "amd_list": json.dumps([{"gpu": 0, "bdf": "0000:02:00.0", "uuid": "aaff7551-0000-1000-8000-000000000000"}]),
    "amd_static": json.dumps([{
        "gpu": 0,
        "asic": {"market_name": "AMD Instinct MI300X", "vendor_name": "AMD", "target_graphics_version": "gfx942"},
        "vram": {"type": "HBM", "size": {"value": 196592, "unit": "MB"}}, "driver": {"name": "amdgpu", "version": "6.12.12"},
    }]),
    "amd_limit": json.dumps([{"gpu": 0, "limit": {"max_power": {"value": 750, "unit": "W"}}}]),
    "amd_metric": json.dumps({"gpu_data": [{
        "gpu": 0, "mem_usage": {"total_vram": {"value": 196592, "unit": "MB"}, "used_vram": {"value": 283, "unit": "MB"}},
        "usage": {"gfx_activity": {"value": 0, "unit": "%"}}, "power": {"socket_power": {"value": 141, "unit": "W"}},
        "temperature": {"hotspot": {"value": 45, "unit": "C"}, "edge": "N/A"},
    }]}),
    "amd_process": json.dumps([{"gpu": 0, "process_list": [
        {"process_info": {"name": "python", "pid": 7, "mem_usage": {"value": 9, "unit": "B"}}},
    ]}]),
    "amd_code": "0",
}  # fmt: skip
APPLE = {
    "os": "Darwin",
    "sysctl": "hw.memsize: 38654705664\niogpu.wired_limit_mb: 0\nmachdep.cpu.brand_string: Apple M3 Max",
    "profiler": json.dumps({"SPDisplaysDataType": [{"_name": "kHW_AppleM3MaxItem", "sppci_model": "Apple M3 Max"}]}),
    "ioreg": '"PerformanceStatistics" = {"In use system memory"=1234567,"Device Utilization %"=7}',
}
NVML = {
    "driver": "580.95.05", "cuda": 13000, "ram_bytes": 2**36, "index": 0, "uuid": "GPU-1", "name": "NVIDIA H200", "total": 2**37,
    "used": 2**30, "free": 2**36, "reserved": 2**29, "celsius": 40, "milliwatt": 90000, "limit_milliwatt": 700000, "percent": 3,
    "throttle": 4, "ecc": 0, "fault": None,
}  # fmt: skip
_SERIES = {
    "instance": "a", "gpu": "0", "UUID": "GPU-1", "modelName": "NVIDIA L40S", "GPU_I_ID": "7", "GPU_I_PROFILE": "1g.12gb",
    "uuid": "1", "index": "0", "name": "RTX 4080", "compute_cap": "8.9", "gpu_id": "1", "card_series": "MI300X",
    "card": "card1", "driver_version": "6.12",
}  # fmt: skip
VECTOR = {"status": "success", "data": {"resultType": "vector", "result": [{"metric": _SERIES, "value": [1.79e9, "1789999990"]}]}}
_ROCM = (DATA / "forms" / "rocm-smi-6.json").read_text()
ROCM = json.loads(_ROCM[_ROCM.index("{") :])


def told(**parts: str) -> bytes:
    """The output of the script that runs on a node."""
    return "".join(f"\n{MARK}{name}\n{text}\n" for name, text in {**parts, "end": ""}.items()).encode()


def take_script(data: bytes) -> object:
    return seen_of(sections(data.decode("utf-8", "replace")), NODE, "ssh", AT)


def take_amd(data: bytes) -> object:
    """Every other one with one of its documents changed by value, the rest as bytes."""
    choices = Choices(data)
    parts = dict(AMD) if choices.below(2) else {"rocm": json.dumps(ROCM), "amd_code": "0"}
    name = choices.of([*parts])
    as_bytes = choices.below(4) == 0
    parts[name] = choices.rest().decode("utf-8", "replace") if as_bytes else as_json(changed(json.loads(parts[name]), choices)).decode()
    return seen_of({**LINUX, **parts}, NODE, "ssh", AT)


def take_nvml(data: bytes) -> object:
    """The document is our own reader's; its numbers and texts are the driver's."""
    choices = Choices(data)
    told: dict[str, object] = dict(NVML)
    for _ in range(1 + choices.below(4)):
        name = choices.of([*NVML])
        drawn = choices.some(9)
        told[name] = choices.of(
            (None, drawn.decode("utf-8", "replace") if isinstance(NVML[name], str) else int.from_bytes(drawn, "little"))
        )
    capability = [choices.below(256), choices.below(256)]
    processes = [{"pid": choices.below(65536), "used": told["used"], "name": told["name"]}]
    device = {**told, "capability": capability, "mig": bool(choices.below(2)), "processes": processes}
    return seen_of_nvml({**told, "devices": [{**device, "slices": [{**told, "processes": processes}]}]}, "a", AT)


def take_dcgm(data: bytes) -> object:
    return cards_of_dcgm(data.decode("utf-8", "replace"), "dcgm", AT)


def take_exporter(data: bytes) -> object:
    return cards_of_exporter(data.decode("utf-8", "replace"), "exporter", AT)


class _Told:
    """A transport and its channel, which answers every query alike."""

    def __init__(self, body: bytes) -> None:
        self.body = body

    def channel(self, _: object) -> _Told:
        return self

    async def get(self, path: str, **_: object) -> Answer:
        return Answer(200, self.body, path)

    async def aclose(self) -> None: ...


def take_prometheus(data: bytes) -> object:
    choices = Choices(data)
    body = choices.rest() if choices.below(8) == 0 else as_json(changed(VECTOR, choices))
    probe = ProbeSpec(via="prometheus", url="http://127.0.0.1:9090", match=(("instance", "a"),))
    return asyncio.run(PrometheusCards(_Told(body)).look(NodeSpec("a", "a", probe=probe), AT))  # type: ignore[arg-type]


def script_seeds() -> Iterator[bytes]:
    for file in sorted((DATA / "forms").glob("*.xml")):
        yield told(**LINUX, smi_csv="", smi_code="0", smi_xml=file.read_text(), **PROCESSES)
    csv = (DATA / "forms" / "h200-580.csv").read_text()
    yield told(**LINUX, smi_csv=csv, smi_code="0", xid="NVRM: Xid (PCI:0000:01:00): 79, pid=1", **PROCESSES)
    yield told(**LINUX, smi_csv="Unable to determine the device handle for GPU 0000:01:00.0: GPU is lost", smi_code="15")
    yield told(**LINUX, **AMD)
    yield told(**LINUX, rocm=json.dumps(ROCM), amd_code="0")
    yield told(**APPLE)
    yield told(os="Linux", board="NVIDIA Jetson AGX Orin Developer Kit", **PROCESSES)


SURFACES = (
    Surface("probe-script", take_script, script_seeds),
    Surface("probe-amd", take_amd, lambda: [bytes([first, second]) * 8 for first in range(2) for second in range(0, 256, 37)]),
    Surface("probe-nvml", take_nvml, lambda: [bytes([first, 7, 90]) * 4 for first in range(0, 256, 17)]),
    Surface("probe-dcgm", take_dcgm, lambda: [(DATA / "forms" / "dcgm-4.metrics").read_bytes()]),
    Surface("probe-prometheus", take_prometheus, lambda: [bytes([first, 3, 40]) * 6 for first in range(0, 256, 29)]),
    Surface("probe-exporter", take_exporter, lambda: [(DATA / "forms" / "exporter-1.metrics").read_bytes()]),
)
