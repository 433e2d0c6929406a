"""Ansible's host patterns: `gpu`, `a,b`, `a:b`, `gpu:&berlin`, `all:!node3`, `gpu-*`, `~regex`, `group[0:3]`."""

from __future__ import annotations

import fnmatch
import re
import warnings
from collections.abc import Iterable

from reconciler.workspace.addresses import parse_address
from reconciler.workspace.expressions import LONGEST, why_too_much
from reconciler.workspace.groups import GroupTree
from reconciler.workspace.problems import did_you_mean

_PART = re.compile(r"(?:[^\s:\[\]]|\[[^\]]{0,199}\])+")
_SUBSCRIPT = re.compile(r"(?:(-?[0-9]{1,9})|([0-9]{1,9})[:-]([0-9]{0,9}))\]")
_LOCALHOST = ("127.0.0.1", "localhost", "::1")
_WILD = (".", "?", "*", "[")


class PatternError(ValueError):
    """A pattern that names nothing or cannot be read. `args[0]` says what is wrong, `hint` what to do."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


class Patterns:
    """Answers patterns over one inventory; every answer is remembered, so equal patterns share one tuple."""

    def __init__(self, tree: GroupTree) -> None:
        self._tree = tree
        self._answers: dict[str, tuple[str, ...]] = {}
        self._shared: dict[tuple[str, ...], tuple[str, ...]] = {}

    def match(self, pattern: str) -> tuple[str, ...]:
        """The hosts that a pattern names, sorted. Raises PatternError where a part of it names no host and no group."""
        answer = self._answers.get(pattern)
        if answer is None:
            answer = tuple(sorted(self._evaluate(pattern)))
            answer = self._answers[pattern] = self._shared.setdefault(answer, answer)
        return answer

    def _evaluate(self, pattern: str) -> Iterable[str]:
        parts = split(pattern)
        if not parts:
            raise PatternError("the pattern is empty", "write `all`, a group or a host")
        plain = [part for part in parts if part[0] not in "&!"]
        found: dict[str, None] = {}
        for part in plain or ["all"]:
            found.update({part: None} if part in self._tree.hosts else self._one(part, pattern))
        for part in parts:
            if part[0] == "&":
                both = self._one(part[1:], pattern)
                found = {name: None for name in found if name in both}
        for part in parts:
            if part[0] == "!":
                for name in self._one(part[1:], pattern):
                    found.pop(name, None)
        return found

    def _one(self, part: str, pattern: str) -> dict[str, None]:
        if not part:
            raise PatternError(f"the pattern {_shortened(pattern)} has an empty part", "write a group or a host behind & and !")
        name, subscript = _split_subscript(part)
        hosts, known = self._named(name)
        if not known:
            words = [name for name in (*self._tree.groups, *self._tree.hosts) if name != "ungrouped"][:2000]
            part_of = "" if name == pattern else f": {_shortened(name)} is none"
            raise PatternError(
                f"the pattern {_shortened(pattern)} names no host and no group{part_of}",
                did_you_mean(name, words),
            )
        if subscript is None or not hosts:
            return dict.fromkeys(hosts)
        try:
            return dict.fromkeys(_sliced(hosts, subscript))
        except IndexError:
            what = f"the pattern {_shortened(pattern)} names no host with {_shortened(part)}: {_shortened(name)} has {len(hosts)}"
            raise PatternError(what, f"count from [0] to [{len(hosts) - 1}]") from None

    def _named(self, name: str) -> tuple[list[str], bool]:
        """The hosts in Ansible's order, one as often as it is found: a subscript counts it so often; and whether the name is known."""
        if name in self._tree.groups and not any(sign in name for sign in _WILD):
            return list(self._tree.hosts_of(name)), True
        if len(name) > LONGEST:
            raise PatternError(f"{_shortened(name)} has more than {LONGEST} characters", "write it shorter, or name groups")
        expression = _expression(name)
        if name[0] == "~" and (wrong := why_too_much(name[1:], (*self._tree.groups, *self._tree.hosts))) is not None:
            raise PatternError(f"{_shortened(name)} {wrong}", "write it with fewer repeats, or name groups")
        found: list[str] = []
        groups = [group for group in self._tree.groups if expression.match(group)]
        for group in groups:
            found.extend(self._tree.hosts_of(group))
        if not groups or name[0] == "~" or any(sign in name for sign in _WILD):
            found.extend(host for host in self._tree.hosts if expression.match(host))
        if not found and name in _LOCALHOST:
            found.extend([host for host in self._tree.hosts if host in _LOCALHOST][:1])
        return found, bool(groups or found)


def split(pattern: str) -> list[str]:
    """The parts of a pattern: at commas where there are any, else, where it is no address, at colons outside brackets."""
    if "," in pattern:
        parts = [part.strip() for part in pattern.split(",")]
    else:
        parts = [pattern.strip()] if parse_address(pattern) is not None else _PART.findall(pattern)
    return [part for part in parts if part]


def _split_subscript(part: str) -> tuple[str, tuple[int, int | None] | None]:
    name, bracket, inside = part.rpartition("[")
    match = _SUBSCRIPT.fullmatch(inside) if name and bracket and part[0] != "~" else None
    if match is None:
        return part, None
    single, first, last = match.groups()
    if single is not None:
        return name, (int(single), None)
    return name, (int(first), int(last) if last else -1)


def _sliced(hosts: list[str], subscript: tuple[int, int | None]) -> list[str]:
    """One host, or those from the first to the last; IndexError beyond the end. An end of 0 is none (Ansible's inventory/manager.py)."""
    first, last = subscript
    if not last:
        return [hosts[first]]
    return hosts[first:] if last == -1 else hosts[first : last + 1]


def _shortened(name: str) -> str:
    return repr(name) if len(name) <= 80 else repr(name[:80]) + "…"


def _expression(name: str) -> re.Pattern[str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of a `[[` that a later Python may read otherwise
            return re.compile(name[1:] if name[0] == "~" else fnmatch.translate(name))
    except (re.error, OverflowError, RecursionError) as error:
        raise PatternError(f"{_shortened(name)} is not a regular expression: {error}", "correct the expression behind ~") from None
