"""The table of docs/conformance.md, engine × rule × simulated or real, from what pytest said: `python conformance_report.py JUNIT OUT`.

`python conformance_report.py JUNIT OUT OLLAMA LLAMA` writes the page of another Ollama.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
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


OTHER_HEAD = """# Conformance of Ollama {ollama}

Written by `make conformance OLLAMA={ollama}`; nothing here is edited by hand, and CI does not run it. The rules of
[conformance.md](conformance.md), asked of this Ollama with the llama.cpp that it names ({llama}). Beside them {held} of {others} tests hold
of what Ollama does by itself (tests/real/test_real_admission.py, test_real_engines.py and test_real_ollama.py).
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


def report(
    found: Mapping[Key, str],
    columns: Sequence[tuple[str, str]] = COLUMNS,
    versions: Mapping[str, str] = VERSIONS,
    head: str = HEAD,
) -> str:
    """The document. A rule that was to be asked and was not is told as such."""
    notes: dict[str, int] = {}
    rows = []
    said: list[str] = []
    for rule in RULES:
        cells = []
        for engine, where in columns:
            why = rule.why_not(engine, where)
            if why is None:
                said.append(found.get((rule.name, engine, where), NOT_RUN))
            cells.append(said[-1] if why is None else str(notes.setdefault(why, len(notes) + 1)))
        rows.append(_line(rule.name.replace("_", " "), *cells))
    top = _line("rule", *(f"{ENGINES[engine]}, {where}" + (f" {versions[engine]}" if where == REAL else "") for engine, where in columns))
    total = f"{said.count(GREEN)} of {len(said)} cells that are asked hold.\n"
    reasons = "\n".join(f"{number}. {why}" for why, number in notes.items()) + "\n"
    return "\n".join([head, total, top, _line("---", *["---"] * len(columns)), *rows, "", reasons])


def report_of_another(junit: Path, ollama: str, llama: str) -> str:
    """The page of an Ollama that is not the one that the suite is held to, with its own build of llama.cpp."""
    others = [case for case in ElementTree.parse(junit).iter("testcase") if case.find(".//property[@name='conformance']") is None]
    held = sum(all(case.find(word) is None for word in ("failure", "error", "skipped")) for case in others)
    head = OTHER_HEAD.format(ollama=ollama, llama=llama, held=held, others=len(others))
    return report(results(junit), [(OLLAMA, REAL)], {OLLAMA: ollama}, head)


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    junit, out, *another = sys.argv[1:]
    Path(out).write_text(report_of_another(Path(junit), *another) if another else report(results(Path(junit))))
