"""The rules for a state, asked of the one in a file. `make real` asks the same of the one in PostgreSQL."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from state_rules import RULES, StateRule, apply

from reconciler.state import SqliteStore, Store
from reconciler.state.sql.copying import TABLES


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


def test_a_copy_holds_every_table_but_those_of_the_lock_and_of_the_schema(tmp_path: Path) -> None:
    apply(InFiles(tmp_path).store(), [])
    with closing(sqlite3.connect(tmp_path / "lab.db")) as conn:
        tables = {str(name) for (name,) in conn.execute("SELECT name FROM sqlite_master WHERE type = 'table'")} - {"lease", "migrations"}
        assert set(TABLES) == tables
        for name, table in TABLES.items():
            assert set(table.columns) == {str(column[1]) for column in conn.execute(f"PRAGMA table_info({name})")}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule.__name__))
def test_conformance_of_the_state_in_a_file(rule: StateRule, tmp_path: Path) -> None:
    rule(InFiles(tmp_path))
