"""What every reader of a store raises for a value that gpurec does not write there."""

from __future__ import annotations


class NotAsWritten(ValueError):
    """A value that this program writes into no such column. Its text says, in words of ours, which column, and what it must be."""
