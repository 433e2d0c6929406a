"""What an inventory program prints for `--list`, as the groups of Ansible's YAML form.

Source: docs.ansible.com, "Developing dynamic inventory", and the plugin `script` of ansible-core: a group is a mapping with `hosts` (a
list), `vars` and `children` (a list), or just the list of its hosts; `_meta.hostvars` has the variables of each host.
"""

from __future__ import annotations

from collections.abc import Hashable

from reconciler.fleet import Place
from reconciler.workspace.addresses import split_port
from reconciler.workspace.problems import Problems
from reconciler.workspace.tree import ListNode, MapNode, Node, ScalarNode, is_null, what_is

_META, _HOSTVARS = "_meta", "hostvars"
_PARTS = ("hosts", "vars", "children")
_MISSING = 'print also `"_meta": {"hostvars": {HOST: {…}}}`, empty where hosts have none'


def groups_of(listing: Node | None, file: str, problems: Problems) -> MapNode | None:
    """The groups with their hosts and variables; None where it was reported that they cannot be read. `file` names the program."""
    if not isinstance(listing, MapNode):
        found = "nothing" if listing is None or is_null(listing) else what_is(listing)
        problems.error(
            f"an inventory program prints a JSON mapping of groups for --list, this is {found}", listing or Place(file), _MISSING
        )
        return None
    meta = listing.get(_META)
    variables = meta.get(_HOSTVARS) if isinstance(meta, MapNode) else None
    if not isinstance(variables, MapNode):
        where = listing.key(_META) or listing
        problems.error(
            "this inventory program prints no `_meta` with `hostvars`, so the variables of its hosts are not known", where, _MISSING
        )
        return None
    groups = MapNode(listing.file, listing.line, listing.column)
    hosts = _Hosts(variables, problems)
    for word, (key, value) in listing.entries.items():
        if word != _META:
            groups.entries[word] = (key, _group(key, value, hosts, problems))
    return groups


class _Hosts:
    """The variables of hosts, each given away once: a host is in many groups, and has its variables of none of them."""

    def __init__(self, variables: MapNode, problems: Problems) -> None:
        self._left = dict(variables.entries)
        self._problems = problems

    def named(self, names: ListNode) -> MapNode:
        """The hosts of a list with their variables."""
        found = MapNode(names.file, names.line, names.column)
        for item in names.items:
            if not isinstance(item, ScalarNode) or not isinstance(item.value, str):
                self._problems.error(f"the name of a host is text, this is {what_is(item)}", item, "quote it")
            elif "[" in item.text or split_port(item.text)[1] is not None:
                what = f"{item.text!r} is no name of a host: a program prints each host by itself, and a port as `ansible_port`"
                self._problems.error(what, item, "print the name alone")
            else:
                found.entries[item.value] = (item, self._of(item))
        return found

    def _of(self, host: ScalarNode) -> Node:
        _, variables = self._left.pop(host.text, (None, None))
        if variables is not None and not isinstance(variables, MapNode) and not is_null(variables):
            self._problems.error(
                f"the variables of host {host.text!r} must be a mapping, this is {what_is(variables)}", variables, "write {}"
            )
        return variables if isinstance(variables, MapNode) else _nothing(host)


def _group(key: ScalarNode, value: Node, hosts: _Hosts, problems: Problems) -> Node:
    """A group in the YAML form. What is neither a list nor a mapping stays, and is skipped with a warning as in a file."""
    if isinstance(value, ListNode):
        value = _with(value, {"hosts": (_word("hosts", value), value)})
    if not isinstance(value, MapNode):
        return value
    if not any(part in value.entries for part in _PARTS):  # Ansible: a host of the name of the group, and its variables
        alone = ListNode(value.file, value.line, value.column, [key])
        value = _with(value, {"hosts": (_word("hosts", value), alone), "vars": (_word("vars", value), value)})
    found = _with(value, {})
    for word, (part, content) in value.entries.items():
        if word in ("hosts", "children") and not isinstance(content, ListNode) and not is_null(content):
            problems.error(f"`{word}` of group {key.text!r} must be a list, this is {what_is(content)}", content, "print a list of names")
        elif word == "hosts" and isinstance(content, ListNode):
            found.entries[word] = (part, hosts.named(content))
        elif word == "children" and isinstance(content, ListNode):
            below = _with(content, {})
            below.entries |= {item.text: (item, _nothing(item)) for item in content.items if isinstance(item, ScalarNode)}
            found.entries[word] = (part, below)
        elif word in _PARTS:
            found.entries[word] = (part, content)
    return found


def _with(at: Node, entries: dict[Hashable, tuple[ScalarNode, Node]]) -> MapNode:
    return MapNode(at.file, at.line, at.column, entries)


def _word(text: str, at: Node) -> ScalarNode:
    return ScalarNode(at.file, at.line, at.column, text, text)


def _nothing(at: Node) -> ScalarNode:
    return ScalarNode(at.file, at.line, at.column, None, "")
