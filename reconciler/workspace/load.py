"""A whole workspace as one value: files in, validated fleet and desired state out, or every problem at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from reconciler.fleet import Desired, EngineKind, Ensure, Fleet, Problem, RunOptions, with_asked_environment
from reconciler.planning.kinds.file.spec import ELSEWHERE
from reconciler.value_class import value_class
from reconciler.vram import NO_CATALOGUE, Catalogue
from reconciler.workspace.catalogue import read_catalogue
from reconciler.workspace.desired import SECTIONS, merge_layers, read_desired
from reconciler.workspace.files import Sources
from reconciler.workspace.files_elsewhere import files_of_others
from reconciler.workspace.inventory import Inventory, folder_of, read_inventory
from reconciler.workspace.lock import lock_path, pinned, read_lock
from reconciler.workspace.nodes import NodeReader
from reconciler.workspace.problems import Problems
from reconciler.workspace.scalars import YamlVersion
from reconciler.workspace.sections import SectionContext, SectionForm
from reconciler.workspace.selection import STATE, select
from reconciler.workspace.tree import MapNode, Node

NOTHING_PRINTED: Mapping[Path, bytes] = MappingProxyType({})


@value_class
class Workspace:
    """One fleet with all that its files say. `declared` are the files of the desired state merged, with the position of everything
    (`wanted_place`; None: nothing is asked for); `config_digest` is `sha256:…` over every file read; `state_path` and
    `lock_path` may not exist yet; `lock` has the lock file's digests by model."""

    name: str
    fleet: Fleet
    desired: Desired
    declared: MapNode | None
    config_digest: str
    warnings: tuple[Problem, ...]
    inventory: Inventory
    state_path: Path
    lock_path: Path
    lock: Mapping[str, str]
    catalogue: Catalogue = NO_CATALOGUE


def load_workspace(
    root: Path,
    *,
    fleet: str | None = None,
    inventory: Sequence[Path] = (),
    desired: Sequence[Path] = (),
    sections: Sequence[SectionForm] = SECTIONS,
    allow_outside_links: bool = False,
    printed: Mapping[Path, bytes] = NOTHING_PRINTED,
) -> Workspace:
    """Reads a fleet's files. `inventory` and `desired` replace the fleet's own; relative paths are below `root`. `printed` is what
    those of `inventory` printed that are programs and were run: nothing is run here.

    Raises WorkspaceError with every problem of all files, in file order.
    """
    chosen = select(root, fleet, inventory, desired)
    problems = Problems()
    outside = (*(folder_of(root, path) for path in chosen.inventory), *(path.parent for path in chosen.desired))
    sources = Sources(root, problems, outside, allow_outside_links=allow_outside_links, printed=printed)
    hosts = read_inventory(chosen.inventory, sources)
    sound = not problems.any
    nodes = NodeReader(problems, sources.encrypted).fleet(chosen.name, hosts)
    complete = sound and not problems.any
    layers: list[list[tuple[str, Node | None]]] = []
    for paths in chosen.layers:
        layers.append([])
        for path in paths:
            before = problems.errors
            node = sources.read(path, YamlVersion.V1_2)
            if node is not None or problems.errors == before:
                layers[-1].append((sources.name(path), node))
    context = SectionContext(sources, problems, hosts if sound else None, nodes if complete else None)
    declared = merge_layers(layers, problems)
    wanted = read_desired(declared, context, sections)
    if others := files_of_others(root, chosen.name, wanted, problems):
        wanted = replace(wanted, sections={**wanted.sections, ELSEWHERE.key: others})
    pins = lock_path(chosen.name)
    root_of_lock = sources.read(pins, YamlVersion.V1_2) if (root / pins).exists() else None
    lock = read_lock(root_of_lock, problems)
    wanted = replace(wanted, models=pinned(wanted.models, lock, root_of_lock, problems))
    catalogue = read_catalogue(root, sources, problems)
    problems.raise_if_any()
    return Workspace(
        name=chosen.name,
        fleet=with_asked_environment(nodes, _asked_of_ollamas(wanted)),
        desired=wanted,
        declared=declared,
        config_digest=sources.digest(),
        warnings=problems.warnings,
        inventory=hosts,
        state_path=state_path_of(root, chosen.name),
        lock_path=root / pins,
        lock=lock,
        catalogue=catalogue,
    )


def _asked_of_ollamas(wanted: Desired) -> Iterator[tuple[Sequence[str], RunOptions]]:
    """What each model that may be on an Ollama asks of the start of its server, with its nodes."""
    for model in wanted.models:
        if model.engine in (None, EngineKind.OLLAMA) and model.ensure is not Ensure.ABSENT:
            yield model.nodes, model.runs


def load_fleet(
    root: Path,
    *,
    fleet: str | None = None,
    inventory: Sequence[Path] = (),
    allow_outside_links: bool = False,
    printed: Mapping[Path, bytes] = NOTHING_PRINTED,
) -> tuple[Fleet, Inventory]:
    """Reads an inventory and its hosts as nodes, without a desired state; `printed` as of `load_workspace`. Raises WorkspaceError with
    every problem of both."""
    chosen = select(root, fleet, inventory, (), with_desired=False)
    problems = Problems()
    sources = Sources(root, problems, allow_outside_links=allow_outside_links, printed=printed)
    hosts = read_inventory(chosen.inventory, sources)
    nodes = NodeReader(problems, sources.encrypted).fleet(chosen.name, hosts)
    problems.raise_if_any()
    return nodes, hosts


def find_state_path(root: Path, *, fleet: str | None = None, inventory: Sequence[Path] = (), desired: Sequence[Path] = ()) -> Path:
    """Where the state of a fleet is, without reading its files. Raises WorkspaceError where the fleet is not clear."""
    return state_path_of(root, select(root, fleet, inventory, desired).name)


def state_path_of(root: Path, fleet: str) -> Path:
    """Where the state of a fleet is, which may not exist."""
    return root / STATE / f"{fleet}.db"


def load_inventory(
    root: Path,
    *,
    fleet: str | None = None,
    inventory: Sequence[Path] = (),
    allow_outside_links: bool = False,
    printed: Mapping[Path, bytes] = NOTHING_PRINTED,
) -> Inventory:
    """Reads only an inventory; gpurec's keys in it are not checked, so that any Ansible inventory can be shown.

    Raises WorkspaceError with every problem of its files.
    """
    chosen = select(root, fleet, inventory, (), with_desired=False)
    problems = Problems()
    found = read_inventory(chosen.inventory, Sources(root, problems, allow_outside_links=allow_outside_links, printed=printed))
    problems.raise_if_any()
    return found
