"""The state that a command looks after, as the global options say."""

from __future__ import annotations

from pathlib import Path

from reconciler.cli.settings import Settings
from reconciler.operations import workspace
from reconciler.state import unsafe_sentence
from reconciler.views.escape import escape


def find_state(settings: Settings, *, any_fleet: bool = False) -> Path:
    """Where it is, after a warning where others may write it. Raises OtherFleet for that of another fleet, unless `any_fleet`."""
    path = workspace.find_state(settings, any_fleet=any_fleet)
    if (sentence := unsafe_sentence(path)) is not None:
        settings.say(f"Warning: {escape(sentence, 2000)}")
    return path
