"""Models that are wanted at some hours only: which are at the moment of the facts, and what a plan says of the others."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from reconciler.fleet import Desired, FleetFacts, parse_time
from reconciler.planning.plan import ModelHours, Note

OUTSIDE_HOURS = "outside_hours"


def hours_at(desired: Desired, facts: FleetFacts) -> tuple[ModelHours, ...]:
    """Every model that has hours, in name order, as of the time of the facts."""
    found = []
    for model in sorted(desired.models, key=lambda model: model.name):
        hours = model.when.hours
        if hours is not None:
            at = parse_time(facts.at)
            found.append(ModelHours(model.name, hours.holds(at), _shown(hours.next_border(at))))
    return tuple(found)


def outside_hours(desired: Desired, hours: Sequence[ModelHours]) -> tuple[Note, ...]:
    """What is said of the models that are not wanted just now."""
    later = {one.model: f"; next from {one.until} on" if one.until is not None else "" for one in hours}
    return tuple(
        Note(f"model.{model.name}", OUTSIDE_HOURS, f"is not wanted now, only at {model.when.hours.shown}{later[model.name]}")
        for model in desired.models
        if model.outside_hours and model.when.hours is not None
    )


def _shown(border: datetime | None) -> str | None:
    return border.strftime("%Y-%m-%dT%H:%M:%SZ") if border is not None else None
