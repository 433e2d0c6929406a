"""The rules for a state, asked of the one in a file. `make real` asks the same of the one in PostgreSQL."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from state_rules import RULES, StateRule

from reconciler.state import SqliteStore, Store


@dataclass(frozen=True)
class InFiles:
    folder: Path

    def store(self, fleet: str = "lab") -> Store:
        return SqliteStore(self.folder / f"{fleet}.db")

    def renamed(self, old: str, new: str) -> Store:
        return self.store(old)

    def behind(self, statement: str) -> None:
        with closing(sqlite3.connect(self.folder / "lab.db")) as conn:
            conn.execute(statement)
            conn.commit()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule.__name__))
def test_conformance_of_the_state_in_a_file(rule: StateRule, tmp_path: Path) -> None:
    rule(InFiles(tmp_path))
