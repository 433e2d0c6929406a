"""How plan grows with the fleet: the whole command, from files and recorded facts to its text."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from measure import gpurec, run, slope

MAKER = Path(__file__).parent / "fleets.py"
SIZES = (10, 100, 1000, 10_000)
BOUND_SLOPE, BOUND_SECONDS, BOUND_BYTES = 1.1, 15.0, 10**9
OPENTOFU = "OpenTofu 1.12.6, empty plan of 10,000 resources: 88 s, 554 MB (published figure)"


def main() -> bool:
    """Prints the table and says whether every bound holds."""
    good = True
    with tempfile.TemporaryDirectory(prefix="gpurec-bench-") as folder:
        replicas = {}
        for nodes in SIZES:
            root = Path(folder) / str(nodes)
            # In a process of its own: a child's peak memory counts what its parent held when it was started.
            replicas[nodes] = int(subprocess.check_output([sys.executable, str(MAKER), str(root), str(nodes)]))
        for title, facts, state in (("nothing to do", "full.json", "owned.db"), ("plan of everything", "empty.json", "none.db")):
            print(f"\nplan, {title}\n{'nodes':>8} {'cards':>8} {'replicas':>9} {'seconds':>8} {'ms/node':>8} {'MB':>6}")
            seconds = []
            for nodes in SIZES:
                root = Path(folder) / str(nodes)
                done = run(gpurec("-C", str(root), "--state", str(root / state), "plan", "--assume", str(root / facts)))
                seconds.append(done.wall)
                print(
                    f"{nodes:>8} {nodes * 8:>8} {replicas[nodes]:>9} {done.wall:>8.2f} {done.wall / nodes * 1000:>8.2f} "
                    f"{done.memory / 1e6:>6.0f}"
                )
            grows, last = slope(SIZES[1:], seconds[1:]), slope(SIZES[-2:], seconds[-2:])
            fine = max(grows, last) <= BOUND_SLOPE and seconds[-1] <= BOUND_SECONDS and done.memory <= BOUND_BYTES
            good = good and fine
            print(
                f"log-log slope from {SIZES[1]} nodes {grows:.2f}, in the last decade {last:.2f} (bound {BOUND_SLOPE}), "
                f"at the top {seconds[-1] / BOUND_SECONDS:.2f} of "
                f"{BOUND_SECONDS:.0f} s and {done.memory / BOUND_BYTES:.2f} of 1 GB: {'holds' if fine else 'DOES NOT HOLD'}"
            )
            if title == "nothing to do":
                print(f"{replicas[1000]:,} replicas here: {seconds[2]:.2f} s. {OPENTOFU}: {88 / seconds[2]:.0f} times as long")
    return good
