"""Which files make a fleet: `inventories/NAME.yaml` or a folder, `desired/NAME.yaml` or a folder, `state/NAME.db`."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from reconciler.fleet import Place, Problem, WorkspaceError
from reconciler.value_class import value_class
from reconciler.workspace.problems import did_you_mean

INVENTORIES, DESIRED, STATE = "inventories", "desired", "state"
DEFAULT_FLEET = "default"
_ENDINGS = (".yaml", ".yml")
NO_FILE, NO_FILE_HINT = "this file does not exist", "check the path, or write the file"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_NOT_FLEETS = frozenset({"group_vars", "host_vars", "vars_plugins"})


@value_class
class Selection:
    """A fleet's name and its files, relative to the workspace where they are in it. Those of the desired state are in layers, each over the
    ones before it."""

    name: str
    inventory: tuple[Path, ...]
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


def select(root: Path, fleet: str | None, inventory: Sequence[Path], desired: Sequence[Path], *, with_desired: bool = True) -> Selection:
    """The files of one fleet. Raises WorkspaceError where the fleet is not clear or files are missing. Where only the hosts are asked for,
    those of several inventories have the name of the first."""
    if not with_desired:
        name = fleet_name(root, fleet, inventory[:1], desired, with_desired=False)
        return Selection(name, tuple(inventory) or (_find(root, INVENTORIES, name),), ())
    if not (inventory and desired):  # what is named and not there comes before what follows from that; of two, reading says both
        _refuse_missing(root, (*inventory, *desired))
    name = fleet_name(root, fleet, inventory, desired)
    chosen = tuple(inventory) or (_find(root, INVENTORIES, name),)
    wanted = tuple(desired) or (_find(root, DESIRED, name),)
    return Selection(name, chosen, tuple(tuple(_desired_files(root, path)) for path in wanted))


def _refuse_missing(root: Path, named: Sequence[Path]) -> None:
    files = [path for path in named if cluster_of(path) is None]
    missing = [Problem(NO_FILE, Place(path.as_posix()), NO_FILE_HINT) for path in files if not (root / path).exists()]
    if missing:
        raise WorkspaceError(*missing)


def fleet_name(root: Path, fleet: str | None, inventory: Sequence[Path], desired: Sequence[Path], *, with_desired: bool = True) -> str:
    """Which fleet is meant, without looking at its files. Raises WorkspaceError where that is not clear."""
    name = fleet if fleet is not None else _choose(root, inventory, bool(desired) or not with_desired)
    if not _NAME.fullmatch(name):
        raise WorkspaceError.of(f"{name!r} is not the name of a fleet", hint="use letters, digits, '-', '_' and '.'")
    return name


def has_desired(root: Path, fleet: str | None, inventory: Sequence[Path], desired: Sequence[Path]) -> bool:
    """Whether a fleet says what is wanted, by its own files or by those that are named. Raises WorkspaceError where the fleet is not
    clear."""
    return bool(desired) or fleet_name(root, fleet, inventory[:1], (), with_desired=False) in fleets(root)


def inventory_name(root: Path, inventory: Sequence[Path]) -> str | None:
    """What inventories of `-i` are called in a state, the same wherever the workspace is; None where one is in `inventories/`: there the
    name of a fleet is its own."""
    names = [os.path.relpath(root / path, root) for path in inventory]
    return None if any(Path(name).parts[0] == INVENTORIES for name in names) else ", ".join(names) or None


def _choose(root: Path, inventory: Sequence[Path], self_contained: bool) -> str:
    names = fleets(root)
    meant = {_fleet_of(root, path) for path in inventory}
    if names and not self_contained:
        meant &= set(names)
    if len(meant) > 1:
        raise WorkspaceError.of(
            f"the inventories of -i are of several fleets: {', '.join(sorted(meant))}", hint="name one with --fleet NAME"
        )
    if meant:
        return meant.pop()
    if len(names) == 1:
        return names[0]
    if DEFAULT_FLEET in names:
        return DEFAULT_FLEET
    if not root.is_dir():
        raise WorkspaceError.of("this folder does not exist", str(root), "name a workspace with -C DIR, or make one: gpurec init DIR")
    if not names:
        raise WorkspaceError.of(
            "there is no fleet here: no inventories/NAME.yaml", hint="run `gpurec init`, or name the folder with -C DIR"
        )
    raise WorkspaceError.of(f"there are several fleets: {', '.join(names)}", hint="choose one with --fleet NAME")


_CLUSTER = "kubernetes:"


def cluster_of(inventory: Path) -> str | None:
    """The context that an inventory of `-i kubernetes:CONTEXT` names, `""` for the current one; None for a file or folder."""
    text = inventory.as_posix()
    return text.removeprefix(_CLUSTER) if text.startswith(_CLUSTER) else None


def _fleet_of(root: Path, inventory: Path) -> str:
    """The fleet that an inventory is of: the folder of `inventories/` that it is in, else the name of the file or folder itself; of a
    cluster, the last part of the name of its context."""
    if (context := cluster_of(inventory)) is not None:
        if not context:
            raise WorkspaceError.of("the current context of a kubeconfig is no name of a fleet", hint="name it: --fleet NAME")
        return context.rpartition("/")[2]
    path = Path(os.path.normpath((root / inventory).absolute()))
    if "," in path.name and not path.exists():
        hint = "write a file with `all: {hosts: {NAME: {}}}`"
        raise WorkspaceError.of(f"{inventory} is a list of hosts, as Ansible's -i takes it, and no file", hint=hint)
    folder = Path(os.path.normpath((root / INVENTORIES).absolute()))
    if path != folder and path.is_relative_to(folder):
        path = folder / path.relative_to(folder).parts[0]
    return path.name if path.is_dir() else path.stem


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
    if not root.is_dir():
        raise WorkspaceError.of("this folder does not exist", str(root), "name a workspace with -C DIR, or make one: gpurec init DIR")
    if not names:
        raise WorkspaceError.of("this folder holds no desired state", path.as_posix(), "add a file that ends in .yaml")
    return [path / name for name in names]
