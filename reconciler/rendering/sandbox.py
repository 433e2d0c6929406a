"""A Jinja environment whose work is counted: no template of a file, however it is written, can hang the reader or fill its memory.

Every operation is paid for *before* it is carried out, in steps that depend on the template and the variables alone (no clock): an item
that is walked over, a node of a loop's body on each round, a call, a hundred characters of text. Nothing is random.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Iterator, KeysView, Mapping, ValuesView
from collections.abc import ItemsView as Items
from typing import Any

from jinja2 import StrictUndefined, nodes
from jinja2.exceptions import SecurityError, TemplateSyntaxError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from reconciler.rendering.secret import Secret, mark_of, refuse_marks

MOST_WORK = 200_000
"""Steps of one rendering, with the variables that it refers to."""
COMMON_WORK = 20_000_000
EACH_ADDS = 2_000
"""All renderings of an inventory share COMMON_WORK steps, to which each adds EACH_ADDS: many hosts may have templates, but not all large
ones."""
MOST_LENGTH = 100_000
"""Characters or items that one operation may make, and characters of a rendered text."""
MOST_BITS = 4096
MOST_PADDING = 1000

_LAYOUT = ("batch", "center", "indent", "pprint", "slice", "urlize", "wordwrap", "xmlattr", "random")
_AT_ONCE = frozenset({"join", "sum"})
_GLOBALS = ("cycler", "joiner", "lipsum")
_WIDE = re.compile(r"%[^%a-zA-Z]*(?:\*|[0-9]{4})")
_PADDING = frozenset({"center", "expandtabs", "ljust", "rjust", "zfill"})


class TooMuchWork(SecurityError):
    """The budget of a rendering is spent, or one operation alone would be too large."""


class Meter:
    """What renderings have left. `begin` opens the budget of one."""

    def __init__(self, work: int = MOST_WORK, length: int = MOST_LENGTH) -> None:
        self._work, self._length = work, length
        self._in_all = max(COMMON_WORK, work)
        self._left = work

    def renew(self) -> None:
        """Opens the budget of one rendering that shares none with others."""
        self._left = self._work
        self._in_all = max(COMMON_WORK, self._work)

    def begin(self) -> None:
        self._left = self._work
        self._in_all += EACH_ADDS

    def spend(self, steps: int) -> None:
        """Takes steps off the budget; raises TooMuchWork where there are not so many left."""
        self._left -= steps
        self._in_all -= steps
        if self._left < 0:
            raise TooMuchWork(f"this takes more than {self._work} steps")
        if self._in_all < 0:
            raise TooMuchWork(f"the templates of this workspace take too many steps together, more than {EACH_ADDS} each")

    def grow(self, length: int) -> None:
        """Pays for an operation that makes `length` characters or items."""
        if length > self._length:
            raise TooMuchWork(f"this would make something too large: more than {self._length} characters or items")
        self.spend(length // 100)

    def weigh(self, value: object) -> None:
        """Pays for walking all of a value, shared parts as often as a walk meets them."""
        if isinstance(value, str):
            self.spend(1 + len(value) // 100)
        elif isinstance(value, Mapping):
            self.spend(1)
            for key, item in value.items():
                self.weigh(key)
                self.weigh(item)
        elif isinstance(value, range):
            self.spend(1 + len(value))
        elif isinstance(value, (list, tuple, set, frozenset, KeysView, ValuesView, Items)):
            self.spend(1)
            for item in value:
                self.weigh(item)
        elif isinstance(value, Namespace):
            self.weigh(value._Namespace__attrs)
        else:
            self.spend(1)

    def counted(self, items: Iterable[object], each: int = 1) -> Iterator[object]:
        """The items, paid for one by one."""
        for item in items:
            self.spend(each)
            yield item


class Sandbox(ImmutableSandboxedEnvironment):
    """Jinja's sandbox over a meter. Filters that lay out text are left out; the growing operations are bounded."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self, meter: Meter) -> None:
        super().__init__(undefined=StrictUndefined, keep_trailing_newline=True, finalize=self._output)
        self.meter = meter
        for name in _LAYOUT:
            self.filters.pop(name, None)
        for name in _GLOBALS:
            self.globals.pop(name, None)
        self.filters = {name: self._metered(name, function) for name, function in self.filters.items()}
        self.tests = {name: self._metered(name, function) for name, function in self.tests.items()}
        self.filters["_counted"] = meter.counted
        self.filters["_weighed"] = self._weighed
        self.filters["_concatenated"] = self._concatenated

    def call(self, context: Context, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        owner, name = getattr(function, "__self__", None), getattr(function, "__name__", "")
        if isinstance(owner, (int, float, bytes)):
            raise SecurityError("numbers have no methods here")
        if isinstance(owner, str):
            args = tuple(list(value) if hasattr(value, "__next__") else value for value in args)
        for value in (owner, *args, *kwargs.values()):
            self.meter.weigh(value)
        if isinstance(owner, str):
            self._check_method(owner, name, args)
        return super().call(context, function, *args, **kwargs)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        if super().wrap_str_format(value) is not None:
            raise SecurityError("str.format is not there: use the filter, as in 'gpu%02d' | format(n)")
        return None

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        bits = [side.bit_length() for side in (left, right) if isinstance(side, int)]
        if isinstance(left, str) and operator == "%":
            self._check_format(left, right)
        elif operator == "+" and not bits:
            self.meter.grow(_length(left) + _length(right))
        elif operator == "*" and len(bits) == 1:
            self.meter.grow(abs(left) * _length(right) if isinstance(left, int) else _length(left) * abs(right))
        elif len(bits) == 2 and (sum(bits) if operator == "*" else bits[0] * max(right, 0) if operator == "**" else 0) > MOST_BITS:
            raise TooMuchWork(f"this would make something too large: a number of more than {MOST_BITS} bits")
        return super().call_binop(context, operator, left, right)

    def _generate(self, source: nodes.Template, name: str | None, filename: str | None, defer_init: bool = False) -> str:
        _meter_nodes(source)
        return super()._generate(source, name, filename, defer_init)

    def _metered(self, name: str, function: Any) -> Callable[..., Any]:
        @functools.wraps(function)
        def metered(*args: Any, **kwargs: Any) -> Any:
            args = tuple(list(value) if hasattr(value, "__next__") and name in _AT_ONCE else value for value in args)
            for value in (*args, *kwargs.values()):
                self.meter.weigh(value)
                if isinstance(value, str):
                    refuse_marks(value)
            self._check_filter(name, [value for value in args if not isinstance(value, (Context, Sandbox, nodes.EvalContext))], kwargs)
            result = function(*args, **kwargs)
            return self.meter.counted(result) if hasattr(result, "__next__") else result

        return metered

    def _check_filter(self, name: str, args: list[Any], kwargs: Mapping[str, Any]) -> None:
        if name == "replace":
            self._check_replace(str(args[0]), args[1:] or list(kwargs.values()))
        elif name == "join" and args:
            separator = args[1] if len(args) > 1 else kwargs.get("d", "")
            self.meter.grow(len(str(separator)) * _length(args[0]))
        elif name == "sum" and args:
            self.meter.spend(_length(args[0]) ** 2 // 200 if "start" in kwargs or len(args) > 2 else 0)
        elif name == "format" and args:
            self._check_format(str(args[0]), (*args[1:], *kwargs.values()))
        elif name in ("round", "tojson") and any(isinstance(value, int) and abs(value) > 100 for value in (*args[1:], *kwargs.values())):
            raise TooMuchWork(f"this would make something too large: {name} with more than 100")

    def _check_method(self, owner: str, name: str, args: tuple[Any, ...]) -> None:
        if name in _PADDING and any(isinstance(value, int) and value > MOST_PADDING for value in args):
            raise TooMuchWork(f"this would make something too large: {name} to more than {MOST_PADDING}")
        if name == "replace":
            self._check_replace(owner, list(args))
        elif name == "join" and args:
            self.meter.grow(len(owner) * _length(args[0]))
        elif name in ("expandtabs", "translate"):
            raise SecurityError(f"str.{name} is not there")

    def _check_replace(self, text: str, args: list[Any]) -> None:
        if len(args) >= 2:
            self.meter.grow(len(text) + (text.count(str(args[0])) if args[0] else len(text) + 1) * len(str(args[1])))

    def _check_format(self, text: str, values: object) -> None:
        if _WIDE.search(text):
            raise TooMuchWork(f"this would make something too large: a format wider than {MOST_PADDING}")
        self.meter.weigh(values)
        longest = max((len(str(value)) for value in (values if isinstance(values, tuple) else (values,))), default=0)
        self.meter.grow(len(text) + text.count("%") * (MOST_PADDING // 10 + longest))

    def _output(self, value: object) -> object:
        self.meter.weigh(value)
        if isinstance(value, Secret):
            return mark_of(value)
        if isinstance(value, str):
            refuse_marks(value)
        return value

    def _weighed(self, value: object) -> object:
        self.meter.weigh(value)
        return value

    def _concatenated(self, values: list[object]) -> str:
        self.meter.weigh(values)
        pieces = [str(value) for value in values]
        self.meter.grow(sum(map(len, pieces)))
        return "".join(pieces)


def _length(value: object) -> int:
    return len(value) if isinstance(value, (str, list, tuple, range, Mapping, bytes)) else 1


def _meter_nodes(node: nodes.Node) -> None:
    """Puts the counting filters into a template: around what is looped over, compared, hashed, sliced and put together."""
    for name, value in list(node.iter_fields()):
        if isinstance(value, list):
            setattr(node, name, [_metered_node(item) if isinstance(item, nodes.Node) else item for item in value])
        elif isinstance(value, nodes.Node):
            setattr(node, name, _metered_node(value))


def _metered_node(node: nodes.Node) -> nodes.Node:
    weight = _weight(node.body) if isinstance(node, nodes.For) else 0
    _meter_nodes(node)
    if isinstance(node, nodes.For):
        if node.recursive:
            raise TemplateSyntaxError("a recursive loop is not there", node.lineno)
        node.iter = _filter(node.iter, "_counted", nodes.Const(weight))
    elif isinstance(node, (nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)):
        raise TemplateSyntaxError("include, import and extends are not there: a template is one file", node.lineno)
    elif isinstance(node, nodes.Compare):
        node.expr = _filter(node.expr, "_weighed")
        for operand in node.ops:
            operand.expr = _filter(operand.expr, "_weighed")
    elif isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Slice):
        node.node = _filter(node.node, "_weighed")
    elif isinstance(node, nodes.Getitem) and not isinstance(node.arg, nodes.Const):
        node.arg = _filter(node.arg, "_weighed")  # to be looked up, it is hashed: all of it, shared parts again and again
    elif isinstance(node, nodes.Dict):
        for pair in node.items:
            pair.key = _filter(pair.key, "_weighed")
    elif isinstance(node, nodes.Concat):
        return _filter(nodes.List(node.nodes, lineno=node.lineno), "_concatenated")
    return node


def _filter(node: Any, name: str, *args: nodes.Expr) -> nodes.Filter:
    return nodes.Filter(node, name, list(args), [], None, None, lineno=node.lineno)


def _weight(body: Iterable[nodes.Node]) -> int:
    """The steps of one round of a loop: its nodes, and its own text by hundreds of characters."""
    found = 1
    for node in body:
        found += 1 + (len(node.data) // 100 if isinstance(node, nodes.TemplateData) else 0)
        found += _weight(node.iter_child_nodes()) - 1
    return found
