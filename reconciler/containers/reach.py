"""The way to a Docker Engine (its socket, TCP with TLS, its socket on another host by ssh), or to a cluster."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

import httpx

from reconciler.containers.cluster import Cluster, shared_cluster
from reconciler.containers.docker import DaemonWay, DockerHost
from reconciler.containers.kubernetes import KubernetesHost
from reconciler.containers.leading import EndsOf, ends_here, ends_unknown
from reconciler.containers.protocol import ContainerHost
from reconciler.containers.sent_secrets import SentSecrets
from reconciler.containers.swarm import SwarmHost
from reconciler.containers.tunnel import SshTunnel
from reconciler.containers.wire import Wire, failed
from reconciler.engines.foreign_text import clean_text
from reconciler.engines.keys import Keys
from reconciler.fleet import ClusterSpec, DockerSpec, NodeSpec
from reconciler.hosts import SshClient

_MOST_CONNECTIONS = httpx.Limits(max_connections=16, max_keepalive_connections=4, keepalive_expiry=2.0)


class _Direct:
    """A daemon that this machine can connect to."""

    def __init__(self, wire: Wire, ends_of: EndsOf) -> None:
        self._wire = wire
        self.ends_of = ends_of

    @property
    def shown(self) -> str:
        return self._wire.shown

    async def open(self) -> Wire:
        return self._wire

    async def aclose(self) -> None:
        await self._wire.aclose()


def open_container_host(
    node: NodeSpec,
    docker: DockerSpec,
    *,
    ssh: SshClient | None = None,
    keys: Keys | None = None,
    environ: Mapping[str, str] | None = None,
    pull_stall: float = 300.0,
) -> ContainerHost:
    """The daemon of a node; nothing is asked of it yet. Close it. `ssh` is the client for `ssh://` (one with the user's configuration by
    default), `keys` learns all secrets that are sent, `environ` is where `env:` secrets are read. Raises ContainerError for certificate
    files that cannot be read."""
    if docker.cluster is not None:
        return _in_cluster(node, docker, docker.cluster, keys, environ)
    known = keys if keys is not None else Keys()
    way = _way(node, docker, ssh if ssh is not None else SshClient(clean=known.without), known)
    host = DockerHost(way, known, logins=docker.registries, environ=environ, pull_stall=pull_stall)
    return SwarmHost(host, node) if docker.swarm else host


def _in_cluster(
    node: NodeSpec, docker: DockerSpec, spec: ClusterSpec, keys: Keys | None, environ: Mapping[str, str] | None
) -> KubernetesHost:
    """Nodes of one cluster share its connection; a caller with keys or an environment of its own has one for itself."""
    if keys is None and environ is None:
        cluster = shared_cluster(spec)
    else:
        cluster = Cluster(spec, keys if keys is not None else Keys(), environ if environ is not None else os.environ)
        cluster.users = 1
    return KubernetesHost(cluster, node, SentSecrets(cluster.keys, environ), docker.registries)


def _way(node: NodeSpec, docker: DockerSpec, ssh: SshClient, keys: Keys) -> DaemonWay:
    url = urlsplit(docker.url)
    shown = f"{node.name} ({docker.url})"
    if url.scheme == "unix":
        return _Direct(socket_wire(url.path, shown, keys), ends_here)
    if url.scheme == "ssh":
        return SshTunnel(node, url, ssh, lambda socket: socket_wire(socket, shown, keys), shown)
    return _Direct(_tcp_wire(url, docker, shown, keys), ends_unknown)


def socket_wire(path: str, shown: str, keys: Keys) -> Wire:
    """HTTP over a socket file."""
    transport = httpx.AsyncHTTPTransport(uds=path, limits=_MOST_CONNECTIONS, verify=False)  # no TLS on a socket: nothing to verify
    return Wire(httpx.AsyncClient(transport=transport, base_url="http://docker", trust_env=False), shown, keys)


def _tcp_wire(url: SplitResult, docker: DockerSpec, shown: str, keys: Keys) -> Wire:
    scheme, verify = ("https", _context(docker, shown)) if docker.ca is not None else ("http", False)
    transport = httpx.AsyncHTTPTransport(verify=verify, limits=_MOST_CONNECTIONS, trust_env=False)
    return Wire(httpx.AsyncClient(transport=transport, base_url=f"{scheme}://{url.netloc}", trust_env=False), shown, keys)


def _context(docker: DockerSpec, shown: str) -> ssl.SSLContext:
    """What checks the daemon's certificate, and shows ours: only `ca` counts, whatever this machine trusts."""
    try:
        context = ssl.create_default_context(cafile=_path(docker.ca))
        if docker.cert is not None:
            context.load_cert_chain(_path(docker.cert) or "", _path(docker.key))
    except (OSError, ssl.SSLError, ValueError) as error:
        what = f"the files of docker.tls cannot be read: {clean_text(str(error))}"
        raise failed("tls", shown, what, "check docker.tls (ca, cert, key)") from None
    return context


def _path(name: str | None) -> str | None:
    return str(Path(name).expanduser()) if name is not None else None
