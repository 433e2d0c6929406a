"""Which files make a fleet: `inventories/NAME.yaml` or a folder, `desired/NAME.yaml` or a folder, `state/NAME.db`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from reconciler.fleet import Problem, WorkspaceError
from reconciler.workspace.problems import did_you_mean

INVENTORIES, DESIRED, STATE = "inventories", "desired", "state"
DEFAULT_FLEET = "default"
_ENDINGS = (".yaml", ".yml")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_NOT_FLEETS = frozenset({"group_vars", "host_vars", "vars_plugins"})


@dataclass(frozen=True, slots=True)
class Selection:
    """A fleet's name and its files, relative to the workspace where they are in it. Those of the desired state are in layers, each over the
    ones before it."""

    name: str
    inventory: Path
    layers: tuple[tuple[Path, ...], ...]

    @property
    def desired(self) -> tuple[Path, ...]:
        """All files of the desired state."""
        return tuple(path for layer in self.layers for path in layer)


def fleets(root: Path) -> tuple[str, ...]:
    """The names of the fleets that have an inventory, sorted."""
    folder = root / INVENTORIES
    if not folder.is_dir():
        return ()
    found = set()
    for path in folder.iterdir():
        name = path.name
        if name.startswith(".") or name in _NOT_FLEETS:
            continue
        fleet = name if path.is_dir() else path.stem if path.suffix in _ENDINGS else ""
        if _NAME.fullmatch(fleet):
            found.add(fleet)
    return tuple(sorted(found))


def select(root: Path, fleet: str | None, inventory: Path | None, desired: Sequence[Path], *, with_desired: bool = True) -> Selection:
    """The files of one fleet. Raises WorkspaceError where the fleet is not clear or files are missing."""
    name = fleet_name(root, fleet, inventory, desired, with_desired=with_desired)
    chosen = inventory if inventory is not None else _find(root, INVENTORIES, name)
    if not with_desired:
        return Selection(name, chosen, ())
    wanted = tuple(desired) or (_find(root, DESIRED, name),)
    return Selection(name, chosen, tuple(tuple(_desired_files(root, path)) for path in wanted))


def fleet_name(root: Path, fleet: str | None, inventory: Path | None, desired: Sequence[Path], *, with_desired: bool = True) -> str:
    """Which fleet is meant, without looking at its files. Raises WorkspaceError where that is not clear."""
    name = fleet if fleet is not None else _choose(root, inventory, bool(desired) or not with_desired)
    if not _NAME.fullmatch(name):
        raise WorkspaceError.of(f"{name!r} is not the name of a fleet", hint="use letters, digits, '-', '_' and '.'")
    return name


def _choose(root: Path, inventory: Path | None, self_contained: bool) -> str:
    if inventory is not None and self_contained:
        return inventory.stem
    names = fleets(root)
    if inventory is not None and (inventory.stem in names or not names):
        return inventory.stem
    if len(names) == 1:
        return names[0]
    if DEFAULT_FLEET in names:
        return DEFAULT_FLEET
    if not names:
        raise WorkspaceError.of(
            "there is no fleet here: no inventories/NAME.yaml", hint="run `gpurec init`, or name the folder with -C DIR"
        )
    raise WorkspaceError.of(f"there are several fleets: {', '.join(names)}", hint="choose one with --fleet NAME")


def _find(root: Path, folder: str, name: str) -> Path:
    candidates = [Path(folder) / (name + ending) for ending in _ENDINGS] + [Path(folder) / name]
    there = [path for path in candidates if (root / path).is_file() or (path.suffix not in _ENDINGS and (root / path).is_dir())]
    if len(there) == 1:
        return there[0]
    if there:
        listed = " and ".join(path.as_posix() for path in there)
        raise WorkspaceError.of(f"fleet {name!r} is there twice: {listed}", hint="keep one of them")
    known = fleets(root)
    if folder == INVENTORIES and known:
        raise WorkspaceError.of(f"there is no fleet {name!r}: {folder}/{name}.yaml does not exist", hint=did_you_mean(name, known))
    raise WorkspaceError(Problem(f"fleet {name!r} has no {folder}/{name}.yaml", hint=f"write {folder}/{name}.yaml, or run `gpurec init`"))


def desired_files(root: Path, fleet: str) -> list[Path]:
    """The files of a fleet's desired state. Raises WorkspaceError where there are none."""
    return _desired_files(root, _find(root, DESIRED, fleet))


def _desired_files(root: Path, path: Path) -> list[Path]:
    if not (root / path).is_dir():
        return [path]
    names = sorted(
        name for name in (entry.name for entry in (root / path).iterdir()) if not name.startswith(".") and Path(name).suffix in _ENDINGS
    )
    if not names:
        raise WorkspaceError.of("this folder holds no desired state", path.as_posix(), "add a file that ends in .yaml")
    return [path / name for name in names]
