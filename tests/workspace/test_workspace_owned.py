"""Engines that gpurec starts: what their keys mean, and what is refused before anything is started."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from reconciler.fleet import GIB, EngineContainer, EngineUnit, Mount, PullPolicy, Runtime, SecretRef, UnitScope
from reconciler.workspace import Workspace

Load = Callable[..., Workspace]
Sentences = Callable[..., list[str]]
IMAGE = 'container: {image: "ollama/ollama:0.34.0"}'


def host(engines: str, more: str = "docker: unix:///var/run/docker.sock, address: 10.0.0.1") -> str:
    return f"all:\n  hosts:\n    box: {{{more}, engines: {{{engines}}}}}\n"


def test_an_engine_in_a_container_is_read_with_all_its_keys(load: Load) -> None:
    text = """
    ollama: {runtime: container, port: 11500, instances: auto, args: [--verbose], env: {OLLAMA_NUM_PARALLEL: 2, TOKEN: "env:TOK"},
      container: {image: "ollama/ollama:0.34.0", volumes: ["ollama:/root/.ollama", "/data:/data:ro"], networks: [host], restart: always,
        shm_size: 8GiB, pull: never, command: [serve], entrypoint: [/bin/ollama], env: {OLLAMA_DEBUG: true}, cpus: 1.5, memory_mb: 1024,
        stop_timeout: 30s, groups: [video, 109]}}"""
    engine = load(host(text)).fleet.nodes["box"].engines[0]
    assert (engine.url, engine.runtime, engine.env) == (
        "http://10.0.0.1:11500",
        Runtime.CONTAINER,
        {"OLLAMA_NUM_PARALLEL": "2", "OLLAMA_DEBUG": "true"},
    )
    assert engine.owned is not None
    assert (engine.owned.port, engine.owned.instances, engine.owned.args) == (11500, "auto", ("--verbose",))
    assert engine.owned.env["TOKEN"] == SecretRef("env", "TOK")
    assert engine.owned.start == EngineContainer(
        image="ollama/ollama:0.34.0",
        volumes=(Mount("ollama", "/root/.ollama"), Mount("/data", "/data", read_only=True, kind=engine.owned.start.volumes[1].kind)),  # type: ignore[union-attr]
        networks=("host",),
        restart="always",
        shm_size=8 * GIB,
        pull=PullPolicy.NEVER,
        command=("serve",),
        entrypoint=("/bin/ollama",),
        cpus=1.5,
        memory=GIB,
        stop_timeout=30.0,
        groups=("video", "109"),
    )


def test_a_port_is_published_at_an_address_that_is_named_and_a_container_is_adopted_by_one_engine_alone(
    load: Load, problems: Sentences
) -> None:
    container = 'container: {image: "ollama/ollama:0.34.0", publish: 0.0.0.0, adopt: web-ollama-1}'
    named = "docker: unix:///var/run/docker.sock, address: gpu-b.example"
    engine = load(host(f"ollama: {{runtime: container, {container}}}", named)).fleet.nodes["box"].engines[0]
    assert engine.owned is not None
    assert isinstance(engine.owned.start, EngineContainer)
    assert (engine.owned.start.publish, engine.owned.start.adopt) == ("0.0.0.0", "web-ollama-1")
    told = problems(host(f"ollama: {{runtime: container, instances: 2, {container}}}", named))
    assert "has several instances and adopts one container" in told[0]


def test_an_engine_in_a_unit_is_read_with_all_its_keys(load: Load) -> None:
    text = "llama: {kind: llamacpp, runtime: systemd, systemd: {unit: gpurec-llama.service, scope: user, exec: [/usr/bin/llama-server]}}"
    engine = load(host(text, "address: fd00::1")).fleet.nodes["box"].engines[0]
    assert (engine.url, engine.runtime) == ("http://[fd00::1]:8080", Runtime.SYSTEMD)
    assert engine.owned is not None
    assert engine.owned.start == EngineUnit("gpurec-llama", UnitScope.USER, ("/usr/bin/llama-server",))


def test_an_engine_that_somebody_else_starts_is_not_owned(load: Load) -> None:
    engine = load(host('ollama: {url: "http://a:1", runtime: external}')).fleet.nodes["box"].engines[0]
    assert (engine.runtime, engine.owned) == (Runtime.EXTERNAL, None)


@pytest.mark.parametrize(
    ("engines", "told"),
    [
        ("ollama: {runtime: container}", "no 'container'; add `container: {image:"),
        ("ollama: {runtime: systemd}", "no 'systemd'; add `systemd: {unit:"),
        ("ollama: {runtime: docker}", "cannot be 'docker'"),
        (f'ollama: {{runtime: container, url: "http://a:1", {IMAGE}}}', "write `port:` instead"),
        (f'ollama: {{url: "http://a:1", {IMAGE}}}', "'container' of engine 'ollama' means nothing with `runtime: external`"),
        ('ollama: {url: "http://a:1", instances: 2}', "write `runtime: container or systemd`"),
        (f"ollama: {{runtime: systemd, systemd: {{unit: x}}, {IMAGE}}}", "means nothing with `runtime: systemd`"),
        ("ollama: {runtime: container, container: {}}", "lacks 'image'"),
        ("ollama: {runtime: container, container: {image: 'Not An Image'}}", "which is no image"),
        ("ollama: {runtime: container, container: {image: a, volumes: [data]}}", "write NAME:/PATH"),
        ("ollama: {runtime: container, container: {image: a, networks: [none]}}", "has no network"),
        ("ollama: {runtime: container, container: {image: a, networks: [host, x]}}", "keep `host` alone"),
        ("ollama: {runtime: container, container: {image: a, restart: sometimes}}", "which is no restart policy"),
        ("ollama: {runtime: container, container: {image: a, pull: allways}}", "did you mean 'always'?"),
        ("ollama: {runtime: container, container: {image: a, ennv: {}}}", "did you mean 'env'?"),
        ("ollama: {runtime: container, port: 0, container: {image: a}}", "a whole number from 1 to 65535"),
        (f"ollama: {{runtime: container, instances: some, {IMAGE}}}", "must be auto or a number"),
        (f"ollama: {{runtime: container, instances: 99, {IMAGE}}}", "from 1 to 16"),
        (f"ollama: {{runtime: container, env: {{1A: x}}, {IMAGE}}}", "'1A' is no name of a variable"),
        ("ollama: {runtime: container, env: {A: 1}, container: {image: a, env: {A: 2}}}", "'A' twice with two values"),
        ("llamacpp: {runtime: systemd, systemd: {unit: 'a b'}}", "which is no name of a unit"),
        ("llamacpp: {runtime: systemd, systemd: {unit: a, exec: [llama-server]}}", "begin with the whole path"),
        ("llamacpp: {runtime: systemd, systemd: {unit: a, scope: root}}", "cannot be 'root'"),
        (f"ollama: {{runtime: container, {IMAGE}}}, b: {{kind: ollama, runtime: container, {IMAGE}}}", "have the same port, 11434"),
        (
            "a: {kind: ollama, runtime: systemd, systemd: {unit: u}}, b: {kind: vllm, runtime: systemd, systemd: {unit: u}}",
            "have the same unit, 'u'",
        ),
    ],
)
def test_a_wrong_key_of_an_owned_engine_is_refused_where_it_stands(problems: Sentences, engines: str, told: str) -> None:
    found = problems(host(engines))
    assert any(told in sentence and sentence.startswith("inventories/x.yaml:3:") for sentence in found), found


def test_a_variable_that_ollama_has_never_had_is_warned_of_with_the_nearest_one(load: Load) -> None:
    text = f"ollama: {{runtime: container, env: {{OLLAMA_NUM_PARALEL: 2, HTTPS_PROXY: x, OLLAMA_KEEP_ALIVE: 5m}}, {IMAGE}}}"
    found = load(host(text))
    assert [warning.sentence() for warning in found.warnings] == [
        "inventories/x.yaml:3:111: engine 'ollama' is given 'OLLAMA_NUM_PARALEL', which ollama does not know; "
        "did you mean 'OLLAMA_NUM_PARALLEL'?"
    ]
    assert found.fleet.nodes["box"].engines[0].env["OLLAMA_NUM_PARALEL"] == "2"


def test_a_port_is_published_at_an_address_that_a_daemon_takes(problems: Sentences, load: Load) -> None:
    text = f"ollama: {{runtime: container, {IMAGE}}}"
    docker = "docker: unix:///s, address: gpu-a.lan"
    assert any("'gpu-a.lan' is no IP address" in one for one in problems(host(text, docker)))
    load(host("ollama: {runtime: container, container: {image: a, networks: [host]}}", docker))
    load(host(text, "docker: unix:///s, address: localhost"))


def test_a_container_needs_the_docker_of_its_host(problems: Sentences) -> None:
    assert any("its host has no `docker`" in one for one in problems(host(f"ollama: {{runtime: container, {IMAGE}}}", "address: a")))
