"""One thing that is wrong."""

from __future__ import annotations

from enum import StrEnum

from reconciler.value_class import value_class


class Level(StrEnum):
    ERROR = "error"
    WARNING = "warning"


@value_class
class Finding:
    """`code` is stable and for programs, `address` says of what (`node.NAME`, `gpu.NODE/INDEX`, `engine.NODE/ENGINE`, `model.…`), `what` is
    a sentence without a full stop, `mend` the command or the line that mends it."""

    level: Level
    code: str
    address: str
    what: str
    mend: str

    @property
    def order(self) -> tuple[bool, str, str, str]:
        """Errors first, then by address."""
        return self.level is not Level.ERROR, self.address, self.code, self.what


def error(code: str, address: str, what: str, mend: str) -> Finding:
    return Finding(Level.ERROR, code, address, what, mend)


def warning(code: str, address: str, what: str, mend: str) -> Finding:
    return Finding(Level.WARNING, code, address, what, mend)
