"""A plan file is hostile input: whatever is done to it, reading it is a plan or one of our own errors, soon, and never a traceback."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from cli_lab import served
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter
from test_cli_plan_file import PLAN

from reconciler.cli.main import cli
from reconciler.fleet import GpurecError
from reconciler.operations.plan_file import read_plan, save_plan
from reconciler.planning import ModelStep, plan_digest
from reconciler.sim import builtin_fleet
from reconciler.views import document_checksum

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from(
        [2**63, -(2**70), 10**400, 1e308, -0.0, "", "\x00", "\ud800", "\x1b[2J", "../../etc", "a" * 5000, "model.m@", "sha256:"]
    ),
    st.text(max_size=20),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3))
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, one in inside for place in places(one, (*path, key)))]


@st.composite
def mutated(draw: st.DrawFn, whole: Any = None) -> Any:
    """The document with some of its values exchanged, dropped or doubled; half of the time with the checksum made right again."""
    document: Any = copy.deepcopy(DOCUMENT if whole is None else whole)
    for _ in range(draw(st.integers(1, 4))):
        *way, last = draw(st.sampled_from([place for place in places(document) if place]))
        holder = document
        for key in way:
            holder = holder[key]
        match draw(st.sampled_from(["exchange", "drop", "double", "other place"])):
            case "exchange":
                holder[last] = draw(VALUES)
            case "drop":
                del holder[last]
            case "double" if isinstance(holder, list):
                holder.append(copy.deepcopy(holder[last]))
            case _:
                source: Any = document
                for key in draw(st.sampled_from(places(document))):
                    source = source[key]
                holder[last] = copy.deepcopy(source)
        if not isinstance(document, dict) or not document:
            return document
    if draw(st.booleans()):
        document["checksum"] = document_checksum(document)
    return document


def told(error: GpurecError) -> None:
    assert error.problems[0].what


def _document() -> Any:
    from reconciler.views import plan_json

    return json.loads(plan_json(PLAN))


DOCUMENT = _document()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(document=mutated())
def test_any_change_of_a_document_is_a_plan_or_one_of_our_errors(tmp_path: Path, document: Any) -> None:
    path = tmp_path / "p.json"
    path.write_text(json.dumps(document))
    try:
        plan = read_plan(path)
    except GpurecError as error:
        told(error)
    else:
        save_plan(tmp_path / "again.json", plan)
        again = json.loads((tmp_path / "again.json").read_text())
        assert {**again, "checksum": None} == {**document, "checksum": None}  # 0 and 0.0 are one number, and two texts


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_change_of_its_bytes_is_a_plan_or_one_of_our_errors(tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(json.dumps(DOCUMENT).encode())
    for _ in range(data.draw(st.integers(1, 5))):
        start = data.draw(st.integers(0, len(content)))
        content[start : start + data.draw(st.integers(0, 40))] = data.draw(st.binary(max_size=8))
    path = tmp_path / "p.json"
    path.write_bytes(bytes(content))
    try:
        read_plan(path)
    except GpurecError as error:
        told(error)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{}",
        '{"format_version": 1}',
        "[" * 100_000,
        '{"a":' * 100_000,
        "9" * 100_000,
        '"' + "x" * 10**6,
        "\ufeff{}",
        "{}\x00",
    ],
    ids=lambda text: text[:12],
)
def test_what_is_no_plan_at_all_is_one_sentence_for_every_command_that_reads_one(tmp_path: Path, text: str) -> None:
    path = tmp_path / "p.json"
    path.write_text(text)
    for command in (["show", str(path)], ["diff", str(path), str(path)]):
        result = CliRunner().invoke(cli, command)
        assert result.exit_code == 1
        assert result.output.startswith("Error: ")
        assert "Traceback" not in result.output
        assert len(result.output) < 2000


def signed(document: Any) -> Any:
    """The document as somebody would forge it: with the digest and the checksum of what it says now, where it still has steps."""
    try:
        plan = TypeAdapter(tuple[ModelStep, ...]).validate_json(json.dumps(document["steps"]))
        document["digest"] = plan_digest(document["lineage"], document["config_digest"], document["placement"]["solver"], plan)
    except (ValueError, KeyError, TypeError, AttributeError):
        return document
    return {**document, "checksum": document_checksum(document)}


def test_a_forged_plan_with_a_digest_of_its_own_is_refused_or_found_to_stand_and_never_breaks_an_apply(tmp_path: Path) -> None:
    with served(builtin_fleet("demo").with_time_scale(0), tmp_path) as lab:
        assert lab.run("plan", "--out", "p.json").exit_code == 0
        whole = json.loads((tmp_path / "p.json").read_text())

        @settings(max_examples=25, deadline=None, database=None)
        @given(document=mutated(whole))
        def forged(document: Any) -> None:
            (tmp_path / "f.json").write_text(json.dumps(signed(document)))
            lab.fleet.forget_requests()
            result = lab.run("apply", "f.json")
            assert result.exit_code in (0, 1, 3, 6, 7)
            assert "gpurec itself failed" not in result.stderr
            assert "Traceback" not in result.output
            loaded = {
                str(r.body["model"])
                for e in lab.fleet.engines.values()
                for r in e.requests
                if r.path in ("/api/generate", "/api/embed") and r.body
            }
            assert loaded <= {"nomic-embed-text", "nomic-embed-text:latest"}

        forged()
