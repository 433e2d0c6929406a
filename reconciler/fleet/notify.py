"""Whom a service tells of what: `policy.notify`."""

from __future__ import annotations

from enum import StrEnum

from reconciler.fleet.secret_refs import SecretRef
from reconciler.value_class import value_class


class Topic(StrEnum):
    """What a condition of a fleet is about."""

    DRIFTED = "drift"
    """Something is not as it was last applied."""
    PENDING = "pending"
    """The files ask for something that was not applied yet."""
    FAILED = "failed"
    """A step of an apply failed or was skipped."""
    UNPLACED = "unplaced"
    """Something that is not best-effort has no place."""
    HELD = "held"
    """Something is left as it is, since it was repaired too often."""
    GUARD = "guard"
    """A guard of the policy refuses the plan."""
    UNREACHABLE = "unreachable"
    """An engine or a node cannot be asked."""
    ERROR = "error"
    """gpurec could not look, plan or apply at all."""
    RECOVERED = "recovered"
    """A condition that was told does not hold any more."""


class NotifyFormat(StrEnum):
    """The shape of what is sent."""

    JSON = "json"
    SLACK = "slack"
    NTFY = "ntfy"


USUAL_TOPICS = frozenset({Topic.DRIFTED, Topic.FAILED, Topic.UNPLACED, Topic.GUARD, Topic.ERROR, Topic.RECOVERED})


@value_class
class Notify:
    """One webhook. `url` is a secret: who knows it can write there. `body` is a template of what is sent; None: what `format` says.
    `name` says which one it is in messages, without its url."""

    name: str
    url: SecretRef
    on: frozenset[Topic] = USUAL_TOPICS
    format: NotifyFormat = NotifyFormat.JSON
    body: str | None = None
