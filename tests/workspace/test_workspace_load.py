"""Which files make a fleet, the digest over them, the examples of this repository, and how long a large fleet takes to read."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from reconciler.fleet import MIB, Runtime, WorkspaceError, parse_capability
from reconciler.probes.declared import declared_cards
from reconciler.sim import BUILTIN_FLEETS, builtin_fleet
from reconciler.workspace import json_schema, load_fleet, load_inventory, load_workspace

REPOSITORY = Path(__file__).parents[2]
HOSTS = "all: {hosts: {a: {engines: {ollama: {url: 'http://a:1'}}}}}\n"


def fleet(root: Path, *names: str) -> Path:
    for folder, text in (("inventories", HOSTS), ("desired", "version: 1\nmodels: {m: {}}\n")):
        (root / folder).mkdir(exist_ok=True, parents=True)
        for name in names:
            (root / folder / f"{name}.yaml").write_text(text)
    return root


def test_workspace_the_only_fleet_needs_no_name(tmp_path: Path) -> None:
    workspace = load_workspace(fleet(tmp_path, "lab"))
    assert (workspace.name, workspace.state_path) == ("lab", tmp_path / "state" / "lab.db")


def test_workspace_of_several_fleets_default_is_taken(tmp_path: Path) -> None:
    assert load_workspace(fleet(tmp_path, "a", "default", "b")).name == "default"
    assert load_workspace(tmp_path, fleet="b").name == "b"


def test_workspace_an_inventory_below_inventories_is_of_the_fleet_of_its_folder(tmp_path: Path) -> None:
    root = fleet(tmp_path, "live", "test")
    for name in ("live", "test"):
        (root / "inventories" / f"{name}.yaml").unlink()
        (root / "inventories" / name).mkdir()
        (root / "inventories" / name / "hosts.yaml").write_text(HOSTS)
        chosen = load_workspace(root, inventory=[Path("inventories") / name / "hosts.yaml"])
        assert (chosen.name, chosen.state_path.name) == (name, f"{name}.db")


def test_workspace_several_inventories_are_one_fleet_that_needs_one_name(tmp_path: Path) -> None:
    for name in ("a/hosts.yaml", "b/hosts.yaml", "c/other.yaml"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(HOSTS.replace("{a:", f"{{{name[0]}:"))
    (tmp_path / "d.yaml").write_text("version: 1\nmodels: {m: {}}\n")
    a, b, c = (tmp_path / name for name in ("a/hosts.yaml", "b/hosts.yaml", "c/other.yaml"))
    both = load_workspace(tmp_path, inventory=[a, b], desired=[Path("d.yaml")])
    assert (both.name, list(both.fleet.nodes)) == ("hosts", ["a", "b"])
    with pytest.raises(WorkspaceError, match="of several fleets: hosts, other; name one with --fleet NAME"):
        load_workspace(tmp_path, inventory=[a, c], desired=[Path("d.yaml")])
    assert load_workspace(tmp_path, fleet="x", inventory=[a, c], desired=[Path("d.yaml")]).name == "x"


def test_workspace_several_fleets_without_default_are_listed(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match=r"several fleets: a, b; choose one with --fleet"):
        load_workspace(fleet(tmp_path, "a", "b"))


@pytest.mark.parametrize(("name", "told"), [("lb", "did you mean 'lab'"), ("../x", "not the name of a fleet")])
def test_workspace_an_unknown_fleet_is_refused(tmp_path: Path, name: str, told: str) -> None:
    with pytest.raises(WorkspaceError, match=told):
        load_workspace(fleet(tmp_path, "lab"), fleet=name)


def test_workspace_an_empty_folder_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="there is no fleet here"):
        load_workspace(tmp_path)


def test_workspace_a_fleet_in_two_places_is_refused(tmp_path: Path) -> None:
    fleet(tmp_path, "lab")
    (tmp_path / "desired" / "lab").mkdir()
    with pytest.raises(WorkspaceError, match=r"there twice: desired/lab\.yaml and desired/lab"):
        load_workspace(tmp_path)


def test_workspace_an_inventory_alone_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "any.yaml").write_text("all: {hosts: {a: {labels: [free, form]}}}")
    assert tuple(load_inventory(tmp_path, inventory=[tmp_path / "any.yaml"]).hosts) == ("a",)


def test_workspace_a_fleet_can_be_read_without_a_desired_state(tmp_path: Path) -> None:
    fleet(tmp_path, "lab")
    (tmp_path / "desired" / "lab.yaml").unlink()
    nodes, inventory = load_fleet(tmp_path)
    assert (nodes.name, tuple(nodes.nodes), tuple(inventory.hosts)) == ("lab", ("a",), ("a",))
    (tmp_path / "inventories" / "lab.yaml").write_text("all: {hosts: {a: {ram: x}, b: {disk: y}}}")
    with pytest.raises(WorkspaceError) as raised:
        load_fleet(tmp_path)
    assert len(raised.value.problems) == 2


def test_workspace_the_digest_does_not_depend_on_the_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_workspace(fleet(tmp_path / "one", "lab")).config_digest
    fleet(tmp_path / "two", "lab")
    monkeypatch.chdir(tmp_path / "two")
    assert load_workspace(Path()).config_digest == first
    assert first.startswith("sha256:")
    assert len(first) == 71


def test_workspace_the_digest_covers_every_file_that_is_read(tmp_path: Path) -> None:
    root = fleet(tmp_path, "lab")
    seen = {load_workspace(root).config_digest}
    (root / "inventories" / "host_vars").mkdir()
    (root / "inventories" / "host_vars" / "a.yml").write_text("x: 1\n")
    seen.add(load_workspace(root).config_digest)
    (root / "desired" / "lab.yaml").write_text("version: 1\n")
    seen.add(load_workspace(root).config_digest)
    assert len(seen) == 3
    (root / "inventories" / "host_vars" / "unknown.yml").write_text("x: 1\n")
    assert load_workspace(root).config_digest in seen


def outside(root: Path, home: Path) -> str:
    """The digest of a workspace whose inventory and desired files stand elsewhere, two of them under one name."""
    root.mkdir(parents=True, exist_ok=True)
    files = {
        "lab/hosts.yaml": HOSTS,
        "lab/group_vars/all.yaml": "x: 1\n",
        "lab/host_vars/a.yaml": "y: 1\n",
        "one/models.yaml": "version: 1\nmodels: {m: {}}\n",
        "two/models.yaml": "models: {n: {}}\n",
    }
    for name, text in files.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        if not (home / name).exists():
            (home / name).write_text(text)
    desired = [home / "one" / "models.yaml", home / "two" / "models.yaml"]
    return load_workspace(root, inventory=[home / "lab" / "hosts.yaml"], desired=desired).config_digest


def test_workspace_files_from_elsewhere_count_by_their_content_and_not_by_their_place(tmp_path: Path) -> None:
    first = outside(tmp_path / "ws", tmp_path / "home")
    assert outside(tmp_path / "deep" / "er" / "ws", tmp_path / "another" / "home") == first
    seen = {first}
    for name in ("lab/hosts.yaml", "lab/group_vars/all.yaml", "lab/host_vars/a.yaml", "one/models.yaml", "two/models.yaml"):
        file = tmp_path / "home" / name
        text = file.read_text()
        file.write_text(text + "# changed\n")
        seen.add(outside(tmp_path / "ws", tmp_path / "home"))
        file.write_text(text)
    assert len(seen) == 6
    (tmp_path / "home" / "lab" / "group_vars" / "all.yaml").write_text("y: 1\n")
    (tmp_path / "home" / "lab" / "host_vars" / "a.yaml").write_text("x: 1\n")
    assert outside(tmp_path / "ws", tmp_path / "home") not in seen


def test_workspace_a_file_of_the_workspace_is_the_same_by_every_way_to_it(tmp_path: Path) -> None:
    root = fleet(tmp_path / "ws", "lab")
    plain = load_workspace(root).config_digest
    (tmp_path / "link").symlink_to(root)
    roundabout = Path("inventories") / ".." / ".." / "ws" / "inventories" / "lab.yaml"
    assert load_workspace(root, inventory=[roundabout]).config_digest == plain
    assert load_workspace(tmp_path / "link", inventory=[root / "inventories" / "lab.yaml"]).config_digest == plain
    assert load_workspace(root / "inventories" / "..", desired=[root / "desired" / "lab.yaml"]).config_digest == plain


def test_workspace_the_examples_of_the_repository_load_without_warning() -> None:
    fleets = {"demo": {"ada", "bea", "cleo"}, "gpu-router": {"small", "plain", "large"}, "containers": {"dora", "emil"}}
    for name, nodes in fleets.items():
        workspace = load_workspace(REPOSITORY, fleet=name)
        assert set(workspace.fleet.nodes) == nodes
        assert workspace.warnings == ()


@pytest.mark.parametrize("name", BUILTIN_FLEETS)
def test_workspace_an_example_declares_what_its_simulated_fleet_has(name: str) -> None:
    nodes = load_workspace(REPOSITORY, fleet=name).fleet.nodes
    simulated = builtin_fleet(name).nodes
    assert set(nodes) == {node.name for node in simulated}
    for node in simulated:
        declared = nodes[node.name]
        served = [engine for engine in declared.engines if engine.runtime is Runtime.EXTERNAL]
        assert {(engine.id.engine, engine.kind.value, urlsplit(engine.url).port) for engine in served} == {
            (engine.name, engine.kind, engine.port) for engine in node.engines
        }
        sizes = [card.total_bytes for card in declared_cards(declared) or ()]
        assert sizes == [card.vram for card in node.gpus]
        assert [(card.name, card.compute_capability, card.foreign) for card in declared.gpus or ()] == [
            (card.name, card.compute_capability and parse_capability(card.compute_capability), card.foreign) for card in node.gpus
        ]
        assert declared.ram in (None, node.ram)


def test_workspace_gpu_router_has_the_sizes_of_its_deployment() -> None:
    workspace = load_workspace(REPOSITORY, fleet="gpu-router")
    small = workspace.fleet.nodes["small"]
    assert small.gpus is not None
    assert small.limits.vram_safety_margin is not None
    assert small.gpus[0].vram is not None
    assert int(small.gpus[0].vram * small.limits.vram_safety_margin) // MIB == 3276
    assert {spec.name: (spec.vram or 0) // MIB for spec in workspace.desired.models} == {
        "mxbai-embed-large": 705,
        "nomic-embed-text": 274,
        "llama3.1:latest": 4700,
        "llama3.2:3b": 1900,
    }
    assert workspace.fleet.nodes["plain"].gpus == ()


def test_workspace_schemas_name_the_keys_that_are_read() -> None:
    desired = json_schema("desired")
    properties = desired["properties"]
    assert isinstance(properties, dict)
    resources = {"models", "agents", "agent_types", "services", "files"}
    assert set(properties) == {"version", "placement", "limits", "policy", "priority_models"} | resources
    assert "$defs" in json_schema("inventory")
    with pytest.raises(ValueError, match="there is no schema"):
        json_schema("plan")  # type: ignore[arg-type]


def test_workspace_jinja_is_imported_only_for_real_templates(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from reconciler.workspace import load_workspace;"
        "load_workspace(Path(sys.argv[1])); assert 'jinja2' not in sys.modules"
    )
    root = fleet(tmp_path, "lab")
    (root / "inventories" / "lab.yaml").write_text(HOSTS.replace("//a", "//{{ inventory_hostname }}"))
    assert os.spawnv(os.P_WAIT, sys.executable, [sys.executable, "-c", code, str(root)]) == 0


def test_workspace_ten_thousand_nodes_are_read_in_seconds(tmp_path: Path) -> None:
    def seconds(count: int) -> float:
        root = tmp_path / str(count)
        (root / "inventories" / "group_vars").mkdir(parents=True)
        (root / "desired").mkdir()
        (root / "inventories" / "big.yaml").write_text(f"gpu: {{hosts: {{'node[00001:{count:05}]': }}}}\n")
        cards = "".join(f"  - {{index: {index}, vram: 80GiB}}\n" for index in range(8))
        (root / "inventories" / "group_vars" / "gpu.yaml").write_text(
            f"engines: {{ollama: {{url: 'http://{{{{ inventory_hostname }}}}:11434'}}}}\ngpus:\n{cards}"
        )
        models = "".join(f"  m{index}: {{on: all}}\n" for index in range(10))
        (root / "desired" / "big.yaml").write_text(f"version: 1\nmodels:\n{models}")
        before = time.process_time()
        assert len(load_workspace(root).fleet.nodes) == count
        return time.process_time() - before

    assert seconds(10_000) < 10
