"""The values of the domain: data classes that nobody changes.

What `@dataclass(frozen=True, slots=True)` makes, for a tenth of the time that a class takes to be defined and a seventh of what a value
takes to be made: a command defines some 350 of these classes before it does anything and makes values of a third of them, and a plan makes
millions of values. The type checker holds that no field is set again; at run time nothing does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, Field, dataclass, field, fields
from operator import attrgetter
from typing import Any, TypeVar, dataclass_transform, overload

T = TypeVar("T")


@overload
def value_class(cls: type[T], /) -> type[T]: ...


@overload
def value_class(*, kw_only: bool = ...) -> Callable[[type[T]], type[T]]: ...


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def value_class(cls: type[T] | None = None, /, *, kw_only: bool = False) -> type[T] | Callable[[type[T]], type[T]]:
    """A data class with slots, equal by its fields, and hashed by them unless it says how."""
    if cls is None:
        return lambda of: _made(of, kw_only)
    return _made(cls, kw_only)


def _made(cls: type[T], kw_only: bool) -> type[T]:
    own = vars(cls)
    own_equality, own_hash = "__eq__" in own, "__hash__" in own
    cls.__doc__ = cls.__doc__ or cls.__name__  # dataclass would write a signature there, which takes as long as all else
    made: Any = dataclass(slots=True, init=False, repr=False, eq=False, kw_only=kw_only)(cls)
    every = fields(made)
    made.__init__ = _init_on_first_use(made, every)
    made.__repr__ = _repr
    if not own_equality:
        compared = _getter([one.name for one in every if one.compare])

        def equal(self: object, other: object) -> bool:
            return compared(self) == compared(other) if other.__class__ is self.__class__ else NotImplemented

        made.__eq__ = equal
        if not own_hash:
            hashed = _getter([one.name for one in every if (one.compare if one.hash is None else one.hash)])
            made.__hash__ = lambda self: hash(hashed(self))
    return made  # type: ignore[no-any-return]


def _init_on_first_use(made: Any, every: tuple[Field[Any], ...]) -> Callable[..., None]:
    """Its `__init__`, compiled when the first value is made, which takes longer than all else of a class."""

    def init(self: object, *args: object, **named: object) -> None:
        made.__init__ = _init(every)
        made.__init__(self, *args, **named)

    return init


def _init(every: tuple[Field[Any], ...]) -> Any:
    """What sets the fields, in their order; those by keyword alone come last."""
    known: dict[str, Any] = {"MISSING": MISSING}
    parameters: dict[bool, list[str]] = {False: ["self"], True: ["*"]}
    lines = []
    for one in every:
        name = value = one.name
        default = ""
        if one.default_factory is not MISSING:
            known[f"make_{name}"] = one.default_factory
            default, value = " = MISSING", f"make_{name}() if {name} is MISSING else {name}" if one.init else f"make_{name}()"
        elif one.default is not MISSING:
            known[f"default_{name}"] = one.default
            default, value = f" = default_{name}", name if one.init else f"default_{name}"
        if one.init:
            parameters[bool(one.kw_only)].append(name + default)
        if one.init or default:
            lines.append(f"    self.{name} = {value}\n")
    taken = parameters[False] + (parameters[True] if len(parameters[True]) > 1 else [])
    exec(f"def __init__({', '.join(taken)}):\n{''.join(lines) or '    pass'}", known)  # noqa: S102  as dataclasses do
    return known["__init__"]


def _getter(names: list[str]) -> Callable[[object], object]:
    if len(names) > 1:
        return attrgetter(*names)
    return lambda self: tuple([getattr(self, name) for name in names])


def _repr(self: Any) -> str:
    shown = ", ".join(f"{one.name}={getattr(self, one.name)!r}" for one in fields(self) if one.repr)
    return f"{type(self).__qualname__}({shown})"
