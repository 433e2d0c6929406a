"""What a plain YAML scalar means: in YAML 1.1 as Ansible (PyYAML) reads it, in YAML 1.2 by the core schema."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from enum import Enum


class YamlVersion(Enum):
    V1_1 = (1, 1)
    V1_2 = (1, 2)


_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOL_11 = {
    spelling: value
    for word, value in (("yes", True), ("no", False), ("true", True), ("false", False), ("on", True), ("off", False))
    for spelling in (word, word.capitalize(), word.upper())
}
_BOOL_12 = {spelling: _BOOL_11[spelling] for spelling in ("true", "True", "TRUE", "false", "False", "FALSE")}

# https://yaml.org/type/{int,float,timestamp}.html as PyYAML's resolver.py has them
_INT_11 = re.compile(r"[-+]?0b[0-1_]+|[-+]?0[0-7_]+|[-+]?(?:0|[1-9][0-9_]*)|[-+]?0x[0-9a-fA-F_]+|[-+]?[1-9][0-9_]*(?::[0-5]?[0-9])+")
_FLOAT_11 = re.compile(
    r"[-+]?(?:[0-9][0-9_]*)\.[0-9_]*(?:[eE][-+][0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?"
    r"|[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
_TIMESTAMP = re.compile(r"(\d{4})-(\d\d?)-(\d\d?)(?:(?:[Tt]|[ \t]+)(\d\d?):(\d\d):(\d\d)(?:\.(\d*))?(?:[ \t]*(Z|[-+]\d\d?(?::?\d\d)?))?)?")
_DATE_ONLY = re.compile(r"\d{4}-\d\d-\d\d")
# YAML 1.2.2 section 10.3.2
_INT_12 = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT_12 = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_MOST_DIGITS = 1000


def resolve(text: str, version: YamlVersion) -> object:
    """The value of an unquoted scalar without a tag: None, bool, int, float, date, datetime (1.1 only) or the text itself."""
    if text in _NULL:
        return None
    old = version is YamlVersion.V1_1
    booleans = _BOOL_11 if old else _BOOL_12
    if text in booleans:
        return booleans[text]
    if text == "=" and old:
        raise ValueError("a bare '=' has a meaning of its own in YAML 1.1, write it in quotes")
    if text[0] not in "+-.0123456789" or len(text) > _MOST_DIGITS:
        return text
    if (_INT_11 if old else _INT_12).fullmatch(text):
        return _int_11(text) if old else _int_12(text)
    if (_FLOAT_11 if old else _FLOAT_12).fullmatch(text):
        return _float(text, old)
    return _timestamp(text) if old else text


def tagged(tag: str, text: str, version: YamlVersion) -> object:
    """The value of a scalar with a standard tag (`!!int` and so on). Raises ValueError where the text is not of that type, KeyError
    where the tag is not known."""
    types: dict[str, Callable[[object], bool]] = {
        "int": lambda v: isinstance(v, int) and not isinstance(v, bool),
        "float": lambda v: isinstance(v, (int, float)) and not isinstance(v, bool),
        "bool": lambda v: isinstance(v, bool),
        "null": lambda v: v is None,
        "timestamp": lambda v: isinstance(v, date),
    }
    short = tag.removeprefix("tag:yaml.org,2002:").removeprefix("!!")
    if tag == "!":
        return resolve(text, version) if version is YamlVersion.V1_1 else text
    if short == "str":
        return text
    fits = types[short]
    value = resolve(text, version)
    if not fits(value):
        raise ValueError(f"{text!r} is not of type {short}")
    return float(value) if short == "float" and isinstance(value, int) else value


def _int_11(text: str) -> int:
    plain = text.replace("_", "")
    sign = -1 if plain.startswith("-") else 1
    digits = plain.lstrip("+-")
    if digits == "0":
        return 0
    if digits.startswith("0b"):
        return sign * int(digits[2:], 2)
    if digits.startswith("0x"):
        return sign * int(digits[2:], 16)
    if digits.startswith("0"):
        return sign * int(digits, 8)
    if ":" in digits:
        total = 0
        for part in digits.split(":"):
            total = total * 60 + int(part)
        return sign * total
    return sign * int(digits)


def _int_12(text: str) -> int:
    if text.startswith("0o"):
        return int(text[2:], 8)
    return int(text, 16) if text.startswith("0x") else int(text)


def _float(text: str, old: bool) -> float:
    plain = (text.replace("_", "") if old else text).lower()
    if plain.endswith((".inf", ".nan")):
        return float(plain.replace(".", ""))
    if ":" in plain:
        sign = -1.0 if plain.startswith("-") else 1.0
        total = 0.0
        for part in plain.lstrip("+-").split(":"):
            total = total * 60 + float(part)
        return sign * total
    return float(plain)


def _timestamp(text: str) -> object:
    match = _TIMESTAMP.fullmatch(text)
    if match is None:
        return text
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    try:
        if hour is None:
            return date(int(year), int(month), int(day)) if _DATE_ONLY.fullmatch(text) else text
        micro = int((fraction or "0")[:6].ljust(6, "0"))
        moment = datetime(int(year), int(month), int(day), int(hour), int(minute), int(second), micro, tzinfo=_zone(zone))
    except ValueError:
        return text
    return moment


def _zone(text: str | None) -> timezone | None:
    if text is None:
        return None
    if text == "Z":
        return UTC
    digits = text[1:].replace(":", "")
    hours, minutes = (int(digits[:-2]), int(digits[-2:])) if len(digits) > 2 else (int(digits), 0)
    offset = timedelta(hours=hours, minutes=minutes)
    return timezone(-offset if text[0] == "-" else offset)
