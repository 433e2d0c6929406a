"""Model names (Ollama types/model/name.go) and durations (api/types.go Duration, Go's time.ParseDuration)."""

from __future__ import annotations

import math
import re

FOR_EVER = math.inf
_HOST, _NAMESPACE = "registry.ollama.ai", "library"
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,79}")
_HOST_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:\-]{0,349}")
_SCHEME = re.compile(r"^https?://")
_NUMBER = r"(?:\d{1,30}(?:\.\d{0,30})?|\.\d{1,30})"
_DURATION = re.compile(rf"[-+]?(?:{_NUMBER}(?:ns|us|µs|μs|ms|s|m|h))+")
_DURATION_PART = re.compile(rf"({_NUMBER})(ns|us|µs|μs|ms|s|m|h)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


class BadDuration(ValueError):
    """What Go says of a duration that it cannot read."""


def display_name(name: str) -> str | None:
    """The shortest form with its tag, default host and namespace left out; None for an invalid name."""
    path, tag = _SCHEME.sub("", name), "latest"
    if path.rfind(":") > path.rfind("/"):
        path, _, tag = path.rpartition(":")
    parts = path.split("/")
    if len(parts) == 3 and parts[0].lower() == _HOST:
        parts = parts[1:]
    if len(parts) == 2 and parts[0].lower() == _NAMESPACE:
        parts = parts[1:]
    host_ok = len(parts) < 3 or bool(_HOST_PART.fullmatch(parts[0]))
    if len(parts) > 3 or not host_ok or not all(_PART.fullmatch(part) for part in [*parts[-2:], tag]):
        return None
    return f"{'/'.join(parts)}:{tag}"


def canonical(name: str) -> str | None:
    """The form by which names are compared: without regard to case. None for an invalid name."""
    shown = display_name(name)
    return shown.lower() if shown is not None else None


def spellings(name: str) -> frozenset[str]:
    """How a model may be written where it is singled out: with and without the tag `latest`."""
    shown = display_name(name) or name
    return frozenset({name, shown, shown.removesuffix(":latest")})


def keep_alive_seconds(value: object) -> float:
    """A `keep_alive` of a request in seconds, FOR_EVER when negative. Raises BadDuration with Go's words."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise BadDuration(f"Unsupported type: '{type(value).__name__}'")
    seconds = parse_duration(value) if isinstance(value, str) else float(value)
    return FOR_EVER if seconds < 0 else seconds


def parse_duration(text: str) -> float:
    """Seconds of `1h30m`, `-1m`, `0`. Raises BadDuration: a bare number has no unit, and Go knows no days."""
    if text in ("0", "+0", "-0"):
        return 0.0
    if _DURATION.fullmatch(text):
        seconds = sum(float(number) * _SECONDS[unit] for number, unit in _DURATION_PART.findall(text))
        return -seconds if text.startswith("-") else seconds
    if re.fullmatch(rf"[-+]?{_NUMBER}", text):
        raise BadDuration(f'time: missing unit in duration "{text}"')
    unknown = re.search(r"[\d.]([A-Za-zµμ]+)", text)
    if re.match(r"[-+]?[\d.]", text) and unknown:
        raise BadDuration(f'time: unknown unit "{unknown.group(1)}" in duration "{text}"')
    raise BadDuration(f'time: invalid duration "{text}"')
