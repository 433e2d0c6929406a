"""The `docker` key of a host."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from reconciler.fleet import ClusterSpec, DockerSpec, RegistryLogin, SecretRef, WorkspaceError
from reconciler.workspace import Workspace

Load = Callable[..., Workspace]


def hosts(docker: str) -> str:
    return f'all: {{hosts: {{a: {{docker: {docker}, engines: {{ollama: {{url: "http://a:1"}}}}}}}}}}'


@pytest.mark.parametrize(
    ("written", "spec"),
    [
        ("unix:///var/run/docker.sock", DockerSpec("unix:///var/run/docker.sock")),
        ("tcp://127.0.0.1:2375", DockerSpec("tcp://127.0.0.1:2375")),
        ("tcp://localhost:2375", DockerSpec("tcp://localhost:2375")),
        ('"tcp://[::1]:2375"', DockerSpec("tcp://[::1]:2375")),
        ("ssh://ops@a", DockerSpec("ssh://ops@a")),
        ("ssh://a:2222/run/user/1000/docker.sock", DockerSpec("ssh://a:2222/run/user/1000/docker.sock")),
        (
            "{url: tcp://a:2376, tls: {ca: ca.pem, cert: c.pem, key: k.pem}, swarm: true}",
            DockerSpec("tcp://a:2376", "ca.pem", "c.pem", "k.pem", True),
        ),
        (
            "{url: ssh://a, registries: {ghcr.io: {user: me, password: env:T}}}",
            DockerSpec("ssh://a", registries=(RegistryLogin("ghcr.io", "me", SecretRef("env", "T")),)),
        ),
        ("{kubernetes: {context: lab}}", DockerSpec("kubernetes:lab", cluster=ClusterSpec("lab"))),
        ("{kubernetes: {namespace: ml}}", DockerSpec("kubernetes:/ml", cluster=ClusterSpec("", "ml"))),
        ("{kubernetes: {}}", DockerSpec("kubernetes:", cluster=ClusterSpec())),
    ],
)
def test_workspace_a_docker_engine_is_reached_as_written(load: Load, written: str, spec: DockerSpec) -> None:
    assert load(hosts(written)).fleet.nodes["a"].docker == spec


def test_workspace_a_template_gives_each_host_its_own_docker_engine(load: Load) -> None:
    nodes = load(
        "all: {vars: {docker: 'ssh://ops@{{ inventory_hostname }}', engines: {ollama: {url: 'http://{{ inventory_hostname }}:1'}}},"
        " hosts: {a: {}, b: {}}}"
    ).fleet.nodes
    assert [nodes[name].docker for name in "ab"] == [DockerSpec("ssh://ops@a"), DockerSpec("ssh://ops@b")]


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("tcp://10.0.0.1:2375", "without encryption"),
        ("{url: tcp://box:2375}", "without encryption"),
        ("tcp://127.0.0.1.evil.example:2375", "without encryption"),
        ("tcp://0.0.0.0:2375", "without encryption"),
        ("tcp://127.0.0.1", "is not tcp://HOST:PORT"),
        ("{url: ssh://a, tls: {ca: a, cert: b, key: c}}", "is not reached by it"),
        ("{url: tcp://a:2376, tls: {ca: a}}", "lacks 'cert'"),
        ("unix://run/docker.sock", "names no socket"),
        ("/var/run/docker.sock", "is no address of a Docker Engine"),
        ("http://a:2375", "is no address of a Docker Engine"),
        ("ssh://-oProxyCommand=x", "names no host"),
        ("ssh://-lx@a", "names no host"),
        ("ssh://me:secret@a", "must not hold a password"),
        ("{url: ssh://a, registries: {ghcr.io: {user: me, password: plain}}}", "is not a reference to a secret"),
        ("{kubernetes: {context: c}, url: ssh://a}", "has 'url', which is of a Docker Engine, beside 'kubernetes'"),
        ("{kubernetes: {context: c}, swarm: true}", "has 'swarm', which is of a Docker Engine"),
        ("{kubernetes: {namespace: A_b}}", "is no namespace"),
        ("{registries: {}}", "lacks 'url'"),
        ("[unix:///a]", "must be a URL or a mapping"),
    ],
)
def test_workspace_what_is_no_safe_way_to_a_docker_engine_is_refused(load: Load, written: str, said: str) -> None:
    with pytest.raises(WorkspaceError, match=said) as caught:
        load(hosts(written))
    assert "secret@" not in str(caught.value)
