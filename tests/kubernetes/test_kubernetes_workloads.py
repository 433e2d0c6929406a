"""The rules for a cluster that runs containers, asked of the simulated one; and what only it can be made to do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from adoption_rules import RULES as ADOPTION_RULES
from simulated_cluster import TOKEN, Cluster, simulated
from workload_rules import (
    ADDRESS,
    FLEET,
    KEY,
    NAMESPACE,
    RULES,
    SECRET_VARIABLE,
    Ask,
    Subject,
    lists_in_pages_are_whole_lists,
    node_document,
    only,
    quiet,
    run,
)

from reconciler.containers import ContainerError, kubernetes
from reconciler.containers import cluster as reached
from reconciler.execution.containers import ContainerWork
from reconciler.fleet import PublishedPort


def kubeconfig(folder: Path, cluster: dict[str, Any], user: dict[str, Any]) -> str:
    path = folder / "kubeconfig"
    context = {"name": "lab", "context": {"cluster": "x", "user": "x", "namespace": NAMESPACE}}
    parts = {"clusters": [{"name": "x", "cluster": cluster}], "users": [{"name": "x", "user": user}], "contexts": [context]}
    path.write_text(json.dumps(parts))
    return str(path)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with simulated([node_document(), node_document("other", "10.0.0.8", 0)]) as found:
        yield found


@pytest.fixture
def subject(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Subject:
    monkeypatch.setattr(kubernetes, "_PATIENCE", 0.05)
    monkeypatch.setattr(kubernetes, "_POLL", 0.01)
    monkeypatch.setattr(reached, "_PAUSES", (0.01, 0.01, 0.01))
    where = kubeconfig(tmp_path, {"server": cluster.url}, {"token": TOKEN})
    return Subject(where, cluster.url, {"Authorization": f"Bearer {TOKEN}"})


@pytest.mark.parametrize("rule", [*RULES, *ADOPTION_RULES], ids=lambda rule: str(rule.__name__))
def test_a_simulated_cluster_keeps_the_rules(rule: Ask, subject: Subject) -> None:
    asyncio.run(rule(subject))


def test_lists_come_page_by_page(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    asyncio.run(lists_in_pages_are_whole_lists(subject, monkeypatch))


def test_a_pod_that_was_evicted_stays_for_the_record_and_holds_nothing_up(cluster: Cluster, subject: Subject) -> None:
    async def ask() -> None:
        spec = subject.spec()
        async with subject.opened() as host:
            made = await run(host, spec)
            (evicted,) = (one for where, one in cluster.objects.items() if "/pods/" in where)
            evicted["status"] = {"phase": "Failed", "reason": "Evicted", "message": "low on memory"}
            assert (await only(host, spec)).condition == "running"
            await asyncio.wait_for(host.stop(made), 30)
            await host.start(made)
            await asyncio.wait_for(host.remove(made), 30)
        assert await subject.left() == {}

    asyncio.run(ask())


def test_what_was_replaced_is_brought_back_once_the_pod_of_the_new_one_has_gone(cluster: Cluster, subject: Subject) -> None:
    """A pod may have half a minute to end, and has its port and its cards until then."""

    async def never() -> bool:
        return False

    async def ask() -> None:
        spec = subject.spec(ports=(PublishedPort(80, 18099),), cards=("0", "1"))
        async with subject.opened() as host:
            made = await run(host, spec)
            cluster.lingering = 400
            work = ContainerWork(host, FLEET, ADDRESS, replace(spec, env={"A": "2"}), is_healthy=never, within=0.05, poll=0.01)
            await work.make(quiet)
            with pytest.raises(ContainerError, match=r"does not answer.*; the one before it runs again"):
                await work.wait()
            found = await only(host, spec)
            assert (found.id, found.condition) == (made, "running")

    asyncio.run(ask())


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
@pytest.mark.parametrize("status", [429, 500, 503])
def test_an_api_server_that_is_busy_just_then_is_asked_again(cluster: Cluster, subject: Subject, method: str, status: int) -> None:
    async def ask() -> None:
        async with subject.opened() as host:
            made = await run(host, subject.spec())
            cluster.failing = [(status, method, "etcdserver: leader changed")] * 3
            await host.remove(made)
            assert cluster.failing == []
        assert await subject.left() == {}

    asyncio.run(ask())


def test_a_credential_that_ran_out_is_taken_anew_once(cluster: Cluster, subject: Subject) -> None:
    program = Path(subject.kubeconfig).parent / "token.sh"
    program.write_text(
        f"""#!/bin/sh
echo ran >> {program}.log
echo '{{"status": {{"token": "{TOKEN}"}}}}'
"""
    )
    program.chmod(0o755)
    runs = {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": str(program)}}

    def times() -> int:
        return len(Path(f"{program}.log").read_text().splitlines())

    async def ask() -> None:
        kubeconfig(Path(subject.kubeconfig).parent, {"server": cluster.url}, runs)
        async with subject.opened() as host:
            made = await run(host, subject.spec())
            cluster.failing = [(401, "GET", "Unauthorized")]
            await host.stop(made)
            assert times() == 2
            cluster.failing = [(401, "GET", "Unauthorized")] * 20
            for _ in range(3):
                with pytest.raises(ContainerError, match="does not know us"):
                    await host.stop(made)
            assert times() == 3

    asyncio.run(ask())


def test_more_pods_than_one_are_drift(cluster: Cluster, subject: Subject) -> None:
    async def ask() -> None:
        spec = subject.spec()
        async with subject.opened() as host:
            await run(host, spec)
            await subject.patch("lab-box-node", {"op": "replace", "path": "/spec/replicas", "value": 3}, manager="kubectl-scale")
            assert (await only(host, spec)).settings == ("3 pods",)

    asyncio.run(ask())


def test_two_addresses_that_need_one_name_do_not_take_each_others_service(cluster: Cluster, subject: Subject) -> None:
    """`lab-box` on `a-node` and `lab-box-a` on `node` are both `lab-box-a-node`."""
    cluster.objects["/api/v1/nodes/a-node"] = node_document("a-node", "10.0.0.9")
    cluster.objects["/api/v1/nodes/a-node"]["metadata"]["uid"] = "a-node"

    async def ask() -> None:
        ports = (PublishedPort(80, 18099),)
        async with subject.opened("a-node") as one, subject.opened() as other:
            await run(one, subject.spec(ports=ports, address="agent.box@a-node"))
            before = [found for where, found in cluster.objects.items() if "/services/" in where]
            with pytest.raises(ContainerError, match=r"lab-box-a-node is taken by a Service of agent\.box@a-node") as caught:
                await other.create(subject.spec("lab-box-a", ports=ports, address="agent.box-a@node"))
            assert caught.value.code == "name_taken"
            assert [found for where, found in cluster.objects.items() if "/services/" in where] == before

    asyncio.run(ask())


def test_the_name_of_a_secret_tells_nothing_of_what_is_in_it(subject: Subject) -> None:
    """Who may read a Deployment, and no Secret, could else try every short password."""

    async def names() -> list[str]:
        async with replace(subject, environ={SECRET_VARIABLE: "1234"}).opened() as host:
            made = await run(host, subject.spec(env={"KEY": KEY}))
            found = await subject.names("secrets")
            await host.remove(made)
            return found

    assert asyncio.run(names()) != asyncio.run(names())
