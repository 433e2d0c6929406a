"""Rooms whose modules are imported only when one of their names is used, so that a command pays for what it uses (PEP 562)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module


def lazily(room: str, modules: Mapping[str, tuple[str, ...]]) -> Callable[[str], object]:
    """The `__getattr__` of the package `room`, whose names come from its `modules`."""
    where = {name: module for module, names in modules.items() for name in names}

    def find(name: str) -> object:
        if name not in where:
            raise AttributeError(f"module {room!r} has no attribute {name!r}")
        found: object = getattr(import_module(f"{room}.{where[name]}"), name)
        setattr(sys.modules[room], name, found)
        return found

    return find
