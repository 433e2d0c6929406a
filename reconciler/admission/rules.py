"""Which rules an engine goes by: its kind, its version, and the settings of its process.

An Ollama tells none of its settings. What the inventory's `env` says of it is believed; what it does not say is taken to be that version's
own default, except for how much of a card llama-server's fit leaves free: nothing is refused for a default there, a plan only warns.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from reconciler.fleet import EngineKind
from reconciler.fleet.units import MIB
from reconciler.value_class import value_class

MODELS_PER_CARD = 3
"""OLLAMA_MAX_LOADED_MODELS where it is 0 or unset: so many for each card, and in all on a server without one (sched.go)."""
FIT_MARGIN = 1024 * MIB
"""What llama-server's fit leaves free of each card unless LLAMA_ARG_FIT_TARGET says otherwise (common/arg.cpp, `-fitt`)."""
FIT_TARGET = "LLAMA_ARG_FIT_TARGET"
_SINCE = (0, 32)
"""The first Ollama whose server/sched.go was read and found to have these rules; earlier ones sized models themselves."""
_VERSION = re.compile(r"^v?(\d+)\.(\d+)(?:\.(\d+))?")
_FALSE = frozenset({"", "0", "f", "false"})


@value_class
class Rules:
    """`known` False: nobody knows how this version decides. `most` models at once (None: no bound, or none known); `most_from` is what
    sets it, for people. `memory` says that it predicts a load against what it believes free. `fit_margin` is None where it was not said."""

    known: bool = False
    most: int | None = None
    most_from: str = ""
    memory: bool = False
    spread: bool = False
    fit_margin: int | None = None


NO_RULES = Rules()


def rules_of(
    kind: EngineKind, build: str | None, environment: Mapping[str, str], cards: int | None, told_most: int | None, resident: int
) -> Rules:
    """The rules of one engine. `cards` is how many it has (None: not known), `told_most` the limit that the engine itself tells,
    `resident` how many it holds now: a default that is exceeded already is not the one in force."""
    if kind is EngineKind.LLAMACPP:
        return Rules(True, told_most, "--models-max")
    if kind is not EngineKind.OLLAMA:
        return Rules(told_most is not None, told_most, "its limit")
    if not _is_known(build):
        return Rules(most=told_most)
    said = _number(environment, "OLLAMA_MAX_LOADED_MODELS")
    most: int | None = told_most or said or None
    if most is None and cards is not None:
        most = max(MODELS_PER_CARD * max(cards, 1), resident)
    margin = _largest(environment, FIT_TARGET)
    return Rules(
        True,
        most,
        "OLLAMA_MAX_LOADED_MODELS",
        memory=True,
        spread=environment.get("OLLAMA_SCHED_SPREAD", "").strip("\"' ").lower() not in _FALSE,
        fit_margin=None if margin is None else margin * MIB,
    )


def _is_known(build: str | None) -> bool:
    found = _VERSION.match(build or "")
    return found is not None and (int(found[1]), int(found[2])) >= _SINCE


def _largest(environment: Mapping[str, str], name: str) -> int | None:
    """The largest of a list by commas, one entry a card."""
    found = [_number({name: part}, name) for part in environment.get(name, "").split(",")]
    return None if None in found else max(number for number in found if number is not None)


def _number(environment: Mapping[str, str], name: str) -> int | None:
    """A whole number of the environment, as envconfig reads it: what is none counts as unset."""
    text = environment.get(name, "").strip("\"' ")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None
