"""The `docker` key of a host: how its Docker Engine, or the cluster that it is a node of, is reached."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from reconciler.fleet import ClusterSpec, DockerSpec, RegistryLogin
from reconciler.fleet.addresses import is_loopback
from reconciler.workspace.forms import Form, bad_url, flag, label, map_of, secret, shortened, text
from reconciler.workspace.problems import Problems, Refused
from reconciler.workspace.table import Field, Table
from reconciler.workspace.tree import MapNode, Node, ScalarNode, what_is

_WAYS = "write unix:///var/run/docker.sock, ssh://USER@HOST, {url: tcp://HOST:2376, tls: {ca, cert, key}}, or {kubernetes: {context}}"
_OPEN = "whoever can reach it is root there; write tls: {ca, cert, key}, or ssh://USER@HOST"
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*|[0-9a-fA-F:]+")
_NAMESPACE = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@-]*")

URL = Field(
    "url",
    text,
    says="Address of the Docker Engine: unix:///PATH, ssh://USER@HOST, or tcp://HOST:2376 with `tls`.",
    meant="host address endpoint socket",
)
CA = Field("ca", text, says="File of the authority that signed the daemon's certificate.", required=True, meant="cacert tlscacert")
CERT = Field("cert", text, says="File of our certificate.", required=True, meant="tlscert certificate")
KEY = Field("key", text, says="File of its key.", required=True, meant="tlskey")
TLS = Table("tls", (CA, CERT, KEY))
USER = Field("user", label, says="Name of the account at the registry.", required=True, meant="username login")
PASSWORD = Field("password", secret, says="Where its password or token is: env:NAME or file:PATH.", required=True, meant="token")
LOGIN = Table("registry", (USER, PASSWORD))


def _tls(node: Node, problems: Problems, name: str) -> tuple[str, str, str]:
    values = TLS.read(node, problems, name)
    ca, cert, key = values.get(CA), values.get(CERT), values.get(KEY)
    if ca is None or cert is None or key is None:
        raise Refused
    return ca, cert, key


def _login(node: Node, problems: Problems, name: str) -> RegistryLogin:
    values = LOGIN.read(node, problems, name)
    user, password = values.get(USER), values.get(PASSWORD)
    if user is None or password is None:
        raise Refused
    return RegistryLogin("", user, password)


_logins = map_of(Form(_login, LOGIN.schema()))


def _registries(node: Node, problems: Problems, name: str) -> tuple[RegistryLogin, ...]:
    found = _logins.read(node, problems, name)
    return tuple(RegistryLogin(host, one.user, one.password) for host, one in sorted(found.items()))


TLS_FIELD = Field("tls", Form(_tls, TLS.schema()), says="Certificates for a daemon that is reached by tcp.")
SWARM = Field("swarm", flag, says="Whether what runs here are services of the swarm that this daemon manages.")
REGISTRIES = Field(
    "registries", Form(_registries, _logins.schema), says="Logins for private images, by the registry's host.", meant="registry auth login"
)

CONTEXT = Field("context", text, says="Context of your kubeconfig.", meant="cluster kubeconfig_context")
NAMESPACE = Field("namespace", label, says="Namespace in which Deployments are made; the default is the context's own.", meant="ns")
CLUSTER = Table("kubernetes", (CONTEXT, NAMESPACE))


def _cluster(node: Node, problems: Problems, name: str) -> ClusterSpec:
    values = CLUSTER.read(node, problems, name)
    namespace = values.get(NAMESPACE)
    if namespace is not None and not _NAMESPACE.fullmatch(namespace):
        raise problems.refuse(
            f"{name}: {shortened(namespace)} is no namespace", values.nodes[NAMESPACE.key], "write small letters, digits and `-`"
        )
    return ClusterSpec(values.get(CONTEXT) or "", namespace)


KUBERNETES = Field(
    "kubernetes",
    Form(_cluster, CLUSTER.schema()),
    says="The cluster that this host is a node of: engines and agents run there as Deployments.",
    meant="k8s cluster",
)
DOCKER = Table("docker", (URL, TLS_FIELD, SWARM, REGISTRIES, KUBERNETES))


def _docker(node: Node, problems: Problems, name: str) -> DockerSpec:
    if isinstance(node, ScalarNode):
        return DockerSpec(_checked(text.read(node, problems, name), node, problems, name, tls=False))
    if not isinstance(node, MapNode):
        raise problems.refuse(f"{name} must be a URL or a mapping, this is {what_is(node)}", node, _WAYS)
    values = DOCKER.read(node, problems, name)
    written, tls, cluster = values.get(URL), values.get(TLS_FIELD), values.get(KUBERNETES)
    if cluster is not None:
        for field in (URL, TLS_FIELD, SWARM):
            if field in values:
                what = f"{name} has {field.key!r}, which is of a Docker Engine, beside 'kubernetes'"
                problems.error(what, values.nodes[field.key], "keep one of the two: a cluster is reached by the context of a kubeconfig")
        return DockerSpec(str(cluster), registries=values.get(REGISTRIES) or (), cluster=cluster)
    if written is None:
        if values.lacks(URL) and values.lacks(KUBERNETES):
            problems.error(f"{name} lacks 'url'", node, _WAYS)
        raise Refused
    value = _checked(written, values.nodes[URL.key], problems, name, tls=TLS_FIELD in values)
    if TLS_FIELD in values and not value.startswith("tcp:"):
        problems.error(
            f"{name} has tls, and {value} is not reached by it", values.nodes[TLS_FIELD.key], "remove tls, or write tcp://HOST:2376"
        )
    ca, cert, key = tls if tls is not None else (None, None, None)
    return DockerSpec(value, ca, cert, key, values.get(SWARM) or False, values.get(REGISTRIES) or ())


def _checked(value: str, node: Node, problems: Problems, name: str, *, tls: bool) -> str:
    wrong, hint = _what_is_wrong(value, tls=tls)
    if wrong is not None:
        raise problems.refuse(f"{name}: {wrong}", node, hint)
    return value


def _what_is_wrong(value: str, *, tls: bool) -> tuple[str | None, str]:
    """Why a text is no address of a Docker Engine, or None, and what to do; never repeats a password that stands in it."""
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        return bad_url(value), _WAYS
    if parts.password is not None:
        return "a URL must not hold a password", "let ssh use a key, and TLS its certificate"
    if parts.query or parts.fragment or any(sign.isspace() for sign in value):
        return f"{shortened(value)} is no address of a Docker Engine", _WAYS
    if parts.scheme == "unix":
        absolute = not parts.netloc and parts.path.startswith("/") and len(parts.path) > 1
        return (None, "") if absolute else (f"{shortened(value)} names no socket by its absolute path", "write unix:///var/run/docker.sock")
    host = parts.hostname or ""
    if parts.scheme == "ssh":
        good = _HOST.fullmatch(host) and port != 0 and (parts.username is None or _USER.fullmatch(parts.username))
        return (None, "") if good else (f"{shortened(value)} names no host for ssh", "write ssh://USER@HOST")
    if parts.scheme != "tcp":
        return f"{shortened(value)} is no address of a Docker Engine", _WAYS
    if not _HOST.fullmatch(host) or port in (None, 0) or parts.username is not None or parts.path not in ("", "/"):
        return f"{shortened(value)} is not tcp://HOST:PORT", "write tcp://HOST:2376"
    if not tls and not is_loopback(host):
        return f"{value} would be reached without encryption and without a key", _OPEN
    return None, ""


docker = Form(_docker, {"anyOf": [{"type": "string", "pattern": "^(unix|tcp|ssh)://"}, DOCKER.schema()]})
