"""Guards at the command line: what is refused, what is left alone, and what stays in the state; whole commands over simulated servers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from itertools import count
from pathlib import Path

import httpx
import pytest
from cli_lab import Lab, served

from reconciler.fleet import Incident
from reconciler.operations import clock as operations_clock
from reconciler.sim import SimSpec, builtin_fleet
from reconciler.state import open_reader
from reconciler.state.sqlite.writer import SqliteWriter

TWO = "version: 1\nmodels:\n  nomic-embed-text: {{engine: ollama, on: ollama, each: node, vram: 350MiB}}\n{rest}"
KEPT = "  mistral:7b: {engine: ollama, on: ollama, vram: 5GiB, protect: true}\n"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with served(builtin_fleet("demo").with_time_scale(0), tmp_path) as lab:
        yield lab


def text(rest: str) -> str:
    return TWO.format(rest=rest)


def changing(lab: Lab) -> list[str]:
    """Requests that change a server."""
    return [one for one in lab.sent() if "/api/show" not in one]


def resident(lab: Lab, name: str) -> bool:
    owned = json.loads(lab.run("state", "list", "--format", "json").stdout)
    return any(one["model"] == name for one in owned)


def test_a_protected_replica_outlives_its_entry_in_the_files(lab: Lab) -> None:
    lab.want(text(KEPT))
    assert lab.run("apply", "--auto-approve").exit_code == 0
    lab.want(text(""))
    before = changing(lab)
    refused = lab.run("apply", "--auto-approve")
    assert refused.exit_code == 7
    assert "guard protect refuses" in refused.stderr
    assert "`mistral:7b: {protect: false, replicas: 0}` under `models` would allow it" in refused.stderr
    assert changing(lab) == before
    shown = lab.run("plan")
    assert shown.exit_code == 7
    assert shown.stdout.startswith("No changes. Nothing can be done now for fleet demo: a guard refuses what is left to do.")
    lab.want(text("  mistral:7b: {engine: ollama, on: ollama, vram: 5GiB, protect: false, replicas: 0}\n"))
    assert lab.run("apply", "--auto-approve").exit_code == 0
    assert not resident(lab, "mistral:7b")


def test_what_only_the_state_has_to_learn_is_not_pending_and_is_recorded_by_an_empty_apply(lab: Lab) -> None:
    model = "version: 1\nmodels:\n  nomic-embed-text: {{engine: ollama, on: ada, vram: 350MiB{rest}}}\n"
    lab.want(model.format(rest=""))
    assert lab.run("apply", "--auto-approve").exit_code == 0
    lab.want(model.format(rest=", protect: true"))
    assert lab.run("plan", "--detailed-exitcode").stdout.startswith("No changes.")
    assert json.loads(lab.run("status", "--format", "json").stdout)["pending"] == 0
    assert json.loads(lab.run("plan", "--format", "json").stdout)["summary"]["pending"] == 0
    assert lab.run("apply", "--auto-approve").exit_code == 0
    assert json.loads(lab.run("state", "show", NOMIC, "--format", "json").stdout)["protect"] is True


def installed(lab: Lab, name: str) -> list[str]:
    lab.run("facts", "--out", "facts.json")
    facts = json.loads((lab.root / "facts.json").read_text())
    engines = [engine for node in facts["facts"]["nodes"].values() for engine in node["engines"].values()]
    return sorted(engine["id"]["node"] for engine in engines if any(one["name"] == name for one in engine["installed"] or ()))


def test_what_is_to_be_absent_is_deleted_only_as_far_as_the_guard_allows(lab: Lab) -> None:
    lab.want(text("  mistral:7b: {engine: ollama, on: ollama, vram: 5GiB}\n"))
    assert lab.run("apply", "--auto-approve").exit_code == 0
    (where,) = installed(lab, "mistral:7b")
    absent = text("  mistral:7b: {engine: ollama, on: ollama, ensure: absent}\n")
    lab.want(absent)
    refused = lab.run("apply", "--auto-approve")
    assert refused.exit_code == 7
    assert "`policy: {guards: {max_delete: 1}}` would allow it" in refused.stderr
    assert installed(lab, "mistral:7b") == [where]
    lab.want(absent + "policy: {guards: {max_delete: 1}}\n")
    done = lab.run("apply", "--auto-approve")
    assert (done.exit_code, installed(lab, "mistral:7b")) == (0, [])
    assert "1 to remove" in done.stdout
    assert lab.run("plan").stdout.startswith("No changes.")


def test_a_saved_deletion_is_carried_out_as_it_was_approved(lab: Lab) -> None:
    lab.want(text("  llama3.1:8b: {engine: ollama, on: ollama, ensure: absent}\npolicy: {guards: {max_delete: 1}}\n"))
    assert lab.run("plan", "--out", "it.plan").exit_code == 0
    assert lab.run("apply", "it.plan").exit_code == 0
    assert installed(lab, "llama3.1:8b") == []


def test_derived_tags_of_earlier_contexts_stay_told_and_go_with_their_model(lab: Lab) -> None:
    tags = ["llama3.1:8b-c2048", "llama3.1:8b-c4096", "llama3.1:8b-c8192"]
    for context in (2048, 4096, 8192):
        lab.want(text(f"  llama3.1:8b: {{engine: ollama, on: ada, vram: 6GiB, context: {context}}}\n"))
        assert lab.run("apply", "--auto-approve").exit_code == 0
    assert [installed(lab, tag) for tag in tags] == [["ada"]] * 3, "only `ensure: absent` deletes"
    assert json.loads(lab.run("models", "--format", "json").stdout)["unused_tags"] == [
        {"engine": "ada/ollama", "name": tag} for tag in tags[:2]
    ]
    assert "Derived tags that gpurec made and nobody uses any more\n    llama3.1:8b-c2048" in lab.run("models").stdout
    absent = text("  llama3.1:8b: {engine: ollama, on: ada, ensure: absent}\npolicy: {guards: {max_delete: 1}}\n")
    lab.want(absent)
    shown = lab.run("plan", "--out", "it.plan")
    assert all(tag in " ".join(shown.stdout.split()) for tag in tags)
    assert lab.run("apply", "it.plan").exit_code == 0
    assert [installed(lab, name) for name in (*tags, "llama3.1:8b")] == [[]] * 4
    assert lab.run("plan").stdout.startswith("No changes.")


BY_REQUEST = text("  llama3.1:8b: {engine: ollama, on: ada, vram: 6GiB, context: 8192, context_via: request}\n")
LLAMA, NOMIC = "model.llama3.1:8b@ada/ollama", "model.nomic-embed-text@ada/ollama"


def undo_the_context(lab: Lab) -> None:
    """What a client does that sends no num_ctx."""
    url = next(engine.url for at, engine in lab.fleet.engines.items() if "ada" in str(at))
    httpx.post(f"{url}/api/generate", json={"model": "llama3.1:8b", "keep_alive": -1, "stream": False}, timeout=60).raise_for_status()


def loads(lab: Lab) -> int:
    return len([one for one in lab.sent() if "/api/generate" in one])


def test_a_context_that_a_client_undoes_again_is_held_until_replace(lab: Lab) -> None:
    lab.want(BY_REQUEST)
    assert lab.run("apply", "--auto-approve").exit_code == 0
    undo_the_context(lab)
    assert lab.run("apply", "--auto-approve").exit_code == 0
    undo_the_context(lab)
    before = loads(lab)
    for _ in range(2):
        held = lab.run("apply", "--auto-approve")
        assert held.exit_code == 3
        assert held.stdout.startswith("No changes. Nothing can be done now for fleet demo: 1 replica is held.")
        assert f"--replace {LLAMA}" in " ".join(held.stdout.split())
    assert loads(lab) == before
    document = json.loads(lab.run("plan", "--format", "json").stdout)
    assert (document["summary"]["held"], document["steps"]) == (1, [])
    assert json.loads(lab.run("history", "--format", "json").stdout)[0]["result"] == "partial"
    assert lab.run("drift").exit_code == 2
    assert lab.run("apply", "--auto-approve", "--replace", LLAMA).exit_code == 0
    assert lab.run("plan").stdout.startswith("No changes.")


class Killed(BaseException):
    """What ends a process at a place that nothing else can end it at."""


def killed(*_: object, **__: object) -> None:
    raise Killed


def test_a_kill_between_a_reload_and_its_note_allows_one_reload_more_and_no_third(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.want(BY_REQUEST)
    assert lab.run("apply", "--auto-approve").exit_code == 0
    undo_the_context(lab)
    with monkeypatch.context() as patched:
        patched.setattr(SqliteWriter, "record_incident", killed)
        with pytest.raises(Killed):
            lab.run("apply", "--auto-approve")
    assert lab.run("plan").stdout.startswith("No changes."), "what was done is found by probing, and not done again"
    undo_the_context(lab)
    before = loads(lab)
    assert lab.run("apply", "--auto-approve").exit_code == 0
    again = loads(lab)
    undo_the_context(lab)
    assert (again > before, lab.run("apply", "--auto-approve").exit_code, loads(lab) - again) == (True, 3, 1), "the client's own load"


def only_one_at_a_time() -> SimSpec:
    """The fleet with an Ollama that holds one model and tells nobody so: whatever is loaded there throws the other out."""
    spec = builtin_fleet("demo").with_time_scale(0)
    ada = spec.nodes[0]
    return replace(spec, nodes=(replace(ada, engines=(replace(ada.engines[0], max_loaded=1),)), *spec.nodes[1:]))


def test_two_models_that_throw_each_other_out_in_turn_are_held(tmp_path: Path) -> None:
    both = "version: 1\nmodels:\n" + "".join(
        f"  {name}: {{engine: ollama, on: ada, vram: 2GiB}}\n" for name in ("llama3.1:8b", "nomic-embed-text")
    )
    with served(only_one_at_a_time(), tmp_path) as lab:
        lab.want(both)
        for _ in range(3):
            assert lab.run("apply", "--auto-approve").exit_code == 3, "one of them did not stay"
        before = loads(lab)
        for _ in range(2):
            held = lab.run("apply", "--auto-approve")
            assert held.exit_code == 3
            assert "was evicted in turn with" in " ".join(held.stdout.split())
        assert loads(lab) == before
        assert (
            lab.run("apply", "--auto-approve", "--replace", LLAMA, "--replace", LLAMA.replace("llama3.1:8b", "nomic-embed-text")).exit_code
            == 3
        )
        assert loads(lab) > before


def test_what_a_client_throws_out_three_times_an_hour_is_held_also_when_an_apply_in_between_left_it_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    minutes = count()
    monkeypatch.setattr(operations_clock, "now", lambda: f"2050-01-01T10:{next(minutes):02}:00Z")
    with served(only_one_at_a_time(), tmp_path) as lab:
        lab.want("version: 1\nmodels:\n  nomic-embed-text: {engine: ollama, on: ada, vram: 2GiB}\n")
        assert lab.run("apply", "--auto-approve").exit_code == 0
        undo_the_context(lab)  # loads another model, for which the server throws ours out
        assert lab.run("apply", "--auto-approve", "--limit", "bea").exit_code == 0
        assert [one.code for one in incidents(lab)] == ["evicted"], "the facts that it recorded no longer tell"
        assert lab.run("apply", "--auto-approve").exit_code == 0
        for expected in (0, 3, 3):
            undo_the_context(lab)
            assert lab.run("apply", "--auto-approve").exit_code == expected
        assert [one.code for one in incidents(lab)] == ["evicted", "evicted", "evicted", "held"]
        assert {one.evictor for one in incidents(lab) if one.code == "evicted"} == {"llama3.1:8b"}


def incidents(lab: Lab) -> list[Incident]:
    with closing(open_reader(lab.state)) as state:
        return sorted(state.applied().incidents, key=lambda one: (one.code, one.at))


def test_a_saved_plan_with_replace_is_carried_out_and_an_unknown_address_is_refused(lab: Lab) -> None:
    lab.want(BY_REQUEST)
    assert lab.run("apply", "--auto-approve").exit_code == 0
    assert "1 to reload" in lab.run("plan", "--replace", LLAMA, "--out", "it.plan").stdout
    before = loads(lab)
    assert lab.run("apply", "it.plan").exit_code == 0
    assert loads(lab) > before
    before = loads(lab)
    assert lab.run("apply", "it.plan").exit_code == 0
    assert loads(lab) == before, "what is done is not done again"
    unknown = lab.run("plan", "--replace", "model.nothing@ada/ollama")
    assert unknown.exit_code == 1
    assert "model.nothing@ada/ollama is no replica that these files ask for" in unknown.stderr
    assert "is not an address of the form" in lab.run("plan", "--replace", "nothing").stderr


def test_a_model_that_stays_busy_is_left_loaded_unless_forced(lab: Lab) -> None:
    tiny = "  tinyllama-1b: {engine: llamacpp, on: llamacpp, vram: 1200MiB}\n"
    drain = "policy: {drain: 200ms}\n"
    lab.want(text(tiny) + drain)
    assert lab.run("apply", "--auto-approve").exit_code == 0
    server = next(engine for at, engine in lab.fleet.engines.items() if "cleo" in str(at))
    child = server._children["tinyllama-1b"]
    child.in_flight += 1
    lab.want(text("") + drain)
    left = lab.run("apply", "--auto-approve")
    assert left.exit_code == 3
    assert "is still busy after" in left.stdout
    assert resident(lab, "tinyllama-1b")
    assert lab.run("apply", "--auto-approve", "--force").exit_code == 0
    assert not resident(lab, "tinyllama-1b")
