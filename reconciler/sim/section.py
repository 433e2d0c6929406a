"""One mapping of the file: typed reading key by key, and every mistake collected with its place."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence

from ruamel.yaml.comments import CommentedMap, CommentedSeq

from reconciler.sim import quantities
from reconciler.sim.errors import SimFileError

_MOST_SECTIONS = 100_000


class Problems:
    """What is wrong with a file so far."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._found: list[tuple[int, int, str]] = []
        self._sections = 0

    def add(self, line: int, column: int, what: str, hint: str) -> None:
        """Counted from 0, as YAML readers do; shown from 1."""
        self._found.append((line + 1, column + 1, f"{what}; {hint}"))

    def count_section(self) -> None:
        """Bounds what aliases can make of a small file."""
        self._sections += 1
        if self._sections > _MOST_SECTIONS:
            raise SimFileError(f"{self._file}: more than {_MOST_SECTIONS} entries; that is no file of a simulated fleet")

    def raise_if_any(self) -> None:
        if self._found:
            raise SimFileError(*(f"{self._file}:{line}:{column}: {text}" for line, column, text in sorted(set(self._found))))


class Section:
    """A mapping whose keys are read one after the other; `done` names those that nobody asked for."""

    def __init__(self, mapping: CommentedMap, problems: Problems) -> None:
        self._mapping, self._problems = mapping, problems
        self._asked: set[str] = set()
        problems.count_section()

    @classmethod
    def top(cls, document: object, problems: Problems) -> Section:
        """The whole file. Raises SimFileError at once when it is no mapping."""
        if not isinstance(document, CommentedMap):
            problems.add(0, 0, "the file is empty" if document is None else "not a mapping", "a fleet begins with `nodes:`")
            problems.raise_if_any()
            document = CommentedMap()
        return cls(document, problems)

    def has(self, key: str) -> bool:
        return key in self._mapping

    def get(self, key: str) -> object:
        self._asked.add(key)
        return self._mapping.get(key)

    def wrong(self, what: str, key: str, hint: str, item: int | None = None) -> None:
        """A problem at a key, or at an item of the list under it."""
        line, column = self._place(key)
        inside = self._mapping.get(key)
        if item is not None and isinstance(inside, CommentedSeq):
            line, column = inside.lc.item(item)
        self._problems.add(line, column, what, hint)

    def done(self) -> None:
        for key in self._mapping:
            if key not in self._asked:
                near = difflib.get_close_matches(str(key), sorted(self._asked), n=1)
                hint = f"did you mean `{near[0]}`?" if near else f"known are {', '.join(sorted(self._asked))}"
                self.wrong(f"unknown key `{key}`", key, hint)

    def text(self, key: str, default: str = "", *, required: bool = False) -> str:
        value = self._required(key, required)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            self.wrong(f"`{key}` is no text", key, "write a string")
            return default
        return str(value)

    def choice(self, key: str, choices: Sequence[str], default: str = "", *, required: bool = False) -> str:
        value = self._required(key, required)
        if value is None:
            return default
        if value not in choices:
            self.wrong(f"`{key}` is {value!r}", key, f"it is one of {', '.join(choices)}")
            return default
        return str(value)

    def integer(self, key: str, default: int = 0) -> int:
        value = self.get(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            self.wrong(f"`{key}` is {value!r}", key, "write a whole number, 0 or more")
            return default
        return int(value)

    def number(self, key: str, default: float) -> float:
        value = self.get(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
            self.wrong(f"`{key}` is {value!r}", key, "write a number, 0 or more")
            return default
        return float(value)

    def boolean(self, key: str, default: bool) -> bool:
        value = self.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.wrong(f"`{key}` is {value!r}", key, "write true or false")
            return default
        return value

    def size(self, key: str, default: int = 0, *, required: bool = False) -> int:
        value = self._required(key, required)
        if value is None:
            return default
        found = quantities.size(value)
        if found is None:
            self.wrong(f"`{key}` is {value!r}, which is no size", key, "write 8GiB (2^30), 4.7GB (10^9) or 705MiB")
            return default
        return found

    def seconds(self, key: str, default: float) -> float:
        value = self.get(key)
        if value is None:
            return default
        found = quantities.seconds(value)
        if found is None:
            self.wrong(f"`{key}` is {value!r}, which is no duration", key, "write 300ms, 5m or seconds")
            return default
        return found

    def integers(self, key: str, default: tuple[int, ...]) -> tuple[int, ...]:
        values = self._list(key) if self.has(key) else default
        if all(isinstance(value, int) and not isinstance(value, bool) for value in values):
            return tuple(int(str(value)) for value in values)
        self.wrong(f"`{key}` is no list of whole numbers", key, "write [0, 1]")
        return default

    def texts(self, key: str) -> tuple[str, ...]:
        values = self._list(key)
        if not all(isinstance(value, str) for value in values):
            self.wrong(f"`{key}` is no list of texts", key, "write [one, two]")
            return ()
        return tuple(str(value) for value in values)

    def scalars(self, key: str) -> dict[str, int | float | str | bool]:
        value = self.get(key)
        if value is None:
            return {}
        if not isinstance(value, CommentedMap) or not all(isinstance(inner, (int, float, str, bool)) for inner in value.values()):
            self.wrong(f"`{key}` is no mapping of plain values", key, "write {num_ctx: 8192}")
            return {}
        return {str(name): inner for name, inner in value.items()}

    def items(self, key: str) -> Iterator[Section | str]:
        """The list under a key, mappings as sections, texts as they are."""
        for index, value in enumerate(self._list(key)):
            if isinstance(value, CommentedMap):
                yield Section(value, self._problems)
            elif isinstance(value, str):
                yield str(value)
            else:
                self.wrong(f"an item of `{key}` is neither a name nor a mapping", key, "see the form of a model", item=index)

    def sections(self, key: str) -> Iterator[Section]:
        """The list of mappings under a key."""
        for index, value in enumerate(self._list(key)):
            if isinstance(value, CommentedMap):
                yield Section(value, self._problems)
            else:
                self.wrong(f"an item of `{key}` is no mapping", key, "write `- {name: …}`", item=index)

    def section(self, key: str) -> Iterator[Section]:
        """The mapping under a key, where there is one."""
        value = self.get(key)
        if isinstance(value, CommentedMap):
            yield Section(value, self._problems)
        elif value is not None:
            self.wrong(f"`{key}` is no mapping", key, "write `KEY: value` lines")

    def named(self, key: str) -> Iterator[tuple[str, Section]]:
        """The mapping of names to mappings under a key."""
        value = self.get(key)
        if value is None:
            return
        if not isinstance(value, CommentedMap):
            self.wrong(f"`{key}` is no mapping of names", key, "write `NAME: {…}`")
            return
        for name, inner in value.items():
            if isinstance(inner, CommentedMap):
                yield str(name), Section(inner, self._problems)
            elif inner is None:
                yield str(name), Section(CommentedMap(), self._problems)
            else:
                line, column = value.lc.key(name)
                self._problems.add(line, column, f"`{name}` is no mapping", "write its keys below it")

    def _list(self, key: str) -> Sequence[object]:
        value = self.get(key)
        if value is None:
            return ()
        if not isinstance(value, CommentedSeq):
            self.wrong(f"`{key}` is no list", key, "write [ … ]")
            return ()
        return list(value)

    def _required(self, key: str, required: bool) -> object:
        value = self.get(key)
        if value is None and required:
            line, column = (self._mapping.lc.line or 0), (self._mapping.lc.col or 0)
            self._problems.add(line, column, f"`{key}` is missing", "give it here")
        return value

    def _place(self, key: str) -> tuple[int, int]:
        try:
            line, column = self._mapping.lc.key(key)
        except (KeyError, AttributeError, TypeError):
            return (self._mapping.lc.line or 0), (self._mapping.lc.col or 0)
        return line, column
