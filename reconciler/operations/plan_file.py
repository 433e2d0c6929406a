"""Saved plans: written for the owner alone, read back as input that anybody may have touched."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reconciler.files import PRIVATE, read_bounded, what_is_wrong, write_file
from reconciler.fleet import MIB, GpurecError, Place, Problem
from reconciler.planning import plan_digest
from reconciler.planning.kinds import KINDS, step_forms
from reconciler.planning.plan import FORMAT_VERSION, SHOWN_VERSIONS, Plan, Step, kind_of
from reconciler.planning.resource import AnyKind
from reconciler.views import document_checksum, plan_contents, plan_json

if TYPE_CHECKING:
    from pydantic import ValidationError

LARGEST = 256 * MIB
MOST_DIGITS = 40
"""No number of a plan is longer; Python itself refuses those of more than 4300 digits, in words for programmers."""
_ADVICE = "make it again with gpurec plan --out"


class PlanFileError(GpurecError):
    """A saved plan cannot be read, is not one, or was changed."""


class PlanDigestDiffers(PlanFileError):
    """What a saved plan would do is not what its digest stands for."""

    exit_code = 6


def save_plan(path: Path, plan: Plan) -> None:
    write_file(path, plan_json(plan), mode=PRIVATE)


def read_plan(path: Path, kinds: Sequence[AnyKind] = KINDS) -> Plan:
    """The plan of a file of `--out`.

    Raises GpurecError when the file is not there or too large (256 MiB); PlanFileError when it is not a plan document of a format that is
    read, when anything in it is not as gpurec writes it, or when its checksum is not that of its words; PlanDigestDiffers when its digest
    is not that of its steps.
    """
    where = str(path)
    document = _document(read_bounded(path, LARGEST), where)
    plan = _validated(document, where, step_forms(kinds))
    if plan.format_version == FORMAT_VERSION and {**plan_contents(plan), "checksum": document.get("checksum")} != document:
        raise PlanFileError.of("the plan is not as gpurec writes it: a key is missing, unknown or contradicts the steps", where, _ADVICE)
    _check_steps(plan, where)
    digest = plan_digest(plan.lineage, plan.config_digest, plan.placement.solver, plan.steps, plan.hours, plan.format_version)
    if digest != plan.digest:
        raise PlanDigestDiffers.of(f"the plan was changed after it was made: its digest is {digest}, not {plan.digest}", where, _ADVICE)
    _check_words(document, where)
    return plan


def _check_words(document: dict[str, Any], where: str) -> None:
    """The digest covers what is done; the checksum also what is only shown, so that nobody approves a plan for words put into it."""
    checksum = document_checksum(document)
    if document.get("checksum") != checksum:
        said = document.get("checksum", "missing")
        raise PlanFileError.of(f"the plan was changed after it was made: its checksum is {checksum}, not {said}", where, _ADVICE)


def _document(text: str, where: str) -> dict[str, Any]:
    try:
        document = json.loads(
            text, parse_constant=_refuse_constant, parse_float=_finite, parse_int=_integer, object_pairs_hook=_unique_keys
        )
    except json.JSONDecodeError as error:
        raise PlanFileError.of("this is not JSON", Place(where, error.lineno, error.colno), _ADVICE) from error
    except (ValueError, RecursionError) as error:
        raise PlanFileError.of(f"this is no plan: {_one_line(error)}", where, _ADVICE) from error
    if not isinstance(document, dict) or "format_version" not in document:
        raise PlanFileError.of("this is JSON, but not a plan document", where, _ADVICE)
    if document["format_version"] not in SHOWN_VERSIONS:
        raise PlanFileError.of(
            f"the plan has format {str(document['format_version'])[:40]!r}, this gpurec reads {FORMAT_VERSION!r}",
            where,
            "make it again with this gpurec",
        )
    return document


def _validated(document: dict[str, Any], where: str, forms: Mapping[str, type[Step]]) -> Plan:
    from pydantic import TypeAdapter, ValidationError

    fields = {key: value for key, value in document.items() if key not in ("summary", "steps")}
    summary = _mapping(document.get("summary"))
    fields |= {name: summary.get(name) for name in ("unchanged", "pending")} | {"steps": []}
    drift = fields.get("drift")
    if isinstance(drift, list):
        fields["drift"] = [{("klass" if key == "class" else key): value for key, value in _mapping(one).items()} for one in drift]
    steps = _steps(document.get("steps"), where, forms)
    try:
        return replace(TypeAdapter(Plan).validate_json(json.dumps(fields, allow_nan=False), strict=True), steps=steps)
    except RecursionError as error:
        raise PlanFileError.of("this is no plan: it is nested too deeply", where, _ADVICE) from error
    except ValidationError as error:
        raise _refused(error, where, ()) from error


def _refused(error: ValidationError, where: str, within: tuple[str | int, ...]) -> PlanFileError:
    """What pydantic found wrong with a part of the document, `within` the keys that lead there."""
    return PlanFileError(*(Problem(wrong, Place(where), _ADVICE) for wrong in what_is_wrong(error, within, 10)))


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _steps(found: object, where: str, forms: Mapping[str, type[Step]]) -> tuple[Step, ...]:
    """The steps, each read as its kind has them; neighbours of one kind are read together."""
    from pydantic import TypeAdapter, ValidationError

    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise PlanFileError.of("steps: this is no list of steps", where, _ADVICE)
    steps: list[Step] = []
    for kind, group in groupby(found, key=lambda one: kind_of(str(one.get("address")))):
        form = forms.get(kind)
        if form is None:
            raise PlanFileError.of(f"step {len(steps) + 1} is about a kind of resource that this gpurec does not know", where, _ADVICE)
        text = json.dumps([*group], allow_nan=False)
        try:
            steps += TypeAdapter(tuple[form, ...]).validate_json(text, strict=True)  # type: ignore[valid-type]  # known at run time
        except ValidationError as error:
            raise _refused(error, where, ("steps",)) from error
    return tuple(steps)


def _check_steps(plan: Plan, where: str) -> None:
    seen: set[str] = set()
    for step in plan.steps:
        if (wrong := step.contradiction) is not None:
            raise PlanFileError.of(f"step {step.id!r} contradicts itself: {wrong}", where, _ADVICE)
        if step.id in seen:
            raise PlanFileError.of(f"two steps have the id {step.id!r}", where, _ADVICE)
        if missing := [need for need in step.needs if need not in seen]:
            raise PlanFileError.of(f"step {step.id!r} needs {missing[0]!r}, which is not before it", where, _ADVICE)
        seen.add(step.id)


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number of JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text[:40]} is too large")
    return number


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f"the key {key[:80]!r} stands twice")
            seen.add(key)
    return found


def _one_line(error: Exception) -> str:
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error).splitlines()[0]


def _integer(text: str) -> int:
    if len(text) > MOST_DIGITS:
        raise ValueError(f"the number {text[:40]}… is too large")
    return int(text)
