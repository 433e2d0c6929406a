"""Jinja in values of gpurec's keys: in a sandbox, with the host's variables, compiled once a text, imported only when needed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from reconciler.workspace.inventory import InventoryHost
from reconciler.workspace.problems import Problems, Refused
from reconciler.workspace.tree import ListNode, MapNode, Node, PlainValues, ScalarNode, node_of, scalars

if TYPE_CHECKING:
    from reconciler.rendering.sandbox import Meter, Sandbox

MOST_RENDERED = 100_000
MOST_TEMPLATE = 16_384
MOST_NESTED = 20
_HOSTNAME = re.compile(r"\{\{\s*inventory_hostname\s*\}\}")
_MAGIC = frozenset({"inventory_hostname", "inventory_hostname_short", "group_names"})

_SHORTER = "write the value out, or make it with fewer and smaller loops and variables"

Render = Callable[[Mapping[str, object]], object]


class TooLong(Exception):
    """A template renders to more than MOST_RENDERED characters."""


def is_template(node: Node) -> bool:
    return isinstance(node, ScalarNode) and node.tag is None and isinstance(node.value, str) and ("{{" in node.value or "{%" in node.value)


class Templates:
    """Renders nodes for hosts. `has` tells, remembered for each node of a file, whether a template stands anywhere below it."""

    def __init__(self, problems: Problems, encrypted: Sequence[str] = ()) -> None:
        self._encrypted = encrypted
        self._problems = problems
        self._plain = PlainValues()
        self._has: dict[int, tuple[Node, bool]] = {}
        self._refused: set[str] = set()
        self._compiled: dict[str, tuple[frozenset[str], Render]] = {}
        self._pieces: dict[str, list[str] | None] = {}

    def has(self, node: Node) -> bool:
        kept = self._has.get(id(node))
        if kept is None:
            kept = self._has[id(node)] = (node, any(is_template(value) for value in scalars(node)))
        return kept[1]

    def render(self, node: Node, host: InventoryHost) -> Node:
        """The node with every template below it rendered for the host. Reports and refuses a template that cannot be rendered."""
        return self._render(node, host, ())

    def text(self, node: ScalarNode, host: InventoryHost) -> str:
        """A single template as text; those that only name `inventory_hostname` never start Jinja."""
        template = node.text
        if template not in self._pieces:
            pieces = _HOSTNAME.split(template)
            self._pieces[template] = pieces if not any("{{" in piece or "{%" in piece or "{#" in piece for piece in pieces) else None
        found = self._pieces[template]
        return host.name.join(found) if found is not None else str(self._value(node, host, ()))

    def _render(self, node: Node, host: InventoryHost, within: tuple[str, ...]) -> Node:
        if not self.has(node):
            return node
        if isinstance(node, ScalarNode):
            return node_of(self._value(node, host, within), node)
        if isinstance(node, ListNode):
            return ListNode(node.file, node.line, node.column, self._all(node.items, host, within), node.tag)
        values = self._all([value for _, value in node.entries.values()], host, within)
        entries = {name: (key, value) for (name, (key, _)), value in zip(node.entries.items(), values, strict=True)}
        return MapNode(node.file, node.line, node.column, entries, node.tag)

    def _all(self, values: list[Node], host: InventoryHost, within: tuple[str, ...]) -> list[Node]:
        """All of several values rendered; where some cannot be, all of these are reported before the refusal."""
        found: list[Node] = []
        for value in values:
            try:
                found.append(self._render(value, host, within))
            except Refused:
                continue
        if len(found) < len(values):
            raise Refused
        return found

    def _value(self, node: ScalarNode, host: InventoryHost, within: tuple[str, ...]) -> object:
        from jinja2 import UndefinedError

        from reconciler.rendering.sandbox import TooMuchWork

        template = node.text
        if not within:
            self._meter.begin()
        try:
            self._meter.spend(20)
            names, render = self._template(template, node)
            value = render({name: self._variable(name, node, host, within) for name in names if self._defined(name, host)})
        except UndefinedError as error:
            hint = "define it in the inventory, or give it a value with `| default(…)`"
            if self._encrypted:
                hint += f"; what {', '.join(self._encrypted)} may have of it is encrypted"
            raise self._problems.refuse(
                f"{_quoted(template)} cannot be rendered for host {host.name!r}: {error.message}", node, hint
            ) from None
        except TooMuchWork as error:
            self._refused.add(template)
            raise self._problems.refuse(
                f"{_quoted(template)} cannot be rendered for host {host.name!r}: {error.message}", node, _SHORTER
            ) from None
        except TooLong:
            self._refused.add(template)
            raise self._problems.refuse(f"{_quoted(template)} renders to more than {MOST_RENDERED} characters", node, _SHORTER) from None
        except Refused:
            raise
        except Exception as error:  # noqa: BLE001 (a template can make Jinja, and Python's compiler behind it, throw anything)
            hint = "Jinja's own filters are there, but those for laying out text; Ansible's filters and lookups are not"
            what = f"{_quoted(template)} cannot be rendered for host {host.name!r}: {_reason(error)}"
            raise self._problems.refuse(what, node, hint) from None
        if isinstance(value, str) and len(value) > MOST_RENDERED:
            raise self._problems.refuse(f"{_quoted(template)} renders to more than {MOST_RENDERED} characters", node, _SHORTER)
        return value

    def _defined(self, name: str, host: InventoryHost) -> bool:
        return name in _MAGIC or name in host.profile.variables

    def _variable(self, name: str, at: ScalarNode, host: InventoryHost, within: tuple[str, ...]) -> object:
        if name == "inventory_hostname":
            return host.name
        if name == "inventory_hostname_short":
            return host.name.split(".")[0]
        if name == "group_names":
            return list(host.groups)
        if name in within:
            raise self._problems.refuse(f"the variable {name!r} of host {host.name!r} refers to itself", at, "end the circle of templates")
        if len(within) >= MOST_NESTED:
            what = f"the variable {within[0]!r} of host {host.name!r} needs more than {MOST_NESTED} others, one through the other"
            raise self._problems.refuse(what, at, "write the value where it is needed")
        node = host.profile.variables[name][1]
        if any(value.tag is not None for value in scalars(node)):
            raise self._problems.refuse(
                f"the variable {name!r} is tagged !vault or !unsafe, which gpurec cannot read",
                at,
                "refer to a secret as env:NAME or file:PATH",
            )
        if not self.has(node):
            return self._plain.of(node)
        return PlainValues().of(self._render(node, host, (*within, name)))

    def _template(self, text: str, at: ScalarNode) -> tuple[frozenset[str], Render]:
        if text in self._refused:
            raise Refused
        if len(text) > MOST_TEMPLATE:
            raise self._problems.refuse(f"a template here has {len(text)} characters, the most is {MOST_TEMPLATE}", at, _SHORTER)
        kept = self._compiled.get(text)
        if kept is None:
            kept = self._compiled[text] = _compile(self._environment, text)
        return kept

    @cached_property
    def _environment(self) -> Sandbox:
        from reconciler.rendering.sandbox import Sandbox

        return Sandbox(self._meter)

    @cached_property
    def _meter(self) -> Meter:
        from reconciler.rendering.sandbox import Meter

        return Meter()


def _compile(environment: Sandbox, text: str) -> tuple[frozenset[str], Render]:
    from jinja2 import meta

    names = frozenset(meta.find_undeclared_variables(environment.parse(text))) - frozenset(environment.globals)
    stripped = text.strip()
    if not (stripped.startswith("{{") and stripped.endswith("}}") and stripped.count("{{") == 1 and "{%" not in stripped):
        template = environment.from_string(text)
        return names, lambda variables: _joined(template.generate(variables), environment.meter)
    inner = stripped[2:-2].removeprefix("-").removesuffix("-")
    expression = environment.compile_expression(inner.strip(), undefined_to_none=False)

    def evaluate(variables: Mapping[str, object]) -> object:
        value = expression(**variables)
        environment.meter.weigh(value)
        return _plain(value)

    return names, evaluate


def _plain(value: object) -> object:
    """What an expression gave as plain values, all the way down; raises UndefinedError where a part of it is not defined."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, Iterator)):
        return [_plain(item) for item in value]
    return str(value)


def _joined(pieces: Iterable[str], meter: Meter) -> str:
    found: list[str] = []
    length = 0
    for piece in pieces:
        length += len(piece)
        meter.spend(1)
        if length > MOST_RENDERED:
            raise TooLong
        found.append(piece)
    return "".join(found)


def _quoted(template: str) -> str:
    return repr(template) if len(template) <= 200 else repr(template[:200]) + "…"


def _reason(error: BaseException) -> str:
    """What is wrong, in one line: of Jinja's errors the message alone, without its made-up file names."""
    message = getattr(error, "message", None)
    return " ".join((message if isinstance(message, str) else str(error)).split()) or type(error).__name__
