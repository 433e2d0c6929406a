"""Host patterns of an inventory: `gpu[01:32]`, `db-[a:f]`, `n[0:30:2]`, several in one name, and a port behind it."""

from __future__ import annotations

import re
import string

MOST_HOSTS = 1_000_000
_WITH_PORT = re.compile(r"((?:[^\s:\[\]]|\[[^\]]*\])+):([0-9]{1,5})")
_BRACKETED_ADDRESS = re.compile(r"\[([0-9a-fA-F:.]*::?[0-9a-fA-F:.]*)\]")


def split_port(pattern: str) -> tuple[str, int | None]:
    """`node1:2222` to its name and port; an IPv6 address is taken as a name unless it stands in brackets."""
    match = _WITH_PORT.fullmatch(pattern)
    name, port = (match.group(1), int(match.group(2))) if match else (pattern, None)
    address = _BRACKETED_ADDRESS.fullmatch(name)
    if address is not None and address.group(1).count(":") > 1:
        return address.group(1), port
    return name, port


def expand(pattern: str) -> list[str]:
    """Every host name of a pattern, in order. Raises ValueError with one sentence where a range is wrong or larger than `MOST_HOSTS`.

    The rules are those of Ansible's `plugins/inventory/__init__.py`: an end that belongs to the range, zeros at the front kept where both
    ends have the same length, single letters, and a step.
    """
    names = [""]
    rest = pattern
    while rest:
        start = rest.find("[")
        colon = rest.find(":")
        end = rest.find("]")
        if not 0 <= start < colon < end:
            return [name + rest for name in names]
        head, bounds, rest = rest[:start], rest[start + 1 : end], rest[end + 1 :]
        values = _range(bounds, pattern)
        if len(values) * len(names) > MOST_HOSTS:
            raise ValueError(f"{pattern!r} is more than {MOST_HOSTS} hosts")
        names = [f"{name}{head}{value}" for name in names for value in values]
    return names


def _range(bounds: str, pattern: str) -> list[str]:
    parts = bounds.split(":")
    if len(parts) > 3:
        raise ValueError(f"the range [{bounds}] in {pattern!r} must be begin:end or begin:end:step")
    first, last = parts[0] or "0", parts[1]
    if not last:
        raise ValueError(f"the range [{bounds}] in {pattern!r} has no end")
    step = parts[2] if len(parts) == 3 else "1"
    if not step.isascii() or not step.isdigit() or int(step[:9]) == 0:
        raise ValueError(f"the step of the range [{bounds}] in {pattern!r} must be a positive number")
    letters = string.ascii_letters
    if len(first) == 1 and len(last) == 1 and first in letters and last in letters:
        if letters.index(first) > letters.index(last):
            raise ValueError(f"the range [{bounds}] in {pattern!r} runs backwards")
        return list(letters[letters.index(first) : letters.index(last) + 1 : int(step)])
    if not (first.isascii() and first.isdigit() and last.isascii() and last.isdigit()) or len(last) > 12 or len(first) > 12:
        raise ValueError(f"the range [{bounds}] in {pattern!r} must run between two numbers or two letters")
    width = len(first) if first[0] == "0" and len(first) > 1 else 0
    if width and width != len(last):
        raise ValueError(f"both ends of the range [{bounds}] in {pattern!r} must have the same number of digits")
    if int(first) > int(last):
        raise ValueError(f"the range [{bounds}] in {pattern!r} runs backwards")
    numbers = range(int(first), int(last) + 1, int(step))
    if len(numbers) > MOST_HOSTS:
        raise ValueError(f"{pattern!r} is more than {MOST_HOSTS} hosts")
    return [str(number).zfill(width) for number in numbers]
