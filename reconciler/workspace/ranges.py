"""Host patterns of an inventory: `gpu[01:32]`, `db-[a:f]`, `n[0:30:2]`, several in one name."""

from __future__ import annotations

import string

MOST_HOSTS = 100_000


def expand(pattern: str) -> list[str]:
    """Every host name of a pattern, in order. Raises ValueError with one sentence where a range is wrong or larger than `MOST_HOSTS`.

    The rules are those of Ansible's `plugins/inventory/__init__.py`: an end that belongs to the range, zeros at the front kept where both
    ends have the same length, single letters, and a step.
    """
    names = [""]
    rest = pattern
    while rest:
        start = rest.find("[")
        if start < 0:
            return [name + rest for name in names]
        end = rest.find("]")
        if ":" not in rest[start:end]:
            raise ValueError(
                f"the range {rest[start : end + 1] if end > start else rest[start:]} in {pattern!r} must be begin:end or begin:end:step"
            )
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
