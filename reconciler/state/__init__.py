"""The store: what was applied, what is owned, what was measured, who holds the lease."""

from __future__ import annotations

from reconciler.state.copying import Copied, copy_state, fleet_to_copy
from reconciler.state.finding import StateFinding, StateLevel
from reconciler.state.lease import EXPIRY_SECONDS, HEARTBEAT_SECONDS, Lease, Lock, Standing
from reconciler.state.node_rename import NodeMove, node_move
from reconciler.state.open import open_state
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
from reconciler.state.recovery import take_in
from reconciler.state.renames import Rename, address_now, names_now
from reconciler.state.shards import Shard, ShardBoard, ShardRow
from reconciler.state.sql.fleet_name import OtherFleet
from reconciler.state.sql.rescue import Rescued, RescuePlace, RescueWriter, find_rescues, put_away, read_rescue, waiting_sentence
from reconciler.state.sqlite.access import refuse_unsafe, unsafe_sentence
from reconciler.state.sqlite.check import check_state
from reconciler.state.sqlite.lock import break_lock, look_at_lock
from reconciler.state.sqlite.opening import open_writer
from reconciler.state.sqlite.reader import open_reader
from reconciler.state.sqlite.store import SqliteStore
from reconciler.state.store import Store, file_of, refuse_if_locked

__all__ = [
    "EXPIRY_SECONDS",
    "HEARTBEAT_SECONDS",
    "Copied",
    "JournalRow",
    "Learned",
    "Lease",
    "Lock",
    "Measurement",
    "NodeMove",
    "OtherFleet",
    "Rename",
    "RescuePlace",
    "RescueWriter",
    "Rescued",
    "RunRecord",
    "SettledStep",
    "Shard",
    "ShardBoard",
    "ShardRow",
    "SqliteStore",
    "Standing",
    "StateFinding",
    "StateLevel",
    "StateReader",
    "StateWriter",
    "StepStatus",
    "Store",
    "address_now",
    "break_lock",
    "check_state",
    "copy_state",
    "file_of",
    "find_rescues",
    "fleet_to_copy",
    "look_at_lock",
    "names_now",
    "node_move",
    "open_reader",
    "open_state",
    "open_writer",
    "put_away",
    "read_rescue",
    "refuse_if_locked",
    "refuse_unsafe",
    "take_in",
    "unsafe_sentence",
    "waiting_sentence",
]
