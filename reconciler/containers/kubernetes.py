"""A Kubernetes cluster as a host of containers: each is a Deployment of one pod, or none, pinned to the node that it is for.

A Deployment cannot be renamed, so what gpurec calls it is an annotation. It is made once and never changed but in whether it runs and what
it is called, so an update is another Deployment, as on every other host, and the old one can be brought back. Files and secrets become
ConfigMaps and Secrets that never change. Which card of its node a pod is given, the cluster decides.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from secrets import token_hex
from urllib.parse import quote

from pydantic import TypeAdapter

from reconciler.containers.cluster import Cluster
from reconciler.containers.docker import looked, start_failure
from reconciler.containers.kubernetes_answers import (
    MANAGER,
    STATE_MANAGER,
    cannot_start,
    newest,
    owner_of,
    read_deployment,
    stranger,
)
from reconciler.containers.kubernetes_making import (
    HOSTNAME,
    ID_LABEL,
    NAME_NOTE,
    NODE_LABEL,
    SERVICE_NOTE,
    ClusterNode,
    Stored,
    deployment_document,
    label_value,
    labels_of,
    object_name,
    refusal_of,
    resources_of,
    service_document,
    stored_objects,
)
from reconciler.containers.kubernetes_secrets import same_values
from reconciler.containers.kubernetes_shapes import (
    CLUSTER_NODES,
    DEPLOYMENT,
    DEPLOYMENTS,
    EVENTS,
    HELD,
    NODE,
    PODS,
    SERVER_VERSION,
    SERVICE,
    SERVICES,
    Deployment,
    Metadata,
    Pod,
    Read,
)
from reconciler.containers.kubernetes_strangers import is_for
from reconciler.containers.output import last_lines
from reconciler.containers.protocol import LAST_LINES, ContainerError
from reconciler.containers.sent_secrets import SentSecrets
from reconciler.containers.wire import failed
from reconciler.engines.foreign_text import clean_name, clean_text
from reconciler.engines.protocol import PullProgress
from reconciler.fleet import (
    ADDRESS_LABEL,
    FLEET_LABEL,
    MIB,
    ContainerFacts,
    ContainerFile,
    ContainersLookedFor,
    ContainerSpec,
    DaemonFacts,
    MountKind,
    NodeContainers,
    NodeSpec,
    Owner,
    RegistryLogin,
    WatchedEnv,
    registry_of,
)

_START = 600.0
"""Seconds that a start may take: the node may have to pull the image."""
_POLL = 0.2
_PATIENCE = 5.0
"""Seconds that a pod may find no room, or a Deployment no leave to make one: what another pod had is given back a little after it went."""
_FOR_GOOD = frozenset({"no_such_image", "start_failed"})
_KILL = 1.0
"""Seconds that a pod is given to end where nobody waits for it."""
_NOTHING_WATCHED = WatchedEnv()


class KubernetesHost:
    """The Deployments of a namespace that are for one node of a cluster."""

    def __init__(self, cluster: Cluster, node: NodeSpec, secrets: SentSecrets, logins: Sequence[RegistryLogin] = ()) -> None:
        self._cluster = cluster
        self._spec = node
        self._secrets = secrets
        self._logins = {one.registry: one for one in logins}
        self._node: ClusterNode | None = None
        self._daemon: DaemonFacts | None = None
        self._always: set[str] = set()

    @property
    def shown(self) -> str:
        return f"{self._spec.name} ({self._cluster.spec})"

    async def aclose(self) -> None:
        await self._cluster.aclose()

    # -- looking

    async def observe(self, wanted: ContainersLookedFor) -> NodeContainers:
        return await looked(self._observed(wanted), self.shown)

    async def _observed(self, wanted: ContainersLookedFor) -> NodeContainers:
        node, daemon = await self._placed(), await self._asked()
        of_node = f"{NODE_LABEL}={label_value(node.hostname)},{FLEET_LABEL}={label_value(wanted.fleet)}"
        ours = [one for one in await self._deployments(of_node) if owner_of(one.metadata, wanted.fleet)[0] is Owner.OURS]
        pods = await self._list("pods", of_node, PODS) if ours else []
        services = {one.metadata.name for one in await self._list("services", of_node, SERVICES)} if ours else set()
        found = []
        for one in ours:
            label = one.notes.get(ADDRESS_LABEL, "")
            address = wanted.adopted.get(label)
            watched = wanted.env.get(address or label, _NOTHING_WATCHED)
            own = [pod for pod in pods if one.has(pod)]
            facts = await self._facts(one, own, services, wanted.fleet, watched)
            found.append(facts if address is None else replace(facts, address=address, adopted=label))
        there = {one.metadata.name for one in ours}
        found += [one async for one in self._of_others(wanted, node)]
        for name in sorted(wanted.names - {one.name for one in found}):
            held = await self._deployment(object_name(name, node.hostname))
            if held is not None and held.metadata.name not in there:
                found.append(stranger(held, name, wanted.fleet))
        return NodeContainers(tuple(sorted(found, key=lambda one: (one.name, one.id))), daemon)

    async def _of_others(self, wanted: ContainersLookedFor, node: ClusterNode) -> AsyncIterator[ContainerFacts]:
        """Deployments that somebody else made: those that count as ours, and, where whoever is on this node is asked for, all that are."""
        adopted: set[str] = set()
        for key, address in sorted(wanted.adopted.items()):
            one = await self._deployment(key.partition("/")[0])
            known = one is not None and (key == one.id or (key == one.metadata.name and is_for(one, node)))
            if one is not None and known and owner_of(one.metadata, wanted.fleet)[0] is Owner.FOREIGN:
                adopted.add(one.id)
                facts = await self._facts(one, await self._pods(one), (), wanted.fleet, wanted.env.get(address, _NOTHING_WATCHED))
                yield replace(facts, owner=Owner.OURS, address=address, adopted=one.id)
        if wanted.on_host:
            here = await self._cluster.list(await self._of("pods"), {"fieldSelector": f"spec.nodeName={node.name}"}, PODS)
            for one in await self._cluster.list(await self._of("deployments"), {}, DEPLOYMENTS):
                if one.id not in adopted and owner_of(one.metadata, wanted.fleet)[0] is Owner.FOREIGN and any(map(one.has, here)):
                    yield await self._facts(one, await self._pods(one), (), wanted.fleet, _NOTHING_WATCHED)

    async def inspect(self, container: str, watched: WatchedEnv, fleet: str) -> ContainerFacts | None:
        one = await self._known(container)
        if one is None:
            return None
        same = f"{ID_LABEL}={(one.metadata.labels or {}).get(ID_LABEL, '')}"
        services = {service.metadata.name for service in await self._list("services", same, SERVICES)}
        return await self._facts(one, await self._pods(one), services, fleet, watched)

    async def _facts(
        self, one: Deployment, pods: Collection[Pod], services: Collection[str], fleet: str, watched: WatchedEnv
    ) -> ContainerFacts:
        return read_deployment(one, pods, services, fleet, watched.values, await self._same(one, watched), await self._placed())

    async def _same(self, one: Deployment, watched: WatchedEnv) -> Mapping[str, bool | None]:
        if not watched.secrets:
            return {}
        return await same_values(self._cluster, await self._of("secrets"), one, self._secrets.known(watched.secrets, one.metadata.name))

    async def has_image(self, image: str) -> bool:
        """The node pulls when the pod starts there."""
        return True

    async def pull(self, image: str) -> AsyncGenerator[PullProgress, None]:
        """Asked for only where the image is to be fetched anew: the node is told so with the pod."""
        self._always.add(image)
        none: tuple[PullProgress, ...] = ()
        for told in none:
            yield told

    async def logs(self, container: str, lines: int = LAST_LINES) -> tuple[str, ...]:
        one = await self._known(container)
        pod = newest(await self._pods(one)) if one is not None else None
        if one is None or pod is None:
            return ()
        path = f"{await self._of('pods')}/{quote(pod.metadata.name, safe='')}/log"
        for previous in ("false", "true"):
            query = {"container": one.container.name, "tailLines": str(lines), "previous": previous, "limitBytes": str(MIB)}
            with suppress(ContainerError):
                answer = await self._cluster.get(path, query)
                if answer is not None and (told := last_lines(answer.body, lines)):
                    return told
        return ()

    async def changed(self, container: str, within: float) -> None:
        before = await self._signs(container)
        loop = asyncio.get_running_loop()
        end = loop.time() + within
        while (left := end - loop.time()) > 0:
            await asyncio.sleep(min(_POLL, left))
            if await self._signs(container) != before:
                return

    async def _signs(self, container: str) -> object:
        one = await self._known(container)
        return one and [(pod.metadata.uid, pod.status) for pod in await self._pods(one)]

    # -- acting

    async def create(self, spec: ContainerSpec, name: str | None = None) -> str:
        if (refused := refusal_of(spec)) is not None:
            raise failed("not_in_kubernetes", self.shown, f"{spec.address}: {refused[0]}", refused[1])
        node, called = await self._placed(), name or spec.name
        await self._check_name(called, spec.fleet, node)
        await self._check_volumes(spec)
        env, files = self._secrets.env(spec), self._secrets.contents(spec.files, spec.address)
        stored = stored_objects(spec, env, files, self._login(spec.image), node.hostname, token_hex(16))
        try:
            for one in stored:
                await self._cluster.apply(f"{await self._of(one.path)}/{one.name}", one.body, MANAGER)
            if spec.published:
                await self._serve(spec, node)
            made = await self._made(spec, called, node, stored)
            await self._forget(spec.fleet, spec.address, node)
            return made
        except BaseException:
            with suppress(ContainerError):
                await self._forget(spec.fleet, spec.address, node)
            raise

    async def _made(self, spec: ContainerSpec, called: str, node: ClusterNode, stored: Sequence[Stored]) -> str:
        first = object_name(spec.name, node.hostname)
        for spelled in (first, f"{first}-{spec.hash[:8]}", f"{first}-{spec.hash[8:16]}"):  # one that is to go still has its first name
            there = await self._deployment(spelled)
            if there is not None:
                self._check_owner(there.metadata, spec, "Deployment")
                continue
            body = deployment_document(spelled, called, spec, node, stored, pull_always=spec.image in self._always)
            answer = await self._cluster.apply(f"{await self._of('deployments')}/{spelled}", body, MANAGER)
            return answer.read(DEPLOYMENT).id
        raise failed("name_taken", self.shown, f"{spec.address}: three Deployments of it are there already", "kubectl get deployments")

    async def _serve(self, spec: ContainerSpec, node: ClusterNode) -> None:
        name = object_name(spec.name, node.hostname)
        path = f"{await self._of('services')}/{name}"
        answer = await self._cluster.get(path)
        if answer is not None:
            self._check_owner(answer.read(SERVICE).metadata, spec, "Service")
        await self._cluster.apply(path, service_document(name, spec, node.hostname), MANAGER, force=True)

    def _check_owner(self, there: Metadata, spec: ContainerSpec, kind: str) -> None:
        """Raises ContainerError `name_taken` where an object with a name that `spec` needs is not its own."""
        owner, whose = owner_of(there, spec.fleet)
        address = (there.annotations or {}).get(ADDRESS_LABEL)
        if owner is not Owner.OURS or address != spec.address:
            other = clean_name(address or "nobody") if owner is Owner.OURS else whose
            what = f"{spec.address}: the name {there.name} is taken by a {kind} of {other}"
            raise failed("name_taken", self.shown, what, "rename or remove it")

    async def start(self, container: str) -> None:
        one = await self._required(container)
        runs = bool(one.spec.replicas)
        before = {pod.metadata.uid for pod in await self._pods(one)} if not runs else set()
        if not runs:
            await self._set(one, replicas=1)
        loop = asyncio.get_running_loop()
        begun = loop.time()
        stuck: float | None = None
        why: tuple[str, str, str | None] | None = None
        while loop.time() < begun + _START:
            one = await self._required(container)
            pod = newest([pod for pod in await self._pods(one) if pod.metadata.uid not in before])
            status = pod.container if pod is not None else None
            if status is not None and status.has_run:
                return
            why = cannot_start(one, pod)
            stuck = None if why is None else stuck if stuck is not None else loop.time()
            if why is not None and stuck is not None and (why[0] in _FOR_GOOD or loop.time() - stuck >= _PATIENCE):
                raise await self._start_failure(one, pod, why, ends=not runs)
            await asyncio.sleep(_POLL)
        raise await self._start_failure(one, pod, ("timeout", f"it did not start within {_START:.3g} s", None), ends=not runs)

    async def _start_failure(self, one: Deployment, pod: Pod | None, why: tuple[str, str, str | None], *, ends: bool) -> ContainerError:
        """`ends`: it is to run no longer; what was to run before goes on waiting for its turn."""
        code, said, hint = why
        log = await self.logs(one.id)
        told = await self._warnings(pod.metadata.uid) if pod is not None else ()
        if ends:
            with suppress(ContainerError):
                await self._set(one, replicas=0)
        whole = "; ".join([said, *(event for event in told if event not in said)])
        return start_failure(self.shown, whole, log, code, hint)

    async def _warnings(self, uid: str) -> tuple[str, ...]:
        """What the cluster warns of a pod, the newest last."""
        with suppress(ContainerError):
            query = {"fieldSelector": f"involvedObject.uid={uid},type=Warning"}
            events = await self._cluster.list(f"/api/v1/namespaces/{await self._cluster.namespace()}/events", query, EVENTS)
            last = sorted(events, key=lambda one: one.last_timestamp or "")[-3:]
            return tuple(clean_text(f"{one.reason or 'Warning'}: {one.message or ''}") for one in last)
        return ()

    async def stop(self, container: str, grace: float | None = None) -> None:
        one = await self._known(container)
        if one is None:
            return
        if scaled := bool(one.spec.replicas):
            await self._set(one, replicas=0)
        loop = asyncio.get_running_loop()
        end = loop.time() + _START
        while (pods := [pod for pod in await self._pods(one) if not pod.has_ended]) or (scaled and not await self._is_noticed(container)):
            if grace is not None:
                for pod in pods:
                    path = f"{await self._of('pods')}/{quote(pod.metadata.name, safe='')}"
                    await self._cluster.delete(path, pod.metadata.uid, grace)
            if loop.time() > end:
                raise failed("timeout", self.shown, f"its pod did not end within {_START:.3g} s", "see kubectl describe pod")
            await asyncio.sleep(_POLL)

    async def _is_noticed(self, container: str) -> bool:
        """Whether the cluster makes no more pods of it: the controller may still be at what it was before."""
        one = await self._known(container)
        return one is None or one.is_observed

    async def remove(self, container: str) -> None:
        one = await self._known(container)
        if one is None:
            return
        await self.stop(container, _KILL)  # its port and its cards are free only then
        address, fleet = one.notes.get(ADDRESS_LABEL), one.notes.get(FLEET_LABEL)
        if address is not None and fleet is not None:  # before itself, by which the rest is found where a run is cut short
            await self._forget(fleet, address, await self._placed(), one)
        await self._cluster.delete(f"{await self._of('deployments')}/{quote(one.metadata.name, safe='')}", one.metadata.uid)

    async def rename(self, container: str, name: str) -> None:
        one = await self._required(container)
        await self._check_name(name, one.notes.get(FLEET_LABEL, ""), await self._placed())
        await self._set(one, called=name)

    async def copy_in(self, container: str, files: Sequence[ContainerFile]) -> None:
        raise failed("not_in_kubernetes", self.shown, "a cluster puts no files into a pod that is there", "make it anew with its files")

    # -- what all of it needs

    async def _placed(self) -> ClusterNode:
        """The node of the cluster that is the node of the inventory. Raises ContainerError `no_cluster_node`."""
        if self._node is None:
            name, address = self._spec.name, self._spec.address
            answer = await self._cluster.get(f"/api/v1/nodes/{quote(name, safe='')}")
            nodes = [answer.read(NODE)] if answer is not None else await self._cluster.list("/api/v1/nodes", {}, CLUSTER_NODES)
            known = nodes if answer is not None else [one for one in nodes if address in one.addresses]
            if len(known) != 1:
                there = ", ".join(sorted(clean_name(one.metadata.name) for one in nodes[:20]))
                what = f"{len(known)} nodes of the cluster are called {name} or have the address {address}; there are {there or 'none'}"
                raise failed("no_cluster_node", self.shown, what, "set the host's address to the one in kubectl get nodes -o wide")
            hostname = (known[0].metadata.labels or {}).get(HOSTNAME, known[0].metadata.name)
            self._node = ClusterNode(known[0].metadata.name, hostname, resources_of(self._spec))
        return self._node

    async def _asked(self) -> DaemonFacts:
        if self._daemon is None:
            answer = await self._cluster.get("/version")
            told = answer.read(SERVER_VERSION).git_version if answer is not None else None
            self._daemon = DaemonFacts(clean_name((told or "unknown").removeprefix("v")), "apps/v1")
        return self._daemon

    async def _of(self, kind: str) -> str:
        group = "/apis/apps/v1" if kind == "deployments" else "/api/v1"
        return f"{group}/namespaces/{quote(await self._cluster.namespace(), safe='')}/{kind}"

    async def _deployment(self, name: str) -> Deployment | None:
        answer = await self._cluster.get(f"{await self._of('deployments')}/{quote(name, safe='')}")
        return answer.read(DEPLOYMENT) if answer is not None else None

    async def _known(self, container: str) -> Deployment | None:
        """The Deployment with this id; another that has its name by now is none."""
        found = await self._deployment(container.partition("/")[0])
        return found if found is not None and found.id == container else None

    async def _required(self, container: str) -> Deployment:
        found = await self._known(container)
        if found is None:
            raise failed("no_such_container", self.shown, f"there is no Deployment {container.partition('/')[0]}")
        return found

    async def _list(self, kind: str, selector: str, adapter: TypeAdapter[list[Read]]) -> list[Read]:
        return await self._cluster.list(await self._of(kind), {"labelSelector": selector}, adapter)

    async def _deployments(self, selector: str) -> list[Deployment]:
        return await self._list("deployments", selector, DEPLOYMENTS)

    async def _pods(self, one: Deployment) -> list[Pod]:
        found = await self._list("pods", one.pods, PODS) if one.pods else []  # no selector at all would be every pod there is
        return [pod for pod in found if one.has(pod)]

    async def _set(self, one: Deployment, *, replicas: int | None = None, called: str | None = None) -> None:
        """Changes whether it runs, or what it is called. Both are always said: a field that its manager leaves out is given up."""
        number = replicas if replicas is not None else one.spec.replicas or 0
        body = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": one.metadata.name, "uid": one.metadata.uid, "annotations": {NAME_NOTE: called or one.called}},
            "spec": {"replicas": number},
        }
        await self._cluster.apply(f"{await self._of('deployments')}/{one.metadata.name}", body, STATE_MANAGER, force=True)

    async def _check_name(self, name: str, fleet: str, node: ClusterNode) -> None:
        of_node = f"{NODE_LABEL}={label_value(node.hostname)},{FLEET_LABEL}={label_value(fleet)}"
        if any(one.called == name and one.notes.get(FLEET_LABEL) == fleet for one in await self._deployments(of_node)):
            raise failed("name_taken", self.shown, f"the name {name} is taken by a Deployment of this fleet", "rename or remove it")

    async def _check_volumes(self, spec: ContainerSpec) -> None:
        for mount in spec.mounts:
            if mount.kind is MountKind.VOLUME:
                answer = await self._cluster.get(f"{await self._of('persistentvolumeclaims')}/{quote(mount.source, safe='')}")
                if answer is None:
                    what = f"{spec.address}: there is no PersistentVolumeClaim {mount.source} in {await self._cluster.namespace()}"
                    raise failed("no_such_volume", self.shown, what, "make it, or mount a folder of the node: /PATH:/PATH")

    def _login(self, image: str) -> Mapping[str, str] | None:
        login = self._logins.get(registry_of(image))
        if login is None:
            return None
        server = "https://index.docker.io/v1/" if login.registry == "docker.io" else login.registry
        return {"server": server, "user": login.user, "password": self._secrets.of(login.password, f"the registry {login.registry}")}

    async def _forget(self, fleet: str, address: str, node: ClusterNode, going: Deployment | None = None) -> None:
        """Removes the ConfigMaps, Secrets and the Service of an address that none of its Deployments but the one that goes needs."""
        selector = f"{ID_LABEL}={labels_of(fleet, address, node.hostname)[ID_LABEL]}"
        left = [one for one in await self._deployments(selector) if going is None or one.id != going.id]
        needed = {name for one in left for name in one.stored} | {one.notes.get(SERVICE_NOTE) for one in left}
        for kind in ("configmaps", "secrets", "services"):
            for held in await self._list(kind, selector, HELD):
                if held.metadata.name not in needed:
                    await self._cluster.delete(f"{await self._of(kind)}/{quote(held.metadata.name, safe='')}", held.metadata.uid)
