"""Facts, desired state and what was applied, to an ordered plan. Pure: no I/O, no clock, no randomness."""

from __future__ import annotations

from reconciler.planning.approved import as_approved
from reconciler.planning.approved_from import SinceApproval, differs_from_before, first_not_as_approved
from reconciler.planning.digest import plan_digest
from reconciler.planning.drift_memory import (
    DriftMemory,
    DriftReport,
    Key,
    SeenDrift,
    Since,
    drift_key,
    judge,
    moment,
    remember,
    with_node_renamed,
)
from reconciler.planning.importing import FleetAsFound, Imported, LeftOut, SeenReplica, import_fleet
from reconciler.planning.kinds.model.deleting import unused_tags
from reconciler.planning.kinds.model.evictions import EVICTED, evicted_by
from reconciler.planning.kinds.model.holds import HELD, RELOADS, asked_digest
from reconciler.planning.kinds.model.pinning import Differing, Pins, find_pins
from reconciler.planning.kinds.model.rollback import desired_of
from reconciler.planning.kinds.model.rules import ASKED_AGAIN, CONTEXT_DROPPED, OPTIONS_CHANGED
from reconciler.planning.kinds.model.step import ModelStep, model_steps
from reconciler.planning.plan import (
    FETCHES,
    FORMAT_VERSION,
    Action,
    Candidate,
    CardBalance,
    Cause,
    Deferred,
    Drift,
    Fields,
    Impact,
    Move,
    Note,
    PlacementInfo,
    Plan,
    Precondition,
    Reason,
    Refusal,
    Step,
    UnmanagedResident,
    Unplaced,
    UnplacedLevel,
    Value,
)
from reconciler.planning.planner import make_plan, wanted_names
from reconciler.planning.staleness import StaleStep, first_stale_step

__all__ = [
    "ASKED_AGAIN",
    "CONTEXT_DROPPED",
    "EVICTED",
    "FETCHES",
    "FORMAT_VERSION",
    "HELD",
    "OPTIONS_CHANGED",
    "RELOADS",
    "Action",
    "Candidate",
    "CardBalance",
    "Cause",
    "Deferred",
    "Differing",
    "Drift",
    "DriftMemory",
    "DriftReport",
    "Fields",
    "FleetAsFound",
    "Impact",
    "Imported",
    "Key",
    "LeftOut",
    "ModelStep",
    "Move",
    "Note",
    "Pins",
    "PlacementInfo",
    "Plan",
    "Precondition",
    "Reason",
    "Refusal",
    "SeenDrift",
    "SeenReplica",
    "Since",
    "SinceApproval",
    "StaleStep",
    "Step",
    "UnmanagedResident",
    "Unplaced",
    "UnplacedLevel",
    "Value",
    "as_approved",
    "asked_digest",
    "desired_of",
    "differs_from_before",
    "drift_key",
    "evicted_by",
    "find_pins",
    "first_not_as_approved",
    "first_stale_step",
    "import_fleet",
    "judge",
    "make_plan",
    "model_steps",
    "moment",
    "plan_digest",
    "remember",
    "unused_tags",
    "wanted_names",
    "with_node_renamed",
]
