"""Answers of engines by their shapes: read by msgspec, which a loop has anyway. With pydantic it would hold a fifth more memory."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any, TypeVar, dataclass_transform, get_type_hints

import msgspec
from msgspec import Meta

from reconciler.engines.answers import MANY, MOST_BYTES, MOST_TOKENS, another_shape, check_count, not_json
from reconciler.value_class import value_class

Shape = TypeVar("Shape")


@value_class
class OrUnknown:
    """Marks a field that an answer can do without: what is not of its type or out of its range is None, and the rest of the answer stands.

    The one door for numbers: beyond it none is out of the range that its name says, so nothing that keeps or adds them up has to ask.
    """


Name = Annotated[str, Meta(min_length=1)]
"""A name as a server gives it, before `clean_name`."""
Word = Annotated[str | None, OrUnknown()]
"""A text that a server may leave out."""
Words = Annotated[list[str] | None, OrUnknown()]
Flag = Annotated[bool | None, OrUnknown()]
Bytes = Annotated[Annotated[int, Meta(ge=0, lt=MOST_BYTES)] | None, OrUnknown()]
Tokens = Annotated[Annotated[int, Meta(ge=1, le=MOST_TOKENS)] | None, OrUnknown()]
"""A context. Servers say 0 where they have none."""
Count = Annotated[Annotated[int, Meta(ge=0, le=1_000_000)] | None, OrUnknown()]
Seconds = Annotated[Annotated[int, Meta(ge=-1, le=1 << 40)] | None, OrUnknown()]
Rate = Annotated[Annotated[float, Meta(gt=0, le=1e9)] | None, OrUnknown()]


@dataclass_transform(frozen_default=True)
def answered(cls: type[Shape]) -> type[Shape]:
    """A shape, of the fields of a class: unknown keys are ignored (servers grow), known ones must have their type."""
    hints = get_type_hints(cls, vars(sys.modules[cls.__module__]), include_extras=True)
    lenient = {name: hint.__origin__ for name, hint in hints.items() if OrUnknown() in getattr(hint, "__metadata__", ())}
    own = {name: value for name, value in vars(cls).items() if name not in (*hints, "__dict__", "__weakref__", "__annotations__")}
    fields = [(name, Any if name in lenient else hint, vars(cls).get(name, msgspec.NODEFAULT)) for name, hint in hints.items()]

    def each_or_unknown(self: msgspec.Struct) -> None:
        for name, hint in lenient.items():
            found = getattr(self, name)
            if found is not None:
                msgspec.structs.force_setattr(self, name, _or_none(found, hint))

    made: Any = msgspec.defstruct(cls.__name__, fields, namespace=own | {"__post_init__": each_or_unknown}, frozen=True, kw_only=True)
    return made  # type: ignore[no-any-return]  # it has just the fields of cls


def _or_none(found: object, hint: Any) -> object:
    try:
        return msgspec.convert(found, hint)
    except (msgspec.ValidationError, RecursionError):
        return None


def read_shape(decoder: msgspec.json.Decoder[Shape], body: bytes, url: str, most: int = MANY) -> Shape:
    """The answer in its shape. Raises Unreachable `not_its_protocol`, naming the first field that is wrong, and `too_large` for one of more
    than `most` values: a reader of JSON takes many times the bytes of small values."""
    check_count(body, url, most)
    try:
        return decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        document = _with_any_number(body, url)
    try:
        found: Shape = msgspec.convert(document, decoder.type)
    except msgspec.ValidationError as error:
        raise another_shape(url, _what_is_wrong(str(error))) from None
    return found


def _with_any_number(body: bytes, url: str) -> object:
    """JSON with the numbers that are none (`NaN`, `1e999`), as some servers write it: what has one is unknown, and the rest stands."""
    try:
        document: object = json.loads(body.decode())
        json.dumps(document, ensure_ascii=False).encode()  # no half of a character
    except (ValueError, RecursionError):
        raise not_json(body, url) from None
    return document


_MUST_BE = {"str": "text", "int": "a whole number", "float": "a number", "bool": "true or false", "array": "a list", "object": "a mapping"}


def _what_is_wrong(said: str) -> str:
    """What msgspec says, as a path and what must stand there: `Expected \\`str\\`, got \\`int\\` - at \\`$.models[0].name\\``."""
    what, _, place = said.partition(" - at `")
    path = place.rstrip("`").replace("[", ".").replace("]", "").removeprefix("$").lstrip(".")
    form, _, rest = what.partition("`")
    named = rest.partition("`")[0]
    if form.startswith("Object missing required field"):
        return f"{'.'.join(filter(None, (path, named)))} is missing"
    expected = named.partition(" ")[0]
    if " of length " in what:
        words = f"holds too {'few' if '>=' in what else 'many'} values" if "`array`" in what else "is empty"
    elif form == "Expected " and expected in _MUST_BE and ", got " in what:
        words = f"must be {_MUST_BE[expected]}"
    else:
        words = "is a number that nothing has" if "out of range" in what else "is not of its form"
    return f"{path or 'it'} {words}"
