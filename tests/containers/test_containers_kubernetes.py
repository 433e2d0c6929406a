"""A Deployment as the container that it stands for, and back. What a cluster does is asked in `tests/kubernetes` and `tests/real/extra`."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulated_cluster import TOKEN, simulated

from reconciler.containers import cluster as reached
from reconciler.containers import open_container_host
from reconciler.containers.kubernetes_answers import amount, cannot_start, changed_by_others, read_deployment
from reconciler.containers.kubernetes_making import (
    ASKED_NOTE,
    ClusterNode,
    deployment_document,
    escaped,
    label_value,
    object_name,
    probe_of,
    unescaped,
)
from reconciler.containers.kubernetes_shapes import DEPLOYMENT, Deployment, Metadata, Pod
from reconciler.fleet import CardSpec, ClusterSpec, ContainerSpec, DockerSpec, Healthcheck, NodeSpec, looked_for, mismatches

NODE = ClusterNode("node", "node", {"0": "nvidia.com/gpu", "1": "nvidia.com/mig-1g.10gb"})
SPEC = ContainerSpec("lab-box", "box:1", "lab", "agent.box@node", cards=("0", "1"), healthcheck=Healthcheck(("CMD", "true"), 0.5))


MEMORY = "0/2 nodes are available: 1 Insufficient memory, 1 node(s) didn't match. preemption: 0/2 nodes are available: 2 No victims."


def deployment(**annotations: str) -> Deployment:
    document = json.loads(json.dumps(deployment_document("lab-box-node", "lab-box", SPEC, NODE, ())))
    document["metadata"] |= {"uid": "u", "generation": 2}
    document["metadata"]["annotations"] |= annotations
    document["spec"]["replicas"] = 1
    return DEPLOYMENT.validate_json(json.dumps(document))


def pod(**status: Any) -> Pod:
    return Pod.model_validate_json(json.dumps({"metadata": {"name": "p", "uid": "p"}, "status": status}))


def fields(one: Deployment) -> set[str]:
    found = read_deployment(one, (), (), "lab", (), {}, NODE)
    return {wrong.field for wrong in mismatches(SPEC, found)} - {"state"}


def test_a_slice_is_asked_for_as_the_cluster_counts_it_beside_a_whole_card() -> None:
    limits = deployment().container.resources
    assert limits is not None
    assert limits.limits == {"nvidia.com/gpu": "1", "nvidia.com/mig-1g.10gb": "1"}
    assert fields(deployment()) == set()


def note(test: str = '["CMD"]', times: str = "[1, 1, null, null]", retries: str = "3") -> str:
    return f'{{"restart": "always", "cards": [], "health": {{"test": {test}, "times": {times}, "retries": {retries}}}}}'


@pytest.mark.parametrize(
    "spoilt",
    [
        *("", "[]", "{}", '{"restart": "always"}', "[" * 100_000, '{"restart":"no","cards":[],"health":{"test":1}}'),
        *(note(test="[]"), note(test="[null]"), note(times='["x", 1, 1, 1]'), note(times="[1e999, 1, 1, 1]"), note(times="[1]")),
        *(note(retries="-1"), note(retries="{}"), note(test=r'["CMD", "\ud800"]')),
    ],
)
def test_a_note_that_somebody_spoilt_is_drift_and_no_failure(spoilt: str) -> None:
    assert fields(deployment(**{ASKED_NOTE: spoilt})) == {"cards", "restart", "healthcheck"}


@given(st.text(alphabet="$()AB \n", max_size=40))
def test_the_kubelet_expands_nothing_in_what_is_sent(text: str) -> None:
    """`expansion.Expand` of Kubernetes: `$$` is `$`, `$(NAME)` a reference."""
    sent = escaped(text)
    assert unescaped(sent) == text
    assert "$(" not in sent.replace("$$", "")


def test_the_kubelet_expands_nothing_in_the_command_of_a_probe() -> None:
    """`ExpandContainerCommandOnlyStatic` of the kubelet's prober: as in commands and arguments."""
    check = Healthcheck(("CMD-SHELL", "test $(cat /ready) = $$PORT"), 1.0)
    probe = probe_of(check)
    assert probe is not None
    assert probe["exec"]["command"] == ["sh", "-c", "test $$(cat /ready) = $$$$PORT"]
    one = deployment().model_dump(by_alias=True)
    one["spec"]["template"]["spec"]["containers"][0]["readinessProbe"] = {"exec": {"command": ["a", "$$B"]}, "periodSeconds": 7}
    found = read_deployment(DEPLOYMENT.validate_json(json.dumps(one)), (), (), "lab", (), {}, NODE)
    assert found.healthcheck == Healthcheck(("CMD", "a", "$B"), 7, None, None, None, None)


@given(st.text(max_size=300), st.text(max_size=80))
def test_every_name_and_label_is_one_that_a_cluster_takes(name: str, hostname: str) -> None:
    found = object_name(name, hostname)
    assert re.fullmatch(r"[a-z]([a-z0-9-]{0,52}[a-z0-9])?", found), found
    assert re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?", label_value(name))


def test_two_names_that_are_written_alike_are_no_one_name() -> None:
    assert object_name("lab-a_b", "node") != object_name("lab-a-b", "node")
    assert object_name("lab-box", "a.b") != object_name("lab-box", "a-b")


def test_quantities_are_read_in_every_form() -> None:
    wanted = {
        "9" * 500 + "P": None,
        "999999Pi": None,
        "500m": 0.5,
        "2": 2.0,
        "1Gi": 2.0**30,
        "128M": 128e6,
        "0.5": 0.5,
        "1e3": None,
        "": None,
    }
    assert {text: amount(text) for text in wanted} == wanted
    assert [amount("9" * 500 + "P"), amount("9999Pi")] == [None, None]


def test_who_set_what_is_told_but_for_status_scale_and_restarts_by_hand() -> None:
    def entry(manager: str, fields: Any, **more: str) -> dict[str, Any]:
        return {"manager": manager, "operation": "Update", "fieldsV1": fields, **more}

    main = {"f:template": {"f:spec": {"f:containers": {'k:{"name":"main"}': {".": {}, "f:image": {}}}}}}
    restart = {"f:template": {"f:metadata": {"f:annotations": {"f:kubectl.kubernetes.io/restartedAt": {}}}}}
    entries = [
        entry("gpurec", {"f:spec": main}),
        entry("kube-controller-manager", {"f:status": {}}, subresource="status"),
        entry("kubectl", {"f:spec": {"f:replicas": {}}}, subresource="scale"),
        entry("kubectl-rollout", {"f:spec": restart}),
        entry("kubectl-edit", {"f:spec": main}),
        entry("evil\x1b[31m", {"f:spec": {"f:a\x1b": {}}}),
    ]
    found = Metadata.model_validate_json(json.dumps({"name": "a", "uid": "u", "managedFields": entries}))
    assert list(changed_by_others(found)) == ["kubectl-edit set template.spec.containers[main].image", "evil�[31m set a�"]


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ({"phase": "Pending"}, None),
        ({"conditions": [{"type": "PodScheduled", "status": "False", "message": "1 Insufficient nvidia.com/gpu."}]}, "card_unavailable"),
        ({"conditions": [{"type": "PodScheduled", "status": "False", "message": MEMORY}]}, "no_room"),
        ({"containerStatuses": [{"name": "main", "state": {"waiting": {"reason": "ContainerCreating"}}}]}, None),
        ({"containerStatuses": [{"name": "main", "state": {"waiting": {"reason": "ErrImagePull"}}}]}, None),
        ({"containerStatuses": [{"name": "main", "state": {"waiting": {"reason": "ImagePullBackOff"}}}]}, "no_such_image"),
        ({"containerStatuses": [{"name": "main", "state": {"waiting": {"reason": "CreateContainerConfigError"}}}]}, "start_failed"),
        ({"phase": "Failed", "reason": "Evicted", "message": "low on memory"}, "start_failed"),
    ],
)
def test_why_a_pod_will_not_run_is_told_and_what_only_takes_its_time_is_not(status: dict[str, Any], code: str | None) -> None:
    found = cannot_start(deployment(), pod(**status))
    assert (found[0] if found is not None else None) == code


def test_a_cluster_that_makes_no_pod_says_why() -> None:
    message = 'pods "lab-box" is forbidden: violates PodSecurity "baseline:latest": hostPort'
    condition = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message}
    one = deployment().model_dump(by_alias=True) | {"status": {"conditions": [condition]}}
    found = cannot_start(DEPLOYMENT.validate_json(json.dumps(one)), None)
    assert found is not None
    assert found[0] == "refused"
    assert 'violates PodSecurity "baseline:latest"' in found[1]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((200, b"<html>"), "JSON"),
        ((200, b"[]"), "shape"),
        ((403, b'{"message": "nodes is forbidden: User x"}'), "refused: nodes is forbidden: User x"),
        ((401, b'{"message": "Unauthorized"}'), "does not know us"),
        ((500, b'{"message": "etcdserver: no leader"}'), "answered 500: etcdserver: no leader"),
        ((302, b""), "answered 302"),
    ],
)
def test_an_api_server_that_talks_nonsense_makes_its_containers_unknown(
    answer: tuple[int, bytes], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reached, "_PAUSES", (0.01,))

    async def ask() -> str:
        with simulated([]) as cluster:
            cluster.answer = lambda *_: answer  # type: ignore[method-assign]
            config = {
                "clusters": [{"name": "x", "cluster": {"server": cluster.url}}],
                "users": [{"name": "x", "user": {"token": TOKEN}}],
                "contexts": [{"name": "lab", "context": {"cluster": "x", "user": "x"}}],
            }
            (tmp_path / "kubeconfig").write_text(json.dumps(config))
            docker = DockerSpec("kubernetes:lab", cluster=ClusterSpec("lab"))
            host = open_container_host(
                NodeSpec("a", "a", gpus=(CardSpec(0),)), docker, environ={"KUBECONFIG": str(tmp_path / "kubeconfig")}
            )
            found = await host.observe(looked_for("lab", ()))
            await host.aclose()
            assert found.containers is None
            return found.reason or ""

    told = asyncio.run(ask())
    assert said in told
    assert TOKEN not in told
