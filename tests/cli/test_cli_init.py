"""A new workspace: with what listens there, or as an example; never over a file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from cli_lab import POLL
from click.testing import CliRunner, Result

from reconciler.cli.main import cli
from reconciler.cli.settings import Settings
from reconciler.sim import SimFleet, builtin_fleet, running


def gpurec(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments, obj=Settings(poll_seconds=POLL))


def test_init_makes_a_workspace_and_never_overwrites(tmp_path: Path) -> None:
    mine = tmp_path / "ws" / "desired" / "default.yaml"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    first = gpurec("init", str(tmp_path / "ws"))
    assert first.exit_code == 0
    assert mine.read_text() == "mine"
    inventory = tmp_path / "ws" / "inventories" / "default.yaml"
    assert "http://127.0.0.1:11434" in inventory.read_text()
    assert "/state/" in (tmp_path / "ws" / ".gitignore").read_text()
    second = gpurec("-C", str(tmp_path), "init", "ws")
    assert second.stdout.count("kept") == 5
    assert "created" not in second.stdout


def test_an_editor_finds_the_schema_of_each_file_from_where_the_file_is(tmp_path: Path) -> None:
    assert gpurec("init", "--no-look", str(tmp_path)).exit_code == 0
    for name in ("inventory", "desired"):
        file = tmp_path / ("inventories" if name == "inventory" else "desired") / "default.yaml"
        path = file.read_text().splitlines()[0].removeprefix("# yaml-language-server: $schema=")
        assert (file.parent / path).read_text() == gpurec("schema", name).stdout


def test_the_example_takes_a_file_for_each_node(tmp_path: Path) -> None:
    gpurec("init", "--no-look", str(tmp_path))
    desired = tmp_path / "desired" / "default.yaml"
    desired.write_text(desired.read_text() + "files:\n  - {template: gpurec:app-gpu, per: node, to: /etc/gpu.yaml}\n")
    checked = gpurec("-C", str(tmp_path), "validate")
    assert (checked.exit_code, checked.stdout[:6]) == (0, "Valid.")


@pytest.fixture
def fleet() -> Iterator[SimFleet]:
    with running(builtin_fleet("demo").with_time_scale(0).on_free_ports()) as fleet:
        yield fleet


def ports(fleet: SimFleet) -> list[str]:
    return [word for engine in fleet.engines.values() for word in ("--port", engine.url.rpartition(":")[2])]


def test_a_box_with_an_ollama_is_under_gpurec_in_four_commands_without_looking_anything_up(fleet: SimFleet, tmp_path: Path) -> None:
    """Its cards cannot be read; where they can, `--gpu` is left away. Nothing but what was typed or printed is used; no file is edited."""
    held = fleet.engines["ada/ollama"]
    httpx.post(f"{held.url}/api/generate", json={"model": "llama3.1:8b", "keep_alive": -1}, timeout=30).raise_for_status()
    before = len(held.requests)
    made = gpurec("init", str(tmp_path), "--port", held.url.rpartition(":")[2], "--gpu", "24GiB")
    assert made.exit_code == 0, made.output
    assert f"Found ollama at {held.url}.\nWhat they hold is in desired/default.yaml.\n" in made.stderr
    assert "Warning" not in made.stderr
    here = ("-C", str(tmp_path))
    following = made.stderr.splitlines()[-1]
    assert following.endswith("gpurec plan")
    planned = gpurec(*here, "plan", "--format", "json")
    assert [(step["action"], step["address"].partition("@")[0]) for step in json.loads(planned.stdout)["steps"]] == [
        ("adopt", "model.llama3.1:8b")
    ]
    assert gpurec(*here, "apply", "--auto-approve").exit_code == 0
    assert gpurec(*here, "plan").stdout.startswith("No changes.")
    assert {one.path for one in held.requests[before:] if one.method != "GET"} <= {"/api/show"}, "nothing was loaded"


def test_where_cards_cannot_be_read_the_line_that_declares_them_and_the_next_command_are_told(fleet: SimFleet, tmp_path: Path) -> None:
    held = fleet.engines["ada/ollama"]
    httpx.post(f"{held.url}/api/generate", json={"model": "llama3.1:8b", "keep_alive": -1}, timeout=30).raise_for_status()
    made = gpurec("init", str(tmp_path), "--port", held.url.rpartition(":")[2])
    told = next(line for line in made.stderr.splitlines() if line.startswith("Declare the cards at "))
    number = int(told.partition("default.yaml:")[2].partition(",")[0])
    inventory = tmp_path / "inventories" / "default.yaml"
    lines = inventory.read_text().splitlines(keepends=True)
    lines[number - 1 : number + 1] = [line.replace("# ", "", 1) for line in lines[number - 1 : number + 1]]
    inventory.write_text("".join(lines))
    assert "What they hold is in" not in made.stderr, "nothing is"
    following = made.stderr.splitlines()[-1]
    assert following.startswith(f"Next, once that is mended: cd {tmp_path} && gpurec import ")
    again = following.partition("&& gpurec ")[2].partition(",")[0].split()
    assert gpurec("-C", str(tmp_path), *again).exit_code == 0
    assert gpurec("-C", str(tmp_path), "apply", "--auto-approve").exit_code == 0
    assert gpurec("-C", str(tmp_path), "plan").stdout.startswith("No changes.")


def test_cards_are_declared_of_each_host_or_of_the_one_that_is_named(fleet: SimFleet, tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text("all: {hosts: {gpu1: {ansible_host: 127.0.0.1}, away: {ansible_host: 127.0.0.2}}}\n")
    port = fleet.engines["ada/ollama"].url.rpartition(":")[2]
    words = ("-C", str(tmp_path), "init", "-i", "site.yaml", "--port", port)
    for wrong, why in (("gpu9:8GiB", "gpu9 is not looked at"), ("gpu1:x", "x"), ("1KiB", "is no size of a card")):
        refused = gpurec(*words, "--gpu", wrong, "new")
        assert refused.exit_code == 1
        assert why in refused.output + str(refused.exception)
        assert not (tmp_path / "new").exists()
    assert gpurec(*words, "--gpu", "24GiB", "--gpu", "gpu1:8GiB", "new").exit_code == 0
    written = (tmp_path / "new" / "inventories" / "default.yaml").read_text()
    assert "gpus:\n            - {index: 0, vram: 24GiB}\n            - {index: 1, vram: 8GiB}\n" in written
    assert gpurec("-C", str(tmp_path / "new"), "validate").stdout.startswith("Valid. Fleet default: 1 node, 1 engine, 2 declared cards")


def test_each_kind_is_told_by_its_answers(fleet: SimFleet, tmp_path: Path) -> None:
    assert gpurec("init", str(tmp_path), *ports(fleet)).exit_code == 0
    shown = json.loads(gpurec("-C", str(tmp_path), "inventory", "--format", "json").stdout)
    (host,) = shown["_meta"]["hostvars"].values()
    kinds = sorted(one["kind"] for one in host["engines"].values())
    assert kinds == ["llamacpp", "ollama", "ollama"]
    assert len(host["engines"]) == len(fleet.engines)


def test_the_hosts_of_an_ansible_inventory_are_looked_at_by_their_addresses(fleet: SimFleet, tmp_path: Path) -> None:
    hosts = "gpu1: {ansible_host: 127.0.0.1, ansible_user: ops}, away: {ansible_host: '127.0.0.{{ last }}', last: 2}"
    (tmp_path / "site.yaml").write_text(f"lab: {{hosts: {{{hosts}}}}}\n")
    port = fleet.engines["ada/ollama"].url.rpartition(":")[2]
    made = gpurec("-C", str(tmp_path), "init", "-i", "site.yaml", "--port", port)
    assert made.exit_code == 0, made.output
    written = (tmp_path / "inventories" / "default.yaml").read_text()
    assert "        gpu1:\n          address: 127.0.0.1\n" in written.replace('"', "")
    assert "        # away (127.0.0.2): no engine answers there\n" in written
    assert gpurec("-C", str(tmp_path), "validate").stdout.startswith("Valid.")
    again = gpurec("-C", str(tmp_path), "init", "-i", "site.yaml", "--port", port)
    assert "created" not in again.stdout
    assert (tmp_path / "inventories" / "default.yaml").read_text() == written


def test_an_inventory_that_cannot_be_read_makes_no_workspace(tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text("lab:\n  hosts: [gpu1]\n")
    refused = gpurec("-C", str(tmp_path), "init", "-i", "site.yaml", "new")
    assert refused.exit_code == 1
    assert "site.yaml:2" in str(refused.exception) + refused.output
    assert not (tmp_path / "new").exists()
    assert gpurec("-C", str(tmp_path), "init", "-i", "site.yaml", "--host", "gpu1").exit_code != 0


def test_engines_that_hold_nothing_are_followed_by_what_to_write(fleet: SimFleet, tmp_path: Path) -> None:
    made = gpurec("init", str(tmp_path), *ports(fleet))
    assert "They hold nothing now: write what is wanted into desired/default.yaml." in made.stderr
    assert gpurec("-C", str(tmp_path)).stdout.endswith("Next: write what is wanted into the desired state, then gpurec plan\n")


def test_where_nothing_listens_an_example_is_written_that_plans(tmp_path: Path) -> None:
    made = gpurec("init", str(tmp_path), "--no-look")
    assert "Next: " in made.stderr
    assert "llama3.2:1b" in (tmp_path / "desired" / "default.yaml").read_text()
    assert gpurec("-C", str(tmp_path), "validate").exit_code == 0


def test_what_answers_otherwise_is_no_engine(fleet: SimFleet, tmp_path: Path) -> None:
    engine = fleet.engines["ada/ollama"]
    engine.set_fault("garbage")
    made = gpurec("init", str(tmp_path), "--port", engine.url.rpartition(":")[2])
    assert made.exit_code == 0
    assert "Found" not in made.stderr
    assert f"No engine answers on 127.0.0.1 (ports {engine.url.rpartition(':')[2]}): this is an example." in made.stderr


def test_bare_gpurec_says_where_a_workspace_stands_and_the_next_command(fleet: SimFleet, tmp_path: Path) -> None:
    assert "Commands:" in gpurec("-C", str(tmp_path)).output
    assert gpurec("-C", str(tmp_path)).exit_code == 1
    url = fleet.engines["ada/ollama"].url
    gpurec("init", str(tmp_path), "--no-look")
    (inventory := tmp_path / "inventories" / "default.yaml").write_text(
        f"all: {{hosts: {{ada: {{engines: {{ollama: {{url: '{url}'}}}}, gpus: [{{index: 0, vram: 24GiB}}]}}}}}}\n"
    )
    desired = tmp_path / "desired" / "default.yaml"
    desired.write_text("version: 1\nmodels: {nomic-embed-text: {vram: 350MiB}}\n")
    first = gpurec("-C", str(tmp_path))
    assert first.stdout == (
        "Fleet default: 1 node, 1 engine, 1 model wanted\nNothing was applied yet.\nNext: gpurec plan, then gpurec apply\n"
    ), first.output
    assert gpurec("-C", str(tmp_path), "apply", "--auto-approve").exit_code == 0
    assert gpurec("-C", str(tmp_path)).stdout.endswith("Next: gpurec drift shows what changed since, gpurec status what stands\n")
    desired.write_text("version: 1\nmodels: {nomic-embed-text: {vram: 400MiB}}\n")
    assert "The files were changed since.\nNext: gpurec plan\n" in gpurec("-C", str(tmp_path)).stdout
    inventory.rename(tmp_path / "inventories" / "lab.yaml")
    (tmp_path / "inventories" / "attic.yaml").write_text("all: {}\n")
    assert gpurec("-C", str(tmp_path)).stdout == "A workspace of 2 fleets: attic, lab\nNext: gpurec --fleet attic\n"
    desired.rename(tmp_path / "desired" / "lab.yaml").write_text("version: 2\n")
    broken = gpurec("-C", str(tmp_path), "--fleet", "lab")
    assert broken.exit_code == 1
    assert "Next: mend them, then gpurec validate" in broken.stderr
