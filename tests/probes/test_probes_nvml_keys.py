"""What the driver's library says goes through the one door that takes keys out, as all that is read from a node does."""

from __future__ import annotations

import asyncio

import pytest

from reconciler.engines import Transport
from reconciler.fleet import NodeSpec, ProbeSpec
from reconciler.probes import local
from reconciler.probes.protocol import ProbeError
from reconciler.probes.sources import CardSources

AT = "2026-01-01T00:00:00Z"
KEY = "a-key/of some-length"
LIBRARY = """
NVML_TEMPERATURE_GPU = NVML_MEMORY_ERROR_TYPE_UNCORRECTED = NVML_VOLATILE_ECC = 0

class NVMLError(Exception):
    value = 9

class Process:
    pid, usedGpuMemory = 7, 1

def nvmlInit():
    {fails}

def nvmlDeviceGetCount():
    return 1

def nvmlDeviceGetHandleByIndex(index):
    return index

def nvmlSystemGetDriverVersion():
    return {key!r}

def nvmlDeviceGetName(handle):
    return "Card " + {key!r}

def nvmlDeviceGetComputeRunningProcesses(handle):
    return [Process]

def nvmlSystemGetProcessName(pid):
    return "ollama --key " + {key!r}
"""


@pytest.fixture
def library(tmp_path, monkeypatch):
    """Puts a module of that name before the real one, for the process that reads NVML."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def write(fails="pass"):
        (tmp_path / "pynvml.py").write_text(LIBRARY.format(key=KEY, fails=fails))

    return write


async def look(way):
    async with Transport() as transport:
        transport.keys.add(KEY)
        source = CardSources(transport, AT)._open(way)
        node = NodeSpec("a", "localhost", probe=ProbeSpec(way))
        return await (source.look(node, AT) if way == "nvml" else source._nvidia(node, AT))


@pytest.mark.parametrize("way", ["nvml", "local"])
def test_names_of_cards_and_processes_hold_no_key(library, monkeypatch, way):
    monkeypatch.setattr(local, "nvml_is_here", lambda: True)
    library()
    (card,) = asyncio.run(look(way)).cards
    assert card.name == "Card (the key)"
    assert [one.name for one in card.processes] == ["ollama --key (the key)"]
    assert KEY not in repr(card)


def test_neither_does_what_it_says_where_it_cannot_be_asked(library):
    library(f"raise NVMLError({KEY!r})")
    with pytest.raises(ProbeError, match=r"\(the key\)") as caught:
        asyncio.run(look("nvml"))
    assert KEY not in str(caught.value)
