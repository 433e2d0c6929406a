"""The family of errors: each carries what is wrong, where, and what to do; the sentence is made here, once."""

from __future__ import annotations

from reconciler.value_class import value_class


@value_class
class Place:
    """Where an error is: a file position (1-based), or anything else that can be named (a node, a URL)."""

    file: str
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        parts = [self.file, *(str(part) for part in (self.line, self.column) if part is not None)]
        return ":".join(parts)


@value_class
class Problem:
    """One thing that is wrong. `what` and `hint` are plain sentences without a full stop at the end."""

    what: str
    where: Place | None = None
    hint: str | None = None

    def sentence(self) -> str:
        """`file:line:column: what; hint` in one line."""
        head = f"{self.where}: " if self.where is not None else ""
        tail = f"; {self.hint}" if self.hint else ""
        return f"{head}{self.what}{tail}"


class GpurecError(Exception):
    """Base of everything this program raises on purpose. `exit_code` is the process status of the contract."""

    exit_code = 1

    def __init__(self, *problems: Problem) -> None:
        super().__init__("\n".join(problem.sentence() for problem in problems))
        self.problems = problems

    @classmethod
    def of(cls, what: str, where: Place | str | None = None, hint: str | None = None) -> GpurecError:
        """An error of this class with one problem; a plain string is taken as the name of a place."""
        place = Place(where) if isinstance(where, str) else where
        return cls(Problem(what, place, hint))


class WorkspaceError(GpurecError):
    """The files of the workspace are wrong; holds every problem found, in file order."""


class StateError(GpurecError):
    """The state cannot be read or written."""


class LockHeld(GpurecError):
    """Another run holds the lease of this state."""

    exit_code = 5


class StalePlan(GpurecError):
    """The plan no longer fits the facts, the files or the state."""

    exit_code = 6


class GuardRefused(GpurecError):
    """A guard or a policy refuses to go on."""

    exit_code = 7


class EngineError(GpurecError):
    """An engine answered with a failure. `code` is a reason code of the plan, such as `out_of_memory`."""

    def __init__(self, problem: Problem, code: str = "engine_error") -> None:
        super().__init__(problem)
        self.code = code


class Unreachable(EngineError):
    """An engine could not be asked: refused, timed out, not its protocol, key refused. Everything about it is unknown."""

    def __init__(self, problem: Problem, code: str = "unreachable") -> None:
        super().__init__(problem, code)
