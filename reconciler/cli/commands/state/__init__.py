"""`gpurec state`: one file for what reads, what writes, and what copies."""

from reconciler.cli.commands.state.group import command

__all__ = ["command"]
