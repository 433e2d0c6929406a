"""Who is where and what it takes: every card with its bounds, every engine with its cards. The only room that adds bytes up. Pure."""

from __future__ import annotations

from reconciler.capacity.accounts import CardAccounts, Shortage
from reconciler.capacity.building import set_up, usable_bytes
from reconciler.capacity.cards import Card, CardHolding, Charges, largest, on_card, on_cards, raised, total
from reconciler.capacity.engine_margin import believed_free, is_fitted, margin_for, most_unused
from reconciler.capacity.engine_state import EngineState, Holding
from reconciler.capacity.occupancy import Occupancy, OccupancyError
from reconciler.capacity.own_cards import GivenCard, charge_given, fits_alone

__all__ = [
    "Card",
    "CardAccounts",
    "CardHolding",
    "Charges",
    "EngineState",
    "GivenCard",
    "Holding",
    "Occupancy",
    "OccupancyError",
    "Shortage",
    "believed_free",
    "charge_given",
    "fits_alone",
    "is_fitted",
    "largest",
    "margin_for",
    "most_unused",
    "on_card",
    "on_cards",
    "raised",
    "set_up",
    "total",
    "usable_bytes",
]
