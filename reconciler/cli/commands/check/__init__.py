"""`gpurec check`: one argument, three commands: of a model file, of a model in the fleet, of a checkpoint."""

from reconciler.cli.commands.check.command import command

__all__ = ["command"]
