"""Looking a model up in what an engine shows."""

from __future__ import annotations

from reconciler.fleet import EngineFacts, Identity, Installed, Resident, ResidentStatus


def find_installed(facts: EngineFacts, name: str) -> Installed | None:
    return next((model for model in facts.installed or () if model.name == name), None)


def find_resident(facts: EngineFacts, name: str) -> Resident | None:
    """The resident that a request under that name reaches."""
    return Identity(facts).resident(name)


def is_there(resident: Resident | None) -> bool:
    """Whether it holds its memory or sleeps; not while it is still being loaded."""
    return resident is not None and resident.status is not ResidentStatus.LOADING
