"""How long `gpurec --help` takes, against Python that imports click and prints a help of its own."""

from __future__ import annotations

import sys

from measure import gpurec, median_of

BARE = "import click\n@click.command()\ndef cli(): 'Nothing.'\ncli(['--help'])\n"
RUNS = 15


def main() -> bool:
    """Prints the ratio; the goal is that it stays near 1."""
    bare = median_of([sys.executable, "-c", BARE], RUNS)
    ours = median_of(gpurec("--help"), RUNS)
    print(f"\ngpurec --help {ours.wall * 1000:.0f} ms, bare click {bare.wall * 1000:.0f} ms: ratio {ours.wall / bare.wall:.2f} (goal 1.5)")
    return ours.wall / bare.wall <= 1.5
