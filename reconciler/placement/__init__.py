"""Which replica goes on which engine, and why not elsewhere. Pure."""

from __future__ import annotations

from reconciler.capacity import Card, Charges, EngineState, Occupancy, is_fitted, margin_for, set_up, usable_bytes
from reconciler.needs.context_search import ContextSearch, Fitted
from reconciler.needs.terms import Terms
from reconciler.placement.bound import Bound, bound_of
from reconciler.placement.candidates import EngineAnswer, ModelNeeds, Question, best, candidates, model_needs
from reconciler.placement.decided import Decided
from reconciler.placement.eligibility import refusal
from reconciler.placement.explain import EngineRefusal, UnplacedExplanation, explain
from reconciler.placement.mip import SolverMissing, require_highs
from reconciler.placement.objective import Objective, objective_of, replica_bytes
from reconciler.placement.place import place, place_most
from reconciler.placement.residents import Occupant, charge_found, need_on
from reconciler.placement.result import MissingReplicas, PassedOver, Placement, Target
from reconciler.placement.search_state import NOTHING_HELD, HeldReplicas
from reconciler.placement.variants import better_now

__all__ = [
    "NOTHING_HELD",
    "Bound",
    "Card",
    "Charges",
    "ContextSearch",
    "Decided",
    "EngineAnswer",
    "EngineRefusal",
    "EngineState",
    "Fitted",
    "HeldReplicas",
    "MissingReplicas",
    "ModelNeeds",
    "Objective",
    "Occupancy",
    "Occupant",
    "PassedOver",
    "Placement",
    "Question",
    "SolverMissing",
    "Target",
    "Terms",
    "UnplacedExplanation",
    "best",
    "better_now",
    "bound_of",
    "candidates",
    "charge_found",
    "explain",
    "is_fitted",
    "margin_for",
    "model_needs",
    "need_on",
    "objective_of",
    "place",
    "place_most",
    "refusal",
    "replica_bytes",
    "require_highs",
    "set_up",
    "usable_bytes",
]
