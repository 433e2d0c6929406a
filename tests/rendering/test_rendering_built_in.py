"""The templates that come with gpurec: each renders for the fleet and for its parts, to text that its format takes, and says what holds."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from template_lab import NAMES, run, workspace, yaml

from reconciler.operations.rendered import rendered_as_declared
from reconciler.rendering.library import built_in, built_in_names
from reconciler.rendering.reference import values_table
from reconciler.rendering.variables import VARIABLES
from reconciler.workspace import load_workspace


def rendered(root: Path, *files: str) -> dict[str, str]:
    workspace(root, *files)
    return {f"{one.node}:{one.path}": one.text for one in rendered_as_declared(load_workspace(root))}


@pytest.fixture(scope="module")
def all_of_them(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return {at.removeprefix("local:"): text for at, text in rendered(tmp_path_factory.mktemp("lab")).items()}


def test_every_built_in_template_is_tried(all_of_them: dict[str, str]) -> None:
    assert built_in_names() == NAMES
    assert set(all_of_them) == set(NAMES)
    assert all(text.endswith("\n") and "\n\n\n" not in text for text in all_of_them.values())


@pytest.mark.parametrize("name", ["app-gpu", "compose", "litellm", "llama-swap", "prometheus-rules", "prometheus-scrape", "stack"])
def test_yaml_ones_are_yaml(all_of_them: dict[str, str], name: str) -> None:
    assert isinstance(yaml(all_of_them[name]), dict)


def test_a_gateway_knows_every_name_every_place_and_what_it_is_called_there(all_of_them: dict[str, str]) -> None:
    config = yaml(all_of_them["litellm"])
    served = [(one["model_name"], one["litellm_params"]["model"], one["litellm_params"]["api_base"]) for one in config["model_list"]]
    assert [one for one in served if one[0] in ("llama3.1:latest", 'gpt "4"', "a\\b")] == [
        (name, "openai/llama3.1:latest-c8192", f"http://127.0.0.1:{port}/v1")
        for name in ("llama3.1:latest", 'gpt "4"', "a\\b")
        for port in (21434, 21435)
    ]
    assert ("phi", "openai/phi", "http://[::1]:8000/v1") in served
    assert [one["litellm_params"]["weight"] for one in config["model_list"]] == [24, 8] * 3 + [8, 24]
    keys = {one["litellm_params"]["api_key"] for one in config["model_list"]}
    assert keys == {"none", "os.environ/OLLAMA_KEY"}
    settings = config["router_settings"]
    assert [*map(dict.keys, settings["fallbacks"])] == [{"llama3.1:latest"}, {'gpt "4"'}, {"a\\b"}], "asked by an alias it falls back too"
    assert all([*one.values()] == [["phi", "swapped"]] for one in settings["fallbacks"])
    assert (settings["allowed_fails"], settings["cooldown_time"]) == (4, 45)


def test_every_fallback_of_a_gateway_is_a_model_that_it_serves(all_of_them: dict[str, str]) -> None:
    config = yaml(all_of_them["litellm"])
    known = {one["model_name"] for one in config["model_list"]}
    assert all(
        {*pair, *targets} <= known for one in config["router_settings"]["fallbacks"] for pair, targets in [(one.keys(), *one.values())]
    )


def test_a_dashboard_has_panels_in_one_list_each_with_a_query_and_a_place_of_its_own(all_of_them: dict[str, str]) -> None:
    panels = json.loads(all_of_them["grafana"])["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) == len({tuple(panel["gridPos"].items()) for panel in panels})
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        assert all(target["expr"] and target["datasource"]["type"] == "prometheus" for target in panel["targets"])


def test_the_prices_of_tickets_stand_in_the_env_file_to_the_last_digit(tmp_path: Path) -> None:
    workspace(tmp_path, "template: gpurec:env-gpu, to: gpu.env")
    path = tmp_path / "desired" / "lab.yaml"
    paid = f"{{secret: env:HOOK, price_per_unit: 100000000000000, ticket_ev: 29000000000000, max_face_value: {2**200 + 1}}}"
    path.write_text(path.read_text().replace("policy: {", f"policy: {{service: {{livepeer: {paid}}}, "))
    (file,) = rendered_as_declared(load_workspace(tmp_path))
    lines = set(file.text.splitlines())
    assert {"PRICE_PER_UNIT='100000000000000'", "TICKET_EV='29000000000000'", f"MAX_FACE_VALUE='{2**200 + 1}'"} <= lines
    assert "HOOK" not in file.text


def test_an_env_file_has_the_limits_of_its_node_and_one_of_the_fleet_what_all_nodes_agree_on(tmp_path: Path) -> None:
    def reserved(*limits: str) -> list[str]:
        root = tmp_path / str(len(list(tmp_path.iterdir())))
        root.mkdir()
        workspace(root, "template: gpurec:env-gpu, to: gpu.env", "template: gpurec:env-gpu, per: node, on: small, to: /etc/gpu.env")
        path = root / "inventories" / "lab.yaml"
        path.write_text(path.read_text().replace("all:\n", "".join(("all:\n", *limits)), 1))
        lines = [file.text.splitlines() for file in rendered_as_declared(load_workspace(root))]
        return [line for some in lines for line in some if line.startswith("GPU_MEMORY_RESERVE_MB")]

    assert reserved() == ["GPU_MEMORY_RESERVE_MB='512'"] * 2
    assert reserved("  vars: {limits: {gpu_memory_reserve_mb: 2048}}\n") == ["GPU_MEMORY_RESERVE_MB='2048'"] * 2
    assert reserved("  children: {some: {vars: {limits: {gpu_memory_reserve_mb: 1024}}, hosts: {small: {}}}}\n") == [
        "GPU_MEMORY_RESERVE_MB='512'",
        "GPU_MEMORY_RESERVE_MB='1024'",
    ]


def test_alerts_have_the_thresholds_of_the_policy(all_of_them: dict[str, str]) -> None:
    (group,) = yaml(all_of_them["prometheus-rules"])["groups"]
    by_name = {rule["alert"]: rule for rule in group["rules"]}
    assert by_name["CardHot"]["expr"].endswith("> 88.0")
    assert by_name["CardMemoryCritical"]["expr"].endswith("> 0.9")
    assert by_name["EngineDown"]["annotations"]["summary"] == "Engine {{ $labels.node }}/{{ $labels.engine }} does not answer"


def test_compose_has_what_gpurec_owns_and_no_secret(all_of_them: dict[str, str]) -> None:
    document = yaml(all_of_them["compose"])
    (service,) = document["services"].values()
    assert service["image"] == "ollama/ollama:0.34.0"
    assert service["environment"]["OLLAMA_KEEP_ALIVE"] == "-1"
    assert service["environment"]["TOKEN"] == "${OLLAMA_TOKEN:?}"
    assert service["environment"]["ODD"] == 'it\'s "$$HOME" \\ 100%'
    assert service["deploy"]["resources"]["reservations"]["devices"] == [
        {"driver": "nvidia", "device_ids": ["GPU-3"], "capabilities": ["gpu"]}
    ]
    assert service["volumes"] == [{"type": "volume", "source": "ollama", "target": "/root/.ollama", "read_only": False}]
    assert document["volumes"] == {"ollama": {"name": "ollama"}}


def test_a_stack_keeps_each_service_on_its_node_with_its_cards(all_of_them: dict[str, str]) -> None:
    document = yaml(all_of_them["stack"])
    (service,) = document["services"].values()
    assert service["deploy"]["placement"]["constraints"] == ["node.hostname == owner"]
    assert service["environment"]["NVIDIA_VISIBLE_DEVICES"] == "GPU-3"
    reserved = service["deploy"]["resources"]["reservations"]["generic_resources"]
    assert reserved == [{"discrete_resource_spec": {"kind": "NVIDIA-GPU", "value": 1}}]
    assert not {"container_name", "devices", "shm_size", "mem_limit"} & set(service)


def test_compose_of_a_fleet_that_owns_nothing_has_no_services(tmp_path: Path) -> None:
    found = rendered(tmp_path, 'template: "gpurec:compose", per: node, on: big, to: /c.yml')
    assert yaml(found["big:/c.yml"]) == {"services": {}}


def test_what_is_for_one_part_is_of_that_part(tmp_path: Path) -> None:
    found = rendered(
        tmp_path,
        'template: "gpurec:app-gpu", per: node, to: /etc/gpu.yaml',
        'template: "gpurec:env-gpu", per: node, on: small, to: /etc/gpu.env, vars: {price_per_unit: 100000000000000}',
        'template: "gpurec:ollama-override", per: engine, on: big, to: "/etc/{{ engine.name }}.conf"',
    )
    profiles = {node: yaml(found[f"{node}:/etc/gpu.yaml"]) for node in ("big", "small", "bare")}
    assert [profiles[node]["device"] for node in ("big", "small", "bare")] == ["cuda", "cuda", "cpu"]
    assert (profiles["big"]["memory_limit_gb"], profiles["big"]["batch_size"], profiles["big"]["data_parallel"]) == (22, 16, True)
    assert (profiles["small"]["quantization"], profiles["small"]["data_parallel"]) == ("8bit", False)
    env = found["small:/etc/gpu.env"]
    assert "PRICE_PER_UNIT='100000000000000'\n" in env
    assert "GPU_COUNT='1'\n" in env
    override = found["big:/etc/ollama.conf"]
    assert 'Environment="OLLAMA_MODELS=/data/50%% \\"full\\"\\\\x $HOME"\n' in override
    assert 'Environment="CUDA_VISIBLE_DEVICES=GPU-1"\n' in override


def test_a_built_in_template_is_listed_and_ejected_once(tmp_path: Path) -> None:
    workspace(tmp_path)
    listed = run(tmp_path, "template", "list").stdout
    assert all(f"gpurec:{name}" in listed for name in NAMES)
    assert run(tmp_path, "template", "eject", "gpurec:nginx").exit_code == 0
    assert "limit_req_zone" in (tmp_path / "templates" / "nginx.j2").read_text()
    again = run(tmp_path, "template", "eject", "nginx")
    assert (again.exit_code, "is there already" in again.stderr) == (1, True)
    unknown = run(tmp_path, "template", "eject", "ngnix")
    assert (unknown.exit_code, "did you mean 'nginx'?" in unknown.stderr) == (1, True)


def test_render_writes_everything_here_and_nothing_where_it_belongs(tmp_path: Path) -> None:
    workspace(
        tmp_path,
        'template: "gpurec:compose", to: out/compose.yml, mode: "0600"',
        'template: "gpurec:app-gpu", per: node, to: /nowhere/gpu.yaml',
    )
    result = run(tmp_path, "render", "--check")
    assert (result.exit_code, result.stderr) == (0, "5 files render.\n")
    assert not (tmp_path / "rendered").exists()
    assert run(tmp_path, "render").exit_code == 0
    assert sorted(str(one.relative_to(tmp_path / "rendered")) for one in (tmp_path / "rendered").rglob("*") if one.is_file()) == [
        "bare/nowhere/gpu.yaml", "big/nowhere/gpu.yaml", "local/out/compose.yml", "owner/nowhere/gpu.yaml", "small/nowhere/gpu.yaml",
    ]  # fmt: skip
    assert not (tmp_path / "out").exists()
    assert not Path("/nowhere").exists()


def test_render_says_where_there_is_nothing_to_write(tmp_path: Path) -> None:
    workspace(tmp_path, 'template: "gpurec:compose", to: out/compose.yml')
    desired = tmp_path / "desired" / "lab.yaml"
    desired.write_text(desired.read_text().partition("files:")[0])
    result = run(tmp_path, "render")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "Nothing to write" in result.stderr


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ('template: "gpurec:ngnix", to: x', "lab.yaml:8:16: there is no built-in template 'ngnix'; did you mean 'nginx'?"),
        ('template: "gpurec:ollama-override", per: node, on: bare, to: /x', "gpurec:ollama-override:8: this template cannot be rendered"),
    ],
)
def test_validate_renders_everything_for_the_declared_fleet(tmp_path: Path, files: str, says: str) -> None:
    workspace(tmp_path, files)
    for command in (("validate",), ("render", "--check")):
        result = run(tmp_path, *command)
        assert result.exit_code == 1
        assert says in result.stderr


@pytest.mark.parametrize(
    ("file", "says"),
    [
        (
            "litellm, to: a, vars: {retrys: 3}",
            "lab.yaml:7:46: the template gpurec:litellm has no variable 'retrys'; did you mean 'retries'?",
        ),
        ("litellm, to: a, vars: {retries: lots}", "'retries' of gpurec:litellm must be a whole number"),
        ("litellm, to: a, vars: {retries: true}", "'retries' of gpurec:litellm must be a whole number"),
        ("litellm, to: a, vars: {timeout: 0}", "'timeout' of gpurec:litellm must be a number of seconds"),
        ("litellm, to: a, vars: {strategy: fastest}", "'strategy' of gpurec:litellm must be one of simple-shuffle, "),
        ("litellm, to: a, vars: {master_key: sk-1234}", "'master_key' of gpurec:litellm must be the name of an environment variable"),
        ("nginx, to: a, vars: {rate: 10}", "'rate' of gpurec:nginx must be requests a second or minute, as 10r/s"),
        ("nginx, to: a, vars: {pid: '/run/a.pid; daemon off'}", "'pid' of gpurec:nginx must be one word without blanks and quotes"),
        (
            "nginx, to: a, vars: {burst: '{{ fleet }}'}",
            "lab.yaml:7: 'burst' of gpurec:nginx must be a whole number, it renders to 'lab'",
        ),
        ("systemd-watch, to: a, vars: {mode: yes-please}", "'mode' of gpurec:systemd-watch must be observe or apply"),
        ("prometheus-rules, to: a, vars: {for: 5 minutes}", "'for' of gpurec:prometheus-rules must be a duration such as 30s, 5m or 1h"),
        ("compose, to: a, vars: {x: 1}", "the template gpurec:compose has no variable 'x'; it has none; remove it"),
    ],
)
def test_what_a_template_of_ours_is_given_is_checked_before(tmp_path: Path, file: str, says: str) -> None:
    """LiteLLM, for one, starts with unknown keys and with `num_retries: lots`."""
    (tmp_path / "inventories").mkdir()
    (tmp_path / "desired").mkdir()
    (tmp_path / "inventories" / "lab.yaml").write_text("all: {hosts: {a: {gpus: []}}}\n")
    (tmp_path / "desired" / "lab.yaml").write_text(f"version: 1\n\n\n\n\nfiles:\n  - {{template: gpurec:{file}}}\n")
    result = run(tmp_path, "validate")
    assert result.exit_code == 1
    assert says in result.stderr


def test_every_variable_that_a_template_speaks_of_is_declared_and_in_the_docs() -> None:
    page = (Path(__file__).parents[2] / "docs" / "templates.md").read_text()
    for name in NAMES:
        template = built_in(name)
        assert template is not None
        spoken = set(re.findall(r"\bvars\.([a-z_]+)", template.text)) - {"items"}
        assert spoken == set(VARIABLES.get(name, ()))
        (row,) = (line for line in page.splitlines() if line.startswith(f"| `{name}` |"))
        assert all(f"`{one}`" in row for one in spoken)


@pytest.mark.parametrize(
    ("models", "says"),
    [
        ("{a: {aliases: [b]}, b: {}}", "the alias 'b' of model 'a' is a name of 'b' already"),
        ("{a: {aliases: [a]}}", "the alias 'a' of model 'a' is a name of itself already"),
        ("{a: {aliases: [x]}, b: {aliases: [x]}}", "the alias 'x' of model 'b' is a name of 'a' already"),
        ("{a: {fallback: [phy]}, phi: {}}", "falls back to 'phy', which is no model of these files; did you mean 'phi'?"),
        ("{a: {fallback: [a]}}", "model 'a' falls back to itself"),
        ("{a: {fallback: [b, b]}, b: {}}", "has a name twice among its aliases or fallbacks"),
    ],
)
def test_names_of_gateways_are_checked_before(tmp_path: Path, models: str, says: str) -> None:
    workspace(tmp_path)
    (tmp_path / "desired" / "lab.yaml").write_text(f"version: 1\nmodels: {models}\n")
    result = run(tmp_path, "validate")
    assert result.exit_code == 1
    assert says in result.stderr


def test_the_docs_say_what_templates_see_as_the_code_does() -> None:
    """`python -c "from reconciler.rendering.reference import values_table; print(values_table())"` makes that part of the page."""
    page = (Path(__file__).parents[2] / "docs" / "templates.md").read_text()
    assert values_table() in page
    assert all(f"| `{name}` |" in page for name in NAMES)
