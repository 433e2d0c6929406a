"""What a file of another tool comes to: hosts with engines, models, and a line for each thing that is not carried over."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from reconciler.fleet import Place, Scalar
from reconciler.value_class import value_class
from reconciler.workspace.problems import Placed

Value = Scalar | list[str] | list[int] | Mapping[str, Scalar] | Mapping[str, str]
MOST_NAME = 200
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")


@value_class
class NotCarried:
    """A key of the file, where it stands, and why it is not in what was written. Neither holds a value that may be a secret."""

    where: Place
    key: str
    reason: str


@value_class
class Converted:
    """The text of both files, how many models and engines they name, and what is not in them, in the order of the file."""

    inventory: str
    desired: str
    engines: int
    models: int
    not_carried: tuple[NotCarried, ...]


@dataclass(slots=True)
class Found:
    """Filled by a format's reader. `hosts` are addresses and engines by name; keys are those of gpurec's
    files, in the order to be written."""

    tool: str
    hosts: dict[str, tuple[str, dict[str, dict[str, Value]]]] = field(default_factory=dict)
    models: dict[str, dict[str, Value]] = field(default_factory=dict)
    remarks: dict[str, list[str]] = field(default_factory=dict)
    """What stands as comments above a model."""
    top: dict[str, Value] = field(default_factory=dict)
    """What holds for all models: keys of a desired state."""
    cards: dict[str, list[dict[str, Value]]] = field(default_factory=dict)
    """The cards of hosts whose cards the file says."""
    remarks_of_hosts: dict[str, list[str]] = field(default_factory=dict)
    left: list[NotCarried] = field(default_factory=list)

    def leave(self, key: str, at: Placed, reason: str) -> None:
        """Says that something is not carried over."""
        self.left.append(NotCarried(at.place, key, reason))

    def engine(self, host: str, address: str, name: str, keys: dict[str, Value]) -> None:
        """Adds an engine to a host, which is made where it is new."""
        self.hosts.setdefault(host, (address, {}))[1][name] = keys


def is_name(word: str) -> bool:
    """Whether a word can be a model's name in gpurec's files: text in one line that no template reads."""
    return 0 < len(word) <= MOST_NAME and word.isprintable() and word == word.strip() and not is_template(word)


def is_template(text: str) -> bool:
    """Whether a text means something else in an inventory, where Ansible's templates are read, than in the file that it comes from."""
    return any(sign in text for sign in ("{{", "{%", "{#"))


def is_host(word: str) -> bool:
    """Whether a word can be the name of a host, an engine or a variable in an inventory."""
    return len(word) <= MOST_NAME and _HOST.fullmatch(word) is not None and word not in ("all", "ungrouped")


def variable_of(*words: str) -> str:
    """The name of the environment variable that stands for a secret."""
    name = re.sub(r"[^A-Z0-9]+", "_", "_".join(words).upper()).strip("_")[:100]
    return name if name[:1].isalpha() else f"KEY_{name}"
