"""What earlier runs could not write is taken in before an apply plans: what is ours decides what may be unloaded."""

from __future__ import annotations

from pathlib import Path

from reconciler.cli.commands.state.writing import editing
from reconciler.cli.settings import Settings
from reconciler.state import find_rescues, put_away, read_rescue, take_in
from reconciler.views import escape


def take_in_waiting(settings: Settings, path: Path, lock_timeout: float, command: str = "apply") -> None:
    """Takes in the rescue journals that wait for this state, and says so; nothing where none does.

    Reading one in twice, or after a later run, harms nothing, so it needs no asking. Raises StateError, before anything is planned, for one
    that is damaged or of another state, and while the disk still takes no more; LockHeld when a run is on.
    """
    waiting = find_rescues(path)
    if not waiting or not path.exists():
        return
    rescued = [read_rescue(each) for each in waiting]
    with editing(settings, path, command, lock_timeout) as state:
        take_in(state, rescued)
    for one in rescued:
        kept = put_away(one.path)
        entries = len(one.entries)
        settings.say(
            f"Took in what run {one.head.run_id} could not write to the state: {entries} {'entry' if entries == 1 else 'entries'} of its "
            f"rescue journal, now {escape(str(kept), 4000)}."
        )
