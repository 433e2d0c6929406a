"""How far the prediction of bytes is from what llama.cpp printed, every row of the tables, beside two simpler rules."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from vram.judge import Verdict, error_table, judged, peer_error, rough_error, rows
from vram.logged import logged_table


def main() -> bool:
    """Prints a table for rows of nine known models and two for rows of other architectures; says whether the goals hold for all."""
    good = True
    tables = {
        "nine models in every way of running": "llamacpp_b11434.csv",
        "other architectures": "more_b11434.csv",
        "later architectures and random shapes": "recorded_b11434.csv",
    }
    for title, name in tables.items():
        verdicts = list(judged(rows(name)))
        print(f"\nbytes of a load, {title}: {len(verdicts):,} rows of llama.cpp b11434\n")
        print("\n".join(error_table(verdicts)))
        good &= _goals(verdicts)
    print("\nwhat engines of other people logged, and what is predicted of it, MiB:\n")
    print("\n".join(logged_table()))
    return good


def _goals(verdicts: list[Verdict]) -> bool:
    """Weights, cache and state within 0.1 MiB; compute within 1 MiB in 90% of the places and within 2% (or 1 MiB) in 99%."""
    pairs = [(abs(error), card.compute) for one in verdicts for error, card in zip(one.compute_errors, one.row.cards, strict=True)]
    exact = max(one.exact_error for one in verdicts)
    close = sum(error <= 1 for error, _ in pairs) / len(pairs)
    near = sum(error <= max(1, 0.02 * whole) for error, whole in pairs) / len(pairs)
    whole = [one for one in verdicts if len(one.cards) == 1 and not one.row.partial]
    print(f"\nweights, KV, state: largest error {exact:.4f} MiB (goal 0.1)")
    print(f"compute: {close:.1%} of the cards within 1 MiB (goal 90%), {near:.1%} within 2% (goal 99%)")
    for rule, error in (("xllamacpp", peer_error), ("file size × 1.2", rough_error)):
        found = sorted(error(one) for one in whole)
        low = sum(one < -0.03 for one in found) / len(found)
        middle = sorted(map(abs, found))[len(found) // 2]
        print(f"{rule}: median error {middle:.0%}, from {found[0]:+.0%} to {found[-1]:+.0%}, more than 3% too low in {low:.0%} of the rows")
    return exact <= 0.1 and close >= 0.9 and near >= 0.99
