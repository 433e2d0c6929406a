"""The recorder in front of a real server: it changes nothing on the way, keeps what was sent, and can break a load in the middle."""

from __future__ import annotations

import re

import httpx
import pytest
from rigs import SEES_LOAD, Bench


def untimed(answer: httpx.Response) -> str:
    """Without the second in which it was made: the two were made one after the other."""
    return re.sub(r'"created": ?\d+', "", answer.text)


@pytest.mark.parametrize("kind", ["ollama", "llamacpp"])
def test_answers_pass_unchanged_and_only_what_can_change_something_counts(bench: Bench, kind: str) -> None:
    rig = bench.rig(kind)
    about = {"ollama": "/api/version", "llamacpp": "/models"}[kind]
    through, direct = httpx.get(rig.recorder.url + about), httpx.get(rig.server.url + about)
    assert through.status_code == direct.status_code == 200
    assert untimed(through) == untimed(direct)
    assert httpx.post(rig.recorder.url + SEES_LOAD[kind], json={"model": "nothing-like-it"}).status_code == 404
    assert [(request.method, request.json) for request in rig.recorder.changes()] == [("POST", {"model": "nothing-like-it"})]
    assert len(rig.recorder.requests) == 2


@pytest.mark.parametrize("kind", ["ollama", "llamacpp"])
def test_a_server_can_be_killed_once_it_has_begun_a_load(bench: Bench, kind: str) -> None:
    rig = bench.rig(kind)
    rig.kill_during_next_load()
    if kind == "ollama":
        with pytest.raises(httpx.TransportError):
            httpx.post(rig.recorder.url + SEES_LOAD[kind], json={"model": "gemma"}, timeout=30)
    else:
        httpx.post(rig.recorder.url + SEES_LOAD[kind], json={"model": "gemma"}, timeout=30)
    rig.await_killed()
    rig.server.start()
    assert rig.residents() == set()
