"""Agents, from the files to their containers: with their model, after it, and on to where it goes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from agent_lab import AgentLab, agent_lab
from memory_daemon import Cut, Made, MemoryDaemon, MemoryHost
from operations_lab import shown

from reconciler.execution.kinds.engine import EngineActor
from reconciler.fleet import ContainerSpec, GuardRefused
from reconciler.operations.observation import PlanOptions
from reconciler.operations.plan_file import read_plan, save_plan
from reconciler.operations.resource_types import ResourceType
from reconciler.operations.saved_plan_checks import check_guards, first_stale_resource
from reconciler.planning.kinds.engine import OwnedEngineKind

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


def test_a_model_goes_after_its_agent_took_another_of_the_same_engine(lab: AgentLab) -> None:
    lab.converge()
    lab.wish(AGENT.replace("model: tiny", "model: other"), "{other: {engine: ollama, vram: 1GiB, on: a}}")
    assert lab.converge() == [
        "pull model.other@a/ollama",
        "load model.other@a/ollama",
        "update agent.x@a",
        "unload model.tiny@a/ollama",
    ]


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


def test_what_an_agent_depends_on_starts_before_it_and_stops_after(lab: AgentLab) -> None:
    services = "services: {queue: {on: b, container: {image: 'queue:1'}}}"
    waiting = AGENT.replace("model: tiny,", "model: tiny, depends_on: [queue],")
    lab.wish(waiting, more=services)
    proposal = lab.plan()
    assert "create:agent.queue@b" in proposal.plan.steps[-1].needs
    assert proposal.plan.steps[-1].address == "agent.x@a"
    lab.converge()
    lab.wish("{}")
    assert lab.converge() == ["remove agent.x@a", "remove agent.queue@b"]


def test_an_agent_that_was_stopped_is_started_again_and_not_made_anew(lab: AgentLab) -> None:
    lab.converge()
    (made,) = lab.daemons["a"].containers.values()
    lab.daemons["a"].end("lab-x")
    found = lab.plan().plan
    assert [(one.address, one.field, one.applied, one.found) for one in found.drift] == [("agent.x@a", "state", "running", "exited (137)")]
    assert lab.converge() == ["update agent.x@a"]
    assert list(lab.daemons["a"].containers.values()) == [made]


def test_a_changed_variable_is_pending_and_no_drift(lab: AgentLab) -> None:
    lab.converge()
    lab.wish(AGENT.replace("image: 'agent:1',", "image: 'agent:1', env: {LEVEL: debug},"))
    found = lab.plan().plan
    assert (found.drift, found.pending) == ((), 1)
    assert lab.converge() == ["update agent.x@a"]


def test_another_config_alone_makes_the_container_anew_and_says_which(lab: AgentLab) -> None:
    lab.converge()
    lab.wish(AGENT.replace("BTC", "ETH"))
    (step,) = lab.plan().plan.steps
    assert step.reason.message == "config, spec differ"
    lab.converge()
    (made,) = lab.daemons["a"].containers.values()
    assert '"ETH"' in str(made.spec.files[0].content)


def test_a_replacement_that_fails_brings_the_old_container_back(lab: AgentLab) -> None:
    lab.converge()
    lab.daemons["a"].broken["agent:2"] = ("Traceback", "KeyError: 'pairs'")
    lab.wish(AGENT.replace("agent:1", "agent:2"))
    result = lab.apply()
    assert [one.status.value for one in result.steps] == ["failed"]
    assert "KeyError: 'pairs'" in (result.steps[0].message or "")
    (made,) = lab.daemons["a"].containers.values()
    assert (made.name, made.spec.image, made.state.value) == ("lab-x", "agent:1", "running")


def test_a_first_container_that_fails_leaves_nothing_behind(lab: AgentLab) -> None:
    lab.daemons["a"].broken["agent:1"] = ("no such module",)
    result = lab.apply()
    assert [one.status.value for one in result.steps][-1] == "failed"
    assert lab.daemons["a"].containers == {}
    assert [step.action.value for step in lab.plan().plan.steps] == ["create"]


def test_a_name_that_a_stranger_has_is_told_with_who_has_it(lab: AgentLab) -> None:
    stranger = lab.daemons["a"].add_stranger(ContainerSpec("lab-x", "other:1", "", ""))
    found = lab.plan().plan
    assert not [step for step in found.steps if step.address.startswith("agent.")]
    assert [note.message for note in found.held] == [
        "it cannot be made: its name, lab-x, is that of a container of somebody else: remove that one, or name this one otherwise"
    ]
    lab.apply()
    assert list(lab.daemons["a"].containers.values()) == [stranger]


def test_two_fleets_have_agents_of_one_name_on_one_daemon(lab: AgentLab) -> None:
    other = {"gpurec.fleet": "prod", "gpurec.address": "agent.x@a"}
    stranger = lab.daemons["a"].add_stranger(ContainerSpec("prod-x", "agent:1", "prod", "agent.x@a"), other)
    lab.converge()
    lab.wish("{}")
    lab.converge()
    assert list(lab.daemons["a"].containers.values()) == [stranger]


@pytest.mark.parametrize("request_", ["create", "start"])
def test_a_run_that_was_cut_in_the_middle_is_put_right_by_the_next(lab: AgentLab, request_: str) -> None:
    lab.daemons["a"].cut = request_
    with pytest.raises(Cut):
        lab.apply()
    lab.converge()
    (made,) = lab.daemons["a"].containers.values()
    assert (made.name, len(made.spec.files)) == ("lab-x", 2), "cut before its files were put into it, it has them now"


@pytest.mark.parametrize("request_", ["create", "stop", "rename", "start", "remove"])
def test_a_replacement_that_was_cut_in_the_middle_is_put_right_by_the_next(lab: AgentLab, request_: str) -> None:
    lab.converge()
    lab.wish(AGENT.replace("agent:1", "agent:2"))
    lab.daemons["a"].cut = request_
    with pytest.raises(Cut):
        lab.apply()
    lab.converge()
    (made,) = lab.daemons["a"].containers.values()
    assert (made.name, made.spec.image) == ("lab-x", "agent:2")


def test_a_daemon_that_is_away_makes_its_agents_unknown_and_nothing_moves(lab: AgentLab) -> None:
    lab.converge()
    lab.daemons["a"].away = "connection refused"
    found = lab.plan().plan
    assert (found.steps, found.drift) == ((), ())
    assert [one.node for one in found.deferred] == ["a"]
    assert "connection refused" in found.deferred[0].reason
    lab.daemons["a"].away = None
    assert lab.plan().plan.empty


def test_a_saved_plan_is_carried_out_and_is_refused_once_the_agent_moved(lab: AgentLab) -> None:
    path = lab.root / "saved.plan"
    proposal = lab.plan()
    save_plan(path, proposal.plan)
    kinds = [one.kind for one in lab.settings.types()]
    assert read_plan(path, kinds).steps == proposal.plan.steps
    assert first_stale_resource(read_plan(path, kinds), lab.plan()) is None
    lab.wish(AGENT.replace("agent:1", "agent:2"))
    moved = first_stale_resource(read_plan(path, kinds), lab.plan())
    assert moved is not None
    assert moved.why == "the desired state asks for something else"


def test_a_secret_is_kept_in_no_file_of_ours(lab: AgentLab) -> None:
    lab.wish(AGENT.replace("image: 'agent:1',", "image: 'agent:1', env: {KEY: 'env:HOME'}, secrets: {token: 'env:HOME'},"))
    lab.converge()
    row = next(iter(lab.plan().applied.resources.values()))
    assert "KEY from env:HOME" in str(row.fields["env"])
    assert '"target":"HOME"' in (row.written or "")
    (made,) = lab.daemons["a"].containers.values()
    assert [(one.path, str(one.content), one.mode) for one in made.spec.files if one.path.startswith("/run")] == [
        ("/run/secrets/token", "env:HOME", 0o400)
    ]


def test_an_agent_with_a_card_of_its_own_is_given_it_by_its_uuid_and_charged(lab: AgentLab) -> None:
    own = "{y: {gpu_requirement: {min_vram: 6GiB}, container: {image: 'agent:1'}}}"
    lab.wish(own)
    assert lab.converge() == ["pull model.tiny@a/ollama", "load model.tiny@a/ollama", "create agent.y@b"]
    (made,) = lab.daemons["b"].containers.values()
    assert made.spec.cards == ("GPU-b",)
    card = next(one for one in lab.plan().plan.gpus if one.node == "b")
    assert (card.before_bytes, card.after_bytes, card.agents) == (6 * 2**30, 6 * 2**30, 1)
    lab.wish(own, "{tiny: {engine: ollama, vram: 1GiB, on: a}, other: {engine: ollama, vram: 2GiB, on: b}}")
    assert [(one.model, one.count) for one in lab.plan().plan.unplaced] == [("other", 1)]


OWN = "{y: {on: b, gpu_requirement: {min_vram: %dGiB}, container: {image: 'agent:%d'}}}"


@pytest.mark.parametrize(("gib", "order"), [(3, ["create", "start", "stop"]), (5, ["create", "stop", "start"])])
def test_an_agent_with_a_card_runs_beside_the_one_that_it_replaces_where_the_card_has_room_for_both(
    lab: AgentLab, gib: int, order: list[str]
) -> None:
    lab.wish(OWN % (gib, 1))
    lab.converge()
    lab.daemons["b"].requests.clear()
    lab.wish(OWN % (gib, 2))
    (step,) = lab.plan().plan.steps
    ends_first = "its old container ends first: both have card GPU-b, which is not known to have room for both"
    assert list(step.lines()) == [ends_first if gib == 5 else "its new container starts before the old one ends"]
    assert lab.converge() == ["update agent.y@b"]
    changes = [one.split()[0] for one in lab.daemons["b"].changes]
    assert [one for one in changes if one in order] == order
    assert lab.daemons["b"].names == ["lab-y"]


def test_two_agents_of_one_card_are_not_both_promised_the_room_that_only_one_of_them_has(lab: AgentLab) -> None:
    two = "{y: {on: b, replicas: 2, gpu_requirement: {min_vram: 2200MiB}, container: {image: 'agent:%d'}}}"
    lab.wish(two % 1)
    lab.converge()
    lab.wish(two % 2)
    lines = {line.partition(":")[0] for step in lab.plan().plan.steps for line in step.lines()}
    assert lines == {"its new container starts before the old one ends", "its old container ends first"}


def test_no_agent_is_promised_room_beside_the_one_that_it_replaces_while_models_come_to_its_node(lab: AgentLab) -> None:
    lab.wish(OWN % (2, 1))
    lab.converge()
    lab.wish(OWN % (2, 2), "{other: {engine: ollama, vram: 1GiB, on: b}}")
    (step,) = [one for one in lab.plan().plan.steps if one.address == "agent.y@b"]
    assert "its old container ends first" in step.lines()[0]


def test_a_model_gets_the_card_of_an_agent_that_leaves_after_that_has_left(lab: AgentLab) -> None:
    lab.wish("{y: {on: b, gpu_requirement: {min_vram: 6GiB}, container: {image: 'agent:1'}}}")
    lab.converge()
    lab.wish("{}", "{tiny: {engine: ollama, vram: 1GiB, on: a}, other: {engine: ollama, vram: 5GiB, on: b}}")
    proposal = lab.plan()
    (load,) = (step for step in proposal.plan.steps if step.id == "load:model.other@b/ollama")
    assert "remove:agent.y@b" in load.needs
    lab.converge()


def test_an_engine_and_an_agent_get_the_card_of_the_other_after_that_has_left(lab: AgentLab) -> None:
    def opened(node: object, docker: object) -> MemoryHost:
        return MemoryHost(lab.daemons[node.name])  # type: ignore[attr-defined]

    engines = ResourceType(OwnedEngineKind(), (), lambda context: EngineActor(context, opened))
    server = lab.fleet.engines["b/ollama"]
    server.kill()

    def heard(what: Callable[[], None]) -> Callable[[Made], None]:
        return lambda made: what() if made.spec.address == "engine.b/o" else None

    lab.daemons["b"] = MemoryDaemon(["agent:1"], heard(server.revive), heard(server.kill))
    lab.settings = replace(lab.settings, resource_types=(engines, *lab.settings.resource_types))
    inventory = lab.root / "inventories" / "lab.yaml"
    head, of_last, _ = inventory.read_text().rpartition("engines: {")
    owned = f"o: {{kind: ollama, runtime: container, port: {server.port}, gpus: [0], container: {{image: 'agent:1'}}}}"
    agent = "{y: {on: b, gpu_requirement: {min_vram: 6GiB}, container: {image: 'agent:1'}}}"
    for of_b, agents, steps in (
        ("", agent, [("create:agent.y@b", ())]),
        (owned, "{}", [("remove:agent.y@b", ()), ("create:engine.b/o", ("remove:agent.y@b",))]),
        ("", agent, [("remove:engine.b/o", ()), ("create:agent.y@b", ("remove:engine.b/o",))]),
    ):
        inventory.write_text(f"{head}{of_last}{of_b}}}}}\n")
        lab.wish(agents, "{}")
        found = lab.plan().plan
        assert [(step.id, step.needs) for step in found.steps] == steps, (found.notes, found.deferred)
        lab.converge()


def test_what_would_be_root_on_its_node_is_refused_unless_the_policy_names_it(lab: AgentLab) -> None:
    root = "{x: {model: tiny, container: {image: 'agent:1', volumes: ['/var/run/docker.sock:/var/run/docker.sock']}}}"
    lab.wish(root)
    with pytest.raises(GuardRefused, match=r"docker\.sock"):
        check_guards(lab.plan().plan)
    lab.wish(root, more="policy: {containers: {allow: [/var/run/docker.sock]}}")
    check_guards(lab.plan().plan)


def test_with_a_limit_only_the_agents_of_those_nodes_change(lab: AgentLab) -> None:
    lab.wish("{x: {each: node, container: {image: 'agent:1'}}}")
    lab.converge()
    lab.wish("{x: {each: node, container: {image: 'agent:2'}}}")
    assert shown(lab.plan(PlanOptions("b"))) == ["update agent.x@b"]


def test_an_engine_on_loopback_is_warned_about_where_the_agent_has_its_own_network(lab: AgentLab) -> None:
    assert not [note for note in lab.plan().plan.notes if note.code == "loopback_engine"]
    lab.wish("{x: {model: tiny, container: {image: 'agent:1'}}}")
    (note,) = (note for note in lab.plan().plan.notes if note.code == "loopback_engine")
    assert "networks: [host]" in note.message


def test_what_only_the_state_has_to_learn_makes_no_container_anew(lab: AgentLab) -> None:
    lab.wish("{y: {on: b, gpu_requirement: {min_vram: 6GiB}, container: {image: 'agent:1'}}}")
    lab.converge()
    lab.daemons["b"].requests.clear()
    lab.wish("{y: {on: b, gpu_requirement: {min_vram: 5GiB}, container: {image: 'agent:1'}}}")
    assert lab.converge() == ["adopt agent.y@b"]
    assert lab.daemons["b"].changes == []
    assert next(iter(lab.plan().applied.resources.values())).fields["card_bytes"] == 5 * 2**30
