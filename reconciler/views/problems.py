"""What is wrong with files, in the forms that forges show beside the lines: workflow commands, a code quality report, SARIF.

Sources: docs.github.com "Workflow commands for GitHub Actions", docs.gitlab.com "Code Quality report format", SARIF 2.1.0 (OASIS).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from typing import NamedTuple
from urllib.parse import quote

from reconciler.fleet import EngineId, Place, Problem
from reconciler.planning import Plan
from reconciler.planning.plan import Json, Unplaced
from reconciler.views.escape import escape
from reconciler.views.sections import asked_noun, what_lacks
from reconciler.views.style import LONGEST_CELL, plural

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


Below = Callable[[str], str | None]
"""A file's path below the folder that the forge checked out, with slashes; None where it is outside of it."""


Wanted = Callable[[str, str], Place | None]
"""The position of what is asked for, by its section (`models`, `agents`, `services`) and name."""

Declared = Callable[[EngineId | str], Place | None]
"""The position of an engine or a host."""


class GradedProblem(NamedTuple):
    """A mistake (`error`) or a warning."""

    level: str
    problem: Problem


def findings(errors: Sequence[Problem], warnings: Sequence[Problem]) -> list[GradedProblem]:
    return [*(GradedProblem("error", one) for one in errors), *(GradedProblem("warning", one) for one in warnings)]


def plan_findings(plan: Plan, wanted: Wanted, declared: Declared) -> list[GradedProblem]:
    """What a plan leaves without a place, and the guards that refuse it, as errors (best effort as a warning); what cannot be reached as
    warnings. Each at the line that asks for it."""
    found = [GradedProblem("warning" if one.best_effort else "error", _unplaced(one, wanted)) for one in plan.unplaced]
    for refusal in plan.refusals:
        kind, _, rest = refusal.address.partition(".")
        name = rest.rpartition("@")[0] or rest
        found.append(GradedProblem("error", Problem(f"{refusal.address}: {refusal.message}", wanted(f"{kind}s", name))))
    for deferred in plan.deferred:
        what = EngineId(deferred.node, deferred.engine) if deferred.engine is not None else deferred.node
        found.append(GradedProblem("warning", Problem(f"nothing is planned for {what}: {deferred.reason}", declared(what))))
    return found


def _unplaced(one: Unplaced, wanted: Wanted) -> Problem:
    place = wanted("models", one.model) if one.agent is None else wanted("agents", one.agent) or wanted("services", one.agent)
    said = f"no place for {one.shown}: {what_lacks(one)}"
    total = sum(one.candidate_counts.values())
    if total == 1 and one.candidates:
        said += f"; {one.candidates[0].engine}: {one.candidates[0].message or one.candidates[0].reason}"
    elif total:
        counts = ", ".join(
            f"{reason} on {count:,}" for reason, count in sorted(one.candidate_counts.items(), key=lambda each: (-each[1], each[0]))
        )
        said += f"; of {plural(total, asked_noun(one))}: {counts}"
    return Problem(said, place, f"would fit if {' or if '.join(one.would_fit_if)}" if one.would_fit_if else None)


def problems_github(found: Sequence[GradedProblem], below: Below) -> str:
    """A workflow command each: `::error file=…,line=…,col=…,title=…::what; what to do`."""
    lines = []
    for level, problem in found:
        place = _at(problem.where, below)
        parts = {} if place is None else {"file": place[0], "line": place[1], "col": place[2]}
        said = ",".join(f"{name}={_property(str(value))}" for name, value in {**parts, "title": "gpurec"}.items() if value is not None)
        lines.append(f"::{level} {said}::{_data(_message(problem))}\n")
    return "".join(lines)


def problems_gitlab(found: Sequence[GradedProblem], below: Below) -> str:
    """A report for `artifacts:reports:codequality`. What has no place in a file is not in it: GitLab needs one."""
    rows: list[Json] = []
    for level, problem in found:
        place = _at(problem.where, below)
        if place is None:
            continue
        path, line, _ = place
        mark = hashlib.sha256(f"{level}\n{path}\n{line}\n{problem.what}".encode()).hexdigest()
        severity = "major" if level == "error" else "minor"
        location: Json = {"path": path, "lines": {"begin": line or 1}}
        rows.append(
            {
                "description": _message(problem),
                "check_name": f"gpurec-{level}",
                "fingerprint": mark,
                "severity": severity,
                "location": location,
            }
        )
    return json.dumps(rows, indent=2) + "\n"


def problems_sarif(found: Sequence[GradedProblem], below: Below, version: str) -> str:
    """A SARIF 2.1.0 log with one run."""
    results: list[Json] = []
    for level, problem in found:
        result: dict[str, Json] = {"ruleId": f"gpurec-{level}", "level": level, "message": {"text": _message(problem)}}
        place = _at(problem.where, below)
        if place is not None:
            path, line, column = place
            region: dict[str, Json] = {} if line is None else {"startLine": line, **({} if column is None else {"startColumn": column})}
            physical: dict[str, Json] = {"artifactLocation": {"uri": quote(path), "uriBaseId": "%SRCROOT%"}}
            result["locations"] = [{"physicalLocation": {**physical, **({"region": region} if region else {})}}]
        results.append(result)
    rules: list[Json] = [
        {"id": f"gpurec-{level}", "shortDescription": {"text": text}}
        for level, text in (("error", "The files of the workspace are wrong"), ("warning", "Something is probably not as it was meant"))
    ]
    driver: Json = {"name": "gpurec", "version": version, "rules": rules}
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [{"tool": {"driver": driver}, "results": results}]}, indent=2) + "\n"


def _at(where: Place | None, below: Below) -> tuple[str, int | None, int | None] | None:
    """Path, line and column; None where it is no place in a file of the checkout."""
    path = below(where.file) if where is not None and where.line is not None else None
    return None if where is None or path is None else (path, where.line, where.column)


def _message(problem: Problem) -> str:
    text = problem.what + (f"; {problem.hint}" if problem.hint else "")
    if problem.where is not None and problem.where.line is None:
        text = f"{problem.where}: {text}"
    return escape(text, LONGEST_CELL)


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(escape(text, LONGEST_CELL)).replace(":", "%3A").replace(",", "%2C")
