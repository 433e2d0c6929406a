"""An inventory as a value: hosts, groups, patterns, and the form that `ansible-inventory --list` prints."""

from __future__ import annotations

import os
import re
from collections.abc import Hashable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from reconciler.fleet import Place, Problem, WorkspaceError
from reconciler.workspace.files import Sources
from reconciler.workspace.groups import IN_YAML, GroupTree
from reconciler.workspace.listing import groups_of
from reconciler.workspace.patterns import PatternError, Patterns
from reconciler.workspace.scalars import YamlVersion
from reconciler.workspace.tree import PlainValues
from reconciler.workspace.variables import Precedence, Profile

# Ansible's INVENTORY_IGNORE_EXTS and the folders that are never inventory (inventory/manager.py)
_IGNORED = re.compile(
    r"(^\.)|(^(host_vars|group_vars|vars_plugins)$)|((\.pyc|\.pyo|\.swp|\.bak|~|\.rpm|\.md|\.txt|\.rst|\.orig|\.cfg|\.retry)$)"
)
# INTERNAL_STATIC_VARS of ansible-core's constants.py
_ANSIBLES_OWN = frozenset(
    """
    ansible_async_path ansible_collection_name ansible_config_file ansible_dependent_role_names ansible_diff_mode ansible_facts
    ansible_forks ansible_inventory_sources ansible_limit ansible_play_batch ansible_play_hosts ansible_play_hosts_all
    ansible_play_role_names ansible_playbook_python ansible_role_name ansible_role_names ansible_run_tags ansible_skip_tags
    ansible_verbosity ansible_version group_names groups hostvars inventory_dir inventory_file inventory_hostname
    inventory_hostname_short play_hosts playbook_dir role_name role_names role_path role_uuid
    """.split()  # noqa: SIM905 (a list of it is a line each)
)
_INI_SECTION = re.compile(r"\[[^\[\]{},'\"]+\]\s*(?:[#;].*)?")
_INI_HOST = re.compile(r"[^\s={\[\"'](?:[^\s=]*[^\s=:])?[ \t]{1,20}\w{1,100}=")
_COMMAND = re.compile(r"[\w./]+\s")
_BINARIES = (b"\x7fELF", b"MZ", b"\xca\xfe\xba\xbe", b"\xcf\xfa\xed\xfe", b"\xce\xfa\xed\xfe")
_EXTENSIONS = ("", ".yaml", ".yml", ".json")


@dataclass(frozen=True, slots=True, eq=False)
class InventoryHost:
    """A host with the profile that it shares with others of its kind."""

    name: str
    place: Place
    profile: Profile

    @property
    def groups(self) -> tuple[str, ...]:
        """The names of all groups above the host, sorted, without `all`."""
        return self.profile.group_names


class Inventory:
    """`hosts` by name in sorted order; `groups` by name with their hosts in Ansible's order."""

    def __init__(self, tree: GroupTree, hosts: Mapping[str, InventoryHost], warnings: tuple[Problem, ...] = ()) -> None:
        self.hosts = MappingProxyType(hosts)
        self.warnings = warnings
        self._tree = tree
        self._patterns = Patterns(tree)
        self._plain = PlainValues()
        self._variables: dict[int, Mapping[str, object]] = {}
        self._by_hosts: dict[frozenset[str], str] | None = None

    @property
    def groups(self) -> Mapping[str, tuple[str, ...]]:
        return {name: tuple(self._tree.hosts_of(name)) for name in sorted(self._tree.groups)}

    def match(self, pattern: str) -> tuple[str, ...]:
        """The hosts that an Ansible pattern names, sorted. Raises WorkspaceError where it names no host and no group."""
        try:
            return self._patterns.match(pattern)
        except PatternError as error:
            raise WorkspaceError.of(str(error.args[0]), hint=error.hint) from None

    def pattern_of(self, hosts: frozenset[str]) -> str | None:
        """A pattern that names just these hosts: `all`, a group, else a list of their names; None where names that mean something in
        patterns forbid it."""
        if self._by_hosts is None:
            self._by_hosts = {}
            for name, members in sorted(self.groups.items(), key=lambda item: (item[0] == "ungrouped", item[0])):
                self._by_hosts.setdefault(frozenset(members), name)
        group = self._by_hosts.get(hosts) if len(hosts) > 1 else None
        for pattern in (group, ",".join(sorted(hosts))):
            with suppress(WorkspaceError):
                if pattern is not None and set(self.match(pattern)) == hosts:
                    return pattern
        return None

    def variables(self, host: str) -> Mapping[str, object]:
        """A host's variables as Ansible has them, before templating. Hosts with equal variables share the mapping."""
        profile = self.hosts[host].profile
        kept = self._variables.get(id(profile))
        if kept is None:
            values = {_variable_name(name): self._plain.of(value) for name, (_, value) in profile.variables.items()}
            kept = self._variables[id(profile)] = values
        return kept

    def as_ansible_json(self) -> dict[str, object]:
        """What `ansible-inventory --list` prints: `_meta.hostvars`, and each group's hosts and children; empty groups are left out, and
        so are variables that have the name of one of Ansible's own."""
        shown: dict[int, Mapping[str, object]] = {}
        variables: dict[str, object] = {}
        for host in self.hosts.values():
            values = shown.get(id(host.profile))
            if values is None:
                values = {name: value for name, value in self.variables(host.name).items() if name not in _ANSIBLES_OWN}
                shown[id(host.profile)] = values
            if values:
                variables[host.name] = values
        listing: dict[str, object] = {"_meta": {"hostvars": variables, "profile": "inventory_legacy"}}
        for group in self._tree.below("all"):
            entry: dict[str, object] = {}
            if group.hosts and group.name != "all":
                entry["hosts"] = list(group.hosts)
            if group.children:
                entry["children"] = list(group.children)
            if entry:
                listing[group.name] = entry
        return listing


def _variable_name(name: Hashable) -> str:
    """A variable's name as JSON has it: a bare `true` or `null` is a word, as are numbers."""
    return {True: "true", False: "false", None: "null"}[name] if name is None or isinstance(name, bool) else str(name)


def folder_of(root: Path, path: Path) -> Path:
    """The folder beside whose files the group_vars and host_vars of an inventory are."""
    return path if (root / path).is_dir() else path.parent


def read_inventory(paths: Sequence[Path], sources: Sources) -> Inventory:
    """Reads inventory files and folders, each with its group_vars and host_vars, as one inventory: what a later one says of a host or a
    group counts over what an earlier one says. Errors go to the sources' problems."""
    tree = GroupTree(sources.problems)
    for path in paths:
        _read_source(path, tree, sources)
    tree.link()
    precedence = Precedence(tree, tuple(dict.fromkeys(folder_of(sources.root, path) for path in paths)), sources)
    hosts = {name: InventoryHost(name, tree.hosts[name].place, precedence.profile(tree.hosts[name])) for name in sorted(tree.hosts)}
    if not hosts and not sources.problems.any:
        sources.problems.error("this inventory has no hosts", Place(sources.name(paths[0])), "name at least one under `hosts:`")
    return Inventory(tree, hosts, sources.problems.warnings)


def _read_source(path: Path, tree: GroupTree, sources: Sources) -> None:
    files = _files(path, sources) if (sources.root / path).is_dir() else [path]
    if not files:
        sources.problems.error("this folder holds no inventory file", Place(sources.name(path)), "add a file such as hosts.yaml")
    for file in files:
        before = sources.problems.errors
        if (printed := sources.printed(file)) is not None:
            listing, name = printed
            groups = groups_of(listing, name, sources.problems) if sources.problems.errors == before else None
            if groups is not None:
                tree.add_file(groups, name)
            continue
        if _is_other_form(file, sources):
            continue
        root = sources.read(file, YamlVersion.V1_1)
        if root is not None or sources.problems.errors == before:
            tree.add_file(root, sources.name(file))


def _is_other_form(file: Path, sources: Sources) -> bool:
    """Reports the forms of an inventory that are not read: INI and TOML, scripts, and what is encrypted as a whole."""
    what = None
    head = sources.head(file)
    first = _first_line(head)
    if _is_program(head, first, executable=os.access(sources.root / file, os.X_OK)):
        what = "this is a program, which is run only where you name it with -i and it may be executed"
    elif file.suffix not in _EXTENSIONS:
        what = f"this is a file that ends in {file.suffix}"
    elif _INI_HOST.match(first) or any(map(_INI_SECTION.fullmatch, _lines(head))):
        what = "this is the INI form"
    if what is None:
        return False
    sources.problems.error(f"only the YAML form of an inventory is read, {what}", Place(sources.name(file)), IN_YAML)
    return True


def _is_program(head: bytes, first: str, *, executable: bool) -> bool:
    """A script or a binary. Where all files are executable, as on a mount of Windows, one that begins as YAML does is YAML."""
    return head.startswith((b"#!", *_BINARIES)) or (executable and (b"\0" in head or _COMMAND.match(first) is not None))


def _first_line(head: bytes) -> str:
    """The first line that is not empty and no comment, as far as it is text."""
    lines = (line.strip() for line in _lines(head))
    return next((line for line in lines if line and line != "---" and not line.startswith(("#", ";"))), "")


def _lines(head: bytes) -> list[str]:
    return [line.rstrip() for line in head.decode("utf-8-sig", "replace").split("\n")]


def _files(folder: Path, sources: Sources) -> list[Path]:
    found: list[Path] = []
    for name in sorted(path.name for path in (sources.root / folder).iterdir()):
        path = folder / name
        if _IGNORED.search(name):
            continue
        if (sources.root / path).is_dir():
            found.extend(_files(path, sources))
        else:
            found.append(path)
    return found
