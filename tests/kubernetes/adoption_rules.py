"""What is held of every cluster of a Deployment that somebody made by hand, and that counts as gpurec's: simulated and real."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from workload_rules import ADDRESS, DEPLOYMENTS, FLEET, Ask, Subject, only, quiet

from reconciler.containers import ContainerError
from reconciler.execution.containers import ContainerWork
from reconciler.fleet import CardCount, ContainerFacts, ContainersLookedFor, ContainerSpec, Owner, PublishedPort, looked_for, mismatches

VARIABLE = "OLLAMA_DEBUG"


def by_hand(name: str = "box", port: int = 18095, **pod: Any) -> dict[str, Any]:
    """A Deployment as somebody writes it who has an engine on the node `node`."""
    container: dict[str, Any] = {
        "name": "server",
        "image": "local/box:1",
        "ports": [{"containerPort": 11434, "hostPort": port}],
        "env": [{"name": VARIABLE, "value": "1"}],
        "resources": {"limits": {"nvidia.com/gpu": "1"}},
    }
    labels = {"app": name}
    tolerations = [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    spec = {"nodeSelector": {"kubernetes.io/hostname": "node"}, "tolerations": tolerations, "containers": [container], **pod}
    template = {"metadata": {"labels": labels}, "spec": spec}
    whole = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "labels": labels}, "spec": whole}


async def _make(subject: Subject, document: dict[str, Any]) -> None:
    """Makes a Deployment with another client, and waits until its container runs."""
    async with subject.by_hand() as hand:
        answer = await hand.post(DEPLOYMENTS, params={"fieldManager": "kubectl-create"}, json=document)
        assert answer.status_code in (200, 201), answer.text
    async with subject.opened() as host:
        for _ in range(300):
            found = await host.observe(ContainersLookedFor(FLEET, on_host=True))
            if any(one.name == document["metadata"]["name"] and one.condition == "running" for one in found.containers or ()):
                return
            await asyncio.sleep(0.1)
    raise AssertionError(found)


async def a_deployment_made_by_hand_counts_as_ours_and_goes_as_any_other(subject: Subject) -> None:
    await _make(subject, by_hand())
    spec = subject.spec(env={VARIABLE: "1"}, ports=(PublishedPort(11434, 18095, "0.0.0.0"),), cards=("0",), adopts="box", restart="always")
    asked = looked_for(FLEET, (spec,))
    async with subject.opened() as host, subject.opened("other") as other:
        there = await host.observe(replace(asked, adopted={}, on_host=True))
        assert [(one.owner, one.name, one.variables, one.cards) for one in there.containers or ()] == [
            (Owner.FOREIGN, "box", (VARIABLE,), (CardCount(1, "nvidia.com/gpu"),))
        ]
        assert (await other.observe(replace(asked, on_host=True))).containers == ()
        found = await only(host, spec)
        wrong = mismatches(spec, found)
        assert wrong == (), wrong
        assert (found.owner, found.address, found.adopted) == (Owner.OURS, ADDRESS, found.id)
        assert await host.logs(found.id) is not None

        async def becomes(wanted: ContainerSpec) -> ContainerFacts:
            work = ContainerWork(host, FLEET, ADDRESS, wanted, poll=0.05, adopts=found.id)
            await work.make(quiet)
            await work.wait()
            return await only(host, wanted)

        assert (await becomes(spec)).id == found.id, "it is as wanted, so nothing is made"
        with pytest.raises(ContainerError, match=r"Insufficient.*; the one before it runs again"):
            await becomes(replace(spec, image="local/box:2", cards=("0", "1", "0")))
        back = await only(host, spec)
        assert (back.id, back.name, back.condition) == (found.id, "box", "running")
        new = await becomes(replace(spec, env={VARIABLE: "2"}))
        assert (new.name, new.adopted, new.env) == (spec.name, "", {VARIABLE: "2"})
        assert await subject.names("deployments") == ["lab-box-node"]


async def what_no_file_can_say_of_a_deployment_made_by_hand_is_told(subject: Subject) -> None:
    config = {"name": "given", "configMap": {"name": "absent", "optional": True}}
    document = by_hand("odd", priorityClassName="system-node-critical", volumes=[config])
    document["spec"]["selector"]["matchExpressions"] = [{"key": "app", "operator": "Exists"}]
    container = document["spec"]["template"]["spec"]["containers"][0]
    container |= {"workingDir": "/srv", "args": ["--at", "$(A)"], "volumeMounts": [{"name": "given", "mountPath": "/given"}]}
    container["resources"]["requests"] = {"cpu": "100m", "nvidia.com/gpu": "1"}
    await _make(subject, document)
    spec = subject.spec(adopts="odd")
    async with subject.opened() as host:
        told = (await only(host, spec)).settings or ()
        unsaid = {"workingDir", "$(…) in its command", "volume given", "requests that are not its limits"}
        of_cluster = {"priority", "preemptionPolicy"}
        assert set(told) - of_cluster == {*unsaid, "priorityClassName", "matchExpressions of its selector"}
        elsewhere = await host.observe(replace(looked_for(FLEET, (subject.spec(adopts="nobody"),)), adopted={"nobody": ADDRESS}))
        assert elsewhere.containers == ()


async def a_deployment_that_knows_its_pods_by_expressions_ends_no_others(subject: Subject) -> None:
    await _make(subject, by_hand())
    before = await subject.names("pods")
    odd = by_hand("odd", port=18096)
    labels = odd["spec"]["template"]["metadata"]["labels"] = {"app": "box", "is": "odd"}
    odd["spec"]["selector"] = {"matchLabels": {"app": "box"}, "matchExpressions": [{"key": "is", "operator": "In", "values": ["odd"]}]}
    odd["metadata"]["labels"] = labels
    odd["spec"]["replicas"] = 0
    async with subject.by_hand() as hand:
        answer = await hand.post(DEPLOYMENTS, params={"fieldManager": "kubectl-create"}, json=odd)
        assert answer.status_code in (200, 201), answer.text
    async with subject.opened() as host:
        found = await only(host, subject.spec(adopts="odd"))
        assert "matchExpressions of its selector" in (found.settings or ())
        await host.stop(found.id, grace=0.0)
    assert await subject.names("pods") == before


async def a_deployment_whose_labels_another_bears_too_ends_none_of_its_pods(subject: Subject) -> None:
    await _make(subject, by_hand())
    canary = by_hand("canary", port=18096)
    labels = canary["spec"]["template"]["metadata"]["labels"] = {"app": "box", "track": "canary"}
    canary["spec"]["selector"] = {"matchLabels": labels}
    await _make(subject, canary)
    (kept,) = [name for name in await subject.names("pods") if name.startswith("canary-")]
    async with subject.opened() as host:
        found = await only(host, subject.spec(adopts="box"))
        await host.stop(found.id, grace=0.0)
        assert (await only(host, subject.spec(adopts="box"))).condition == "exited"
    assert await subject.names("pods") == [kept]


RULES: Sequence[Ask] = (
    a_deployment_whose_labels_another_bears_too_ends_none_of_its_pods,
    a_deployment_that_knows_its_pods_by_expressions_ends_no_others,
    a_deployment_made_by_hand_counts_as_ours_and_goes_as_any_other,
    what_no_file_can_say_of_a_deployment_made_by_hand_is_told,
)
