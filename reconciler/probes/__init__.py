"""Asks every node at once what is there; each with its own deadline."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.lazy import lazily

if TYPE_CHECKING:
    from reconciler.probes.declared import declared_cards
    from reconciler.probes.probe import engines_reached, probe_engine, probe_fleet
    from reconciler.probes.recorded import as_recorded, facts_from_json, facts_to_json, merge_facts
    from reconciler.probes.sources import is_probed

__all__ = [
    "as_recorded",
    "declared_cards",
    "engines_reached",
    "facts_from_json",
    "facts_to_json",
    "is_probed",
    "merge_facts",
    "probe_engine",
    "probe_fleet",
]

__getattr__ = lazily(
    __name__,
    {
        "declared": ("declared_cards",),
        "probe": ("engines_reached", "probe_engine", "probe_fleet"),
        "recorded": ("as_recorded", "facts_from_json", "facts_to_json", "merge_facts"),
        "sources": ("is_probed",),
    },
)
