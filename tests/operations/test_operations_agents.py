"""Agents, from the files to their containers: with their model, after it, and on to where it goes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from agent_lab import AgentLab, agent_lab, shown

AGENT = (
    "{x: {model: tiny, type: analysis, container: {image: 'agent:1', networks: [host]}, config: {pairs: [BTC]}, llm: {system_message: Hi}}}"
)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[AgentLab]:
    with agent_lab(tmp_path) as found:
        found.wish(AGENT)
        yield found


def test_one_plan_loads_a_model_and_starts_its_agent_after_it(lab: AgentLab) -> None:
    proposal = lab.plan()
    assert shown(proposal) == ["pull model.tiny@a/ollama", "load model.tiny@a/ollama", "create agent.x@a"]
    assert {"load:model.tiny@a/ollama", "pull:model.tiny@a/ollama"} == set(proposal.plan.steps[-1].needs)
    lab.converge()
    (made,) = lab.daemons["a"].containers.values()
    url = f"http://127.0.0.1:{lab.fleet.engines['a/ollama'].port}/v1"
    assert made.name == "lab-x"
    assert made.spec.env == {
        "GPUREC_AGENT": "x",
        "GPUREC_AGENT_TYPE": "analysis",
        "GPUREC_NODE": "a",
        "GPUREC_CONFIG": "/etc/gpurec/agent.json",
        "GPUREC_LLM_CONFIG": "/etc/gpurec/llm.json",
        "GPUREC_MODEL": "tiny:latest",
        "GPUREC_ENGINE": "a/ollama",
        "GPUREC_API_BASE": url,
        "GPUREC_API_TYPE": "ollama",
    }
    files = {one.path: json.loads(str(one.content)) for one in made.spec.files}
    assert files == {
        "/etc/gpurec/agent.json": {"pairs": ["BTC"]},
        "/etc/gpurec/llm.json": {"system_message": "Hi", "model": "tiny:latest", "api_base": url, "api_type": "ollama"},
    }


def test_a_second_apply_asks_no_daemon_for_a_change(lab: AgentLab) -> None:
    lab.converge()
    lab.daemons["a"].requests.clear()
    lab.apply()
    assert lab.daemons["a"].changes == []


def test_an_agent_follows_its_model(lab: AgentLab) -> None:
    lab.converge()
    lab.wish(AGENT, "{tiny: {engine: ollama, vram: 1GiB, on: b}}")
    proposal = lab.plan()
    assert shown(proposal) == [
        "pull model.tiny@b/ollama",
        "load model.tiny@b/ollama",
        "update agent.x@a",
        "unload model.tiny@a/ollama",
    ]
    update = proposal.plan.steps[2]
    assert (update.before["engine"], update.after["engine"]) == ("a/ollama", "b/ollama")
    lab.converge()
    (made,) = lab.daemons["a"].containers.values()
    assert made.spec.env["GPUREC_ENGINE"] == "b/ollama"
    assert not lab.daemons["b"].containers


def test_an_agent_near_its_model_moves_with_it_to_the_other_node(lab: AgentLab) -> None:
    near = AGENT.replace("model: tiny,", "model: tiny, near: node,")
    lab.wish(near)
    lab.converge()
    lab.wish(near, "{tiny: {engine: ollama, vram: 1GiB, on: b}}")
    assert lab.converge() == [
        "pull model.tiny@b/ollama",
        "load model.tiny@b/ollama",
        "create agent.x@b",
        "remove agent.x@a",
        "unload model.tiny@a/ollama",
    ]
    assert (lab.daemons["a"].names, lab.daemons["b"].names) == ([], ["lab-x"])


def test_an_agent_whose_model_goes_for_good_stops_before(lab: AgentLab) -> None:
    lab.converge()
    lab.wish("{}", "{}", "policy: {guards: {allow_empty: true}}")
    assert lab.converge() == ["remove agent.x@a", "unload model.tiny@a/ollama"]
    assert lab.daemons["a"].names == []


def test_an_agent_whose_model_has_no_place_is_told_and_not_started(lab: AgentLab) -> None:
    lab.wish(AGENT, "{tiny: {engine: ollama, vram: 100GiB, on: a}}")
    found = lab.plan().plan
    assert found.empty
    assert [(one.agent, one.model, one.count) for one in found.unplaced] == [(None, "tiny", 1), ("x", "tiny", 1)]
