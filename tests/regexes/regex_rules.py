"""What a regular expression may cost, told from its parts: whether there is a text through which it goes more than once.

Python's `re` goes back and tries again, so two unbounded repeats that can take the same character try every border between them, and a
search tries every place to begin at. Both are quadratic or worse, and texts are strangers'.
"""

from __future__ import annotations

import ast
import re
import re._constants as code  # type: ignore[import-not-found]
import re._parser as parser  # type: ignore[import-not-found]
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

MANY = 200
"""A repeat of so many is as good as unbounded: two of them take 40,000 steps at each character."""
_ALL = frozenset(range(256)) | {0x2028, 0x3000}  # with two characters that stand for all that are not Latin
ANCHORED = frozenset({"match", "fullmatch"})


@dataclass(frozen=True)
class Use:
    """A pattern in the source, and how it is used: `match`, `search`, …"""

    where: str
    pattern: str
    flags: int
    ways: frozenset[str]


@dataclass(frozen=True)
class Item:
    """One part on a way through a pattern: characters that it takes, how often it must at least, and whether it has an upper bound.
    `gives_back`: what it took may be given back when the rest does not fit."""

    takes: frozenset[int]
    least: int
    unbounded: bool = False
    gives_back: bool = True


def uses_in(path: Path, name: str) -> Iterator[Use]:
    """All patterns of a file that are written down there; one that is made at run time is a Use with an empty pattern."""
    tree = ast.parse(path.read_text())
    constants = {
        target.id: node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    ways: dict[str, set[str]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            ways.setdefault(node.value.id, set()).add(node.attr)
    anywhere = {way for own in ways.values() for way in own if way in _WAYS - {"split"}}  # texts are split too
    names = {id(value): key for key, value in constants.items()}
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        if not (isinstance(node.func.value, ast.Name) and node.func.value.id == "re") or node.func.attr in ("escape", "purge"):
            continue
        pattern = _text(node.args[0], constants)
        used = ways.get(names.get(id(node), ""), set()) & _WAYS if node.func.attr == "compile" else {node.func.attr}
        yield Use(f"{name}:{node.lineno}", pattern or "", _flags(node), frozenset(used or anywhere or {"search"}))


_WAYS = frozenset({"match", "fullmatch", "search", "sub", "subn", "split", "findall", "finditer"})


def _flags(call: ast.Call) -> int:
    found = 0
    for node in ast.walk(call):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "re" and node.attr.isupper():
            found |= int(getattr(re, node.attr))
    return found


def _text(node: ast.expr, constants: dict[str, ast.expr]) -> str | None:
    if isinstance(node, ast.Constant):
        return node.value.decode("latin-1") if isinstance(node.value, bytes) else str(node.value)
    if isinstance(node, ast.Name) and node.id in constants:
        return _text(constants[node.id], constants)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = _text(node.left, constants), _text(node.right, constants)
        return left + right if left is not None and right is not None else None
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "join":
        between, listed = _text(node.func.value, constants), node.args[0]
        listed = constants.get(listed.id, listed) if isinstance(listed, ast.Name) else listed
        words = [_text(one, constants) for one in listed.elts] if isinstance(listed, ast.Tuple) else [None]
        known = [word for word in words if word is not None]
        return between.join(known) if between is not None and len(known) == len(words) else None
    if isinstance(node, ast.JoinedStr):
        parts = [_text(part.value if isinstance(part, ast.FormattedValue) else part, constants) for part in node.values]
        return "".join(part for part in parts if part is not None) if all(part is not None for part in parts) else None
    return None


def faults_of(use: Use) -> list[str]:
    """Why a pattern may take more than one pass over a text."""
    if not use.pattern:
        return []
    parsed = parser.parse(use.pattern, use.flags)
    flags = parsed.state.flags
    found = []
    for way in _ways(list(parsed), flags):
        found += _two_repeats(way)
        if not use.ways <= ANCHORED:
            found += _searched(way)
    return sorted(set(found))


def _two_repeats(way: Sequence[Item]) -> Iterator[str]:
    for first, one in enumerate(way):
        if not (one.unbounded and one.gives_back):
            continue
        between: list[Item] = []
        for other in way[first + 1 :]:
            if other.unbounded and other.takes & one.takes and not any(item.least and not item.takes & one.takes for item in between):
                yield "two unbounded repeats can take the same characters"
            between.append(other)


def _searched(way: Sequence[Item]) -> Iterator[str]:
    """A search that begins again inside what an unbounded repeat took goes over that once more, where the rest can still fail."""
    for place, one in enumerate(way):
        rest = way[place + 1 :]
        if not one.unbounded or not any(item.least for item in rest):
            continue
        before = [item for item in way[:place] if item.least]
        if not before or all(item.takes & one.takes for item in before):
            yield "a search begins again inside an unbounded repeat"


def _ways(items: list[tuple[object, object]], flags: int, most: int = 400) -> list[list[Item]]:
    """The ways through a sequence, as flat lists of items; a group that repeats is gone through twice, so that its end meets its start."""
    found: list[list[Item]] = [[]]
    for op, value in items:
        options = _options(op, value, flags)
        found = [way + option for way in found for option in options][:most]
    return found


def _options(op: object, value: object, flags: int) -> list[list[Item]]:
    if op is code.LITERAL:
        return [[Item(_cased({value}, flags), 1)]]  # type: ignore[arg-type]
    if op is code.NOT_LITERAL:
        return [[Item(_ALL - _cased({value}, flags), 1)]]  # type: ignore[arg-type]
    if op is code.ANY:
        return [[Item(_ALL if flags & re.DOTALL else _ALL - {10}, 1)]]
    if op is code.IN:
        return [[Item(_cased(_set(value), flags), 1)]]
    if op is code.BRANCH:
        return [way for branch in value[1] for way in _ways(list(branch), flags)]  # type: ignore[index]
    if op is code.SUBPATTERN:
        return _ways(list(value[-1]), flags)  # type: ignore[index]
    if op is code.ATOMIC_GROUP:
        return [[Item(item.takes, item.least, item.unbounded, False) for item in way] for way in _ways(list(value), flags)]  # type: ignore[call-overload]
    if op in (code.MAX_REPEAT, code.MIN_REPEAT, code.POSSESSIVE_REPEAT):
        return _repeated(op, value, flags)
    if op is code.AT and value is code.AT_BEGINNING and flags & re.MULTILINE:
        return [[Item(frozenset({10}), 1)]]
    if op is code.AT and value in (code.AT_BEGINNING, code.AT_BEGINNING_STRING):
        return [[Item(frozenset({-1}), 1)]]  # no text has it twice
    return [[]]  # looks ahead and behind, other places: nothing is taken


def _repeated(op: object, value: object, flags: int) -> list[list[Item]]:
    least, most, body = value  # type: ignore[misc]
    ways = _ways(list(body), flags)
    gives_back = op is not code.POSSESSIVE_REPEAT
    if most is not code.MAXREPEAT and most < MANY:
        optional: list[list[Item]] = [[]] if least == 0 else []
        return optional + ways + ([a + b for a in ways for b in ways][:100] if most > 1 else [])
    if all(len(way) == 1 and not way[0].unbounded for way in ways):
        takes = frozenset().union(*(way[0].takes for way in ways))
        return [[Item(takes, int(least > 0), True, gives_back)]]
    if gives_back and any(item.unbounded for way in ways for item in way):
        return [a + b for a in ways for b in ways][:100]
    whole = Item(frozenset().union(*(item.takes for way in ways for item in way)), 0, True, gives_back)
    return [[*way, whole] for way in ways]


def _cased(found: frozenset[int] | set[int], flags: int) -> frozenset[int]:
    if not flags & re.IGNORECASE:
        return frozenset(found)
    return frozenset(found) | {ord(other) for one in found if one < 128 for other in (chr(one).lower(), chr(one).upper())}


def _set(value: object) -> frozenset[int]:
    found: set[int] = set()
    negated = False
    for op, one in value:  # type: ignore[attr-defined]
        if op is code.NEGATE:
            negated = True
        elif op is code.LITERAL:
            found.add(one)
        elif op is code.RANGE:
            found |= {place for place in _ALL if one[0] <= place <= one[1]}
        elif op is code.CATEGORY:
            found |= _category(one)
    return _ALL - found if negated else frozenset(found)


def _category(category: object) -> frozenset[int]:
    word = {
        code.CATEGORY_DIGIT: r"\d",
        code.CATEGORY_NOT_DIGIT: r"\D",
        code.CATEGORY_SPACE: r"\s",
        code.CATEGORY_NOT_SPACE: r"\S",
        code.CATEGORY_WORD: r"\w",
        code.CATEGORY_NOT_WORD: r"\W",
    }[category]
    return frozenset(place for place in _ALL if re.match(word, chr(place)))
