"""What is held of every cluster that runs containers, simulated and real: a Deployment is the container that it stands for."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import pytest

from reconciler.containers import ContainerError, ContainerHost, cluster, open_container_host
from reconciler.containers.kubernetes_making import ClusterNode, deployment_document
from reconciler.engines.keys import Keys
from reconciler.execution.containers import ContainerWork
from reconciler.fleet import (
    CardSpec,
    ClusterSpec,
    ContainerFacts,
    ContainerFile,
    ContainerSpec,
    ContainerState,
    DockerSpec,
    Healthcheck,
    NodeSpec,
    Owner,
    PublishedPort,
    RegistryLogin,
    SecretRef,
    WatchedEnv,
    looked_for,
    mismatches,
    parse_mount,
)

FLEET, ADDRESS = "lab", "agent.box#2@node"
SECRET_VARIABLE, SECRET = "GPUREC_TEST_KEY", "sesame-key-of-a-workload"
KEY = SecretRef("env", SECRET_VARIABLE)
NAMESPACE = "gpurec"
CARDS = 2


def node_document(name: str = "node", address: str = "127.0.0.1", cards: int = CARDS) -> dict[str, Any]:
    """A node with `cards`, tainted as nodes with cards often are."""
    room = {"cpu": "64", "memory": "64Gi", "pods": "110"} | ({"nvidia.com/gpu": str(cards)} if cards else {})
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"},
            "annotations": {"kwok.x-k8s.io/node": "fake"},
        },
        "spec": {"taints": [{"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}]},
        "status": {"capacity": room, "allocatable": room, "addresses": [{"type": "InternalIP", "address": address}]},
    }


@dataclass(frozen=True)
class Subject:
    """A cluster with the nodes `node` and `other`, and an empty namespace. `kubeconfig` has the context `lab`; `url`, `headers` and
    `verify` are how somebody else speaks to it. `absent` is an image that no pod starts with."""

    kubeconfig: str
    url: str
    headers: Mapping[str, str]
    verify: Any = False
    absent: str = "local/absent:1"
    environ: Mapping[str, str] = field(default_factory=lambda: {SECRET_VARIABLE: SECRET})

    def spec(self, name: str = "lab-box", **more: Any) -> ContainerSpec:
        return ContainerSpec(**{"name": name, "image": "local/box:1", "fleet": FLEET, "address": ADDRESS, **more})

    @property
    def docker(self) -> DockerSpec:
        where = ClusterSpec("lab", NAMESPACE)
        return DockerSpec(str(where), cluster=where, registries=(RegistryLogin("registry.lan", "me", KEY),))

    @asynccontextmanager
    async def opened(self, node: str = "node") -> AsyncIterator[ContainerHost]:
        spec = NodeSpec(node, "127.0.0.1", gpus=tuple(CardSpec(index) for index in range(CARDS)))
        host = open_container_host(spec, self.docker, environ={**self.environ, "KUBECONFIG": self.kubeconfig})
        try:
            yield host
        finally:
            await host.aclose()

    def by_hand(self) -> httpx.AsyncClient:
        """The API, as somebody else uses it."""
        return httpx.AsyncClient(base_url=self.url, headers=self.headers, verify=self.verify, timeout=60, trust_env=False)

    async def patch(self, name: str, *operations: dict[str, Any], manager: str = "kubectl-edit") -> None:
        async with self.by_hand() as hand:
            answer = await hand.patch(
                f"{DEPLOYMENTS}/{name}",
                params={"fieldManager": manager},
                content=json.dumps(operations),
                headers={"Content-Type": "application/json-patch+json"},
            )
            assert answer.status_code == 200, answer.text

    async def names(self, kind: str) -> list[str]:
        group = "/apis/apps/v1" if kind == "deployments" else "/api/v1"
        async with self.by_hand() as hand:
            items = (await hand.get(f"{group}/namespaces/{NAMESPACE}/{kind}")).json()["items"]
        return sorted(one["metadata"]["name"] for one in items if one["metadata"]["name"] not in ("kube-root-ca.crt", "kubernetes"))

    async def left(self) -> dict[str, list[str]]:
        return {kind: found for kind in ("deployments", "configmaps", "secrets", "services") if (found := await self.names(kind))}


DEPLOYMENTS = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
_MAIN = "/spec/template/spec/containers/0"


async def only(host: ContainerHost, spec: ContainerSpec) -> ContainerFacts:
    found = await host.observe(looked_for(spec.fleet, (spec,)))
    assert found.containers is not None, found.reason
    (one,) = found.containers
    return one


async def run(host: ContainerHost, spec: ContainerSpec) -> str:
    made = await host.create(spec)
    await host.start(made)
    return made


def name_of(made: str) -> str:
    return made.partition("/")[0]


def quiet(*_: object) -> None:
    """Hears of no progress."""


WHOLE: Mapping[str, Any] = {
    "env": {"A": "1", "MONEY": "$(A) $$ $", "LONG": "two words\n" * 50, "KEY": KEY},
    "command": ("serve", "--port", "$PORT"),
    "args": ("--more",),
    "entrypoint": ("/bin/box",),
    "ports": (PublishedPort(80, 18080), PublishedPort(81, 18081, "0.0.0.0", "udp")),
    "mounts": tuple(parse_mount(one) for one in ("/srv/models:/models:ro", "tmpfs:/scratch")),
    "shm_size": 2**25,
    "cpus": 0.5,
    "memory": 2**27,
    "cards": ("1",),
    "groups": ("44",),
    "healthcheck": Healthcheck(("CMD", "true"), 0.2, 2.0, 5.0, 0.5, 2),
    "files": (ContainerFile("/etc/gpurec/agent.json", "{}\n"), ContainerFile("/run/secrets/key", KEY, 0o400)),
    "labels": {"team": "a b"},
    "stop_timeout": 1.0,
    "image": "registry.lan/box:1",
}


async def a_deployment_is_seen_as_it_was_made(subject: Subject) -> None:
    spec = subject.spec(**WHOLE)
    async with subject.opened() as host:
        made = await run(host, spec)
        found = await only(host, spec)
        assert mismatches(spec, found) == ()
        assert (found.id, found.owner, found.address, found.spec, found.condition) == (made, Owner.OURS, ADDRESS, spec.hash, "running")
        assert (found.env or {}).keys() == {"A", "MONEY", "LONG"}
        assert SECRET not in repr(found)
        left = await subject.left()
        assert {kind: len(names) for kind, names in left.items()} == {"deployments": 1, "configmaps": 1, "secrets": 2, "services": 1}
        again = await host.inspect(made, WatchedEnv(frozenset({"A"})), FLEET)
        assert again is not None
        assert again.env == {"A": "1"}
        await host.remove(made)
        await host.remove(made)
        assert await host.inspect(made, WatchedEnv(), FLEET) is None
        assert await subject.left() == {}


async def a_deployment_that_was_only_created_is_as_wanted_but_for_its_state(subject: Subject) -> None:
    spec = subject.spec(**WHOLE)
    async with subject.opened() as host:
        made = await host.create(spec)
        found = await only(host, spec)
        assert [(wrong.field, wrong.found) for wrong in mismatches(spec, found)] == [("state", "created")]
        assert (found.secrets, found.settings) == ({"KEY": True}, ())
        await host.rename(made, "lab-other")
        assert (await only(host, spec)).name == "lab-other"
        await host.remove(made)
        assert await subject.left() == {}


async def a_secret_is_only_compared(subject: Subject) -> None:
    spec = subject.spec(env={"KEY": KEY})
    async with subject.opened() as host:
        await run(host, spec)
        assert (await only(host, spec)).secrets == {"KEY": True}
    async with replace(subject, environ={SECRET_VARIABLE: "another-one-since"}).opened() as host:
        assert [wrong.field for wrong in mismatches(spec, await only(host, spec))] == ["env"]
    async with replace(subject, environ={}).opened() as host:
        assert (await only(host, spec)).secrets == {"KEY": None}
        with pytest.raises(ContainerError, match=SECRET_VARIABLE) as caught:
            await host.create(subject.spec("lab-other", address="agent.other@node", env={"KEY": KEY}))
        assert caught.value.code == "missing_key"


def _set(path: str, value: object) -> dict[str, Any]:
    return {"op": "replace", "path": path, "value": value}


BY_HAND: Sequence[tuple[str, dict[str, Any], str]] = (
    ("image", _set(f"{_MAIN}/image", "local/box:2"), "containers[main].image"),
    ("command", _set(f"{_MAIN}/args", ["serve"]), "containers[main].args"),
    ("env", _set(f"{_MAIN}/env/0/value", "2"), "containers[main].env[A].value"),
    ("memory", _set(f"{_MAIN}/resources/limits/memory", "64Mi"), "containers[main].resources.limits.memory"),
    ("cpus", _set(f"{_MAIN}/resources/limits/cpu", "250m"), "containers[main].resources.limits.cpu"),
    ("cards", _set(f"{_MAIN}/resources/limits/nvidia.com~1gpu", "2"), "containers[main].resources.limits.nvidia.com/gpu"),
    ("settings", _set("/spec/template/spec/nodeSelector/kubernetes.io~1hostname", "other"), "template.spec.nodeSelector"),
    ("settings", {"op": "add", "path": "/spec/template/spec/priorityClassName", "value": "system-node-critical"}, "priorityClassName"),
)


async def what_was_changed_by_hand_is_told_by_its_field_and_by_who_did_it(subject: Subject) -> None:
    spec = subject.spec(env={"A": "1", "B": "3"}, command=("serve", "more"), cpus=0.5, memory=2**27, cards=("0",))
    async with subject.opened() as host:
        for changed, operation, path in BY_HAND:
            made = await host.create(spec)
            if operation["path"].endswith("nvidia.com~1gpu"):  # a limit of a card is its request too
                async with subject.by_hand() as hand:
                    live = (await hand.get(f"{DEPLOYMENTS}/{name_of(made)}")).json()["spec"]["template"]["spec"]["containers"][0]
                both = [operation] + (
                    [_set(operation["path"].replace("limits", "requests"), "2")] if "requests" in live["resources"] else []
                )
                await subject.patch(name_of(made), *both)
            else:
                await subject.patch(name_of(made), operation)
            found = await only(host, spec)
            assert {wrong.field for wrong in mismatches(spec, found)} - {"state"} == {changed, "settings"}, (changed, found)
            told = next(one for one in found.settings or () if one.startswith("kubectl-edit set"))
            assert path in told
            await host.remove(made)
        assert await subject.left() == {}


async def what_was_stopped_by_hand_is_started_again(subject: Subject) -> None:
    spec = subject.spec()
    async with subject.opened() as host:
        made = await run(host, spec)
        await subject.patch(name_of(made), _set("/spec/replicas", 0), manager="kubectl-scale")
        found = await only(host, spec)
        assert [(wrong.field, wrong.found, wrong.restarts) for wrong in mismatches(spec, found)] == [("state", "exited", True)]
        await host.start(made)
        assert mismatches(spec, await only(host, spec)) == ()
        await host.stop(made)
        await host.stop(made)
        assert (await only(host, spec)).state is ContainerState.EXITED
        await host.start(made)
        assert (await only(host, spec)).condition == "running"
        async with subject.by_hand() as hand:
            assert (await hand.request("DELETE", f"{DEPLOYMENTS}/{name_of(made)}")).status_code == 200
        assert (await host.observe(looked_for(FLEET, (spec,)))).containers == ()
        with pytest.raises(ContainerError) as caught:
            await host.start(made)
        assert caught.value.code == "no_such_container"


async def a_pod_without_a_card_to_have_is_told_in_the_words_of_the_scheduler(subject: Subject) -> None:
    spec = subject.spec(cards=("0", "1"))
    other = subject.spec("lab-more", address="agent.more@node", cards=("0",))
    async with subject.opened() as host:
        await run(host, spec)
        made = await host.create(other)
        with pytest.raises(ContainerError, match=r"Insufficient nvidia\.com/gpu") as caught:
            await host.start(made)
        assert caught.value.code == "card_unavailable"
        found = await host.inspect(made, WatchedEnv(), FLEET)
        assert found is not None
        assert found.state is ContainerState.EXITED
        await host.remove(made)


async def a_port_that_another_pod_of_the_node_has_is_told(subject: Subject) -> None:
    spec = subject.spec(ports=(PublishedPort(80, 18090),))
    async with subject.opened() as host:
        await run(host, spec)
        made = await host.create(replace(spec, name="lab-more", address="agent.more@node"))
        with pytest.raises(ContainerError, match="free ports") as caught:
            await host.start(made)
        assert caught.value.code == "port_taken"


async def a_replacement_keeps_the_old_one_until_the_new_one_runs(subject: Subject) -> None:
    spec = subject.spec(env={"A": "1"}, files=(ContainerFile("/etc/gpurec/agent.json", "{}"),))
    async with subject.opened() as host:
        await run(host, spec)
        for value in ("2", "3", "1", "1"):
            wanted = replace(spec, env={"A": value}, files=(ContainerFile("/etc/gpurec/agent.json", value),))
            work = ContainerWork(host, FLEET, ADDRESS, wanted, poll=0.05)
            await work.make(quiet)
            await work.wait()
            found = await only(host, wanted)
            assert (mismatches(wanted, found), found.name) == ((), spec.name)
            assert {kind: len(names) for kind, names in (await subject.left()).items()} == {"deployments": 1, "configmaps": 1}
        broken = replace(spec, image="registry.lan/box:2", cards=("0", "1", "0"))
        work = ContainerWork(host, FLEET, ADDRESS, broken, poll=0.05)
        with pytest.raises(ContainerError, match=r"Insufficient.*; the one before it (still runs|runs again)"):
            await work.make(quiet)
        assert (await only(host, wanted)).condition == "running"
        assert {kind: len(names) for kind, names in (await subject.left()).items()} == {"deployments": 1, "configmaps": 1}


async def what_a_run_that_was_cut_short_left_is_gone_on_with(subject: Subject) -> None:
    spec = subject.spec(files=(ContainerFile("/etc/gpurec/agent.json", "{}"),))
    async with subject.opened() as host:
        await host.create(spec)
        work = ContainerWork(host, FLEET, ADDRESS, spec, poll=0.05)
        await work.make(quiet)
        await work.wait()
        before = await only(host, spec)
        assert mismatches(spec, before) == ()
        new = replace(spec, env={"A": "2"})
        await host.create(new, f"{spec.name}.next")
        work = ContainerWork(host, FLEET, ADDRESS, new, poll=0.05)
        await work.make(quiet)
        await work.wait()
        found = await only(host, new)
        assert (found.id != before.id, found.name, mismatches(new, found)) == (True, spec.name, ())
        assert {kind: len(names) for kind, names in (await subject.left()).items()} == {"deployments": 1, "configmaps": 1}


async def what_waits_for_a_card_keeps_its_turn(subject: Subject) -> None:
    """Also with files: what was made and never started is made anew, since a run may have been cut short before it had them."""
    spec = subject.spec(cards=("0", "1"), files=(ContainerFile("/etc/gpurec/agent.json", "{}"),))
    other = subject.spec("lab-more", address="agent.more@node", cards=("0",))
    async with subject.opened() as host:
        has_it = await run(host, other)
        made = await host.create(spec)
        await subject.patch(name_of(made), _set("/spec/replicas", 1), manager="kubectl-scale")
        work = ContainerWork(host, FLEET, ADDRESS, spec, poll=0.05)
        with pytest.raises(ContainerError, match=r"Insufficient nvidia\.com/gpu"):
            await work.make(quiet)
        found = (await host.observe(looked_for(FLEET, (spec,)))).of(ADDRESS)
        assert [(one.id, one.condition) for one in found] == [(made, "pending")]
        await host.remove(has_it)
        work = ContainerWork(host, FLEET, ADDRESS, spec, poll=0.05)
        await work.make(quiet)
        await work.wait()
        assert ((await only(host, spec)).id, mismatches(spec, await only(host, spec))) == (made, ())


async def a_name_that_somebody_else_has_is_told_with_whose_it_is(subject: Subject) -> None:
    pod = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "local/web:1"}]}}
    spec = {"replicas": 0, "selector": {"matchLabels": {"app": "web"}}, "template": pod}
    body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "lab-box-node", "labels": {"app": "web"}}, "spec": spec}
    async with subject.by_hand() as hand:
        assert (await hand.post(DEPLOYMENTS, params={"fieldManager": "helm"}, json=body)).status_code in (200, 201)
    wanted = subject.spec()
    async with subject.opened() as host:
        there = await host.observe(looked_for(FLEET, (wanted,)))
        (taken,) = there.in_the_way(wanted)
        assert (taken.owner, taken.name, taken.env) == (Owner.FOREIGN, wanted.name, None)
        assert "made by helm" in taken.whose
        with pytest.raises(ContainerError, match="made by helm") as caught:
            await host.create(wanted)
        assert caught.value.code == "name_taken"
    assert await subject.left() == {"deployments": ["lab-box-node"]}


async def two_fleets_and_two_nodes_in_one_namespace_do_not_mix(subject: Subject) -> None:
    mine, theirs = subject.spec(), subject.spec("lab-theirs", fleet="theirs")
    elsewhere = subject.spec(address="agent.box@other")
    async with subject.opened() as host, subject.opened("other") as other:
        made = await run(host, mine)
        await run(host, theirs)
        await run(other, elsewhere)
        assert (await only(host, mine)).id == made
        assert (await only(other, elsewhere)).id != made
        whole = await host.observe(looked_for("theirs", (theirs, replace(mine, fleet="theirs"))))
        assert {one.name: one.owner for one in whole.containers or ()} == {mine.name: Owner.OTHER_FLEET, theirs.name: Owner.OURS}
        await host.remove(made)
        assert await subject.names("deployments") == ["lab-box-other", "lab-theirs-node"]


async def a_name_that_is_taken_is_an_error_and_nothing_is_left(subject: Subject) -> None:
    async with subject.opened() as host:
        made = await host.create(subject.spec())
        with pytest.raises(ContainerError) as caught:
            await host.create(subject.spec())
        assert caught.value.code == "name_taken"
        second = await host.create(subject.spec("lab-second", address="agent.second@node"))
        with pytest.raises(ContainerError) as caught:
            await host.rename(second, "lab-box")
        assert caught.value.code == "name_taken"
        await host.rename(second, "lab-third")
        found = await host.observe(looked_for(FLEET, ()))
        assert {one.id: one.name for one in found.containers or ()} == {made: "lab-box", second: "lab-third"}


async def a_field_that_somebody_else_has_set_is_not_taken_without_being_asked_to(subject: Subject) -> None:
    asked = cluster.Cluster(ClusterSpec("lab", NAMESPACE), Keys(), {"KUBECONFIG": subject.kubeconfig})
    asked.users = 1
    node = ClusterNode("node", "node", {})
    try:
        path = f"{DEPLOYMENTS}/lab-box-node"
        await asked.apply(path, deployment_document("lab-box-node", "lab-box", subject.spec(), node, ()), "gpurec")
        await subject.patch("lab-box-node", _set(f"{_MAIN}/image", "local/box:2"))
        again = deployment_document("lab-box-node", "lab-box", subject.spec(image="local/box:3"), node, ())
        with pytest.raises(ContainerError, match=r'somebody else has set.*conflict with "kubectl-edit".*image') as caught:
            await asked.apply(path, again, "gpurec")
        assert caught.value.code == "conflict"
        await asked.apply(path, again, "gpurec", force=True)
    finally:
        await asked.aclose()


async def lists_in_pages_are_whole_lists(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    specs = [subject.spec(f"lab-box-{number}", address=f"agent.box{number}@node") for number in range(5)]
    monkeypatch.setattr(cluster, "PAGE", 2)
    async with subject.opened() as host:
        for spec in specs:
            await run(host, spec)
        found = await host.observe(looked_for(FLEET, tuple(specs)))
        assert [(one.name, one.condition) for one in found.containers or ()] == [(spec.name, "running") for spec in specs]


async def what_a_deployment_cannot_be_is_refused_before_anything_is_made(subject: Subject) -> None:
    for wrong, said in (
        ({"restart": "no"}, "restart: no"),
        ({"networks": ("web",)}, "none called web"),
        ({"devices": ("/dev/kfd",)}, "no device files"),
        ({"groups": ("video",)}, "not 'video'"),
        ({"ports": (PublishedPort(80, 18080), PublishedPort(80, 18081))}, "its port 80 at one port of its node, not at 2"),
        ({"mounts": (parse_mount("models:/models"),)}, "no PersistentVolumeClaim models"),
    ):
        async with subject.opened() as host:
            with pytest.raises(ContainerError, match=said):
                await host.create(subject.spec(**wrong))
    assert await subject.left() == {}


async def a_node_that_the_cluster_does_not_have_makes_its_containers_unknown(subject: Subject) -> None:
    where = replace(subject.docker, cluster=ClusterSpec("lab", NAMESPACE))
    host = open_container_host(NodeSpec("nobody", "10.1.2.3"), where, environ={"KUBECONFIG": subject.kubeconfig})
    found = await host.observe(looked_for(FLEET, ()))
    await host.aclose()
    assert found.containers is None
    assert found.code == "no_cluster_node"
    assert "0 nodes of the cluster are called nobody or have the address 10.1.2.3; there are node, other" in (found.reason or "")


Ask = Callable[..., Awaitable[None]]
OF_OBJECTS: Sequence[Ask] = (
    a_deployment_that_was_only_created_is_as_wanted_but_for_its_state,
    what_was_changed_by_hand_is_told_by_its_field_and_by_who_did_it,
    a_name_that_somebody_else_has_is_told_with_whose_it_is,
    a_name_that_is_taken_is_an_error_and_nothing_is_left,
    what_a_deployment_cannot_be_is_refused_before_anything_is_made,
    a_node_that_the_cluster_does_not_have_makes_its_containers_unknown,
    a_field_that_somebody_else_has_set_is_not_taken_without_being_asked_to,
)
"""Rules for which an API server is enough: no pod of them has to run."""
RULES: Sequence[Ask] = (
    *OF_OBJECTS,
    a_deployment_is_seen_as_it_was_made,
    a_secret_is_only_compared,
    what_was_stopped_by_hand_is_started_again,
    a_pod_without_a_card_to_have_is_told_in_the_words_of_the_scheduler,
    a_port_that_another_pod_of_the_node_has_is_told,
    a_replacement_keeps_the_old_one_until_the_new_one_runs,
    what_a_run_that_was_cut_short_left_is_gone_on_with,
    what_waits_for_a_card_keeps_its_turn,
    two_fleets_and_two_nodes_in_one_namespace_do_not_mix,
)
