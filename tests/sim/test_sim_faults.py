"""Every fault, as a client meets it."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from sim_fleets import asking, ollama, router, spec, until

from reconciler.sim import FaultSpec, SimError


@pytest.fixture
def it() -> Any:
    with asking(spec(ollama())) as asker:
        yield asker


def test_sim_fault_status_answers_in_the_engines_own_form(it: Any) -> None:
    it.engine.set_fault("status", status=502, text="bad gateway")
    answer = it.get("/api/tags")
    assert (answer.status_code, answer.json()) == (502, {"error": "bad gateway"})
    with asking(spec(router())) as other:
        other.engine.set_fault("status")
        assert other.get("/models").json()["error"]["type"] == "server_error"


def test_sim_fault_counts_requests_on_its_paths_only(it: Any) -> None:
    it.engine.set_fault("status", paths=["/api/ps"], count=2)
    seen = [it.get(path).status_code for path in ("/api/tags", "/api/ps", "/api/tags", "/api/ps", "/api/ps")]
    assert seen == [200, 500, 200, 500, 200]


def test_sim_fault_path_may_end_in_a_star(it: Any) -> None:
    it.engine.set_fault("status", paths=["/api/*"])
    assert (it.get("/").status_code, it.get("/api/version").status_code) == (200, 500)


def test_sim_fault_slow_delays_probes_and_not_loads(it: Any) -> None:
    it.engine.set_fault("slow", seconds=30)
    with pytest.raises(httpx.ReadTimeout):
        it.get("/api/ps", timeout=0.1)
    assert it.generate("small").status_code == 200


def test_sim_fault_slow_with_a_short_delay_still_answers(it: Any) -> None:
    it.engine.set_fault("slow", seconds=0.01, paths=["/api/version"])
    assert it.get("/api/version").json() == {"version": "0.34.0"}


@pytest.mark.parametrize("path", ["/api/tags", "/api/version"])
def test_sim_fault_cut_breaks_off_a_whole_answer(it: Any, path: str) -> None:
    it.engine.set_fault("cut", count=1)
    with pytest.raises(httpx.RemoteProtocolError):
        it.get(path)
    assert it.get(path).status_code == 200


def test_sim_fault_cut_breaks_off_a_stream(it: Any) -> None:
    it.engine.set_fault("cut", paths=["/api/pull"])
    lines = []
    with pytest.raises(httpx.RemoteProtocolError), it.http.stream("POST", "/api/pull", json={"model": "small"}) as answer:
        lines.extend(answer.iter_lines())
    assert len(lines) <= 1


def test_sim_fault_garbage_is_html_with_status_200(it: Any) -> None:
    it.engine.set_fault("garbage")
    answer = it.get("/api/ps")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert answer.text.startswith("<!DOCTYPE html>")


def test_sim_fault_redirect_points_elsewhere(it: Any) -> None:
    it.engine.set_fault("redirect", location="http://elsewhere.invalid/")
    answer = it.get("/api/tags")
    assert (answer.status_code, answer.headers["location"]) == (302, "http://elsewhere.invalid/")


def test_sim_fault_huge_goes_on_as_long_as_somebody_reads(it: Any) -> None:
    it.engine.set_fault("huge")
    seen = 0
    with it.http.stream("GET", "/api/tags") as answer:
        for chunk in answer.iter_bytes():
            seen += len(chunk)
            if seen > 5 * 2**20:
                break
    it.engine.clear_faults()
    assert it.get("/api/version").status_code == 200


def test_sim_fault_huge_has_the_size_that_was_asked_for(it: Any) -> None:
    it.engine.set_fault("huge", size=200_000)
    answer = it.get("/api/tags")
    assert len(answer.content) == 200_000
    assert answer.json() == {"models": []}


def test_sim_fault_down_refuses_and_residents_stay(it: Any) -> None:
    it.generate("small", keep_alive=-1)
    it.engine.set_fault("down")
    with pytest.raises(httpx.ConnectError):
        it.get("/api/ps")
    it.engine.clear_faults("down")
    assert set(it.ps()) == {"small:latest"}


def test_sim_fault_down_with_a_count_drops_so_many_connections(it: Any) -> None:
    it.engine.set_fault("down", count=1)
    with pytest.raises(httpx.TransportError):
        it.get("/api/ps")
    assert it.get("/api/ps").status_code == 200


def test_sim_fault_hang_load_ends_only_with_the_client_and_leaves_nothing(it: Any) -> None:
    it.engine.set_fault("hang_load", models=["small"], count=1)
    with pytest.raises(httpx.ReadTimeout):
        it.post("/api/generate", {"model": "small"}, timeout=0.1)
    until(lambda: it.ps() == {} and it.card.used == 0, "the memory comes back")
    assert it.generate("small").status_code == 200


@pytest.mark.parametrize(("kind", "words"), [("fail_load", "error loading model"), ("oom", "cudaMalloc failed: out of memory")])
def test_sim_fault_of_a_load_is_500_with_the_end_of_the_process(it: Any, kind: str, words: str) -> None:
    it.engine.set_fault(kind, models=["small"])
    answer = it.generate("small")
    assert (answer.status_code, answer.json()) == (500, {"error": f"llama-server process has terminated: exit status 1: {words}"})
    assert it.card.used == 0
    assert it.generate("big").status_code == 200


def test_sim_fault_hang_load_leaves_a_router_model_loading() -> None:
    with asking(spec(router())) as it:
        it.engine.set_fault("hang_load")
        it.post("/models/load", {"model": "small"})
        assert [it.status("small")["value"] for _ in range(20)] == ["loading"] * 20


def test_sim_fault_from_the_file_is_there_from_the_start() -> None:
    faults = (FaultSpec("status", status=503, count=1), FaultSpec("garbage", count=1))
    with asking(spec(ollama(faults=faults))) as it:
        assert it.get("/api/ps").status_code == 503
        assert it.get("/api/ps").text.startswith("<!DOCTYPE")
        assert it.get("/api/ps").json() == {"models": []}
    with asking(spec(ollama(faults=(FaultSpec("down"),)))) as it, pytest.raises(httpx.ConnectError):
        it.get("/api/ps")


def test_sim_fault_of_an_unknown_kind_is_an_error_naming_the_known_ones(it: Any) -> None:
    with pytest.raises(SimError, match="garbage"):
        it.engine.set_fault("nosuch")


def test_sim_requests_that_meet_a_fault_are_logged(it: Any) -> None:
    it.engine.set_fault("cut")
    with pytest.raises(httpx.RemoteProtocolError):
        it.generate("small")
    assert [(entry.method, entry.path, entry.body) for entry in it.engine.requests] == [("POST", "/api/generate", {"model": "small"})]
