"""Builds the NVML of cards that do not exist (`nvml/fake_nvml.c`) against the real nvml.h of PyPI's nvidia-nvml-dev."""

from __future__ import annotations

import importlib.util
import os
import subprocess
from pathlib import Path

SOURCE = Path(__file__).parent / "nvml" / "fake_nvml.c"


def header_folder() -> Path:
    """Where nvml.h is; the package keeps it beside the name of its CUDA major version."""
    spec = importlib.util.find_spec("nvidia")
    places = spec.submodule_search_locations if spec is not None else None
    found = sorted(header for place in places or () for header in Path(place).glob("*/include/nvml.h"))
    assert found, "nvidia-nvml-dev is missing: pip install -e '.[dev]'"
    return found[-1].parent


def build(folder: Path, *, old: bool = False) -> Path:
    """A folder for LD_LIBRARY_PATH with libnvidia-ml.so.1 in it."""
    folder.mkdir(parents=True, exist_ok=True)
    flags = ["-DOLD"] if old else []
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-Wall", f"-I{header_folder()}", *flags, "-o", folder / "libnvidia-ml.so.1", SOURCE],
        check=True,
        timeout=60,
    )
    return folder


def environment(library: Path | None, words: str = "") -> dict[str, str]:
    """This environment with that library first, and what its cards are to be."""
    return {**os.environ, "LD_LIBRARY_PATH": str(library or "/nonexistent"), "FAKE_NVML": words}
