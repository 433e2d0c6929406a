"""The state that a command looks after, as the global options say."""

from __future__ import annotations

from reconciler.cli.settings import Settings
from reconciler.operations import workspace
from reconciler.state import Store, unsafe_sentence
from reconciler.views.escape import escape


def find_state(settings: Settings, *, any_fleet: bool = False) -> Store:
    """Where it is, after a warning where others may write it. Raises OtherFleet for that of another fleet, unless `any_fleet`."""
    store = workspace.find_state(settings, any_fleet=any_fleet)
    warn_of_access(settings, store)
    return store


def warn_of_access(settings: Settings, store: Store) -> None:
    """Says that others than this user may write a state."""
    if store.file is not None and (sentence := unsafe_sentence(store.file)) is not None:
        settings.say(f"Warning: {escape(sentence, 2000)}")
