"""The tree of groups and hosts that inventory files make, as Ansible's YAML inventory plugin builds it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from reconciler.fleet import Place
from reconciler.workspace.addresses import split_port
from reconciler.workspace.problems import Problems, did_you_mean
from reconciler.workspace.ranges import MOST_HOSTS, expand
from reconciler.workspace.tree import ListNode, MapNode, Node, ScalarNode, is_null, kind_of, what_is

_SECTIONS = ("vars", "children", "hosts")
_UNGROUPED = "ungrouped"
_PRIORITY = "ansible_group_priority"
IN_YAML = "write it in YAML: `ansible-inventory -i FILE --list --yaml > hosts.yaml` does it"
MOST_PLACES = 1_000_000
"""So often may hosts be named in groups, all together."""
MOST_ABOVE = 200
"""So many groups may be above one."""


class Group:
    """A group. `variables` are the layers written inline, later ones over earlier; `depth` is the longest way from `all`."""

    __slots__ = ("children", "depth", "hosts", "name", "parents", "place", "priority", "variables")

    def __init__(self, name: str, place: Place | None = None) -> None:
        self.name = name
        self.place = place
        self.hosts: dict[str, None] = {}
        self.children: dict[str, None] = {}
        self.parents: dict[str, None] = {}
        self.variables: list[MapNode] = []
        self.priority = 1
        self.depth = 0

    @property
    def order(self) -> tuple[int, int, str]:
        """The order in which groups lay their variables over each other."""
        return self.depth, self.priority, self.name


class DeclaredHost:
    """A host as the files name it: its own groups and the layers of variables written beside its name."""

    __slots__ = ("groups", "name", "place", "variables")

    def __init__(self, name: str, place: Place) -> None:
        self.name = name
        self.place = place
        self.groups: set[str] = set()
        self.variables: list[MapNode] = []


class GroupTree:
    """All groups and hosts of an inventory; complete after `link`."""

    def __init__(self, problems: Problems) -> None:
        self.groups = {"all": Group("all"), "ungrouped": Group("ungrouped")}
        self.hosts: dict[str, DeclaredHost] = {}
        self._problems = problems
        self._places = 0
        self._ports: dict[tuple[int, str], MapNode] = {}
        self._adopt(self.groups["all"], "ungrouped")

    def add_file(self, root: Node | None, file: str) -> None:
        """Takes one inventory file's groups."""
        if is_null(root):
            self._problems.error("this inventory is empty", Place(file), "write groups with hosts, such as `all: {hosts: {gpu-a: {}}}`")
            return
        if not isinstance(root, MapNode):
            assert root is not None
            hint = (
                f"begin with `all:`; or, if it is another form of inventory, {IN_YAML}"
                if isinstance(root, ScalarNode)
                else "begin with `all:`"
            )
            self._problems.error(f"an inventory is a mapping of groups, this is {kind_of(root)}", root, hint)
            return
        if _is_listing(root):
            what = "this is the JSON that a program prints as its inventory, such as `ansible-inventory --list`, and no inventory in YAML"
            self._problems.error(what, root, "print it in YAML: `ansible-inventory -i FILE --list --yaml > hosts.yaml`")
            return
        if not is_null(root.get("plugin")):
            self._problems.error(
                "this is the configuration of an Ansible inventory plugin, not an inventory",
                root.key("plugin"),
                "write the hosts out: `ansible-inventory --list --yaml` does it",
            )
            return
        for _, (key, value) in root.entries.items():
            if is_null(value) or isinstance(value, MapNode):
                self._group(key, value)
            else:
                what = f"{key.text!r} is skipped, as Ansible does: a group is a mapping, this is {what_is(value)}"
                self._problems.warn(what, key, "give it hosts, vars or children")

    def link(self) -> None:
        """Puts groups without a parent below `all` and hosts without a group into `ungrouped`, and measures depths."""
        for group in list(self.groups.values()):
            if group.name != "all" and not group.parents:
                self._adopt(self.groups["all"], group.name)
        ungrouped = self.groups["ungrouped"]
        for host in self.hosts.values():
            if "ungrouped" in host.groups:
                if host.groups - {"all", "ungrouped"}:
                    host.groups.discard("ungrouped")
                    ungrouped.hosts.pop(host.name, None)
            elif not host.groups - {"all"}:
                if host.name in self.groups:
                    what = f"host {host.name!r} is in no group and has the name of one, which Ansible takes for the group"
                    self._problems.error(what, host.place, "give the host or the group another name, or put the host into a group")
                host.groups.add("ungrouped")
                ungrouped.hosts[host.name] = None
        self._measure_depths()

    def chain(self, names: Iterable[str]) -> list[Group]:
        """The given groups and all above them, in the order of precedence."""
        seen: dict[str, None] = dict.fromkeys(names)
        stack = list(seen)
        while stack:
            for parent in self.groups[stack.pop()].parents:
                if parent not in seen:
                    seen[parent] = None
                    stack.append(parent)
        return sorted((self.groups[name] for name in seen), key=lambda group: group.order)

    def below(self, name: str) -> Iterator[Group]:
        """The group and all groups below it, nearer ones first."""
        seen = {name}
        queue = deque([name])
        while queue:
            group = self.groups[queue.popleft()]
            yield group
            for child in group.children:
                if child not in seen:
                    seen.add(child)
                    queue.append(child)

    def hosts_of(self, name: str) -> dict[str, None]:
        """The hosts of a group and the groups below it, in Ansible's order (that of `group[0:3]`)."""
        found: dict[str, None] = {}
        for group in self.below(name):
            found.update(group.hosts)
        return found

    def _group(self, key: ScalarNode, value: Node) -> str | None:
        name = key.value
        if not isinstance(name, str) or not name.strip():
            self._problems.error(f"a group's name must be text, this is {key.text!r}", key, "quote it")
            return None
        if not name.isprintable():
            self._problems.error(f"the group name {name!r} holds control characters", key, "name it with printable characters")
            return None
        if not is_null(value) and not isinstance(value, MapNode):
            self._problems.error(f"group {name!r} must be a mapping, this is {what_is(value)}", value, "give it hosts, vars or children")
            return None
        group = self.groups.setdefault(name, Group(name, key.place))
        if group.place is None:
            group.place = key.place
        if isinstance(value, MapNode):
            self._sections(group, value)
        return name

    def _sections(self, group: Group, value: MapNode) -> None:
        for name, (key, section) in value.entries.items():
            if name not in _SECTIONS:
                self._problems.warn(
                    f"key {key.text!r} of group {group.name!r} is skipped, as Ansible does", key, did_you_mean(key.text, _SECTIONS)
                )
                continue
            if is_null(section):
                continue
            if isinstance(section, ScalarNode) and isinstance(section.value, str):
                empty = ScalarNode(section.file, section.line, section.column, None, "")
                section = MapNode(section.file, section.line, section.column, {section.value: (section, empty)})
            if not isinstance(section, MapNode):
                hint = "write each name with a colon behind it"
                if isinstance(section, ListNode) and name != "vars":
                    hint += f"; or, if a program printed this, {IN_YAML}"
                self._problems.error(f"{name!r} of group {group.name!r} must be a mapping, this is {what_is(section)}", section, hint)
            elif name == "vars":
                self._vars(group, section)
            elif name == "children":
                self._children(group, section)
            else:
                self._hosts(group, section)

    def _vars(self, group: Group, section: MapNode) -> None:
        entry = section.entries.get(_PRIORITY)
        if entry is not None:
            value = entry[1].value if isinstance(entry[1], ScalarNode) else None
            try:
                group.priority = int(value)  # type: ignore[call-overload]
            except (TypeError, ValueError):
                self._problems.error(f"{_PRIORITY} must be an integer, this is {what_is(entry[1])}", entry[1], "write a number such as 10")
            kept = {name: item for name, item in section.entries.items() if name != _PRIORITY}
            section = MapNode(section.file, section.line, section.column, kept)
        group.variables.append(section)

    def _children(self, group: Group, section: MapNode) -> None:
        for _, (key, value) in section.entries.items():
            name = self._group(key, value)
            if name is None:
                continue
            if (name == _UNGROUPED and group.name != "all") or group.name == _UNGROUPED:
                what = "'ungrouped' stands directly below 'all' and has no children: Ansible loses hosts where it does not"
                self._problems.error(what, key, "give the group another name")
                continue
            above = {one.name for one in self.chain([group.name])}
            if len(above) > MOST_ABOVE:
                self._problems.error(f"more than {MOST_ABOVE} groups are above {name!r}", key, "write the groups flatter")
                return
            if name == "all" or name in above:
                self._problems.error(
                    f"group {name!r} cannot be below {group.name!r}: it is above it", key, "remove one of the two relations"
                )
                continue
            self._adopt(group, name)

    def _hosts(self, group: Group, section: MapNode) -> None:
        for pattern, (key, value) in section.entries.items():
            if self._places == MOST_PLACES:
                return
            if not isinstance(pattern, str):
                self._problems.error(f"a host's name must be text, this is {key.text!r}", key, "quote it")
                continue
            if not _is_empty(value) and not isinstance(value, MapNode):
                self._problems.error(
                    f"host {pattern!r} must be a mapping of variables, this is {what_is(value)}", value, "write variables as `name: value`"
                )
                continue
            name, port = split_port(pattern)
            try:
                names = expand(name)
            except ValueError as error:
                self._problems.error(str(error), key, "write a range such as gpu[01:32]")
                continue
            self._places = min(self._places + len(names), MOST_PLACES)
            if self._places == MOST_PLACES:
                self._problems.error(f"this inventory names hosts {MOST_PLACES} times and more", Place(key.file), "name groups in groups")
                return
            self._declare(group, names, key, value if isinstance(value, MapNode) else None, port)

    def _declare(self, group: Group, names: list[str], key: ScalarNode, value: MapNode | None, port: int | None) -> None:
        """Puts hosts into a group. A port counts where a host is first named; variables beside a host that has the name of a group are
        that group's. Both are Ansible's ways (inventory/data.py, add_host and set_variable)."""
        place = key.place
        for name in names:
            host = self.hosts.get(name)
            if host is None:
                if len(self.hosts) >= MOST_HOSTS:
                    hint = "split it into inventories of a fleet each"
                    self._problems.error(f"this inventory has more than {MOST_HOSTS} hosts", Place(key.file), hint)
                    self._places = MOST_PLACES  # no more of them are read
                    return
                if not name or not name.isprintable() or "/" in name or "@" in name or " " in name:
                    self._problems.error(
                        f"the host name {name!r} cannot be used: it is empty or holds a control character, a space, '/' or '@'",
                        key,
                        "give the host a plain name and its address as `address` or `ansible_host`",
                    )
                    return
                host = self.hosts[name] = DeclaredHost(name, place)
                if port:
                    host.variables.append(self._port(key, port))
            host.groups.add(group.name)
            group.hosts[name] = None
            namesake = self.groups.get(name)
            if value is None:
                continue
            if namesake is None:
                host.variables.append(value)
            else:
                what = f"{name!r} is a host and a group: the variables here are the group's, as Ansible takes them"
                self._problems.warn(what, key, "give the group another name")
                self._vars(namesake, value)

    def _port(self, key: ScalarNode, port: int) -> MapNode:
        at = (id(key), key.text)
        if at not in self._ports:
            entry = (key, ScalarNode(key.file, key.line, key.column, port, str(port)))
            self._ports[at] = MapNode(key.file, key.line, key.column, {"ansible_port": entry})
        return self._ports[at]

    def _adopt(self, parent: Group, child: str) -> None:
        parent.children[child] = None
        self.groups[child].parents[parent.name] = None

    def _measure_depths(self) -> None:
        waiting = {group.name: len(group.parents) for group in self.groups.values()}
        ready = [name for name, parents in waiting.items() if parents == 0]
        while ready:
            group = self.groups[ready.pop()]
            for name in group.children:
                child = self.groups[name]
                child.depth = max(child.depth, group.depth + 1)
                waiting[name] -= 1
                if waiting[name] == 0:
                    ready.append(name)


def _is_listing(root: MapNode) -> bool:
    """Whether it is what inventory programs print: the variables of all hosts in `_meta`, and groups with lists of hosts."""
    meta = root.get("_meta")
    if isinstance(meta, MapNode) and isinstance(meta.get("hostvars"), MapNode):
        return True
    return bool(root.entries) and all(isinstance(group, ListNode) for _, group in root.entries.values())


def _is_empty(value: Node) -> bool:
    """What Ansible takes for no variables: nothing, an empty text or list, 0 or false."""
    if isinstance(value, ScalarNode):
        return value.tag is None and not value.value
    return not (value.entries if isinstance(value, MapNode) else value.items)
