"""Saved plans come back as they went, and whatever was done to the file is told."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from reconciler.cli.main import cli
from reconciler.fleet import MIB, GpurecError, StalePlan
from reconciler.operations import plan_file
from reconciler.operations.plan_file import read_plan, save_plan
from reconciler.operations.saved_plan_checks import check_format
from reconciler.planning import Action, Cause, Drift, ModelStep, Plan, Precondition, Reason, plan_digest
from reconciler.views import plan_contents

STEPS = tuple(
    ModelStep(
        id=f"s{number}",
        address=f"model.m:1@gpu-a/engine{number}",
        action=Action.LOAD,
        reason=Reason("missing", "not resident"),
        cause=Cause.DRIFT,
        model="m:1",
        node="gpu-a",
        engine=f"engine{number}",
        engine_name="m:1-c8192",
        base_name="m:1",
        needs=("s1",) if number == 2 else (),
        gpus=(0,),
        vram_bytes=700 * MIB,
        vram_source="measured",
        seconds=4.5,
        preconditions=(Precondition("gpu-a/0.free_bytes", at_least=700 * MIB), Precondition("x.resident", equals=False)),
        after={"context": 8192, "keep_alive": -1.0, "pinned": True, "name": "m", "unknown": None},
    )
    for number in (1, 2)
)
PLAN = Plan(
    fleet="lab",
    lineage="l1",
    serial=3,
    config_digest="sha256:c",
    created_at="2026-01-01T00:00:00Z",
    digest=plan_digest("l1", "sha256:c", "builtin", STEPS),
    steps=STEPS,
    unchanged=4,
    pending=1,
    drift=(Drift("model.m:1@gpu-a/engine1", "missing", "resident", True, False),),
)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "plan.json"
    save_plan(path, PLAN)
    return path


def test_a_saved_plan_is_read_back_as_it_was(saved: Path) -> None:
    assert read_plan(saved) == PLAN


def test_a_saved_plan_is_readable_by_its_owner_alone_and_leaves_nothing_beside_it(saved: Path) -> None:
    assert stat.S_IMODE(saved.stat().st_mode) == 0o600
    assert [path.name for path in saved.parent.iterdir()] == ["plan.json"]


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.99])
def test_a_plan_that_was_cut_off_is_refused(saved: Path, kept: float) -> None:
    text = saved.read_text()
    saved.write_text(text[: int(len(text) * kept)])
    with pytest.raises(GpurecError, match="not JSON") as caught:
        read_plan(saved)
    assert caught.value.exit_code == 1


def test_show_prints_the_plan_as_text_and_as_the_same_json(saved: Path) -> None:
    text = CliRunner().invoke(cli, ["show", str(saved)])
    assert text.exit_code == 0
    assert "Plan: 0 to pull, 2 to load" in text.stdout
    assert CliRunner().invoke(cli, ["show", str(saved), "--format", "json"]).stdout == saved.read_text()


def change(*path: str | int, value: Any) -> Callable[[Any], None]:
    def apply(document: Any) -> None:
        for key in path[:-1]:
            document = document[key]
        document[path[-1]] = value

    return apply


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (change("steps", 0, "vram_bytes", value=1), "was changed after it was made"),
        (change("steps", 0, "engine_name", value="other"), "was changed after it was made"),
        (change("steps", 0, "before", value={"context": 1}), "was changed after it was made"),
        (change("steps", 0, "node", value="gpu-b"), "is not about its address"),
        (change("steps", 0, "needs", value=["s2"]), "not before it"),
        (change("steps", 1, "id", value="s1"), "two steps have the id"),
        (change("steps", 0, "action", value="explode"), "steps.0.action"),
        (change("steps", 0, "vram_bytes", value="700"), "steps.0.vram_bytes"),
        (change("steps", value={}), "steps"),
        (change("drift", value=[7]), "drift.0"),
        (change("summary", "load", value=0), "not as gpurec writes it"),
        (change("summary", value=None), "unchanged"),
        (change("surplus", value=1), "not as gpurec writes it"),
        (change("steps", 0, "surplus", value=1), "not as gpurec writes it"),
        (change("format_version", value="9"), "format '9'"),
    ],
)
def test_an_edited_plan_is_refused_with_what_is_wrong(saved: Path, edit: Callable[[Any], None], says: str) -> None:
    document = json.loads(saved.read_text())
    edit(document)
    saved.write_text(json.dumps(document))
    with pytest.raises(GpurecError, match=says) as caught:
        read_plan(saved)
    assert caught.value.exit_code == (6 if "its digest is" in str(caught.value) else 1)


SHOWN_ONLY = [
    change("steps", 0, "reason", "message", value="nothing to worry about"),
    change("steps", 0, "seconds", value=0.1),
    change("steps", 0, "before", value={"pinned": True}),
    change("impact", "downtime_seconds", value={"m:1": 0.1}),
    change("impact", "evictions", value=["model.x@gpu-a/engine1"]),
    change("drift", 0, "kind", value="foreign"),
    change("notes", value=[{"address": "", "code": "x", "message": "approved by the boss"}]),
    change("deferred", value=[{"node": "n", "engine": None, "reason": "r"}]),
    change("created_at", value="2027-01-01T00:00:00Z"),
    change("serial", value=9),
    change("limit", value="gpu-a"),
    change("placed", value={"model.m:1@gpu-a/engine1": "m:1"}),
]


@pytest.mark.parametrize("edit", SHOWN_ONLY)
def test_a_word_that_is_only_shown_cannot_be_changed_either(saved: Path, edit: Callable[[Any], None]) -> None:
    document = json.loads(saved.read_text())
    edit(document)
    document["summary"] = plan_contents(read_plan(saved))["summary"] | {"deferred": len(document["deferred"])}
    saved.write_text(json.dumps(document))
    result = CliRunner().invoke(cli, ["show", str(saved)])
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert "its checksum is" in result.stderr


def test_a_plan_without_a_checksum_is_refused(saved: Path) -> None:
    document = json.loads(saved.read_text())
    del document["checksum"]
    saved.write_text(json.dumps(document))
    with pytest.raises(GpurecError, match="a key is missing"):
        read_plan(saved)


def test_spaces_and_the_order_of_keys_are_no_change(saved: Path) -> None:
    document = json.loads(saved.read_text())
    saved.write_text(json.dumps(dict(reversed(document.items()))))
    assert read_plan(saved) == PLAN


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "not JSON"),
        (b"{", "plan.json:1:2: this is not JSON; make it again"),
        (b"[]", "not a plan document"),
        (b'{"a": 1, "a": 2}', "stands twice"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": 1e999}', "1e999 is too large"),
        (b'{"format_version": "1.0", "steps": ' + b"[" * 900 + b"]" * 900 + b"}", "no list of steps"),
        (b"[" * 200_000, "nested too deeply"),
        (b"{" + b",".join(b'"%d": 0' % number for number in range(200_000)) + b', "7": 0}', "the key '7' stands twice"),
        (b"1" * 10_000, f"the number {'1' * 40}… is too large"),
        (b"\xff\xfe", "not UTF-8"),
    ],
)
def test_what_is_no_plan_is_refused_in_one_sentence(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "plan.json"
    path.write_bytes(content)
    result = CliRunner().invoke(cli, ["show", str(path)])
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert says in result.stderr


def test_a_missing_file_a_folder_and_a_huge_file_are_told(tmp_path: Path, saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path, says in ((tmp_path / "no.json", "no such file"), (tmp_path, "not a file")):
        with pytest.raises(GpurecError, match=says):
            read_plan(path)
    monkeypatch.setattr(plan_file, "LARGEST", 100)
    with pytest.raises(GpurecError, match="larger than 100 B"):
        read_plan(saved)


def test_a_plan_that_cannot_be_saved_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(GpurecError, match="cannot be written"):
        save_plan(tmp_path / "nowhere" / "plan.json", replace(PLAN, serial=4))


def test_the_schema_of_the_plan_names_every_key_of_the_document(saved: Path) -> None:
    schema = json.loads(CliRunner().invoke(cli, ["schema", "plan"]).stdout)
    assert set(schema["required"]) == set(json.loads(saved.read_text()))
    assert "class" in schema["$defs"]["Drift"]["properties"]


OLD_PLAN = Path(__file__).parents[1] / "cases" / "plan-1.0" / "saved.plan"
"""As gpurec saved it before steps had kinds."""


def test_a_plan_of_the_earlier_format_is_shown_and_never_carried_out(tmp_path: Path) -> None:
    shown = CliRunner().invoke(cli, ["show", str(OLD_PLAN)])
    assert shown.exit_code == 0
    assert "2 to load" in shown.output
    with pytest.raises(StalePlan, match="saved by an earlier gpurec, in format"):
        check_format(read_plan(OLD_PLAN))


def test_an_edited_plan_of_the_earlier_format_is_refused(tmp_path: Path) -> None:
    edited = tmp_path / "edited.plan"
    edited.write_text(OLD_PLAN.read_text().replace('"action": "load"', '"action": "unload"', 1))
    with pytest.raises(GpurecError, match="changed after it was made"):
        read_plan(edited)
