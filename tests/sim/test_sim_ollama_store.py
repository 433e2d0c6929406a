"""Ollama's pull, create, copy and delete."""

from __future__ import annotations

import json
from typing import Any

import httpx
from sim_fleets import BIG, MIB, OTHER, SMALL, asking, ollama, spec, until


def _lines(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.text.splitlines()]


def _names(it: Any) -> set[str]:
    return {entry["name"] for entry in it.get("/api/tags").json()["models"]}


def test_sim_ollama_a_pull_reports_progress_and_installs() -> None:
    with asking(spec(ollama(installed=(), registry=(BIG,)))) as it:
        lines = _lines(it.post("/api/pull", {"model": "big"}))
        assert _names(it) == {"big:latest"}
    progress = [line for line in lines if "digest" in line]
    assert lines[0] == {"status": "pulling manifest"}
    assert lines[-1] == {"status": "success"}
    assert "completed" not in progress[0]
    assert [line["completed"] for line in progress[1:]] == sorted(line["completed"] for line in progress[1:])
    assert progress[-1]["completed"] == progress[-1]["total"] == 2000 * MIB


def test_sim_ollama_a_pull_of_an_unknown_model_fails_inside_a_200_stream() -> None:
    with asking(spec(ollama(registry=(BIG,)))) as it:
        answer = it.post("/api/pull", {"model": "nosuch"})
        whole = it.post("/api/pull", {"model": "nosuch", "stream": False})
        invalid = it.post("/api/pull", {"model": "no such"})
    assert answer.status_code == 200
    assert _lines(answer)[-1] == {"error": "pull model manifest: file does not exist"}
    assert (whole.status_code, invalid.status_code) == (500, 400)


def test_sim_ollama_a_pull_without_stream_says_success_only() -> None:
    with asking(spec(ollama(installed=(), registry=(BIG,)))) as it:
        assert it.post("/api/pull", {"model": "big", "stream": False}).json() == {"status": "success"}


def test_sim_ollama_a_broken_off_pull_goes_on_where_it_was_also_after_a_restart() -> None:
    with asking(spec(ollama(installed=(), registry=(BIG,)))) as it:
        it.engine.set_fault("fail_pull", models=["big"], count=1)
        broken = _lines(it.post("/api/pull", {"model": "big"}))
        assert "error" in broken[-1]
        assert _names(it) == set()
        it.engine.restart()
        resumed = _lines(it.post("/api/pull", {"model": "big"}))
        assert resumed[1]["completed"] == 1000 * MIB
        assert resumed[-1] == {"status": "success"}
        assert _names(it) == {"big:latest"}


def test_sim_ollama_a_client_that_leaves_ends_the_pull() -> None:
    with asking(spec(ollama(installed=(), registry=(BIG,), pull_seconds=10), time_scale=None)) as it:
        with it.http.stream("POST", "/api/pull", json={"model": "big"}) as answer:
            assert next(answer.iter_lines()) == '{"status":"pulling manifest"}'
        for _ in range(20):
            it.fleet.advance(1)
            assert _names(it) == set()


def test_sim_ollama_a_pull_of_what_is_there_fetches_nothing() -> None:
    with asking(spec(ollama(installed=(BIG,), registry=(BIG,)), time_scale=None)) as it:
        lines = _lines(it.post("/api/pull", {"model": "big"}))
    assert lines[-1] == {"status": "success"}


def test_sim_ollama_create_from_makes_a_tag_with_parameters_on_the_same_blob() -> None:
    with asking(spec(ollama())) as it:
        lines = _lines(it.post("/api/create", {"model": "cached:c2048", "from": "cached", "parameters": {"num_ctx": 2048}}))
        base, derived = (it.post("/api/show", {"model": name}).json() for name in ("cached", "cached:c2048"))
        it.generate("cached:c2048", keep_alive=-1)
        it.generate("cached:c2048", prompt="hi", stream=False)
        resident = it.ps()
        tags = {entry["name"]: entry["digest"] for entry in it.get("/api/tags").json()["models"]}
    assert lines[-1] == {"status": "success"}
    assert "num_ctx" in derived["parameters"]
    assert "2048" in derived["parameters"]
    assert "parameters" not in base
    blob = [line for line in base["modelfile"].splitlines() if line.startswith("FROM ")]
    assert blob == [line for line in derived["modelfile"].splitlines() if line.startswith("FROM ")]
    assert resident["cached:c2048"]["context_length"] == 2048
    assert tags["cached:latest"] != tags["cached:c2048"]


def test_sim_ollama_create_from_what_is_nowhere_fails_and_without_from_is_400() -> None:
    with asking(spec(ollama(installed=(), registry=(SMALL,)))) as it:
        assert "error" in _lines(it.post("/api/create", {"model": "x", "from": "nosuch"}))[-1]
        assert it.post("/api/create", {"model": "x"}).status_code == 400
        assert _lines(it.post("/api/create", {"model": "x", "from": "small"}))[-1] == {"status": "success"}
        assert _names(it) == {"small:latest", "x:latest"}


def test_sim_ollama_copy_and_delete() -> None:
    with asking(spec(ollama(installed=(SMALL, OTHER)))) as it:
        assert it.post("/api/copy", {"source": "small", "destination": "twin:v1"}).status_code == 200
        assert it.post("/api/copy", {"source": "nosuch", "destination": "x"}).status_code == 404
        assert it.post("/api/copy", {"source": "small"}).status_code == 400
        it.generate("small", keep_alive=-1)
        assert it.http.request("DELETE", "/api/delete", json={"model": "small"}).status_code == 200
        assert it.http.request("DELETE", "/api/delete", json={"model": "small"}).status_code == 404
        assert _names(it) == {"other:latest", "twin:v1"}
        assert "small:latest" in it.ps(), "deleting unloads nothing"


def test_sim_ollama_what_was_pulled_outlives_a_restart() -> None:
    with asking(spec(ollama(installed=(), registry=(BIG,)))) as it:
        it.post("/api/pull", {"model": "big"})
        it.engine.restart()
        assert _names(it) == {"big:latest"}
        until(lambda: it.engine.alive, "it runs")
