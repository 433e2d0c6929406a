"""Typed readers for single values: each reports what is wrong at its position, and knows its own JSON Schema."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import date
from enum import StrEnum
from fractions import Fraction
from typing import Generic, TypeVar
from urllib.parse import urlsplit

from reconciler.fleet import MIB, Scalar, SecretRef, UnitError, parse_bytes, parse_capability, parse_duration, parse_ratio, parse_version
from reconciler.value_class import value_class
from reconciler.workspace.problems import Problems, Refused, did_you_mean
from reconciler.workspace.tree import ListNode, MapNode, Node, ScalarNode, what_is

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)
Schema = Mapping[str, object]

MOST_TEXT = 4096
MOST_NAME = 255
MOST_QUANTITY = 40
MOST_BYTES = 2**63 - 1
MOST_SECONDS = 10.0**9
_SECRET_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@value_class
class Form(Generic[T_co]):
    """How one kind of value is written. `read` takes the node, where problems go, and what the value is called; it raises Refused
    after reporting."""

    read: Callable[[Node, Problems, str], T_co]
    schema: Schema


def scalar(node: Node, problems: Problems, name: str, wanted: str, hint: str | None = None) -> ScalarNode:
    """The node as a single untagged value that is set; refuses everything else, saying what was wanted."""
    if node.tag is not None:
        raise problems.refuse(
            f"{name} is tagged {node.tag}, which gpurec cannot read",
            node,
            "refer to a secret as env:NAME or file:PATH, write other values plainly",
        )
    if not isinstance(node, ScalarNode) or node.value is None:
        raise problems.refuse(f"{name} must be {wanted}, this is {what_is(node)}", node, hint)
    return node


def _text(node: Node, problems: Problems, name: str) -> str:
    value = scalar(node, problems, name, "text")
    if not isinstance(value.value, str):
        hint = f'quote it: "{value.text}"' if len(value.text) <= MOST_NAME else "put it in quotes"
        raise problems.refuse(f"{name} must be text, this is {shortened(value.text)}", node, hint)
    if not value.value.strip() or not value.value.isprintable() or len(value.value) > MOST_TEXT:
        raise problems.refuse(
            f"{name} is {shortened(value.value)}: empty, too long, or with control characters", node, "write plain printable text"
        )
    return value.value


def _name(node: Node, problems: Problems, name: str) -> str:
    value = scalar(node, problems, name, "a name")
    text = value.value if isinstance(value.value, str) else value.text
    if not text or not text.isprintable() or text != text.strip() or len(text) > MOST_NAME:
        raise problems.refuse(
            f"{name} is {shortened(text)}, which cannot be a name: it is empty, longer than {MOST_NAME} or holds control characters",
            node,
            "name it with printable characters",
        )
    return text


def shortened(text: str) -> str:
    return repr(text) if len(text) <= 80 else repr(text[:80]) + "…"


text = Form(_text, {"type": "string", "minLength": 1})
label = Form(_name, {"type": ["string", "number"]})


def _flag(node: Node, problems: Problems, name: str) -> bool:
    value = scalar(node, problems, name, "true or false").value
    if not isinstance(value, bool):
        raise problems.refuse(f"{name} must be true or false, this is {what_is(node)}", node, "write true or false without quotes")
    return value


flag = Form(_flag, {"type": "boolean"})


def integer(least: int, most: int = 2**63 - 1) -> Form[int]:
    """A whole number within bounds."""
    wanted = f"a whole number from {least}" + (f" to {most}" if most < 2**62 else "")

    def read(node: Node, problems: Problems, name: str) -> int:
        value = scalar(node, problems, name, wanted).value
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            meant = _meant_number(value)
            hint = f"write {meant}" if meant is not None and least <= meant <= most else f"write a number such as {max(least, 1)}"
            beyond = f" to 2^{most.bit_length()} - 1" if isinstance(value, int) and value > most >= 2**62 else ""
            raise problems.refuse(f"{name} must be {wanted}{beyond}, this is {what_is(node)}", node, hint)
        return value

    return Form(read, {"type": "integer", "minimum": least} | ({"maximum": most} if most < 2**62 else {}))


_WRITTEN = re.compile(r"([0-9]{1,3}(?:[,_ ][0-9]{3}){1,25}|[0-9]{1,78})(?:\.0{1,6})? ?([kKmM]?)")


def _meant_number(value: object) -> int | None:
    """The number that was meant by `8k` (8192, as contexts are counted), `8,192`, `"8192"`, `8192.0` or `1e15`."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    match = _WRITTEN.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        return None
    return int(re.sub(r"[,_ ]", "", match.group(1))) * {"": 1, "k": 2**10, "m": 2**20}[match.group(2).lower()]


def _number(node: Node, problems: Problems, name: str) -> float:
    value = scalar(node, problems, name, "a number").value
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
        raise problems.refuse(f"{name} must be a number that is not negative, this is {what_is(node)}", node, "write a number such as 1.5")
    return float(value)


number = Form(_number, {"type": "number", "minimum": 0})


def _units(parse: Callable[[object], T], wanted: str, schema: Schema, *, as_text: bool = False) -> Form[T]:
    def read(node: Node, problems: Problems, name: str) -> T:
        found = scalar(node, problems, name, wanted)
        if len(found.text) > MOST_QUANTITY:
            raise problems.refuse(f"{name} must be {wanted}, this is {shortened(found.text)}", node, "write it shorter")
        try:
            return parse(found.text if as_text and not isinstance(found.value, bool) else found.value)
        except UnitError as error:
            raise problems.refuse(f"{name}: {error.args[0]}", node, error.hint) from None
        except OverflowError:
            raise problems.refuse(f"{name} is too large", node, "write a smaller value") from None

    return Form(read, schema)


def _bounded(size: int) -> int:
    if size > MOST_BYTES:
        raise OverflowError
    return size


def _ratio(value: object) -> Fraction:
    if isinstance(value, str) and "e" in value.lower():
        raise UnitError(f"{value!r} is not a ratio", "write 90% or 0.9")
    return parse_ratio(value)


def _duration(value: object) -> float:
    seconds = parse_duration(value)
    if not 0 < seconds <= MOST_SECONDS:
        raise UnitError(f"{value!r} is not a duration that something can be waited for", "write a duration such as 5s or 15m")
    return seconds


def _size(value: object) -> int:
    size = _bounded(parse_bytes(value))
    if isinstance(value, (int, float)) and 0 < size < MIB:
        raise UnitError(f"{value!r} would be {size} bytes", f"write a unit: {value}MiB or {value}GiB")
    return size


def _some(parse: Callable[[object], int]) -> Callable[[object], int]:
    def read(value: object) -> int:
        found = parse(value)
        if found == 0:
            raise UnitError("nothing has 0 bytes of VRAM", "write its size, such as 8GiB, or leave the key out where it is not known")
        return found

    return read


size = _units(_size, "a size", {"type": ["string", "integer"], "description": "7GiB (2^30), 7GB (10^9), 512MiB, or bytes"})
mebibytes = _units(
    lambda value: _bounded(parse_bytes(value, bare_unit=MIB)),
    "a size in MiB",
    {"type": ["string", "number"], "description": "a number of MiB"},
)
vram = _units(_some(_size), "a size", size.schema)
vram_mebibytes = _units(_some(lambda value: _bounded(parse_bytes(value, bare_unit=MIB))), "a size in MiB", mebibytes.schema)


def _count_or_share(node: Node, problems: Problems, name: str) -> int | Fraction:
    wanted = "a number, or a percentage"
    value = scalar(node, problems, name, wanted).value
    if isinstance(value, str) and value.strip().endswith("%"):
        return ratio.read(node, problems, name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
        raise problems.refuse(f"{name} must be {wanted}, this is {what_is(node)}", node, "write 3 or 10%")
    return value


count_or_share = Form(_count_or_share, {"type": ["integer", "string"], "minimum": 0, "description": "3 or 10%"})
ratio = _units(_ratio, "a ratio", {"type": ["string", "number"], "description": "90% or 0.9"})
duration = _units(_duration, "a duration", {"type": ["string", "number"], "description": "30s, 5m, 24h, or seconds"})
capability = _units(parse_capability, "a compute capability", {"type": ["string", "number"], "description": "8.6"}, as_text=True)
version = _units(parse_version, "a version", {"type": ["string", "number"], "description": "525.60"}, as_text=True)


def choice(kind: type[E]) -> Form[E]:
    """One of an enum's words."""
    words = [str(member) for member in kind]

    def read(node: Node, problems: Problems, name: str) -> E:
        value = scalar(node, problems, name, f"one of {', '.join(words)}").text
        if value not in words:
            raise problems.refuse(f"{name} cannot be {shortened(value)}", node, did_you_mean(value, words))
        return kind(value)

    return Form(read, {"enum": words})


def list_of(item: Form[T]) -> Form[tuple[T, ...]]:
    def read(node: Node, problems: Problems, name: str) -> tuple[T, ...]:
        if not isinstance(node, ListNode) or node.tag is not None:
            raise problems.refuse(f"{name} must be a list, this is {what_is(node)}", node, "write it as `- item` lines or [item, item]")
        found = []
        for entry in node.items:
            try:
                found.append(item.read(entry, problems, f"an item of {name}"))
            except Refused:
                continue
        return tuple(found)

    return Form(read, {"type": "array", "items": item.schema})


def map_of(item: Form[T]) -> Form[dict[str, T]]:
    """A mapping with free keys; keys are names."""

    def read(node: Node, problems: Problems, name: str) -> dict[str, T]:
        if not isinstance(node, MapNode) or node.tag is not None:
            raise problems.refuse(f"{name} must be a mapping, this is {what_is(node)}", node, "write `name: value` lines")
        found: dict[str, T] = {}
        for _, (key, value) in node.entries.items():
            word = None
            with suppress(Refused):
                word = _name(key, problems, f"a key of {name}")
            try:
                read = item.read(value, problems, f"{name}.{word or key.text!r}")
            except Refused:
                continue
            if word is not None:
                found[word] = read
        return found

    return Form(read, {"type": "object", "additionalProperties": item.schema})


def _any_scalar(node: Node, problems: Problems, name: str) -> Scalar:
    found = scalar(node, problems, name, "a single value")
    value = found.value
    if isinstance(value, str) and not value.isprintable():
        raise problems.refuse(f"{name} is {shortened(value)}, with control characters", node, "write plain printable text")
    if isinstance(value, date):
        return found.text
    if isinstance(value, float) and not abs(value) < float("inf"):
        raise problems.refuse(f"{name} is {found.text}, which is not a finite number", node, "write a number")
    if isinstance(value, int) and abs(value) > MOST_BYTES:
        raise problems.refuse(f"{name} is a number of more than 64 bits", node, "write a smaller number")
    return value if isinstance(value, (str, int, float, bool)) else found.text


any_scalar: Form[Scalar] = Form(_any_scalar, {"type": ["string", "number", "boolean"]})


def _secret(node: Node, problems: Problems, name: str) -> SecretRef:
    hint = "write env:NAME or file:PATH, so that the secret itself stands in no file of the workspace"
    scheme, colon, target = scalar(node, problems, name, "a reference to a secret", hint).text.partition(":")
    fits = bool(target.strip()) and target.isprintable() and (scheme == "file" or bool(_SECRET_NAME.fullmatch(target)))
    if not colon or scheme not in ("env", "file") or not fits:
        raise problems.refuse(f"{name} is not a reference to a secret", node, hint)
    return SecretRef(scheme, target)


secret = Form(_secret, {"type": "string", "pattern": "^(env:[A-Za-z_][A-Za-z0-9_]*|file:.+)$"})


def _url(node: Node, problems: Problems, name: str) -> str:
    value = _text(node, problems, name)
    wrong = what_is_wrong_with_url(value)
    if wrong is not None:
        raise problems.refuse(f"{name}: {wrong}", node, "write it as http://HOST:PORT")
    return value.rstrip("/")


def bad_url(value: str) -> str:
    """What is wrong with a text that Python cannot split as a URL."""
    try:
        urlsplit(value)
    except ValueError:
        return "this is not a URL: what should be its host is none"
    return "this is not a URL: its port is no number from 0 to 65535"


def what_is_wrong_with_url(value: str) -> str | None:
    """Why a text cannot be an engine's URL, or None; never repeats a password that stands in it."""
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        return bad_url(value)
    if parts.username is not None or parts.password is not None:
        return "a URL must not hold a user or a password; use auth: {bearer: env:NAME}"
    if (
        parts.scheme not in ("http", "https")
        or not parts.hostname
        or port == 0
        or any(sign.isspace() for sign in value)
        or not value.isprintable()
    ):
        return f"{shortened(value)} is not a URL of a server"
    if parts.query or parts.fragment:
        return f"{shortened(value)} has a query or a fragment"
    return None


url = Form(_url, {"type": "string", "pattern": "^https?://"})
