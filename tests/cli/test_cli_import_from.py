"""`gpurec import --from FILE`: files of other tools become a fleet that validates, and nothing is lost in silence."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from ruamel.yaml import YAML

from reconciler.cli.commands.import_ import FORMATS as OFFERED
from reconciler.cli.main import cli
from reconciler.conversion import FORMATS
from reconciler.conversion.interpolation import with_defaults

LLAMA_SWAP = """\
healthCheckTimeout: 60
apiKeys: [sk-very-secret]
macros:
  server: /usr/bin/llama-server --port ${PORT} --api-key sk-inner-secret
hooks: {on_startup: {preload: [chat]}}
models:
  chat:
    cmd: |
      ${server}
      # the weights
      -m /models/qwen.gguf -c 16384 -np 2 \\
      -ngl 99 --jinja
    ttl: 0
    aliases: [gpt-4o, embed, gpt-4o]
    env: [TOKEN=hunter2]
  embed:
    cmd: llama-server -hf ggml-org/embed:Q8_0 --ctx-size=2048 -ngl 0
    ttl: 300
  half: {cmd: "llama-server -m half.gguf -ngl 20", proxy: "http://127.0.0.1:9001"}
  other: {cmd: "docker run vllm", unlisted: true}
groups: {all: {swap: true, members: [chat, embed]}}
"""

LITELLM = """\
model_list:
  - model_name: llama3.2-3b
    litellm_params: {model: "ollama_chat/llama3.2:3b", api_base: "http://node-a:11434", keep_alive: -1, num_ctx: 8192, weight: 2}
    model_info: {mode: chat}
  - model_name: llama3.2-3b
    litellm_params: {model: openai/llama3.2-3b, api_base: "http://user:hunter2@node-b:8080/v1", api_key: none}
  - model_name: qwen-72b
    litellm_params: {model: hosted_vllm/qwen-72b, api_base: "http://10.0.0.3:8000/v1", api_key: os.environ/VLLM_KEY}
  - model_name: other-name
    litellm_params: {model: hosted_vllm/qwen-72b, api_base: "http://10.0.0.3:8000/v1", api_key: sk-very-secret}
  - model_name: embed
    litellm_params: {model: ollama/nomic-embed-text, api_base: "http://node-a:11434", keep_alive: 10m}
  - model_name: embed
    litellm_params: {model: ollama/nomic-embed-text, api_base: "http://node-c:11434/", api_key: sk-inner-secret}
  - {model_name: gpt, litellm_params: {model: gpt-4o, api_key: sk-openai-secret}}
  - {model_name: far, litellm_params: {model: openai/x, api_base: "https://api.example.com/v1"}}
router_settings:
  routing_strategy: simple-shuffle
  model_group_alias: {gpt-4o: qwen-72b, gpt-5: nowhere}
  fallbacks: [{llama3.2-3b: [qwen-72b, gpt]}]
litellm_settings: {num_retries: 2, fallbacks: [{embed: [embed]}]}
general_settings: {master_key: sk-master-secret}
"""


def run(root: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["-C", str(root), *arguments])


def brought(root: Path, text: str, *arguments: str) -> tuple[dict, dict, str]:
    """Both files, which validate, as their values, and what was said."""
    (root / "theirs.yaml").write_text(text)
    result = run(root, "import", "--from", "theirs.yaml", *arguments)
    assert result.exit_code == 0, result.output
    checked = run(root, "validate")
    assert checked.exit_code == 0, checked.output
    read = YAML(typ="safe", pure=True).load
    hosts = read((root / "inventories" / "default.yaml").read_text())["all"]["hosts"]
    return hosts, read((root / "desired" / "default.yaml").read_text())["models"], result.stderr


def test_llama_swap_becomes_one_engine_and_its_models(tmp_path: Path) -> None:
    hosts, models, said = brought(tmp_path, LLAMA_SWAP)
    engine = {"kind": "llamaswap", "url": "http://127.0.0.1:8080", "auth": {"bearer": "env:LLAMA_SWAP_API_KEY"}}
    assert hosts == {"box": {"address": "127.0.0.1", "engines": {"llamaswap": engine}}}
    common = {"engine": "llamaswap", "on": "box", "ensure": "present"}
    assert models == {
        "chat": common | {"ensure": "loaded", "aliases": ["gpt-4o"], "context": 8192},
        "embed": common | {"keep_alive": "300s", "context": 2048, "residency": "cpu"},
        "half": common | {"residency": "gpu_preferred"},
        "other": common,
    }
    for line in (
        "theirs.yaml:2: apiKeys: keys are never copied",
        "theirs.yaml:8: models.chat.cmd: --jinja: arguments",
        "theirs.yaml:14: models.chat.aliases[1]: another model has this name",
        "theirs.yaml:15: models.chat.env: ",
        "theirs.yaml:19: models.half.proxy: ",
        "theirs.yaml:20: models.other.cmd: this is no command of llama-server",
        "theirs.yaml:20: models.other.unlisted: ",
        "theirs.yaml:21: groups: ",
    ):
        assert line in said


def test_litellm_becomes_its_servers_and_its_groups(tmp_path: Path) -> None:
    hosts, models, said = brought(tmp_path, LITELLM)
    assert {host: (one["address"], one["engines"]) for host, one in hosts.items()} == {
        "node-a": ("node-a", {"ollama": {"kind": "ollama", "url": "http://node-a:11434"}}),
        "node-b": ("node-b", {"llamacpp": {"kind": "llamacpp", "url": "http://node-b:8080"}}),
        "10.0.0.3": ("10.0.0.3", {"vllm": {"kind": "vllm", "url": "http://10.0.0.3:8000", "auth": {"bearer": "env:VLLM_KEY"}}}),
        "node-c": (
            "node-c",
            {"ollama": {"kind": "ollama", "url": "http://node-c:11434", "auth": {"bearer": "env:NODE_C_OLLAMA_API_KEY"}}},
        ),
    }
    assert models == {
        "llama3.2-3b": {
            "names": {"llamacpp": "llama3.2-3b", "ollama": "llama3.2:3b"},
            "ensure": "loaded",
            "on": "node-a,node-b",
            "each": "node",
            "context": 8192,
            "context_via": "request",
            "fallback": ["qwen-72b"],
        },
        "qwen-72b": {"engine": "vllm", "ensure": "loaded", "on": "10.0.0.3", "aliases": ["other-name", "gpt-4o"]},
        "embed": {
            "engine": "ollama",
            "names": {"ollama": "nomic-embed-text"},
            "ensure": "present",
            "on": "node-a,node-c",
            "each": "node",
            "keep_alive": "10m",
        },
    }
    for line in (
        "theirs.yaml:3: model_list[0].litellm_params.weight: how requests are sent",
        "theirs.yaml:6: model_list[1].litellm_params.model: openai/ does not tell what the server is",
        "theirs.yaml:6: model_list[1].litellm_params.api_base: the login",
        "theirs.yaml:9: model_list[3].model_name: this is 'qwen-72b' on the same server",
        "theirs.yaml:14: model_list[5].litellm_params.api_key: a key is never copied: the engine refers to env:NODE_C_OLLAMA_API_KEY",
        "theirs.yaml:15: model_list[6].litellm_params.model: this is no server of your own",
        "theirs.yaml:16: model_list[7].litellm_params.api_base: this looks like a service of others",
        "theirs.yaml:19: router_settings.model_group_alias.gpt-5: ",
        "theirs.yaml:20: router_settings.fallbacks[0].llama3.2-3b[1]: ",
        "theirs.yaml:21: litellm_settings.num_retries: ",
        "theirs.yaml:21: litellm_settings.fallbacks[0].embed[0]: ",
        "theirs.yaml:22: general_settings.master_key: a secret",
    ):
        assert line in said


def test_groups_of_litellm_that_are_one_model_are_written_once(tmp_path: Path) -> None:
    rows = [("a", "ollama/m", "localhost:1"), ("b", "ollama/m", "h2:1"), ("a", "ollama/m", "h2:1"), ("c", "ollama/m:latest", "127.0.0.1:1")]
    lines = [f"  - {{model_name: {name}, litellm_params: {{model: '{model}', api_base: 'http://{at}'}}}}\n" for name, model, at in rows]
    hosts, models, said = brought(tmp_path, "model_list:\n" + "".join(lines) + "router_settings: {fallbacks: [{a: [b]}]}\n")
    assert list(hosts) == ["127.0.0.1", "h2"]
    assert models == {
        "a": {
            "engine": "ollama",
            "names": {"ollama": "m"},
            "ensure": "present",
            "on": "127.0.0.1,h2",
            "each": "node",
            "aliases": ["c"],
        }
    }
    assert "theirs.yaml:3: b: on one of its hosts this is the same model as 'a', which is written" in said


@pytest.mark.parametrize("text", [LLAMA_SWAP, LITELLM])
def test_no_secret_of_a_foreign_file_is_written_or_told(tmp_path: Path, text: str) -> None:
    _, _, said = brought(tmp_path, text)
    written = [path.read_text() for folder in ("inventories", "desired") for path in (tmp_path / folder).iterdir()]
    for secret in ("sk-very-secret", "sk-inner-secret", "hunter2", "sk-openai-secret", "sk-master-secret"):
        assert secret not in said
        assert not any(secret in one for one in written)


def test_import_from_overwrites_nothing_and_then_writes_neither_file(tmp_path: Path) -> None:
    (tmp_path / "theirs.yaml").write_text(LLAMA_SWAP)
    (tmp_path / "desired").mkdir()
    (tmp_path / "desired" / "default.yml").write_text("version: 1\n")
    result = run(tmp_path, "import", "--from", "theirs.yaml")
    assert result.exit_code == 1
    assert "desired/default.yml: this is there already, and nothing is overwritten; name a new fleet with --fleet NAME" in result.stderr
    assert not (tmp_path / "inventories").exists()
    assert run(tmp_path, "import", "--from", "theirs.yaml", "--fleet", "swap").exit_code == 0
    assert run(tmp_path, "validate", "--fleet", "swap").exit_code == 0


def test_the_same_file_is_always_written_the_same(tmp_path: Path) -> None:
    texts = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        brought(tmp_path / name, LLAMA_SWAP)
        texts.append([(tmp_path / name / folder / "default.yaml").read_text() for folder in ("inventories", "desired")])
    assert texts[0] == texts[1]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("foo: 1\n", "theirs.yaml: the format of this file is not told by its keys; say which it is with --format"),
        ("- a\n", "theirs.yaml: this file holds no mapping"),
        ("a: [\n", "theirs.yaml:2:1: this is not YAML"),
        (
            "a: &a [1,1,1,1,1,1,1,1,1,1]\n"
            + "".join(f"{c}: &{c} [{','.join(['*' + p] * 10)}]\n" for p, c in zip("abcdefg", "bcdefgh", strict=False)),
            "alias",
        ),
        ("models: " + "[" * 200 + "\n", "nested deeper"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "theirs.yaml").write_text(text)
    result = run(tmp_path, "import", "--from", "theirs.yaml")
    assert result.exit_code == 1
    assert told in result.stderr
    assert not (tmp_path / "inventories").exists()


def test_a_file_beyond_the_bound_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "theirs.yaml").write_bytes(b"#" * (4 * 2**20 + 1))
    assert "the file is larger than 4 MiB" in run(tmp_path, "import", "--from", "theirs.yaml").stderr.replace("4.0", "4")


def test_macros_that_grow_without_end_are_not_followed(tmp_path: Path) -> None:
    macros = "".join(
        f"  m{n}: ${{m{n + 1}}}${{m{n + 1}}}${{m{n + 1}}}${{m{n + 1}}}${{m{n + 1}}}${{m{n + 1}}}${{m{n + 1}}}${{m{n + 1}}}\n"
        for n in range(9)
    )
    _, _, said = brought(tmp_path, f"macros:\n{macros}models: {{a: {{cmd: 'llama-server ${{m0}}'}}}}\n")
    assert "models.a.cmd: this is no command of llama-server that can be read" in said


@pytest.mark.parametrize("arguments", [("--format", "llama-swap"), ("--from", "x", "--out", "y"), ("--from", "x", "--force")])
def test_options_that_do_not_go_together_are_refused(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    result = run(tmp_path, "import", *arguments)
    assert result.exit_code == 1
    assert "--from" in result.stderr


def test_the_command_offers_every_format() -> None:
    assert tuple(FORMATS) == OFFERED


def test_an_editor_checks_what_is_written(tmp_path: Path) -> None:
    brought(tmp_path, LLAMA_SWAP)
    for name in ("inventory", "desired"):
        folder = "inventories" if name == "inventory" else name
        first = (tmp_path / folder / "default.yaml").read_text().partition("\n")[0]
        assert first == f"# yaml-language-server: $schema=../.gpurec/schemas/{name}.json"
        assert (tmp_path / ".gpurec" / "schemas" / f"{name}.json").is_file()


def test_where_one_of_the_files_cannot_be_written_none_is_left(tmp_path: Path) -> None:
    (tmp_path / "theirs.yaml").write_text(LLAMA_SWAP)
    (tmp_path / "desired").write_text("in the way")
    result = run(tmp_path, "import", "--from", "theirs.yaml")
    assert result.exit_code == 1
    assert "desired" in result.stderr
    assert not list((tmp_path / "inventories").iterdir())


COMPOSE = """\
services:
  ollama:
    image: ollama/ollama:0.34.0
    ports: ["11434:11434"]
    environment: {OLLAMA_KEEP_ALIVE: "-1", OLLAMA_API_KEY: sk-very-secret, HF_TOKEN: hunter2, OLLAMA_NUM_PARALLEL: "${N}"}
    volumes: ["ollama:/root/.ollama"]
    deploy: {resources: {reservations: {devices: [{driver: nvidia, device_ids: ["0"], capabilities: [gpu]}]}}}
  second:
    image: docker.io/ollama/ollama
    ports: [{target: 11434, published: "11435"}]
    deploy: {resources: {reservations: {devices: [{driver: nvidia, count: 1, capabilities: [gpu]}]}}}
  vllm:
    image: vllm/vllm-openai:v0.32.0
    command: --model meta-llama/Llama-3.1-8B --api-key sk-inner-secret
    ports: ["127.0.0.1:8000:8000"]
  hidden: {image: ollama/ollama}
  redis: {image: "redis:7"}
"""
ROUTER = """\
check_interval: 300
auto_optimize: true
vram_safety_margin: 0.8
priority_models: [mxbai-embed-large, nomic-embed-text]
nodes:
  - {name: small, url: "http://10.9.66.154:11434", vram_mb: 4096, gpu_name: GTX 1050 Ti}
  - {name: plain, url: "http://10.9.66.124:11434", gpu: none}
  - http://10.9.66.90:11434
model_sizes: {llama3.2:3b: 1900, mxbai-embed-large: 705, bad: big}
"""
INSTANCES = """\
ollama_instances:
  - {gpu_id: 0, gpu_name: RTX 3060 Ti, port: 11434, memory_limit: 7GB, max_concurrent_requests: 2, models: [mistral:7b]}
  - {gpu_id: 1, gpu_name: RTX 4070 Ti, port: 11435, memory_limit: 11GB, max_concurrent_requests: 3, models: [gemma2:9b, mistral:7b]}
health_check: {interval: 30}
circuit_breaker: {failures: 5}
"""


def converted(root: Path, text: str) -> tuple[dict, dict, str]:
    """The hosts and the desired state that a file becomes, which validate; and what is told of the rest."""
    (root / "theirs.yaml").write_text(text)
    result = CliRunner().invoke(cli, ["-C", str(root), "import", "--from", str(root / "theirs.yaml")])
    assert result.exit_code == 0, result.stderr
    assert CliRunner().invoke(cli, ["-C", str(root), "validate"]).exit_code == 0
    read = YAML(typ="safe", pure=True).load
    hosts = read((root / "inventories" / "default.yaml").read_text())["all"]["hosts"]
    return hosts, read((root / "desired" / "default.yaml").read_text()), result.stderr


def test_the_model_servers_of_a_compose_file_become_engines_and_no_secret_of_it_goes_anywhere(tmp_path: Path) -> None:
    hosts, wanted, left = converted(tmp_path, COMPOSE)
    assert hosts["box"]["engines"] == {
        "ollama": {"kind": "ollama", "url": "http://127.0.0.1:11434", "gpus": [0], "env": {"OLLAMA_KEEP_ALIVE": "-1"}},
        "second": {"kind": "ollama", "url": "http://127.0.0.1:11435"},
        "vllm": {"kind": "vllm", "url": "http://127.0.0.1:8000", "auth": {"bearer": "env:VLLM_API_KEY"}},
    }
    assert wanted["models"] == {"meta-llama/Llama-3.1-8B": {"engine": "vllm", "on": "box"}}
    for line in (
        ":5: services.ollama.environment.HF_TOKEN: ",
        ":5: services.ollama.environment.OLLAMA_NUM_PARALLEL: ",
        ":6: services.ollama.volumes: ",
        ":11: services.second.deploy.resources.reservations.devices[0].count: a count does not say which cards",
        ":16: services.hidden: it publishes no port for 11434",
        ":17: services.redis: its image is no model server",
    ):
        assert f"theirs.yaml{line}" in left
    written = "".join(path.read_text() for path in tmp_path.rglob("default.yaml"))
    assert not [secret for secret in ("sk-very-secret", "hunter2", "sk-inner-secret") if secret in written + left]


OF_VARIABLES = """\
x-ollama: &ollama
  image: ollama/ollama:${OLLAMA_TAG:-0.9.0}
services:
  default-port: {<<: *ollama, ports: ["${OLLAMA_PORT:-13133}:11434"]}
  inner-port: {<<: *ollama, ports: ["11435:11435"], environment: {OLLAMA_HOST: "0.0.0.0:11435", OLLAMA_NUM_PARALLEL: "${MANY:-4}"}}
  on-host: {<<: *ollama, network_mode: host, runtime: nvidia, environment: ["NVIDIA_VISIBLE_DEVICES=1,2", "CUDA_VISIBLE_DEVICES=0"]}
  same-port: {<<: *ollama, profiles: [gpu], ports: ["13133:11434"]}
  unset: {<<: *ollama, ports: ["${NOWHERE}:11434"]}
  gemma:
    image: vllm/vllm-openai:latest
    ports: [{target: 8001, published: "${P-9000}"}]
    command: --model ${MODEL:-${OTHER:-google/gemma-2-9b-it}} --port=8001 --max-model-len 4096
    deploy: {resources: {reservations: {devices: [{driver: nvidia, device_ids: ["0,${SECOND:-3}"], capabilities: [gpu]}]}}}
  qwen: {image: "vllm/vllm-openai:v0.32.0", ports: ["8002:8000"], command: [Qwen/Qwen3-8B, --tensor-parallel-size, "2"]}
  old: {image: "ghcr.io/ggerganov/llama.cpp:server-cuda", ports: ["8081:8081"], command: "-m /models/q.gguf --port 8081", gpus: all}
  again: {image: "local/llama.cpp:full", ports: ["8082:8080"], environment: {LLAMA_API_KEY: sk-secret, LLAMA_ARG_MODEL: /models/q.gguf}}
"""


def test_a_compose_file_counts_with_the_defaults_of_its_variables_and_the_ports_that_its_servers_have_inside(tmp_path: Path) -> None:
    hosts, wanted, left = converted(tmp_path, OF_VARIABLES)
    assert hosts["box"]["engines"] == {
        "default-port": {"kind": "ollama", "url": "http://127.0.0.1:13133"},
        "inner-port": {"kind": "ollama", "url": "http://127.0.0.1:11435", "env": {"OLLAMA_NUM_PARALLEL": "4"}},
        "on-host": {"kind": "ollama", "url": "http://127.0.0.1:11434", "gpus": [1, 2]},
        "gemma": {"kind": "vllm", "url": "http://127.0.0.1:9000", "gpus": [0, 3]},
        "qwen": {"kind": "vllm", "url": "http://127.0.0.1:8002"},
        "old": {"kind": "llamacpp", "url": "http://127.0.0.1:8081"},
        "again": {"kind": "llamacpp", "url": "http://127.0.0.1:8082", "auth": {"bearer": "env:AGAIN_API_KEY"}},
    }
    assert wanted["models"] == {
        "google/gemma-2-9b-it": {"engine": "vllm", "on": "box"},
        "Qwen/Qwen3-8B": {"engine": "vllm", "on": "box"},
        "/models/q.gguf": {"engine": "llamacpp", "on": "box", "replicas": 2},
    }
    for line in (
        ":4: services.default-port.ports[0]: the defaults of its variables are written",
        ":5: services.inner-port.environment.OLLAMA_NUM_PARALLEL: the defaults of its variables are written",
        ":6: services.on-host.environment.CUDA_VISIBLE_DEVICES: CUDA counts in an order of its own",
        ":7: services.same-port: default-port has port 13133 too",
        ":8: services.unset.ports[0]: one of its variables has no default",
        ":16: services.again.environment: a key is never copied: the engine refers to env:AGAIN_API_KEY",
    ):
        assert f"theirs.yaml{line}" in left
    assert "sk-secret" not in left


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("plain", "plain"),
        ("$$5 and ${A:-b}", "$5 and b"),
        ("${A:-${B-c}}:1", "c:1"),
        ("${A:+there}x", "x"),
        ("${A}", None),
        ("$A", None),
        ("${A:?set it}", None),
        ("${A:-${B}}", None),
        ("${", None),
        ("${A:-" * 50 + "}" * 50, None),
    ],
)
def test_a_variable_of_a_compose_file_is_its_default_or_not_known(text: str, filled: str | None) -> None:
    assert with_defaults(text) == filled


def test_a_port_that_none_can_have_is_told_and_not_written(tmp_path: Path) -> None:
    hosts, _, left = converted(tmp_path, COMPOSE.replace("11434:11434", "99999:11434"))
    assert sorted(hosts["box"]["engines"]) == ["second", "vllm"]
    assert "services.ollama.ports[0]: this is not read as a port of the host" in left


def test_the_nodes_priorities_sizes_and_margin_of_a_routing_daemon_become_a_fleet(tmp_path: Path) -> None:
    hosts, wanted, left = converted(tmp_path, ROUTER)
    assert {name: host["engines"]["ollama"]["url"] for name, host in hosts.items()} == {
        "small": "http://10.9.66.154:11434",
        "plain": "http://10.9.66.124:11434",
        "10.9.66.90": "http://10.9.66.90:11434",
    }
    assert (hosts["small"]["gpus"], hosts["plain"]["gpus"]) == ([{"index": 0, "vram": "4096MiB", "name": "GTX 1050 Ti"}], [])
    assert wanted["priority_models"] == ["mxbai-embed-large", "nomic-embed-text"]
    assert wanted["limits"]["vram_safety_margin"] == 0.8
    assert wanted["models"]["mxbai-embed-large"]["vram"] == "705MiB"
    assert wanted["models"]["llama3.2:3b"] == {"engine": "ollama", "ensure": "present", "vram": "1900MiB"}
    assert "theirs.yaml:1: check_interval: `gpurec watch --interval`" in left
    assert "theirs.yaml:9: model_sizes.bad: this is no size in MiB of a model" in left


def test_instances_of_cards_become_engines_with_their_port_limit_and_requests(tmp_path: Path) -> None:
    hosts, wanted, left = converted(tmp_path, INSTANCES)
    assert hosts["box"]["engines"]["gpu1"] == {
        "kind": "ollama", "url": "http://127.0.0.1:11435", "gpus": [1], "memory_limit": "11GB", "max_concurrent_requests": 3,
    }  # fmt: skip
    assert wanted["models"]["mistral:7b"] == {"engine": "ollama", "on": "box", "ensure": "present", "replicas": 2}
    assert "# was on gpu0; gpurec places it where it fits" in (tmp_path / "desired" / "default.yaml").read_text()
    assert "theirs.yaml:5: circuit_breaker: `policy.breaker: {failures: 5, reset: 60s}`" in left


def test_an_instance_that_bears_the_name_of_its_card_is_called_by_its_number(tmp_path: Path) -> None:
    hosts, _, _ = converted(tmp_path, 'gpu_instances: [{gpu_id: 0, name: "RTX 3060 Ti", port: 11434, memory_limit: 7GB}]\n')
    assert list(hosts["box"]["engines"]) == ["gpu0"]
    assert "# card 0: RTX 3060 Ti" in " ".join((tmp_path / "inventories" / "default.yaml").read_text().split())


def test_instances_of_one_card_and_of_several_machines_are_engines_of_their_own(tmp_path: Path) -> None:
    text = """\
instances:
  - {gpu_id: 0, port: 11434, models: [mistral:7b]}
  - {gpu_id: 0, port: 11436}
  - {gpu_id: 0, host: 10.0.0.5, port: 11435, gpu_name: RTX 4070 Ti, models: [mistral:7b]}
"""
    hosts, wanted, _ = converted(tmp_path, text)
    assert {name: {one: keys["url"] for one, keys in host["engines"].items()} for name, host in hosts.items()} == {
        "box": {"gpu0": "http://127.0.0.1:11434", "gpu0-11436": "http://127.0.0.1:11436"},
        "10.0.0.5": {"gpu0": "http://10.0.0.5:11435"},
    }
    assert wanted["models"] == {"mistral:7b": {"engine": "ollama", "on": "box,10.0.0.5", "ensure": "present", "replicas": 2}}


def test_an_ollama_without_an_address_is_where_litellm_looks_for_it_and_one_in_a_variable_is_told(tmp_path: Path) -> None:
    text = """\
model_list:
  - {model_name: llama3, litellm_params: {model: ollama/llama3}}
  - {model_name: mistral, litellm_params: {model: "ollama/mistral:7b", api_base: os.environ/OLLAMA_API_BASE}}
"""
    hosts, wanted, left = converted(tmp_path, text)
    assert hosts["127.0.0.1"]["engines"] == {"ollama": {"kind": "ollama", "url": "http://127.0.0.1:11434"}}
    assert list(wanted["models"]) == ["llama3"]
    assert ":2: model_list[0].litellm_params.api_base: no address is written here: http://localhost:11434 is" in left
    assert ":3: model_list[1].litellm_params.api_base: the address is in a variable" in left


@pytest.mark.parametrize(
    "command",
    [
        "docker run --rm -p ${PORT}:8080 ghcr.io/ggml-org/llama.cpp:server-cuda -m /models/x.gguf -c 4096 -ngl 99",
        r"C:\llama\llama-server.exe -m C:\models\x.gguf -c 4096",
    ],
)
def test_a_llama_server_of_an_image_and_of_windows_is_read(tmp_path: Path, command: str) -> None:
    _, wanted, left = converted(tmp_path, f"models:\n  x: {{cmd: '{command}'}}\n")
    assert wanted["models"]["x"]["context"] == 4096
    assert "no command of llama-server" not in left


def test_the_port_of_a_node_of_a_routing_daemon_may_stand_beside_its_address(tmp_path: Path) -> None:
    hosts, _, _ = converted(tmp_path, "priority_models: [a]\nnodes: [{host: 10.9.66.124, port: 11435}]\n")
    assert hosts["10.9.66.124"]["engines"]["ollama"]["url"] == "http://10.9.66.124:11435"


def test_what_the_inventory_would_take_for_a_template_stays_in_the_compose_file(tmp_path: Path) -> None:
    told = "OLLAMA_KEEP_ALIVE: '{{ keep }}', OLLAMA_MAX_QUEUE: '{% raw %}7', OLLAMA_LOAD_TIMEOUT: '{# 5m #}', OLLAMA_NUM_PARALLEL: '2'"
    text = f"services: {{ollama: {{image: 'ollama/ollama:0.34.0', ports: ['11434:11434'], environment: {{{told}}}}}}}\n"
    hosts, _, said = brought(tmp_path, text)
    assert hosts["box"]["engines"]["ollama"]["env"] == {"OLLAMA_NUM_PARALLEL": "2"}
    for name in ("OLLAMA_KEEP_ALIVE", "OLLAMA_MAX_QUEUE", "OLLAMA_LOAD_TIMEOUT"):
        assert f"services.ollama.environment.{name}: it stays in the compose file" in said
