"""The rule table: the first row whose condition holds says what is done about a replica, and why.

Absent, loading, on the wrong device, changed and merely not ours yet are different rows; unknown is none of them. The order of the rows is
the order of the questions, and nothing else decides.
"""

from __future__ import annotations

from collections.abc import Callable

from reconciler.fleet import ResidentStatus, format_ratio
from reconciler.planning.kinds.model.holds import CONTEXT_DIFFERS, CPU_FALLBACK
from reconciler.planning.kinds.model.replica import Replica
from reconciler.planning.plan import Action
from reconciler.value_class import value_class

OPTIONS_CHANGED = "options_changed"
CONTEXT_DROPPED = "context_dropped"
ASKED_AGAIN = "asked_again"
"""Only `--replace` asks for it: nothing on the engine tells whether it was done."""
ENGINE_RESTARTS = "engine_restarts"


@value_class
class Rule:
    """`action` None: nothing is done. `code` is the reason's code, `says` its sentence."""

    code: str
    when: Callable[[Replica], bool]
    action: Action | None
    says: Callable[[Replica], str]


def _shown(fraction: float | None) -> str:
    return "an unknown part" if fraction is None else format_ratio(fraction)


def _applied_as(replica: Replica, ensure: str) -> bool:
    return replica.applied is not None and replica.applied.ensure == ensure


RULES: tuple[Rule, ...] = (
    Rule("unknown", lambda r: r.deferred, None, lambda r: "nothing is known about the engine now"),
    Rule(
        "present",
        lambda r: not r.wants_resident and (r.is_installed or not r.lists_known) and _applied_as(r, "present"),
        None,
        lambda r: "is installed",
    ),
    Rule(
        "found_installed",
        lambda r: not r.wants_resident and (r.is_installed or not r.lists_known),
        Action.ADOPT,
        lambda r: "is installed already",
    ),
    Rule("not_installed", lambda r: not r.wants_resident, Action.PULL, lambda r: "is not installed"),
    Rule("shares_runner", lambda r: r.shares and r.is_recorded, None, lambda r: "shares the runner of the same weights"),
    Rule("shares_runner", lambda r: r.shares, Action.ADOPT, lambda r: "shares the runner of the same weights"),
    Rule(
        "variant_changed",
        lambda r: r.resident is None and r.other_variant is not None,
        Action.LOAD,
        lambda r: f"takes the place of {r.other_variant}",
    ),
    Rule("held", lambda r: r.left_alone, None, lambda r: r.held or ""),
    Rule(
        "evicted",
        lambda r: r.resident is None and _applied_as(r, "loaded") and r.evicted_by is not None,
        Action.LOAD,
        lambda r: f"was evicted for {r.evicted_by}",
    ),
    Rule(
        "missing",
        lambda r: r.resident is None and _applied_as(r, "loaded"),
        Action.LOAD,
        lambda r: "was resident and is gone",
    ),
    Rule("not_loaded", lambda r: r.resident is None, Action.LOAD, lambda r: "is wanted and not loaded"),
    Rule(
        "loading",
        lambda r: r.resident is not None and r.resident.status is ResidentStatus.LOADING,
        Action.WAIT,
        lambda r: "is being loaded",
    ),
    Rule(
        CPU_FALLBACK,
        lambda r: r.fraction_wrong and r.sets_options and not r.held_for(CPU_FALLBACK),
        Action.RELOAD,
        lambda r: f"{_shown(r.resident.gpu_fraction if r.resident else None)} on the card, wanted {_wanted_fraction(r)}",
    ),
    Rule(
        CONTEXT_DIFFERS,
        lambda r: r.context_wrong and r.sets_context and not r.held_for(CONTEXT_DIFFERS),
        Action.RELOAD,
        lambda r: f"context {r.resident.context if r.resident else None}, wanted {r.model.wanted_context}",
    ),
    Rule(
        CONTEXT_DROPPED,
        lambda r: r.context_dropped and r.sets_context,
        Action.RELOAD,
        lambda r: f"context {r.resident.context if r.resident else None} is no longer asked for: back to the engine's own",
    ),
    Rule(OPTIONS_CHANGED, lambda r: r.options_changed, Action.RELOAD, lambda r: "runner options changed"),
    Rule(
        ASKED_AGAIN,
        lambda r: r.asked_again and r.resident is not None and not r.fixed,
        Action.RELOAD,
        lambda r: "--replace asks for it",
    ),
    Rule(
        ENGINE_RESTARTS,
        lambda r: r.restarts and r.resident is not None,
        Action.RELOAD,
        lambda r: "its engine is started anew",
    ),
    Rule(
        "keep_alive_differs",
        lambda r: r.keep_alive_wrong,
        Action.UPDATE,
        lambda r: "would expire, must stay loaded (keep_alive -1)",
    ),
    Rule("held", lambda r: r.held is not None, None, lambda r: r.held or ""),
    Rule("found_resident", lambda r: not r.is_recorded, Action.ADOPT, lambda r: "is loaded already"),
    Rule("deleted", lambda r: r.deleted, Action.PULL, lambda r: "runs, and is gone from the disk of its engine"),
    Rule("as_wanted", lambda r: True, None, lambda r: "is as wanted"),
)


def _wanted_fraction(replica: Replica) -> str:
    return "0%" if replica.model.residency == "cpu" else format_ratio(replica.model.min_gpu_fraction)


def decide(replica: Replica) -> Rule:
    """The first rule that holds; the last one always does."""
    return next(rule for rule in RULES if rule.when(replica))
