"""Which ends are looked at: `KILLS` of them (100), drawn by `SEED` (a new one each time), which is printed to draw the same again."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

import pytest
from kills import Victims

os.environ.setdefault("SEED", str(random.SystemRandom().randrange(10**6)))  # workers of xdist inherit it


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.write_line(f"crash: KILLS={os.environ.get('KILLS', '100')} SEED={os.environ['SEED']} draws the same ends again")


@pytest.fixture(scope="session")
def victims() -> Iterator[Victims]:
    with Victims() as victims:
        yield victims
