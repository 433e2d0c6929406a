"""Reading files of a workspace: bounded, as UTF-8, remembered for the config digest, named relative to the workspace."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

from reconciler.fleet import Place
from reconciler.workspace.parse import parse
from reconciler.workspace.problems import Problems
from reconciler.workspace.scalars import YamlVersion
from reconciler.workspace.selection import NO_FILE, NO_FILE_HINT
from reconciler.workspace.tree import Node

MOST_BYTES = 64 * 2**20
MOST_HEAD = 64 * 2**10
_PART = 2**18


class Sources:
    """The files read so far. `root` is the workspace's folder; messages and the digest name files relative to it.

    `outside` are folders that hold files of other places (`-i`, `-f`): the digest names such files relative to their folder, so that it
    does not depend on where on a machine they are. A file of the workspace that is, or is reached through, a link out of it is refused
    unless `allow_outside_links`: in a stranger's branch it may lead to any file that whoever plans it may read. `printed` is what the
    inventory programs printed that were run, each by its path.
    """

    def __init__(
        self,
        root: Path,
        problems: Problems,
        outside: Iterable[Path] = (),
        *,
        allow_outside_links: bool = False,
        printed: Mapping[Path, bytes] = MappingProxyType({}),
    ) -> None:
        self.root = root.absolute()
        self.problems = problems
        self._allow_outside_links = allow_outside_links
        self._outside = sorted({_plain(self.root / folder) for folder in outside}, key=lambda folder: len(folder.parts), reverse=True)
        self._contents: dict[Path, str] = {}
        self._printed = printed
        self.encrypted: list[str] = []

    def name(self, path: Path) -> str:
        """The path as people see it: relative to the workspace with `/`, else as it was given."""
        absolute = self.root / path
        return absolute.relative_to(self.root).as_posix() if absolute.is_relative_to(self.root) else path.as_posix()

    def read(self, path: Path, version: YamlVersion, *, optional: bool = False) -> Node | None:
        """The tree of a YAML file; None where it is empty or was reported. An encrypted one is a warning where it is `optional`: most
        of what such a file holds is none of gpurec's business."""
        file = self.name(path)
        text = self._text(path, file)
        if text is not None and text.startswith("$ANSIBLE_VAULT;"):
            what = "this file is encrypted with ansible-vault, which gpurec cannot read"
            hint = "keep what gpurec needs in another file, and refer to secrets as env:NAME or file:PATH"
            report = self.problems.warn if optional else self.problems.error
            report(f"{what}: its variables are unknown" if optional else what, Place(file, 1, 1), hint)
            self.encrypted.append(file)
            return None
        return parse(text, file, version, self.problems) if text is not None else None

    def printed(self, path: Path) -> tuple[Node | None, str] | None:
        """What the inventory program at this path printed, as a tree, with what messages call that; None where it was not run. The digest
        has the values, in whatever order they came. The tree is None where it was reported."""
        content = self._printed.get(path)
        if content is None:
            return None
        name = f"{self.name(path)} --list"
        try:
            text = content.decode()
            values = json.dumps(json.loads(text), sort_keys=True, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            what = "this inventory program printed half of a character (an escape from \\ud800 to \\udfff that stands alone)"
            self.problems.error(what, Place(name), f"run it yourself: {path} --list")
            return None, name
        except (ValueError, RecursionError) as error:
            place = Place(name, error.lineno, error.colno) if isinstance(error, json.JSONDecodeError) else Place(name)
            self.problems.error("this inventory program printed no JSON", place, f"run it yourself: {path} --list")
            return None, name
        self._contents[_plain(self.root / path)] = hashlib.sha256(values).hexdigest()
        return parse(text, name, YamlVersion.V1_1, self.problems), name

    def text(self, path: Path, asked_by: Node) -> str | None:
        """The text of a file that is no YAML, such as a template; None where it was reported, at the place that asked for it."""
        if not (self.root / path).is_file():
            what = f"{self.name(path)} does not exist" if not (self.root / path).exists() else f"{self.name(path)} is no file"
            self.problems.error(what, asked_by, "check the name, or write the file")
            return None
        return self._text(path, self.name(path))

    def head(self, path: Path) -> bytes:
        """How a file begins; empty where it cannot be read."""
        try:
            with (self.root / path).open("rb") as stream:
                return stream.read(MOST_HEAD)
        except OSError:
            return b""

    def digest(self) -> str:
        """`sha256:…` over the sorted (name, content hash) of all files read; the same on every machine."""
        pairs = sorted((self._digested_name(path).encode(errors="replace").decode(), content) for path, content in self._contents.items())
        return "sha256:" + hashlib.sha256(json.dumps(pairs, separators=(",", ":")).encode()).hexdigest()

    def _digested_name(self, path: Path) -> str:
        for root, file in ((_plain(self.root), path), (self.root.resolve(), path.resolve())):
            if file.is_relative_to(root):
                return file.relative_to(root).as_posix()
        for folder in self._outside:
            if path.is_relative_to(folder):
                return "../" + path.relative_to(folder).as_posix()
        return "../" + path.name

    def _leaves(self, absolute: Path) -> bool:
        """Whether links lead from a file of the workspace out of it."""
        inside = _plain(absolute).is_relative_to(_plain(self.root))
        return inside and not Path(os.path.realpath(absolute)).is_relative_to(os.path.realpath(self.root))

    def _text(self, path: Path, file: str) -> str | None:
        absolute = self.root / path
        if not self._allow_outside_links and self._leaves(absolute):
            hint = "put the file itself there, or add --allow-outside-links where you trust who wrote these files"
            self.problems.error("this is a link that leads out of the workspace, so it is not read", Place(file), hint)
            return None
        try:
            with absolute.open("rb") as stream:
                content = b"".join(_parts(stream))
        except FileNotFoundError:
            self.problems.error(NO_FILE, Place(file), NO_FILE_HINT)
            return None
        except OSError as error:
            self.problems.error(f"this file cannot be read: {error.strerror or error}", Place(file), "check what it is and its permissions")
            return None
        if len(content) > MOST_BYTES:
            self.problems.error(f"this file is larger than {MOST_BYTES // 2**20} MiB", Place(file), "split it into a folder of files")
            return None
        self._contents[_plain(absolute)] = hashlib.sha256(content).hexdigest()
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            before = content[: error.start]
            line = before.count(b"\n") + 1
            column = error.start - (before.rfind(b"\n") + 1) + 1
            self.problems.error("this file is not UTF-8", Place(file, line, column), "save it as UTF-8")
            return None


def _parts(stream: BinaryIO) -> Iterator[bytes]:
    """The file as it comes, until a little more than MOST_BYTES: one read of so much would take that memory for a file of a line."""
    left = MOST_BYTES + 1
    while left > 0 and (part := stream.read(min(left, _PART))):
        left -= len(part)
        yield part


def _plain(path: Path) -> Path:
    """The path without `..` in it, links left as they are."""
    return Path(os.path.normpath(path))
