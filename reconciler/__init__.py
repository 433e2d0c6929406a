"""gpurec: plan and apply for GPU inference fleets."""

import sys

__version__ = "0.1.0"

sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
# httpx imports its own command line, and with it rich and pygments: 4 MB and a tenth of a start that a loop never uses. Nothing there, it
# goes on without.
