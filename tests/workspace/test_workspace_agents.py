"""`agents:` and `services:`: what they become, and a position for every mistake."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.fleet import (
    AGENTS,
    MIB,
    SERVICES,
    AgentEach,
    AgentSpec,
    ContainerFile,
    GpuRequirement,
    Healthcheck,
    Mount,
    MountKind,
    Near,
    PublishedPort,
    PullPolicy,
    SecretRef,
    VersionBound,
    WorkspaceError,
)
from reconciler.workspace import Workspace, load_workspace
from reconciler.workspace.agents import AGENTS_FORM, SERVICES_FORM
from reconciler.workspace.desired import SECTIONS

FORMS = (*(one for one in SECTIONS if one.section.key not in ("agents", "services")), SERVICES_FORM, AGENTS_FORM)
HOSTS = """
all:
  children:
    gpu:
      hosts:
        a: {docker: unix:///var/run/docker.sock, engines: {ollama: {url: "http://a:11434"}}}
        b: {docker: ssh://ops@b, engines: {ollama: {url: "http://b:11434"}}}
    bare:
      hosts:
        c: {engines: {ollama: {url: "http://c:11434"}}}
"""
Read = Callable[[str], Workspace]
Refused = Callable[[str], list[str]]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def load(desired: str) -> Workspace:
        for name, text in (("inventories/x.yaml", HOSTS), ("desired/x.yaml", f"version: 1\n{textwrap.dedent(desired).strip()}\n")):
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text.lstrip("\n"))
        return load_workspace(tmp_path, sections=FORMS)

    return load


@pytest.fixture
def refused(read: Read) -> Refused:
    def problems(desired: str) -> list[str]:
        with pytest.raises(WorkspaceError) as raised:
            read(desired)
        return str(raised.value).splitlines()

    return problems


def only(workspace: Workspace) -> AgentSpec:
    (found,) = AGENTS.of(workspace.desired)
    return found


def test_an_agent_with_all_its_keys(read: Read) -> None:
    found = only(
        read(
            """
            models: {"codellama:34b-instruct-q4_k_m": {}}
            services: {queue: {container: {image: "rabbitmq:3"}}}
            agents:
              gpu-trading-analyst:
                type: analysis
                on: gpu
                replicas: 2
                requires_gpu: true
                model: codellama:34b-instruct-q4_k_m
                near: node
                gpu_requirement: {min_vram_mb: 20000, compute_capability: "7.0"}
                container:
                  image: registry.example/agent:1.4
                  command: [python, -m, agent]
                  env: {LOG_LEVEL: info, API_KEY: env:TRADING_API_KEY, DEBUG: false, LIMIT: 3}
                  ports: [8080, "0.0.0.0:9090:90", "53:5353/udp"]
                  volumes: [data:/var/lib/agent, "/srv/prices:/prices:ro", "tmpfs:/scratch"]
                  networks: [autogen]
                  restart: on-failure:3
                  cpus: 1.5
                  memory: 2GiB
                  healthcheck: {test: [CMD, python, -m, agent.health], interval: 10s, retries: 3}
                  secrets: {exchange: "file:/etc/gpurec/exchange.key"}
                  pull: always
                depends_on: [queue]
                config: {trading_pairs: [BTC/USDT, ETH/USDT], since: 2024-01-01, deep: {risk: 0.5, live: false, none: null}}
                llm: {system_message: "You trade.", temperature: 0.2}
            """
        )
    )
    assert (found.name, found.type, found.nodes, found.replicas, found.each) == ("gpu-trading-analyst", "analysis", ("a", "b"), 2, None)
    assert (found.model, found.near, found.needs_card, found.takes_card) == ("codellama:34b-instruct-q4_k_m", Near.NODE, True, False)
    assert found.requirement == GpuRequirement(20_000 * MIB, VersionBound(">=", (7, 0)))
    assert found.depends_on == ("queue",)
    made = found.container
    assert (made.image, made.command, made.restart, made.cpus, made.memory) == (
        "registry.example/agent:1.4",
        ("python", "-m", "agent"),
        "on-failure:3",
        1.5,
        2 * 2**30,
    )
    assert made.env == {"LOG_LEVEL": "info", "API_KEY": SecretRef("env", "TRADING_API_KEY"), "DEBUG": "false", "LIMIT": "3"}
    assert made.ports == (PublishedPort(8080, 8080), PublishedPort(90, 9090, "0.0.0.0"), PublishedPort(5353, 53, protocol="udp"))
    assert made.mounts == (
        Mount("data", "/var/lib/agent"),
        Mount("/srv/prices", "/prices", True, MountKind.BIND),
        Mount("", "/scratch", False, MountKind.TMPFS),
    )
    assert made.healthcheck == Healthcheck(("CMD", "python", "-m", "agent.health"), 10.0, retries=3)
    assert made.files == (ContainerFile("/run/secrets/exchange", SecretRef("file", "/etc/gpurec/exchange.key"), 0o400),)
    assert found.pull is PullPolicy.ALWAYS
    assert json.loads(found.config or "") == {
        "trading_pairs": ["BTC/USDT", "ETH/USDT"],
        "since": "2024-01-01",
        "deep": {"risk": 0.5, "live": False, "none": None},
    }
    assert json.loads(found.llm or "") == {"system_message": "You trade.", "temperature": 0.2}


def test_the_least_agent_and_its_defaults(read: Read) -> None:
    found = only(read("agents: {x: {container: {image: busybox}}}"))
    assert (found.on, found.nodes, found.replicas, found.near, found.needs_card) == ("all", ("a", "b", "c"), 1, Near.ANY, False)
    assert (found.container.restart, found.config, found.llm, found.service, found.pull) == (
        "unless-stopped",
        None,
        None,
        False,
        PullPolicy.MISSING,
    )


def test_a_requirement_says_that_a_card_is_needed_and_requires_gpu_wins(read: Read) -> None:
    wide = only(read("agents: {x: {gpu_requirement: {min_vram: 4GiB}, container: {image: busybox}}}"))
    assert wide.takes_card
    assert only(read("agents: {x: {requires_gpu: true, each: gpu, container: {image: busybox}}}")).each is AgentEach.GPU
    assert not only(read("agents: {x: {requires_gpu: false, container: {image: busybox}}}")).needs_card


def test_services_are_containers_without_a_model(read: Read, refused: Refused) -> None:
    workspace = read('services: {redis: {on: a, container: {image: "redis:7"}}}')
    (found,) = SERVICES.of(workspace.desired)
    assert (found.name, found.service, found.nodes) == ("redis", True, ("a",))
    assert any("unknown key 'model' of service 'redis'" in line for line in refused("services: {redis: {model: m, container: {image: r}}}"))


def test_a_model_is_the_declared_one_by_its_canonical_form(read: Read) -> None:
    found = only(read('models: {"llama3.1:latest": {}}\nagents: {x: {model: llama3.1, container: {image: busybox}}}'))
    assert found.model == "llama3.1:latest"


def test_a_model_that_is_nearly_one_of_the_declared_is_warned_about(read: Read) -> None:
    workspace = read('models: {"llama3.1:8b": {}}\nagents: {x: {model: "lama3.1:8b", container: {image: busybox}}}')
    (warning,) = workspace.warnings
    assert "waits for a resident of that name" in warning.what
    assert warning.hint == "did you mean 'llama3.1:8b'?"


def test_files_are_merged_and_a_name_twice_names_both_places(read: Read, tmp_path: Path) -> None:
    read("agents: {x: {container: {image: busybox}}}")
    (tmp_path / "desired" / "x.yaml").unlink()
    (tmp_path / "desired" / "x").mkdir()
    for number, agent in enumerate("xyx"):
        text = f"version: 1\nagents:\n  {agent}: {{container: {{image: busybox}}}}\n"
        (tmp_path / "desired" / "x" / f"{number}.yaml").write_text(text)
    with pytest.raises(WorkspaceError, match=r"x/2.yaml:3:3: key 'x' of agents is defined twice, first at desired/x/0.yaml:3:3"):
        load_workspace(tmp_path, sections=FORMS)


@pytest.mark.parametrize(
    ("desired", "told"),
    [
        ("agents: []", "2:9: 'agents' must be a mapping"),
        ("agents: {x: {}}", "2:13: agent 'x' lacks 'container'"),
        ("agents: {x: {container: {}}}", "lacks 'image'"),
        ("agents: {x/y: {container: {image: b}}}", "2:10: 'x/y' cannot be the name of an agent"),
        ("agents: {x#2: {container: {image: b}}}", "cannot be the name of an agent"),
        ("agents: {x: {modle: m, container: {image: b}}}", "2:14: unknown key 'modle' of agent 'x'; did you mean 'model'?"),
        ("agents: {x: {llm_config: {}, container: {image: b}}}", "did you mean 'llm'?"),
        ("agents: {x: {replicas: 2, each: node, container: {image: b}}}", "has both `replicas` and `each`"),
        ("agents: {x: {near: node, container: {image: b}}}", "has `near` and no model"),
        ("agents: {x: {each: engine, container: {image: b}}}", "cannot be 'engine'"),
        ("agents: {x: {requires_gpu: false, gpu_requirement: {min_vram_mb: 5}, container: {image: b}}}", "requires no GPU"),
        ("agents: {x: {gpu_requirement: {min_vram_mb: 0}, container: {image: b}}}", "nothing has 0 bytes of VRAM"),
        ("agents: {x: {on: nowhere, container: {image: b}}}", "agent 'x': "),
        ("agents: {x: {on: bare, container: {image: b}}}", "none of the 1 hosts of 'bare' says where its containers run"),
        ("agents: {x: {depends_on: [y], container: {image: b}}}", "depends on 'y', which is no agent and no service"),
        ("agents: {x: {depends_on: [x], container: {image: b}}}", "depends on 'x', which is itself"),
        (
            "agents: {x: {depends_on: [y], container: {image: b}}, y: {depends_on: [x], container: {image: b}}}",
            "2:10: they wait for each other: x → y → x",
        ),
        ("agents: {x: {container: {image: b}}}\nservices: {x: {container: {image: b}}}", "'x' is an agent, at desired/x.yaml:2:10, and a"),
        ("agents: {x: {model: m, llm: {api_base: 'http://o'}, container: {image: b}}}", "2:30: 'llm' of agent 'x' has 'api_base'"),
        ("agents: {x: {config: [1], container: {image: b}}}", "must be a mapping, this is a list"),
        ("agents: {x: {config: {n: .inf}, container: {image: b}}}", "which JSON does not have"),
        ("agents: {x: {container: {image: b, secrets: {k: hunter2}}}}", "is not a reference to a secret"),
        ("agents: {x: {container: {image: b, secrets: [k]}}}", "must be a mapping, this is a list"),
        ("agents: {x: {container: {image: b, secrets: {../k: env:K}}}}", "is no name of a file"),
        ("agents: {x: {container: {image: b, env: {GPUREC_MODEL: m}}}}", "'GPUREC_MODEL' is set by gpurec itself"),
        ("agents: {x: {container: {image: b, ports: [99999]}}}", "a port that is not from 1 to 65535"),
        ("agents: {x: {container: {image: b, ports: [80, 80]}}}", "publishes 127.0.0.1:80/tcp of the node twice"),
        ("agents: {x: {container: {image: b, networks: [host], ports: [80]}}}", "publishes ports, and has the network 'host'"),
        ("agents: {x: {container: {image: b, networks: [host, web]}}}", "has the network 'host' and others"),
        ("agents: {x: {container: {image: b, healthcheck: {interval: 5s}}}}", "lacks 'test'"),
        ("agents: {x: {container: {image: b, healthcheck: {test: [curl]}}}}", "must begin with CMD"),
        ("agents: {x: {container: {image: b, volumes: [data]}}}", "is not NAME:/PATH"),
        ("agents: {x: {container: {image: b, privileged: true}}}", "unknown key 'privileged'"),
    ],
)
def test_every_mistake_has_a_sentence_and_a_place(refused: Refused, desired: str, told: str) -> None:
    lines = refused(desired)
    assert any(told in line for line in lines), lines
    assert all(line.startswith(("desired/x.yaml:", "  ")) for line in lines), lines


def test_a_config_may_not_be_of_any_size_or_depth(refused: Refused) -> None:
    assert "is larger than 65,536 bytes" in refused("agents: {x: {config: {a: '" + "b" * 70_000 + "'}, container: {image: b}}}")[0]
    deep = "agents: {x: {config: " + "{a: " * 40 + "1" + "}" * 40 + ", container: {image: b}}}"
    assert "nested deeper than 32 levels" in refused(deep)[0]


def test_the_schema_names_the_keys_that_are_read() -> None:
    agent, service = AGENTS_FORM.schema["additionalProperties"], SERVICES_FORM.schema["additionalProperties"]
    assert isinstance(agent, dict)
    assert isinstance(service, dict)
    assert agent["required"] == service["required"] == ["container"]
    assert set(agent["properties"]) - set(service["properties"]) == {
        "type", "requires_gpu", "model", "near", "gpu_requirement", "llm"
    }  # fmt: skip
    assert agent["properties"]["container"]["required"] == ["image"]
    assert agent["properties"]["gpu_requirement"]["properties"]["min_vram_mb"]["description"].endswith("Written as a number of MiB.")
