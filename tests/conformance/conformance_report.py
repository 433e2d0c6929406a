"""The table of docs/conformance.md, engine × rule × simulated or real, from what pytest said: `python conformance_report.py JUNIT OUT`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

from rules import REAL, RULES, SIMULATED, asked
from subject import ENGINES, LLAMASWAP, OLLAMA, ROUTER, SINGLE, VLLM

GREEN, RED, NOT_RUN = "✓", "✗", "not run"
VERSIONS = {OLLAMA: "0.34.0", ROUTER: "b10760", SINGLE: "b10760", VLLM: "0.32.0, CPU build", LLAMASWAP: "none"}
COLUMNS = [(engine, where) for engine in ENGINES for where in (SIMULATED, REAL)]
Key = tuple[str, str, str]
"""(rule, engine, simulated or real)"""
HEAD = """# Conformance

Written by `make conformance`; nothing here is edited by hand. One list of rules (`tests/conformance/rules.py`) is asked, unchanged, of
every simulated engine and of every real one that can run on a CPU. ✓ holds; a number says why a rule is not asked there.
"""


def results(junit: Path) -> dict[Key, str]:
    """How each rule ended that was asked, GREEN or RED."""
    found: dict[Key, str] = {}
    for case in ElementTree.parse(junit).iter("testcase"):
        for entry in case.iter("property"):
            if entry.get("name") == "conformance":
                rule, engine, where = str(entry.get("value")).split(" ")
                bad = any(case.find(word) is not None for word in ("failure", "error", "skipped"))
                found[rule, engine, where] = RED if bad else GREEN
    return found


def all_green() -> dict[Key, str]:
    return {(rule.name, engine, where): GREEN for where in (SIMULATED, REAL) for rule, engine in asked(where)}


def report(found: Mapping[Key, str]) -> str:
    """The document. A rule that was to be asked and was not is told as such."""
    notes: dict[str, int] = {}
    rows = []
    for rule in RULES:
        cells = []
        for engine, where in COLUMNS:
            why = rule.why_not(engine, where)
            cells.append(found.get((rule.name, engine, where), NOT_RUN) if why is None else str(notes.setdefault(why, len(notes) + 1)))
        rows.append(_line(rule.name.replace("_", " "), *cells))
    head = _line("rule", *(f"{ENGINES[engine]}, {where}" + (f" {VERSIONS[engine]}" if where == REAL else "") for engine, where in COLUMNS))
    asked_cells = [found.get((rule.name, engine, where), NOT_RUN) for where in (SIMULATED, REAL) for rule, engine in asked(where)]
    green = asked_cells.count(GREEN)
    total = f"{green} of {len(asked_cells)} cells that are asked hold.\n"
    reasons = "\n".join(f"{number}. {why}" for why, number in notes.items()) + "\n"
    return "\n".join([HEAD, total, head, _line("---", *["---"] * len(COLUMNS)), *rows, "", reasons])


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(report(results(Path(sys.argv[1]))))
