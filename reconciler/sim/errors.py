"""What can go wrong with a simulated fleet itself, each as one clear sentence."""

from __future__ import annotations


class SimError(Exception):
    """Base of the errors of this room: the text says what is wrong, where, and what to do."""


class SimFileError(SimError):
    """The file of a simulated fleet is wrong. `problems` are all of them, each `file:line:column: what; hint`, in file order."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class PortTaken(SimError):
    """A simulated engine cannot have its port."""


class OutOfMemory(SimError):
    """An allocation that no card of the engine has room for."""
