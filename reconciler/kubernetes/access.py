"""Which API server a context means, and as whom it is asked: a kubeconfig, or the service account of the pod that this runs in.

Source: kubernetes.io, "Organizing Cluster Access Using kubeconfig Files", "Accessing the API from a Pod", and
client.authentication.k8s.io/v1 for programs that give credentials.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
import ssl
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import date
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from reconciler.files import read_bounded
from reconciler.fleet import MIB
from reconciler.hosts import run_bounded
from reconciler.kubernetes.errors import KubernetesError
from reconciler.value_class import value_class

MOST_BYTES = 4 * MIB
PLUGIN_SECONDS = 30.0
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
IN_CLUSTER = "in-cluster"
"""The context that is the pod's own service account."""
_NOT_DONE = {
    "cluster": ("proxy-url", "tls-server-name"),
    "user": ("as", "as-uid", "as-groups", "as-user-extra", "auth-provider", "username"),
}
"""Keys of a kubeconfig without which a request would go another way, or as somebody else, than kubectl's."""
_SAID = 300
_NO_NUMBER = 2**63
_TOKEN = re.compile(r"[!-~]+")
"""What a header can hold; an error about any other would show it."""


@value_class
class ClusterAccess:
    """`server` is the URL of an API server, `where` what messages call it. `context` has its authorities and the client's certificate;
    `token` None: the certificate says who it is. `namespace` is the one that its context, or its pod, names."""

    server: str
    where: str
    context: ssl.SSLContext | None
    token: str | None
    namespace: str = "default"


async def access_of(name: str, environ: Mapping[str, str] = os.environ, account: Path = ACCOUNT) -> ClusterAccess:
    """The access of a context of the kubeconfig (`$KUBECONFIG`, else `~/.kube/config`); `""` is its current one, and IN_CLUSTER, or no
    kubeconfig inside a pod, the pod's service account. A program that the kubeconfig names for credentials is run, within PLUGIN_SECONDS.

    Raises KubernetesError; no message holds a credential.
    """
    files = [Path(one) for one in environ.get("KUBECONFIG", "").split(os.pathsep) if one] or [Path.home() / ".kube" / "config"]
    there = [path for path in files if path.is_file()]
    if name == IN_CLUSTER or (not there and not name and "KUBERNETES_SERVICE_HOST" in environ):
        return _in_cluster(environ, account)
    if not there:
        raise KubernetesError.of("there is no kubeconfig", str(files[0]), "set KUBECONFIG, or write -i kubernetes:in-cluster inside a pod")
    config = _Config(there)
    return await config.access(name, environ)


def _in_cluster(environ: Mapping[str, str], account: Path) -> ClusterAccess:
    host, port = environ.get("KUBERNETES_SERVICE_HOST"), environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        hint = "name a context of a kubeconfig: -i kubernetes:CONTEXT"
        raise KubernetesError.of("this is no pod of a cluster: KUBERNETES_SERVICE_HOST is not set", "kubernetes:in-cluster", hint)
    server = f"https://{f'[{host}]' if ':' in host else host}:{port}"
    token = _token(read_bounded(account / "token", MOST_BYTES), str(account / "token"))
    own = account / "namespace"
    namespace = read_bounded(own, MOST_BYTES).strip() if own.is_file() else ""
    return ClusterAccess(
        server, server, _tls(server, read_bounded(account / "ca.crt", MOST_BYTES), None, None, server), token, namespace or "default"
    )


class _Config:
    """One kubeconfig out of several files: of two entries with one name the first counts, as kubectl has it."""

    def __init__(self, paths: list[Path]) -> None:
        self.where = str(paths[0])
        self.current = ""
        self.named: dict[str, dict[str, tuple[dict[str, Any], Path]]] = {"clusters": {}, "users": {}, "contexts": {}}
        for path in paths:
            document = _yaml(path)
            self.current = self.current or _text(document.get("current-context"))
            for kind, found in self.named.items():
                for entry in _listed(document.get(kind)):
                    if isinstance(entry, dict) and isinstance(body := entry.get(kind.removesuffix("s")), dict):
                        found.setdefault(_text(entry.get("name")), (body, path.parent))

    def _entry(self, kind: str, name: str) -> tuple[dict[str, Any], Path]:
        if name in self.named[kind]:
            return self.named[kind][name]
        known = ", ".join(sorted(self.named[kind])[:10]) or "none"
        raise KubernetesError.of(f"the kubeconfig has no {kind.removesuffix('s')} {name[:100]!r}", self.where, f"it has {known}")

    async def access(self, name: str, environ: Mapping[str, str]) -> ClusterAccess:
        if not name and not self.current:
            raise KubernetesError.of("the kubeconfig has no current context", self.where, "write -i kubernetes:CONTEXT")
        context, _ = self._entry("contexts", name or self.current)
        cluster, beside = self._entry("clusters", _text(context.get("cluster")))
        user, folder = self._entry("users", _text(context.get("user"))) if context.get("user") else ({}, Path())
        server = _text(cluster.get("server"))
        if not _is_url(server):
            raise KubernetesError.of("the kubeconfig names no server of this cluster", self.where, "give `server: https://…`")
        if cluster.get("insecure-skip-tls-verify"):
            what = "the kubeconfig says not to verify the API server (insecure-skip-tls-verify), to which a credential would be sent"
            raise KubernetesError.of(what, self.where, "give certificate-authority-data instead")
        for kind, entry in (("cluster", cluster), ("user", user)):
            if named := [key for key in _NOT_DONE[kind] if entry.get(key)]:
                what = f"the {kind} of this context has `{named[0]}`, which gpurec does not do"
                raise KubernetesError.of(what, self.where, "name a context without it")
        authority = _data(cluster, "certificate-authority", beside, self.where)
        certificate = _data(user, "client-certificate", folder, self.where)
        key = _data(user, "client-key", folder, self.where)
        token = user.get("token")
        if token is None and user.get("tokenFile"):
            token = read_bounded(folder / _text(user["tokenFile"]), MOST_BYTES)
        if token is None and isinstance(user.get("exec"), dict):
            token, certificate, key = await _from_program(user["exec"], folder, environ, self.where)
        if server.startswith("http://") and (token or certificate) and not _is_loopback(server):
            raise KubernetesError.of("the API server is asked without TLS, and a credential would be sent", server, "write https://")
        tls = None
        if server.startswith("https://"):
            tls = _tls(server, authority, certificate, key, self.where)
        bearer = _token(_text(token), self.where) if token is not None else None
        return ClusterAccess(server.rstrip("/"), server, tls, bearer, _text(context.get("namespace")) or "default")


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _text(value: object) -> str:
    """A scalar of YAML or JSON as text. Empty for what is none, which may be written out larger than it came (YAML has aliases), and for a
    number that no name is."""
    if isinstance(value, str):
        return value
    if isinstance(value, int) and abs(value) >= _NO_NUMBER:
        return ""
    return str(value) if isinstance(value, (int, float, date)) else ""


def _token(text: str, where: str) -> str:
    """A token as a header can hold it: its file, or a block of YAML, ends with a line. Raises KubernetesError, without it."""
    if not _TOKEN.fullmatch(found := text.strip()):
        raise KubernetesError.of("the token is none: it has more than letters, digits and signs of ASCII", where, "write it anew")
    return found


def _is_url(server: str) -> bool:
    """Whether it is one of a server that can be asked."""
    try:
        url = urlsplit(server)
        return url.scheme in ("https", "http") and bool(url.hostname) and url.port != 0
    except ValueError:
        return False


def _yaml(path: Path) -> dict[str, Any]:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        document = YAML(typ="safe", pure=True).load(read_bounded(path, MOST_BYTES))
    except (YAMLError, RecursionError, ValueError) as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        where = f"{path}:{line + 1}" if line is not None else str(path)
        raise KubernetesError.of("this is no YAML, and so no kubeconfig", where, "kubectl config view shows what is wrong") from None
    if not isinstance(document, dict):
        raise KubernetesError.of("this is no kubeconfig", str(path), "kubectl config view writes one")
    return cast("dict[str, Any]", document)


def _data(entry: Mapping[str, Any], key: str, folder: Path, where: str) -> str | None:
    """PEM text of `KEY-data` (base64) or of the file `KEY`, whose path is relative to the kubeconfig."""
    if inline := entry.get(f"{key}-data"):
        try:
            return base64.b64decode(_text(inline), validate=True).decode()
        except (binascii.Error, ValueError):
            raise KubernetesError.of(
                f"{key}-data is not base64 of a certificate or key", where, "kubectl config view --raw shows it"
            ) from None
    return read_bounded(folder / _text(entry[key]), MOST_BYTES) if entry.get(key) else None


async def _from_program(
    spec: Mapping[str, Any], folder: Path, environ: Mapping[str, str], where: str
) -> tuple[str | None, str | None, str | None]:
    """Token, certificate and key that the program of a kubeconfig gives (an ExecCredential on its stdout)."""
    program = _text(spec.get("command"))
    version = _text(spec.get("apiVersion"))
    if version not in ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1"):
        what = f"the program for credentials speaks {version[:80]!r}, which is not known"
        raise KubernetesError.of(what, where, "use client.authentication.k8s.io/v1")
    if "/" in program and not program.startswith("/"):
        program = str(folder / program)
    info = {"apiVersion": version, "kind": "ExecCredential", "spec": {"interactive": False}}
    given = {_text(one.get("name")): _text(one.get("value")) for one in _listed(spec.get("env")) if isinstance(one, dict)}
    again = f"run {program[:200]!r} yourself, with the args that the kubeconfig gives it"  # which may hold a secret
    try:
        ran = await run_bounded(
            [program, *(_text(one) for one in _listed(spec.get("args")))],
            within=PLUGIN_SECONDS,
            limit=MOST_BYTES,
            environ={**environ, **given, "KUBERNETES_EXEC_INFO": json.dumps(info)},
        )
    except (OSError, ValueError):
        hint = (_text(spec.get("installHint")) or "install it, or name its whole path")[:_SAID]
        raise KubernetesError.of(f"the program for credentials cannot be run: {program[:200]!r}", where, hint) from None
    if ran.cut is not None or ran.code != 0:
        why = f"did not end within {PLUGIN_SECONDS:.0f} s" if ran.cut == "timeout" else f"ended with {ran.code}"
        raise KubernetesError.of(f"the program for credentials {why}", where, again)
    try:
        status = json.loads(ran.out)["status"]
        found = tuple(status.get(one) for one in ("token", "clientCertificateData", "clientKeyData"))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        found = (None, None, None)
    if not any(found):
        raise KubernetesError.of("the program for credentials printed none (an ExecCredential with a status)", where, again)
    token, certificate, key = (_text(one) if one is not None else None for one in found)
    return token, certificate, key


def _tls(server: str, authority: str | None, certificate: str | None, key: str | None, where: str) -> ssl.SSLContext:
    """Verifies the server by the authorities of its cluster, else by those of this system. A key lies in a file of mode 0600 for as long as
    OpenSSL reads it, since it takes no other."""
    try:
        context = ssl.create_default_context(cadata=authority)
        if certificate is not None:
            with ExitStack() as stack:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gpurec-")))
                pair = folder / "pair.pem"
                pair.touch(0o600)
                pair.write_text(f"{certificate}\n{key or ''}\n")
                context.load_cert_chain(pair)
    except (ssl.SSLError, ValueError, OSError) as error:
        what = f"a certificate or key for {server} cannot be used: {getattr(error, 'reason', None) or 'it is none'}"
        raise KubernetesError.of(what, where, "kubectl --context … get nodes says whether it works there") from None
    return context


def _is_loopback(server: str) -> bool:
    return (urlsplit(server).hostname or "") in ("localhost", "127.0.0.1", "::1")
