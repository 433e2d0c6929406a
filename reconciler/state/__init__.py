"""The store: what was applied, what is owned, what was measured, who holds the lease."""

from __future__ import annotations

from reconciler.state.check import Finding, Level, check_state
from reconciler.state.lease import EXPIRY_SECONDS, HEARTBEAT_SECONDS, Lease, Standing
from reconciler.state.lock import Lock, break_lock, look_at_lock
from reconciler.state.moving import Move, node_move
from reconciler.state.protocol import (
    JournalRow,
    Measurement,
    RunRecord,
    SettledStep,
    StateReader,
    StateWriter,
    StepStatus,
)
from reconciler.state.reader import open_reader
from reconciler.state.taking import open_writer

__all__ = [
    "EXPIRY_SECONDS",
    "HEARTBEAT_SECONDS",
    "Finding",
    "JournalRow",
    "Lease",
    "Level",
    "Lock",
    "Measurement",
    "Move",
    "RunRecord",
    "SettledStep",
    "Standing",
    "StateReader",
    "StateWriter",
    "StepStatus",
    "break_lock",
    "check_state",
    "look_at_lock",
    "node_move",
    "open_reader",
    "open_writer",
]
