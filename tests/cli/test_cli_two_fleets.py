"""One state for two fleets: refused by every command, with both names and how to rename, before any node is asked."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_lab import SMALL, Lab, served
from click.testing import CliRunner

from reconciler.cli.main import cli
from reconciler.sim import builtin_fleet

APPLY = ("apply", "--auto-approve")


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with served(builtin_fleet("demo").with_time_scale(0), tmp_path) as lab:
        lab.want(SMALL)
        (tmp_path / "inventories" / "other.yaml").write_text((tmp_path / "inventories" / "demo.yaml").read_text())
        (tmp_path / "desired" / "other.yaml").write_text(SMALL)
        (tmp_path / "outside").mkdir()
        for name in ("inventory", "desired"):
            folder = "inventories" if name == "inventory" else name
            (tmp_path / "outside" / f"{name}.yaml").write_text((tmp_path / folder / "other.yaml").read_text())
        assert lab.run("--fleet", "demo", *APPLY).exit_code == 0
        yield lab


@pytest.mark.parametrize(
    "command",
    [
        APPLY,
        ("plan",),
        ("plan", "--refresh", "never"),
        ("drift",),
        ("status",),
        ("facts",),
        ("import",),
        ("models",),
        ("doctor",),
        ("pin",),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("which", ["a fleet of the workspace", "files outside it"])
def test_every_command_for_another_fleet_is_refused_and_asks_no_node(lab: Lab, command: tuple[str, ...], which: str) -> None:
    if which == "a fleet of the workspace":
        chosen, name = ("--fleet", "other"), "other"
    else:
        chosen = ("-i", str(lab.root / "outside" / "inventory.yaml"), "-f", str(lab.root / "outside" / "desired.yaml"))
        name = "inventory"
    lab.fleet.forget_requests()
    result = lab.run(*chosen, "--state", "state/demo.db", *command)
    assert result.exit_code == 1
    assert f"this is the state of the fleet demo, and the command is for the fleet {name}" in result.stderr
    assert f"gpurec state rename-fleet demo {name}" in result.stderr
    assert not [request for engine in lab.fleet.engines.values() for request in engine.requests]


@pytest.mark.parametrize(
    "command",
    [("state", "list"), ("state", "check"), ("state", "mv", "ada", "zoe"), ("history",), ("lock", "status"), ("state", "backup", "copy")],
    ids=" ".join,
)
def test_what_looks_after_the_state_is_refused_only_where_another_fleet_is_named(lab: Lab, command: tuple[str, ...]) -> None:
    assert "the fleet demo" in lab.run("--state", "state/demo.db", "--fleet", "other", *command).stderr
    assert lab.run("--state", "state/demo.db", *command).exit_code == 0


def test_a_saved_plan_is_refused_for_the_state_of_another_fleet(lab: Lab) -> None:
    assert lab.run("--fleet", "other", "plan", "--out", "p.json").exit_code == 0
    result = lab.run("--fleet", "other", "--state", "state/demo.db", "apply", "p.json")
    assert result.exit_code == 1
    assert "the state of the fleet demo" in result.stderr


def test_after_a_rename_the_state_serves_the_new_name(lab: Lab) -> None:
    renamed = lab.run("--state", "state/demo.db", "state", "rename-fleet", "demo", "other")
    assert renamed.exit_code == 0
    assert "the state of the fleet other now" in renamed.stdout
    assert lab.run("--fleet", "other", "--state", "state/demo.db", "plan").exit_code == 0
    assert lab.run("--fleet", "demo", "plan").exit_code == 1
    assert "state rename-fleet demo other" in lab.run("--fleet", "other", "--state", "state/demo.db", "history").stdout


def test_a_name_that_is_none_is_not_taken(lab: Lab) -> None:
    result = lab.run("--state", "state/demo.db", "state", "rename-fleet", "demo", "../x")
    assert result.exit_code == 1
    assert "is not the name of a fleet" in result.stderr


@pytest.mark.parametrize("command", [APPLY, ("state", "restore", "copy")], ids=" ".join)
def test_a_mistyped_folder_of_the_state_is_refused_and_not_made(lab: Lab, command: tuple[str, ...]) -> None:
    lab.run("--fleet", "demo", "state", "backup", "copy")
    lab.fleet.forget_requests()
    result = lab.run("--fleet", "demo", "--state", str(lab.root / "mistyped" / "x.db"), *command)
    assert result.exit_code == 1
    assert "does not exist" in result.stderr
    assert "--state-new" in result.stderr
    assert not (lab.root / "mistyped").exists()
    assert not [request for engine in lab.fleet.engines.values() for request in engine.requests]


def test_with_state_new_the_folder_is_made_and_the_new_state_said(lab: Lab) -> None:
    where = lab.root / "new" / "folder" / "x.db"
    result = lab.run("--fleet", "demo", "--state", str(where), *APPLY, "--state-new")
    assert result.exit_code == 0
    assert f"Note: set up a new state for the fleet demo: {where}" in result.stderr
    assert where.exists()


def test_a_fresh_clone_has_no_state_folder_and_gets_one(lab: Lab) -> None:
    for path in lab.state.parent.iterdir():
        path.unlink()
    lab.state.parent.rmdir()
    result = lab.run("--fleet", "demo", *APPLY)
    assert result.exit_code == 0
    assert "Note: set up a new state for the fleet demo" in result.stderr
    assert lab.state.exists()


def test_two_inventories_of_one_file_name_are_two_fleets_until_somebody_says_that_they_are_one(lab: Lab) -> None:
    for name in ("one", "two"):
        (lab.root / name).mkdir()
        (lab.root / name / "hosts.yaml").write_text((lab.root / "inventories" / "demo.yaml").read_text())
    one, two = (("-i", str(lab.root / name / "hosts.yaml"), "-f", "desired/demo.yaml") for name in ("one", "two"))
    assert lab.run(*one, *APPLY).exit_code == 0
    lab.fleet.forget_requests()
    for command in (APPLY, ("plan",), ("drift",)):
        refused = lab.run(*two, *command)
        assert refused.exit_code == 1
        assert "the state of the fleet hosts of one/hosts.yaml, and the command is for two/hosts.yaml" in refused.stderr
        assert "--fleet hosts where it is the same one" in refused.stderr
    assert not [request for engine in lab.fleet.engines.values() for request in engine.requests]
    assert lab.run("--fleet", "other", *two, "plan").exit_code == 0
    assert lab.run("--fleet", "hosts", *two, *APPLY).exit_code == 0
    assert lab.run(*two, "drift").exit_code == 0
    assert lab.run(*one, "plan").exit_code == 1


def test_the_state_of_a_fleet_of_the_same_name_elsewhere_is_refused_and_keeps_what_it_owns(lab: Lab) -> None:
    elsewhere = lab.root / "elsewhere"
    for folder, text in (
        ("inventories", "all: {hosts: {zoe: {engines: {}}, yan: {engines: {}}}}\n"),
        ("desired", "version: 1\nmodels: {}\n"),
    ):
        (elsewhere / folder).mkdir(parents=True)
        (elsewhere / folder / "demo.yaml").write_text(text)
    lab.fleet.forget_requests()
    owned = lab.run("--fleet", "demo", "state", "list").stdout
    for command in (APPLY, ("plan",), ("plan", "--refresh", "never"), ("drift",), ("status",)):
        refused = CliRunner().invoke(cli, ["-C", str(elsewhere), "--state", str(lab.state), *command])
        assert refused.exit_code == 1, command
        assert "the inventory has only yan, zoe" in refused.stderr
        assert "name the state of this inventory with --state or GPUREC_STATE" in refused.stderr
        assert "gpurec state mv" in refused.stderr
    assert not [request for engine in lab.fleet.engines.values() for request in engine.requests]
    assert lab.run("--fleet", "demo", "state", "list").stdout == owned
    nodes = {line.rpartition("@")[2].partition("/")[0] for line in owned.split()}
    for node in sorted(nodes)[:1]:
        assert lab.run("--fleet", "demo", "state", "mv", node, "zoe").exit_code == 0
    assert (
        CliRunner().invoke(cli, ["-C", str(elsewhere), "--state", str(lab.state), "plan"]).exit_code == 0
    )  # one node is known: it is that fleet


def test_several_inventories_of_the_command_or_of_the_environment_are_one(lab: Lab) -> None:
    (lab.root / "more hosts").mkdir()
    (lab.root / "more hosts" / "demo.yaml").write_text("all: {hosts: {zoe: {engines: {}}}}\n")
    both = ("inventories/demo.yaml", "more hosts/demo.yaml")
    named = lab.run(*(f"--inventory={name}" for name in both), "inventory").stdout
    assert "zoe" in named
    assert named.count("\nzoe") == 1
    assert "ada" in named
    environment = {"GPUREC_INVENTORY": os.pathsep.join(both)}
    assert CliRunner().invoke(cli, ["-C", str(lab.root), "inventory"], env=environment).stdout == named


def test_a_mistyped_workspace_gets_no_folder(lab: Lab, tmp_path: Path) -> None:
    files = ("-i", str(tmp_path / "outside" / "inventory.yaml"), "-f", str(tmp_path / "desired" / "demo.yaml"))
    result = CliRunner().invoke(cli, ["-C", str(tmp_path / "mistyped"), *files, *APPLY])
    assert result.exit_code == 1
    assert not (tmp_path / "mistyped").exists()


def test_a_plan_goes_through_a_link_and_a_pipe_and_keeps_them(lab: Lab) -> None:
    (lab.root / "real.json").touch(0o640)
    (lab.root / "link.json").symlink_to("real.json")
    assert lab.run("--fleet", "demo", "plan", "--out", "link.json").exit_code == 0
    assert (lab.root / "link.json").is_symlink()
    assert (lab.root / "real.json").read_text().startswith("{")
    result = lab.run("--fleet", "demo", "plan", "--out", "mistyped/p.json")
    assert (result.exit_code, (lab.root / "mistyped").exists()) == (1, False)
    result = lab.run("--fleet", "demo", "import", "--out", "mistyped/d.yaml")
    assert (result.exit_code, (lab.root / "mistyped").exists()) == (1, False)


def test_a_state_that_others_may_write_is_said_at_every_use_and_refused_for_an_apply(lab: Lab) -> None:
    lab.state.chmod(0o666)
    lab.fleet.forget_requests()
    for command in (("plan",), ("drift",), ("status",), ("state", "list"), ("history",), ("lock", "status")):
        result = lab.run("--fleet", "demo", *command)
        assert "can be written by others (mode 0666)" in result.stderr, command
        assert result.exit_code == 0, command
    lab.fleet.forget_requests()
    refused = lab.run("--fleet", "demo", *APPLY)
    assert refused.exit_code == 1
    assert "--allow-unsafe-state" in refused.stderr
    assert not [request for engine in lab.fleet.engines.values() for request in engine.requests]
    assert lab.run("--fleet", "demo", "--allow-unsafe-state", *APPLY).exit_code == 0


@pytest.mark.parametrize("mode", [0o777, 0o773])
def test_no_state_is_set_up_where_the_next_apply_would_refuse_it(lab: Lab, mode: int) -> None:
    public = lab.root / "public"
    public.mkdir()
    public.chmod(mode)
    lab.fleet.forget_requests()
    for where in (public / "x.db", public / "new" / "x.db"):
        refused = lab.run("--fleet", "demo", "--state-new", "--state", str(where), *APPLY)
        assert refused.exit_code == 1
        assert "the state is not yours alone" in refused.stderr
        refused = lab.run("--fleet", "demo", "--state-new", "state", "copy", str(lab.state), str(where))
        assert refused.exit_code == 1
        assert "the state is not yours alone" in refused.stderr
    assert not list(public.iterdir())
    assert not [request for engine in lab.fleet.engines.values() for request in engine.requests]


def test_a_state_that_a_link_of_a_stranger_leads_to_is_said_and_refused_for_an_apply(lab: Lab) -> None:
    public = lab.root / "public"
    public.mkdir()
    public.chmod(0o1777)
    (public / "x.db").symlink_to(lab.state)
    named = ("--fleet", "demo", "--state", str(public / "x.db"))
    said = f"on its way is {public / 'x.db'}, a symbolic link in a folder that others may write to"
    assert said in lab.run(*named, "state", "list").stderr
    refused = lab.run(*named, *APPLY)
    assert (refused.exit_code, said in refused.stderr) == (1, True)
    checked = lab.run(*named, "state", "check").stdout
    assert "on its way is" in checked


@pytest.mark.parametrize(
    ("file", "command"),
    [
        ("desired/demo.lock.yaml", ("pin",)),
        ("templates/nginx.j2", ("template", "eject", "nginx")),
        ("rendered", ("render",)),
        (".gpurec", ("init", "--no-look")),
    ],
)
def test_what_a_command_writes_by_itself_stays_in_the_workspace(
    lab: Lab, tmp_path_factory: pytest.TempPathFactory, file: str, command: tuple[str, ...]
) -> None:
    (lab.root / "desired" / "demo.yaml").write_text(
        (lab.root / "desired" / "demo.yaml").read_text() + "files: [{template: a.j2, per: fleet, to: a.txt}]\n"
    )
    (lab.root / "templates").mkdir(exist_ok=True)
    (lab.root / "templates" / "a.j2").write_text("text\n")
    outside = tmp_path_factory.mktemp("outside") / "new"
    (lab.root / file).symlink_to(outside)
    refused = lab.run("--fleet", "demo", *command)
    assert (refused.exit_code, outside.exists()) == (1, False)
    assert "leads out of the workspace" in refused.stderr
    assert "--allow-outside-links" in refused.stderr
    done = lab.run("--fleet", "demo", "--allow-outside-links", *command)
    assert (done.exit_code, outside.exists()) == (0, True), done.stderr
