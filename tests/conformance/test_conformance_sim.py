"""The rules, asked of the simulated engines. `make real` asks the same of the real ones."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from rules import SIMULATED, Rule, asked
from simulated import KEY, KEY_VARIABLE, simulated


@pytest.mark.parametrize(("rule", "engine"), asked(SIMULATED), ids=lambda value: value.name if isinstance(value, Rule) else value)
def test_conformance_of_the_simulated_engine(
    rule: Rule, engine: str, monkeypatch: pytest.MonkeyPatch, record_property: Callable[[str, object], None]
) -> None:
    record_property("conformance", f"{rule.name} {engine} {SIMULATED}")
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    with simulated(engine, rule) as subject:
        asyncio.run(rule.ask(subject))
