"""What every view says of a step: its sign, its bytes, its cards, and what changes beside."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable

from reconciler.fleet import format_bytes
from reconciler.planning import CONTEXT_DROPPED
from reconciler.planning.kinds.model.step import ModelStep
from reconciler.planning.plan import FETCHES, Action, Step
from reconciler.views.models_text import measured_words
from reconciler.views.sections import value_text

SYMBOLS: dict[Action, tuple[str, str]] = {
    Action.PULL: ("+", "green"),
    Action.TAG: ("+", "green"),
    Action.LOAD: ("+", "green"),
    Action.CREATE: ("+", "green"),
    Action.UNLOAD: ("-", "red"),
    Action.REMOVE: ("x", "red"),
    Action.RELOAD: ("~", "yellow"),
    Action.UPDATE: ("~", "yellow"),
    Action.ADOPT: ("=", "cyan"),
    Action.WAIT: (">", "cyan"),
}


def size_of(step: Step) -> str:
    """The bytes that a step is about, for people; empty where it is about none."""
    return "" if not isinstance(step, ModelStep) or step.vram_bytes is None else format_bytes(step.vram_bytes)


def source_of(step: Step) -> str:
    """How these bytes are known."""
    return (step.vram_source or "") if isinstance(step, ModelStep) else ""


def cards_of(step: Step) -> str:
    """The card of a step, or those of which each gets its bytes, or those of which one does."""
    if not isinstance(step, ModelStep):
        return ""
    if step.gpus:
        return f"{'card' if len(step.gpus) == 1 else 'each of cards'} {','.join(map(str, step.gpus))}"
    return f"a card of {','.join(map(str, step.gpu_candidates))}" if step.gpu_candidates else ""


def reason_of(step: Step) -> str:
    """Why, with the name on the engine where that is not the model's own."""
    reason = step.reason.message or step.reason.code
    if not isinstance(step, ModelStep):
        return reason
    derived = step.engine_name != step.base_name and step.action in (Action.LOAD, Action.RELOAD)
    return f"{reason} (as {step.engine_name})" if derived or step.variant is not None else reason


_MADE_OF = ("image", "model", "engine", "cards", "ports", "mounts", "networks")
"""What reviewers ask of a container that is new, by the names of its fields; the network of its host is told as a risk."""


def changed_fields(step: Step) -> list[tuple[str, str]]:
    """The fields that change, each with `before → after`; of a container that is new what it is made of. What is not asked for is left to
    the engine, so it is no change."""
    if step.action is Action.CREATE:
        return [
            (name, str(step.after[name]))
            for name in _MADE_OF
            if step.after.get("image") and step.after.get(name) not in (None, "", "default", "host")
        ]
    if step.action not in (Action.RELOAD, Action.UPDATE):
        return []
    after = {**step.after, "context": "the engine's own"} if step.reason.code == CONTEXT_DROPPED else step.after
    changed = []
    for name in sorted(step.before):
        was, will = step.before[name], after.get(name)
        if will is None or was == will or name in step.unshown:
            continue
        changed += _variables(str(was), str(will)) if name == "env" else [(name, f"{value_text(was)} → {value_text(will)}")]
    return changed


def _variables(before: str, after: str) -> list[tuple[str, str]]:
    """The variables that differ, each by itself: `env LOG_LEVEL`, `info → debug`."""
    try:
        was, will = ({word.partition("=")[0].partition(" ")[0]: word for word in shlex.split(text)} for text in (before, after))
    except ValueError:  # of a saved plan that somebody wrote into
        return [("env", f"{before} → {after}")]
    return [
        (f"env {name}", f"{_value_of(name, was.get(name))} → {_value_of(name, will.get(name))}")
        for name in sorted(was.keys() | will.keys())
        if was.get(name) != will.get(name)
    ]


def _value_of(name: str, word: str | None) -> str:
    return "not set" if word is None else word.removeprefix(name).removeprefix("=").strip() or "empty"


def remarks(step: Step) -> list[tuple[str, str]]:
    """What was measured of a need, and why a load brings none of the better variants, each with its label."""
    if not isinstance(step, ModelStep):
        return []
    said = []
    if step.measured_bytes:
        said.append(("measured", measured_words(step.measured_bytes, step.reported_bytes, step.predicted_bytes)))
    if step.variant is not None and step.action not in FETCHES:
        said += [(f"not {one.name}", one.message or one.reason) for one in step.variant.passed_over]
    return said


_ORDER = (
    (Action.PULL, "to pull"),
    (Action.TAG, "to tag"),
    (Action.LOAD, "to load"),
    (Action.UNLOAD, "to unload"),
    (Action.RELOAD, "to reload"),
    (Action.CREATE, "to create"),
    (Action.UPDATE, "to update"),
    (Action.REMOVE, "to remove"),
    (Action.WAIT, "to wait for"),
    (Action.ADOPT, "to adopt"),
)


def counts_words(steps: Iterable[Step]) -> str:
    """`1 to pull, 2 to load`: the actions that there are."""
    counts = Counter(step.action for step in steps)
    return ", ".join(f"{counts[action]:,} {words}" for action, words in _ORDER if counts[action])
