"""The document of a plan: the shape that other programs rely on."""

from __future__ import annotations

import json

from syrupy.assertion import SnapshotAssertion

from reconciler.planning import judge
from reconciler.planning.plan import Plan
from reconciler.views import document_checksum, drift_document, plan_document, plan_json

SUMMARY = [
    "pull", "tag", "load", "unload", "reload", "wait", "create", "update", "remove", "adopt", "unchanged", "unplaced", "held", "deferred",
    "drift", "pending",
]  # fmt: skip


def test_the_document_has_every_key_of_its_format(full_plan: Plan) -> None:
    document = plan_document(full_plan)
    assert list(document) == [
        "format_version", "fleet", "digest", "lineage", "serial", "config_digest", "created_at", "summary", "impact", "steps", "gpus",
        "drift", "unplaced", "deferred", "unmanaged", "refusals", "notes", "placement", "placed", "forgotten",
        "limit", "exclude", "checksum",
    ]  # fmt: skip
    summary = document["summary"]
    assert isinstance(summary, dict)
    assert list(summary) == SUMMARY
    assert summary["pull"] == summary["load"] == summary["unload"] == summary["adopt"] == 1
    assert (summary["unplaced"], summary["drift"], summary["pending"], summary["unchanged"]) == (3, 3, 2, 12)


def test_the_json_is_the_document_and_nothing_else(full_plan: Plan, snapshot: SnapshotAssertion) -> None:
    text = plan_json(full_plan)
    assert text.endswith("}\n")
    assert json.loads(text) == plan_document(full_plan)
    assert text == snapshot


def test_the_checksum_covers_every_word_but_itself_and_the_order_of_keys(full_plan: Plan) -> None:
    document = plan_document(full_plan)
    assert document["checksum"] == document_checksum(dict(reversed(document.items())))
    for key in document:
        changed = {**document, key: "something else"}
        assert (document_checksum(changed) == document["checksum"]) is (key == "checksum")


def test_a_precondition_holds_only_its_own_inequality(full_plan: Plan) -> None:
    load = json.loads(plan_json(full_plan))["steps"][2]
    assert load["preconditions"][0] == {"fact": "gpu-a/0.free_bytes", "at_least": 5500 * 2**20}
    assert load["preconditions"][1] == {"fact": "gpu-a/ollama.installed:x", "equals": True}


def test_the_class_of_a_drifted_field_is_named_class(full_plan: Plan) -> None:
    assert json.loads(plan_json(full_plan))["drift"][2]["class"] == "observed"


def test_hostile_names_stay_inside_their_strings(hostile_plan: Plan) -> None:
    text = plan_json(hostile_plan)
    assert text.isascii()
    assert "\x1b" not in text
    assert json.loads(text)["fleet"] == hostile_plan.fleet


def test_the_drift_document_counts_pending_apart(full_plan: Plan) -> None:
    document = drift_document(judge(full_plan))
    assert document["summary"] == {"drift": 3, "pending": 2, "deferred": 2}
    assert list(document)[-3:] == ["drift", "deferred", "forgotten"]
