"""Words for every kind of resource beside models: what the files say of it, what was seen of it, what was last applied."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from reconciler.fleet.containers import NodeContainers
from reconciler.fleet.secret_refs import Scalar
from reconciler.value_class import value_class

if TYPE_CHECKING:
    from reconciler.fleet.desired import Desired

T = TypeVar("T")
Fields = Mapping[str, Scalar | None]
"""Fields of a resource by name; None is unknown, or not asked for."""
LOCAL = "local"
"""What addresses call the machine that gpurec runs on."""


@value_class
class Section(Generic[T]):
    """A key of the desired state that belongs to one kind of resource, and what it is where no file has it."""

    key: str
    nothing: T

    def of(self, desired: Desired) -> T:
        return cast("T", desired.sections.get(self.key, self.nothing))


@value_class
class ResourceFacts:
    """What was seen of a resource. `exists` None: nobody could look, for `reason`; a reason beside False is why it cannot be made.
    `as_applied` are the fields again in the words of what was last applied, where a field is only seen as far as somebody asks for it.
    `there` is what its daemon showed, for what runs in a container."""

    exists: bool | None
    fields: Fields = field(default_factory=dict)
    reason: str | None = None
    as_applied: Fields | None = None
    there: NodeContainers | None = None


UNSEEN = ResourceFacts(None, {}, "nobody looked")


@value_class
class AppliedResource:
    """A resource as it was last applied: `fields` as they were asked for or observed right after, and `written`, the text that we wrote,
    where it is one. Fields that begin with `_` are the kind's own and are never shown. Owned by the state: what is here
    may be removed when it is no longer wanted."""

    address: str
    fields: Mapping[str, Scalar] = field(default_factory=dict)
    written: str | None = None
    serial: int = 0


ENGINE = "engine"
"""The kind of resource that an engine is which gpurec owns."""


def resource_address(kind: str, name: str, node: str) -> str:
    """`KIND.NAME@NODE`; of an engine `engine.NODE/NAME`."""
    return f"{kind}.{node}/{name}" if kind == ENGINE else f"{kind}.{name}@{node}"


def parse_resource_address(address: str) -> tuple[str, str, str]:
    """Kind, name and node. The node comes after the last `@`; of an engine before the first `/`. Raises ValueError."""
    kind, dot, rest = address.partition(".")
    if kind == ENGINE:
        node, separator, name = rest.partition("/")
    else:
        name, separator, node = rest.rpartition("@")
    if not (kind and dot and name and separator and node):
        raise ValueError(f"{address!r} is no address of a resource (KIND.NAME@NODE, engine.NODE/NAME)")
    return kind, name, node
