"""Which variables a host has: the layers of Ansible's precedence, merged once for all hosts that share them."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from reconciler.fleet import Place
from reconciler.workspace.files import Sources
from reconciler.workspace.groups import DeclaredHost, GroupTree
from reconciler.workspace.scalars import YamlVersion
from reconciler.workspace.tree import MapNode, Node, ScalarNode, is_null, kind_of

VARIABLE_EXTENSIONS = ("", ".yml", ".yaml", ".json")
MOST_MERGED = 5_000_000
"""Variables of all hosts together, each counted as often as it is copied."""
_WATCHED = ("limits", "gpurec")

Variables = dict[Hashable, tuple[ScalarNode, Node]]


@dataclass(frozen=True, slots=True, eq=False)
class Profile:
    """Variables and groups that a set of hosts has in common, before templating. One object for all of them."""

    variables: Variables
    group_names: tuple[str, ...]


class VariablesFolder:
    """`group_vars/` or `host_vars/` beside an inventory: NAME, NAME.yml, NAME.yaml, NAME.json, or a folder NAME with such files."""

    def __init__(self, folder: Path, sources: Sources) -> None:
        self._folder = folder
        self._sources = sources
        full = sources.root / folder
        self._names = frozenset(path.name for path in full.iterdir()) if full.is_dir() else frozenset()
        self._read: dict[str, list[MapNode]] = {}

    def layers(self, name: str) -> list[MapNode]:
        """The mappings for a group or host, in the order in which they are laid over each other."""
        if not self._names:
            return []
        kept = self._read.get(name)
        if kept is None:
            kept = self._read[name] = [layer for path in self._files(name) if (layer := self._mapping(path)) is not None]
        return kept

    def _files(self, name: str) -> list[Path]:
        for extension in VARIABLE_EXTENSIONS:
            if name + extension in self._names:
                path = self._folder / (name + extension)
                return list(_below(self._sources.root, path)) if (self._sources.root / path).is_dir() else [path]
        return []

    def _mapping(self, path: Path) -> MapNode | None:
        node = self._sources.read(path, YamlVersion.V1_1, optional=True)
        if node is None or is_null(node):
            return None
        if not isinstance(node, MapNode):
            self._sources.problems.error(f"a file of variables is a mapping, this is {kind_of(node)}", node, "write `name: value` lines")
            return None
        return node


def _below(root: Path, folder: Path) -> Iterable[Path]:
    for name in sorted(path.name for path in (root / folder).iterdir()):
        path = folder / name
        if name.startswith(".") or name.endswith("~"):
            continue
        if (root / path).is_dir() and not path.suffix:
            yield from _below(root, path)
        elif (root / path).is_file() and path.suffix in VARIABLE_EXTENSIONS:
            yield path


class Precedence:
    """Merges a host's layers: `all` inline, groups inline, group_vars/all, group_vars/GROUP, host inline, host_vars (Ansible's docs,
    "Understanding variable precedence"); groups by depth, `ansible_group_priority`, name; of several
    inventories the later one's files over all of the earlier one's. Hashes replace."""

    def __init__(self, tree: GroupTree, folders: Sequence[Path], sources: Sources) -> None:
        self._tree = tree
        self._merged = 0
        self._place = Place(sources.name(folders[0])) if folders else None
        self._problems = sources.problems
        self._group_vars = [VariablesFolder(folder / "group_vars", sources) for folder in folders]
        self._host_vars = [VariablesFolder(folder / "host_vars", sources) for folder in folders]
        self._of_groups: dict[frozenset[str], tuple[Variables, tuple[str, ...]]] = {}
        self._profiles: dict[tuple[object, ...], Profile] = {}

    def profile(self, host: DeclaredHost) -> Profile:
        """The host's profile; hosts of the same groups with the same layers get the same object."""
        own = list(host.variables)
        for folder in self._host_vars:
            own.extend(folder.layers(host.name))
        groups = frozenset(host.groups)
        key: tuple[object, ...] = (groups, *map(id, own))
        kept = self._profiles.get(key)
        if kept is None:
            base, names = self._groups(groups)
            kept = self._profiles[key] = Profile(self._merge(base, own) if own else base, names)
        return kept

    def _groups(self, groups: frozenset[str]) -> tuple[Variables, tuple[str, ...]]:
        kept = self._of_groups.get(groups)
        if kept is not None:
            return kept
        chain = self._tree.chain(groups | {"all"})
        layers = [layer for group in chain for layer in group.variables]
        for below in (False, True):
            for folder in self._group_vars:
                for group in chain:
                    if (group.name != "all") is below:
                        layers.extend(folder.layers(group.name))
        names = tuple(sorted(group.name for group in chain if group.name != "all"))
        kept = self._of_groups[groups] = (self._merge({}, layers), names)
        return kept

    def _merge(self, base: Variables, layers: Iterable[MapNode]) -> Variables:
        self._merged += len(base)
        if self._merged > MOST_MERGED:
            what = f"the hosts of this inventory have more than {MOST_MERGED} variables together"
            self._problems.error(what, self._place, "write variables for groups, and fewer for each host")
            return base
        merged = dict(base)
        for layer in layers:
            for name in _WATCHED:
                self._warn_of_loss(name, merged, layer)
            merged.update(layer.entries)
        return merged

    def _warn_of_loss(self, name: str, merged: Variables, layer: MapNode) -> None:
        wider = merged.get(name)
        nearer = layer.entries.get(name)
        if wider is None or nearer is None or not isinstance(wider[1], MapNode) or not isinstance(nearer[1], MapNode):
            return
        lost = [str(key) for key in wider[1].entries if key not in nearer[1].entries]
        if lost:
            where: Place = wider[0].place
            self._problems.warn(
                f"this {name!r} replaces the one at {where} and loses its {', '.join(lost)}",
                nearer[0],
                "repeat what should stay; hashes replace each other, as in Ansible",
            )
