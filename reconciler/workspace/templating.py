"""Jinja in values of gpurec's keys: in a sandbox, with the host's variables, compiled once a text, imported only when needed."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from reconciler.workspace.inventory import Host
from reconciler.workspace.problems import Problems
from reconciler.workspace.tree import ListNode, MapNode, Node, PlainValues, ScalarNode, node_of, scalars

if TYPE_CHECKING:
    from jinja2.sandbox import SandboxedEnvironment

MOST_RENDERED = 1_000_000
MOST_NESTED = 20
_HOSTNAME = re.compile(r"\{\{\s*inventory_hostname\s*\}\}")
_MAGIC = frozenset({"inventory_hostname", "inventory_hostname_short", "group_names"})

Render = Callable[[Mapping[str, object]], object]


def is_template(node: Node) -> bool:
    return isinstance(node, ScalarNode) and node.tag is None and isinstance(node.value, str) and ("{{" in node.value or "{%" in node.value)


class Templates:
    """Renders nodes for hosts. `has` tells, remembered for each node of a file, whether a template stands anywhere below it."""

    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self._plain = PlainValues()
        self._has: dict[int, tuple[Node, bool]] = {}
        self._compiled: dict[str, tuple[frozenset[str], Render]] = {}
        self._pieces: dict[str, list[str] | None] = {}

    def has(self, node: Node) -> bool:
        kept = self._has.get(id(node))
        if kept is None:
            kept = self._has[id(node)] = (node, any(is_template(value) for value in scalars(node)))
        return kept[1]

    def render(self, node: Node, host: Host) -> Node:
        """The node with every template below it rendered for the host. Reports and refuses a template that cannot be rendered."""
        return self._render(node, host, ())

    def text(self, node: ScalarNode, host: Host) -> str:
        """A single template as text; those that only name `inventory_hostname` never start Jinja."""
        template = node.text
        if template not in self._pieces:
            pieces = _HOSTNAME.split(template)
            self._pieces[template] = pieces if not any("{{" in piece or "{%" in piece or "{#" in piece for piece in pieces) else None
        found = self._pieces[template]
        return host.name.join(found) if found is not None else str(self._value(node, host, ()))

    def _render(self, node: Node, host: Host, within: tuple[str, ...]) -> Node:
        if not self.has(node):
            return node
        if isinstance(node, ScalarNode):
            return node_of(self._value(node, host, within), node)
        if isinstance(node, ListNode):
            return ListNode(node.file, node.line, node.column, [self._render(item, host, within) for item in node.items], node.tag)
        entries = {name: (key, self._render(value, host, within)) for name, (key, value) in node.entries.items()}
        return MapNode(node.file, node.line, node.column, entries, node.tag)

    def _value(self, node: ScalarNode, host: Host, within: tuple[str, ...]) -> object:
        from jinja2 import TemplateError, UndefinedError

        try:
            names, render = self._template(node.text)
            value = render({name: self._variable(name, node, host, within) for name in names if self._defined(name, host)})
        except UndefinedError as error:
            hint = "define it in the inventory, or give it a value with `| default(…)`"
            raise self._problems.refuse(f"{node.text!r} cannot be rendered for host {host.name!r}: {error.message}", node, hint) from None
        except (TemplateError, ArithmeticError, TypeError, ValueError, LookupError, AttributeError, RecursionError, MemoryError) as error:
            hint = "Jinja's own filters are there; Ansible's filters and lookups are not"
            what = f"{node.text!r} cannot be rendered for host {host.name!r}: {' '.join(str(error).split()) or type(error).__name__}"
            raise self._problems.refuse(what, node, hint) from None
        if isinstance(value, str) and len(value) > MOST_RENDERED:
            raise self._problems.refuse(f"{node.text!r} renders to more than {MOST_RENDERED} characters", node, "write it shorter")
        return value

    def _defined(self, name: str, host: Host) -> bool:
        return name in _MAGIC or name in host.profile.variables

    def _variable(self, name: str, at: ScalarNode, host: Host, within: tuple[str, ...]) -> object:
        if name == "inventory_hostname":
            return host.name
        if name == "inventory_hostname_short":
            return host.name.split(".")[0]
        if name == "group_names":
            return list(host.groups)
        if name in within or len(within) >= MOST_NESTED:
            raise self._problems.refuse(f"the variable {name!r} of host {host.name!r} refers to itself", at, "end the circle of templates")
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

    def _template(self, text: str) -> tuple[frozenset[str], Render]:
        kept = self._compiled.get(text)
        if kept is None:
            kept = self._compiled[text] = _compile(self._environment, text)
        return kept

    @cached_property
    def _environment(self) -> SandboxedEnvironment:
        from jinja2 import StrictUndefined
        from jinja2.exceptions import SecurityError
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        class Bounded(ImmutableSandboxedEnvironment):
            """A sandbox in which no single operation makes something huge, and nothing is random."""

            intercepted_binops = frozenset({"*", "**"})

            def call_binop(self, context: object, operator: str, left: object, right: object) -> object:
                sizes = [
                    len(side) if isinstance(side, (str, list, tuple)) else abs(side)
                    for side in (left, right)
                    if isinstance(side, (str, list, tuple, int, float))
                ]
                if (operator == "**" and (max(sizes, default=0) > 1024)) or (
                    any(isinstance(side, (str, list, tuple)) for side in (left, right))
                    and sizes
                    and max(sizes) * max(1, min(sizes)) > MOST_RENDERED
                ):
                    raise SecurityError(f"{operator} would make something too large")
                return super().call_binop(context, operator, left, right)  # type: ignore[arg-type]

        environment = Bounded(undefined=StrictUndefined, keep_trailing_newline=True)
        environment.globals.pop("lipsum", None)
        environment.filters.pop("random", None)
        return environment


def _would_be_huge(operator: str, left: object, right: object) -> bool:
    sizes = [
        len(side) if isinstance(side, (str, list, tuple)) else abs(side)
        for side in (left, right)
        if isinstance(side, (str, list, tuple, int, float))
    ]
    if len(sizes) < 2:
        return False
    if operator == "**":
        return max(sizes) > 1024
    repeats = isinstance(left, (str, list, tuple)) or isinstance(right, (str, list, tuple))
    return (repeats and sizes[0] * sizes[1] > MOST_RENDERED) or max(sizes) > 10**100


def _compile(environment: SandboxedEnvironment, text: str) -> tuple[frozenset[str], Render]:
    from jinja2 import Undefined, meta

    names = frozenset(meta.find_undeclared_variables(environment.parse(text))) - frozenset(environment.globals)
    stripped = text.strip()
    if not (stripped.startswith("{{") and stripped.endswith("}}") and stripped.count("{{") == 1 and "{%" not in stripped):
        template = environment.from_string(text)
        return names, lambda variables: template.render(variables)
    inner = stripped[2:-2].removeprefix("-").removesuffix("-")
    expression = environment.compile_expression(inner.strip(), undefined_to_none=False)

    def evaluate(variables: Mapping[str, object]) -> object:
        value = expression(**variables)
        if isinstance(value, Undefined):
            str(value)
        if value is not None and not isinstance(value, (str, int, float, dict, list, tuple)):
            return str(value) if not hasattr(value, "__next__") else list(value)
        return value

    return names, evaluate
