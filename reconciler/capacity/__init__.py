"""Who is where and what it takes: every card with its bounds, every engine with its cards. The only room that adds bytes up. Pure."""

from __future__ import annotations

from reconciler.capacity.accounts import CardAccounts, Shortage
from reconciler.capacity.building import set_up, usable_bytes
from reconciler.capacity.card_groups import card_groups
from reconciler.capacity.cards import (
    Card,
    CardHolding,
    Charges,
    by_card,
    largest,
    largest_on_cards,
    least_left,
    on_card,
    on_cards,
    raised,
    total,
)
from reconciler.capacity.counting import Choices, least_freed, least_left_out
from reconciler.capacity.engine_margin import (
    believed_free,
    free_where_unused,
    is_fitted,
    margin_for,
    most_unused,
    spare_beside,
    unused_beside,
)
from reconciler.capacity.engine_state import EngineState, Holding, each_by_index
from reconciler.capacity.occupancy import Occupancy, OccupancyError
from reconciler.capacity.own_cards import GivenCard, charge_given, fits_alone
from reconciler.capacity.packing import Bin, Item, Packing, ReplicaKind, Seat, Taken
from reconciler.capacity.rebuild import Rebuild
from reconciler.capacity.replacing import CardAt, Replacement, spare_bytes, with_room_for_both
from reconciler.capacity.seen import foreign_allowed, in_use, used_together

__all__ = [
    "Bin",
    "Card",
    "CardAccounts",
    "CardAt",
    "CardHolding",
    "Charges",
    "Choices",
    "EngineState",
    "GivenCard",
    "Holding",
    "Item",
    "Occupancy",
    "OccupancyError",
    "Packing",
    "Rebuild",
    "Replacement",
    "ReplicaKind",
    "Seat",
    "Shortage",
    "Taken",
    "believed_free",
    "by_card",
    "card_groups",
    "charge_given",
    "each_by_index",
    "fits_alone",
    "foreign_allowed",
    "free_where_unused",
    "in_use",
    "is_fitted",
    "largest",
    "largest_on_cards",
    "least_freed",
    "least_left",
    "least_left_out",
    "margin_for",
    "most_unused",
    "on_card",
    "on_cards",
    "raised",
    "set_up",
    "spare_beside",
    "spare_bytes",
    "total",
    "unused_beside",
    "usable_bytes",
    "used_together",
    "with_room_for_both",
]
