"""The fleets that come with the program."""

from __future__ import annotations

from importlib.resources import files

from reconciler.sim.errors import SimError
from reconciler.sim.read import read_sim_text
from reconciler.sim.spec import SimSpec

BUILTIN_FLEETS = ("demo", "gpu-router", "containers", "autogen", "aires", "eleanor", "rtx3090")


def builtin_fleet(name: str) -> SimSpec:
    """A fleet of `fleets/` by name. Raises SimError naming the known ones."""
    if name not in BUILTIN_FLEETS:
        raise SimError(f"there is no built-in fleet {name!r}; known are {', '.join(BUILTIN_FLEETS)}")
    file = files("reconciler.sim") / "fleets" / f"{name}.yaml"
    return read_sim_text(file.read_text("utf-8"), f"fleets/{name}.yaml")
