"""`make bench`: every figure is a ratio against a baseline or a bound of the same run. Prints; ends with 1 when a bound does not hold.

`python benchmarks NAME…` runs some of its parts; what follows `placement` is for that one (`planted/table.py`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import daemons
import forecast
import growth
import least
import needs
import probing
import scraping
import start
import watching
from planted import table

import state

PARTS: dict[str, Callable[[], bool]] = {
    "start": start.main,
    "probing": probing.main,
    "scraping": scraping.main,
    "daemons": daemons.main,
    "state": state.main,
    "growth": growth.main,
    "least": least.main,
    "needs": needs.main,
    "placement": table.main,
    "forecast": forecast.main,
    "watching": watching.main,
}

if __name__ == "__main__":
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed command is compiled once, not at every start
    if sys.argv[1:2] == ["placement"]:
        sys.exit(0 if table.main(sys.argv[2:]) else 1)
    wanted = sys.argv[1:] or list(PARTS)
    held = [PARTS[name]() for name in wanted]
    sys.exit(0 if all(held) else 1)
