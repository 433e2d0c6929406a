"""The store: what was applied, what is owned, what was measured, who holds the lease."""

from __future__ import annotations

from reconciler.state.lease import EXPIRY_SECONDS, HEARTBEAT_SECONDS, Lease, Standing
from reconciler.state.node_rename import Move, node_move
from reconciler.state.open import Store, open_state
from reconciler.state.protocol import (
    JournalRow,
    Learned,
    Measurement,
    RunRecord,
    SettledStep,
    StateReader,
    StateWriter,
    StepStatus,
)
from reconciler.state.renames import Rename, address_now, names_now
from reconciler.state.sqlite.access import refuse_unsafe, unsafe_sentence
from reconciler.state.sqlite.check import Finding, Level, check_state
from reconciler.state.sqlite.connection import require_folder
from reconciler.state.sqlite.fleet_name import OtherFleet, check_fleet
from reconciler.state.sqlite.frames import keep_looks
from reconciler.state.sqlite.lock import Lock, break_lock, look_at_lock
from reconciler.state.sqlite.opening import open_writer, wait_until_free
from reconciler.state.sqlite.reader import open_reader
from reconciler.state.sqlite.recovery import take_in
from reconciler.state.sqlite.rescue import Rescued, RescueWriter, find_rescues, put_away, read_rescue, waiting_sentence

__all__ = [
    "EXPIRY_SECONDS",
    "HEARTBEAT_SECONDS",
    "Finding",
    "JournalRow",
    "Learned",
    "Lease",
    "Level",
    "Lock",
    "Measurement",
    "Move",
    "OtherFleet",
    "Rename",
    "RescueWriter",
    "Rescued",
    "RunRecord",
    "SettledStep",
    "Standing",
    "StateReader",
    "StateWriter",
    "StepStatus",
    "Store",
    "address_now",
    "break_lock",
    "check_fleet",
    "check_state",
    "find_rescues",
    "keep_looks",
    "look_at_lock",
    "names_now",
    "node_move",
    "open_reader",
    "open_state",
    "open_writer",
    "put_away",
    "read_rescue",
    "refuse_unsafe",
    "require_folder",
    "take_in",
    "unsafe_sentence",
    "wait_until_free",
    "waiting_sentence",
]
