"""A simulated cluster: as much of an API server, its controllers and one kubelet a node as gpurec uses, over HTTP.

Server-side apply keeps who owns which field and refuses what another one owns with another value; a Deployment has its pods at once, on the
node of its selector where that has room. What it promises is held to a real cluster by `workload_rules`.
"""

from __future__ import annotations

import copy
import itertools
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

Document = dict[str, Any]
TOKEN = "a-token-of-the-cluster"
ABSENT = "local/absent:1"
"""An image that no registry has."""


class Refused(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Cluster:
    """`objects` are documents by their path; `sent` are the requests that change something, as (method, path)."""

    def __init__(self, nodes: list[Document]) -> None:
        self.objects: dict[str, Document] = {}
        self.sent: list[tuple[str, str]] = []
        self.url = ""
        self.writes_left: int | None = None
        """So many changes are taken, and none after them."""
        self.lingering = 0
        """So many requests a pod that is to end still has its ports and cards, unless it is deleted with a second to go."""
        self.failing: list[tuple[int, str, str]] = []
        """Answers (status, method, message) that requests of this method get first, as an API server under load gives them."""
        self.on_pods: Callable[[frozenset[int]], None] | None = None
        """Hears which ports of nodes the running pods have, after every request."""
        self._lock = threading.RLock()
        self._numbers = itertools.count(1)
        for one in nodes:
            self._made(f"/api/v1/nodes/{one['metadata']['name']}", one, "kubelet")

    def answer(self, method: str, target: str, body: bytes, kind: str, authorization: str | None) -> tuple[int, bytes]:
        url = urlsplit(target)
        path, query = unquote(url.path), {key: values[0] for key, values in parse_qs(url.query).items()}
        with self._lock:
            try:
                if authorization != f"Bearer {TOKEN}":
                    raise Refused(401, "Unauthorized")
                if self.failing and self.failing[0][1] == method:
                    status, _, message = self.failing.pop(0)
                    raise Refused(status, message)
                if method != "GET":
                    if self.writes_left is not None:
                        if self.writes_left == 0:
                            raise Refused(503, "the server is going down")
                        self.writes_left -= 1
                    self.sent.append((method, path))
                document = self._done(method, path, query, json.loads(body) if body else {}, kind)
                self._settle()
                return 200, document if isinstance(document, bytes) else json.dumps(document).encode()
            except Refused as refused:
                return refused.status, json.dumps({"kind": "Status", "status": "Failure", "message": str(refused)}).encode()

    def _done(self, method: str, path: str, query: dict[str, str], body: Any, kind: str) -> Document | bytes:
        if path == "/version":
            return {"gitVersion": "v1.36.3"}
        if path.endswith("/log"):
            pod = self.objects[path.removesuffix("/log")]
            if pod["status"]["phase"] != "Running":
                raise Refused(400, 'container "main" in pod is waiting to start')
            return b"line 1\nline 2\n"
        if method == "GET":
            return self._read(path, query)
        if method == "DELETE":
            return self._deleted(path, body)
        if method == "POST":
            return self._made(f"{path}/{body['metadata']['name']}", body, query.get("fieldManager", "kubectl-create"))
        if kind.startswith("application/apply-patch"):
            return self._applied(path, body, query["fieldManager"], force=query.get("force") == "true")
        return self._patched(path, body, query.get("fieldManager", "kubectl-edit"))

    def _read(self, path: str, query: dict[str, str]) -> Document:
        if path in self.objects:
            return self.objects[path]
        if not path.endswith(("s", "claims")) or path.rpartition("/")[2] not in KINDS:
            raise Refused(404, f"{path} not found")
        chosen = query.get("labelSelector", "")
        field, _, value = query.get("fieldSelector", "").partition("=")
        found = [
            one
            for where, one in sorted(self.objects.items())
            if where.rpartition("/")[0] == path
            and _is_chosen(one["metadata"].get("labels", {}), chosen)
            and (field != "spec.nodeName" or one["spec"].get("nodeName") == value)
        ]
        begin, limit = int(query.get("continue", "0")), int(query.get("limit", "0")) or len(found)
        meta = {"continue": str(begin + limit)} if begin + limit < len(found) else {}
        return {"kind": "List", "metadata": meta, "items": found[begin : begin + limit]}

    def _deleted(self, path: str, options: Document) -> Document:
        one = self.objects.get(path)
        if one is None:
            raise Refused(404, f"{path} not found")
        uid = options.get("preconditions", {}).get("uid")
        if uid not in (None, one["metadata"]["uid"]):
            raise Refused(409, "the UID in the precondition does not match")
        if "/pods/" in path and options.get("gracePeriodSeconds", 30) > 1:
            return self._ending(one)
        del self.objects[path]
        return {"kind": "Status", "status": "Success"}

    def _made(self, path: str, body: Document, manager: str, operation: str = "Update") -> Document:
        number = next(self._numbers)
        made = copy.deepcopy(body)
        made["metadata"] |= {"uid": f"uid-{number}", "generation": 1, "creationTimestamp": f"2026-11-30T00:00:{number:06d}Z"}
        if path.rpartition("/")[0].endswith("deployments"):
            made["spec"].setdefault("replicas", 1)
        made["metadata"]["managedFields"] = [_entry(manager, operation, body)]
        self.objects[path] = made
        return made

    def _applied(self, path: str, body: Document, manager: str, *, force: bool) -> Document:
        there = self.objects.get(path)
        if there is None:
            if path.rpartition("/")[0].endswith("deployments") and "template" not in body.get("spec", {}):
                raise Refused(422, "spec.template: Required value")
            return self._made(path, body, manager, "Apply")
        if body["metadata"].get("uid") not in (None, there["metadata"]["uid"]):
            raise Refused(409, "Precondition failed: UID in precondition")
        others = [one for one in there["metadata"]["managedFields"] if (one["manager"], one["operation"]) != (manager, "Apply")]
        mine = _leaves(body)
        now = _leaves(there)
        for one in others:
            owned = _paths(one["fieldsV1"])
            clash = sorted(path for path in mine.keys() & owned if now.get(path) != mine[path])
            if clash and not force:
                raise Refused(409, f'Apply failed with 1 conflict: conflict with "{one["manager"]}": .{".".join(clash[0])}')
            one["fieldsV1"] = _fields([path for path in owned if path not in clash])
        before = copy.deepcopy(there["spec"]) if "spec" in there else None
        for where, value in mine.items():
            _put(there, where, value)
        there["metadata"]["managedFields"] = [*others, _entry(manager, "Apply", body)]
        if there.get("spec") != before:
            there["metadata"]["generation"] += 1
        return there

    def _patched(self, path: str, patch: list[Document], manager: str) -> Document:
        """A JSON patch of `replace`, `add` and `remove`."""
        there = self.objects.get(path)
        if there is None:
            raise Refused(404, f"{path} not found")
        changed = []
        for one in patch:
            *where, last = [part.replace("~1", "/").replace("~0", "~") for part in one["path"].split("/")[1:]]
            inner: Any = there
            named: list[str] = []
            for part in where:
                inner = inner[int(part)] if isinstance(inner, list) else inner.setdefault(part, {})
                named.append(f"[{inner['name']}]" if isinstance(inner, dict) and part.isdecimal() and "name" in inner else part)
            if one["op"] == "remove":
                inner.pop(int(last) if isinstance(inner, list) else last)
            elif isinstance(inner, list) and last == "-":
                inner.append(one["value"])
            else:
                inner[int(last) if isinstance(inner, list) else last] = one["value"]
            if one["op"] != "remove":
                path_of = (*named, last) if last != "-" else tuple(named)
                changed.append(path_of[: next((at + 1 for at, part in enumerate(path_of) if part in ATOMIC), len(path_of))])
        there["metadata"]["generation"] += 1
        entry = {"manager": manager, "operation": "Update", "fieldsV1": _fields(changed)}
        there["metadata"]["managedFields"].append(entry)
        return there

    # -- what controllers and kubelets do

    def _settle(self) -> None:
        deployments = {where: one for where, one in self.objects.items() if "/deployments/" in where}
        for where, pod in list(self.objects.items()):
            if "/pods/" not in where:
                continue
            owner = next((one for one in deployments.values() if one["metadata"]["uid"] == pod["owner"]), None)
            if owner is not None and owner["spec"]["replicas"] and pod["template"] == owner["spec"]["template"]:
                continue
            if owner is None or pod["status"]["phase"] != "Failed":  # what failed stays for the record, until its owner goes
                self._ending(pod)
            if pod.get("left", 1) <= 0:
                del self.objects[where]
        for where, one in deployments.items():
            folder = where.replace("/apis/apps/v1/", "/api/v1/").rpartition("/deployments/")[0]
            one.setdefault("status", {})["observedGeneration"] = one["metadata"]["generation"]
            there = [
                pod
                for path, pod in self.objects.items()
                if path.startswith(f"{folder}/pods/")
                and pod["owner"] == one["metadata"]["uid"]
                and pod.get("status", {}).get("phase") != "Failed"
            ]
            if one["spec"]["replicas"] and not there:
                template = copy.deepcopy(one["spec"]["template"])
                hashed, number = "5d8c6b7f9", next(self._numbers)
                by = {"kind": "ReplicaSet", "name": f"{one['metadata']['name']}-{hashed}", "controller": True}
                name, labels = f"{by['name']}-{number}", {**template["metadata"]["labels"], "pod-template-hash": hashed}
                metadata = {"name": name, "labels": labels, "ownerReferences": [by]}
                pod = {"metadata": metadata, "spec": template["spec"], "template": template}
                self._made(f"{folder}/pods/{name}", {**pod, "owner": one["metadata"]["uid"]}, "kube-controller-manager")
        waiting = ("Pending", None)
        for pod in [one for where, one in self.objects.items() if "/pods/" in where and one.get("status", {}).get("phase") in waiting]:
            pod["status"] = self._status(pod)
        if self.on_pods is not None:
            running = [one for where, one in self.objects.items() if "/pods/" in where and one["status"]["phase"] == "Running"]
            self.on_pods(frozenset(port["hostPort"] for one in running for port in one["spec"]["containers"][0].get("ports", ())))

    def _ending(self, pod: Document) -> Document:
        """A pod on its way out, a request nearer to its end."""
        pod["metadata"].setdefault("deletionTimestamp", "2026-11-30T00:00:00Z")
        pod["left"] = pod.get("left", self.lingering + 1) - 1
        return {"kind": "Status", "status": "Success"}

    def _status(self, pod: Document) -> Document:
        spec, main = pod["spec"], pod["spec"]["containers"][0]
        wanted = spec.get("nodeSelector", {}).get("kubernetes.io/hostname")
        nodes = [one for where, one in self.objects.items() if "/nodes/" in where]
        node = next((one for one in nodes if one["metadata"]["labels"].get("kubernetes.io/hostname") == wanted), None)
        why = "node(s) didn't match Pod's node affinity/selector" if node is None else self._no_room(pod, node)
        if why is not None:
            message = f"0/{len(nodes)} nodes are available: 1 {why}."
            condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
            return {"phase": "Pending", "conditions": [condition]}
        assert node is not None
        pod["spec"] = {**spec, "nodeName": node["metadata"]["name"]}
        state: Document = {"running": {"startedAt": pod["metadata"]["creationTimestamp"]}}
        if main["image"] == ABSENT:
            state = {"waiting": {"reason": "ImagePullBackOff", "message": f'Back-off pulling image "{ABSENT}"'}}
        up = "running" in state
        conditions = [{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": "True" if up else "False"}]
        status = {"name": main["name"], "ready": up, "restartCount": 0, "state": state}
        return {"phase": "Running" if up else "Pending", "conditions": conditions, "containerStatuses": [status]}

    def _no_room(self, pod: Document, node: Document) -> str | None:
        beside = [
            one
            for where, one in self.objects.items()
            if "/pods/" in where
            and one is not pod
            and one.get("status", {}).get("phase") == "Running"
            and one["spec"].get("nodeSelector") == pod["spec"].get("nodeSelector")
        ]
        asked = _limits(pod)
        for name, count in sorted(asked.items()):
            if "/" in name and sum(int(_limits(one).get(name, 0)) for one in beside) + int(count) > int(
                node["status"]["allocatable"].get(name, 0)
            ):
                return f"Insufficient {name}"
        ports = {port["hostPort"] for one in beside for port in one["spec"]["containers"][0].get("ports", ())}
        if ports & {port["hostPort"] for port in pod["spec"]["containers"][0].get("ports", ())}:
            return "node(s) didn't have free ports for the requested pod ports"
        return None


ATOMIC = frozenset({"nodeSelector", "matchLabels"})
"""Maps that are owned as a whole."""
KINDS = frozenset({"nodes", "pods", "deployments", "services", "configmaps", "secrets", "events", "persistentvolumeclaims"})


def _is_chosen(labels: Document, selector: str) -> bool:
    return all(_has(labels, one) for one in re.split(r",(?![^(]*\))", selector) if one)


def _has(labels: Document, asked: str) -> bool:
    key, word, values, *_ = [*asked.replace("=", " = ").split(maxsplit=2), "", ""]
    if word in ("in", "notin"):
        return (labels.get(key) in values.strip("()").split(",")) is (word == "in")
    if word == "=":
        return labels.get(key) == values
    return key in labels if not key.startswith("!") else key[1:] not in labels


def _limits(pod: Document) -> dict[str, str]:
    found: dict[str, str] = pod["spec"]["containers"][0].get("resources", {}).get("limits", {})
    return found


def _entry(manager: str, operation: str, body: Document) -> Document:
    return {"manager": manager, "operation": operation, "fieldsV1": _fields(_leaves(body))}


def _leaves(value: Any, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """What of a document is owned: its leaves. Entries of lists that have a name are told apart by it, other lists are one leaf."""
    if path[:1] in (("apiVersion",), ("kind",)) or path[:2] in (("metadata", "name"), ("metadata", "uid"), ("metadata", "managedFields")):
        return {}
    parts: dict[str, Any] = {}
    if path[-1:] and path[-1] in ATOMIC:
        return {path: value}
    if isinstance(value, dict):
        parts = value
    elif isinstance(value, list) and value and all(isinstance(one, dict) and "name" in one for one in value):
        parts = {f"[{one['name']}]": one for one in value}
    if not parts:
        return {path: value}
    return {where: leaf for key, inner in parts.items() for where, leaf in _leaves(inner, (*path, key)).items()}


def _put(document: Any, path: tuple[str, ...], value: Any) -> None:
    *where, last = path
    for part in where:
        if isinstance(document, list):
            document = next(one for one in document if f"[{one['name']}]" == part)
        else:
            document = document.setdefault(part, {})
    document[last] = copy.deepcopy(value)


def _fields(paths: Any) -> Document:
    found: Document = {}
    for path in paths:
        inner = found
        for part in path:
            key = f'k:{{"name":"{part[1:-1]}"}}' if part.startswith("[") else f"f:{part}"
            inner = inner.setdefault(key, {})
    return found


def _paths(fields: Document, path: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    if not fields:
        return {path} if path else set()
    found: set[tuple[str, ...]] = set()
    for key, inner in fields.items():
        part = f"[{json.loads(key[2:])['name']}]" if key.startswith("k:") else key[2:]
        found |= _paths(inner, (*path, part))
    return found


@contextmanager
def simulated(nodes: list[Document]) -> Iterator[Cluster]:
    cluster = Cluster(nodes)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            kind = self.headers.get("Content-Type") or ""
            code, body = cluster.answer(self.command, self.path, content, kind, self.headers.get("Authorization"))
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            self.answer()

        def do_POST(self) -> None:
            self.answer()

        def do_PATCH(self) -> None:
            self.answer()

        def do_DELETE(self) -> None:
            self.answer()

        def log_message(self, *arguments: object) -> None:
            """Nothing."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    cluster.url = f"http://127.0.0.1:{http.server_address[1]}"
    thread = threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield cluster
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
