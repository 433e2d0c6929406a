"""`max_unavailable`, `order` and `update` of a model: how what a plan changes of its replicas follows each other."""

from __future__ import annotations

from enum import StrEnum

from reconciler.fleet import Order, Rollout
from reconciler.workspace.forms import choice, integer
from reconciler.workspace.problems import Problems
from reconciler.workspace.table import Field, Values


class UpdateMode(StrEnum):
    ROLLING = "rolling"
    CANARY = "canary"


MAX_UNAVAILABLE = Field(
    "max_unavailable",
    integer(1, 1_000_000),
    says="How many of its replicas an update may take away at once; the default is 1.",
    meant="maxunavailable max_parallel",
)
ORDER = Field(
    "order",
    choice(Order),
    says="Whether the new one starts before or after the old one ends; unset: before where there is room.",
    meant="update_order",
)
UPDATE = Field(
    "update",
    choice(UpdateMode),
    says="`canary`: one replica first, verified, then the rest; the default is `rolling`.",
    meant="update_strategy update_config rollout",
)


def rollout_of(values: Values) -> Rollout:
    """What a model says of it, with the defaults."""
    return Rollout(values.get(MAX_UNAVAILABLE) or 1, values.get(ORDER), values.get(UPDATE) is UpdateMode.CANARY)


def check_rollout(name: str, values: Values, problems: Problems, *, loaded: bool, verified: bool) -> None:
    """Of a model that gpurec does not load nothing is rolled out; a canary that is asked nothing is told."""
    for field in (MAX_UNAVAILABLE, ORDER, UPDATE) if not loaded else ():
        if field in values:
            hint = "remove it, or write ensure: loaded"
            problems.error(f"{name} has `{field.key}`, and is not to be loaded by gpurec", values.nodes[field.key], hint)
    if loaded and values.get(UPDATE) is UpdateMode.CANARY and not verified:
        what = f"{name} is updated with a canary that is asked nothing: only its place and its size are looked at"
        problems.warn(what, values.nodes[UPDATE.key], "add `verify: {min_tokens_per_second: 5}`, or embedding_length")
