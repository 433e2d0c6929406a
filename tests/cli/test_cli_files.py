"""Files of this machine from templates: planned, shown as a diff, written whole, drifted, removed."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from reconciler.cli.main import cli

INVENTORY = """\
all:
  hosts:
    bea: {engines: {ollama: {url: "http://127.0.0.1:9"}, more: {kind: ollama, url: "http://127.0.0.1:10"}}, gpus: [], probe: {via: none}}
    amy: {gpus: [], probe: {via: none}}
  children:
    two: {hosts: {bea: {}}}
"""
TEMPLATE = "# {{ fleet }}\nlisten {{ vars.port }}\n{% for node in nodes %}\n# {{ node.name }}\n{% endfor %}\n"


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    for folder in ("inventories", "desired", "templates", "state", "out"):
        (tmp_path / folder).mkdir()
    (tmp_path / "inventories" / "lab.yaml").write_text(INVENTORY)
    (tmp_path / "templates" / "gateway.j2").write_text(TEMPLATE)
    wish(tmp_path)
    return tmp_path


def wish(lab: Path, files: str = "[{template: gateway.j2, to: out/gateway.conf, vars: {port: 8080}}]") -> None:
    (lab / "desired" / "lab.yaml").write_text(f"version: 1\nfiles: {files}\n")


def run(lab: Path, *arguments: str) -> Result:
    result = CliRunner().invoke(cli, ["-C", str(lab), *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def apply(lab: Path) -> Result:
    return run(lab, "apply", "--auto-approve")


def steps(lab: Path) -> list[tuple[str, str]]:
    return [(step["action"], step["address"]) for step in json.loads(run(lab, "plan", "--format", "json").stdout)["steps"]]


AT = "file.out/gateway.conf@local"


def test_a_file_is_written_as_rendered_and_the_next_plan_is_empty(lab: Path) -> None:
    shown = run(lab, "plan").stdout
    assert f"+ create  {AT}  is wanted and not there" in shown
    assert "+listen 8080" in shown
    apply(lab)
    written = lab / "out" / "gateway.conf"
    assert written.read_text().splitlines()[:4] == ["# lab", "listen 8080", "", "# amy"]
    assert stat.S_IMODE(written.stat().st_mode) == 0o644
    assert [one.name for one in (lab / "out").iterdir()] == ["gateway.conf"]
    assert steps(lab) == []
    assert run(lab, "state", "list").stdout == f"{AT}\n"


def test_a_changed_template_shows_what_changes_of_what_was_written(lab: Path) -> None:
    apply(lab)
    wish(lab, "[{template: gateway.j2, to: out/gateway.conf, vars: {port: 9090}}]")
    shown = run(lab, "plan").stdout
    assert f"~ update  {AT}  content differs" in shown
    assert [line.strip() for line in shown.splitlines() if "listen " in line] == ["-listen 8080", "+listen 9090"]
    assert "sha256" not in shown.partition("Plan: ")[0]
    apply(lab)
    assert "listen 9090" in (lab / "out" / "gateway.conf").read_text()
    assert steps(lab) == []


def test_a_file_that_is_as_wanted_is_adopted_and_not_written_again(lab: Path) -> None:
    apply(lab)
    written = lab / "out" / "gateway.conf"
    run(lab, "state", "rm", AT)
    before = written.stat().st_ino
    assert steps(lab) == [("adopt", AT)]
    apply(lab)
    assert written.stat().st_ino == before
    assert steps(lab) == []


@pytest.mark.parametrize(
    ("change", "kinds"),
    [
        (lambda path: path.write_text("secret of somebody\n"), ["content"]),
        (lambda path: path.chmod(0o600), ["mode"]),
        (lambda path: path.unlink(), ["missing"]),
    ],
)
def test_a_change_by_hand_is_drift_and_is_put_right(lab: Path, change: object, kinds: list[str]) -> None:
    apply(lab)
    change(lab / "out" / "gateway.conf")  # type: ignore[operator]
    found = run(lab, "drift", "--format", "json")
    document = json.loads(found.stdout)
    assert [(one["address"], one["kind"]) for one in document["drift"]] == [(AT, kind) for kind in kinds]
    assert found.exit_code == 2
    assert "secret of somebody" not in run(lab, "plan").stdout + found.stdout
    apply(lab)
    assert json.loads(run(lab, "drift", "--format", "json").stdout)["drift"] == []
    assert "listen 8080" in (lab / "out" / "gateway.conf").read_text()


def test_a_file_of_somebody_else_is_told_by_its_size_and_replaced_only_by_an_approved_plan(lab: Path) -> None:
    (lab / "out" / "gateway.conf").write_text("private\n")
    shown = run(lab, "plan").stdout
    assert "private" not in shown
    assert "was not written by gpurec: 8 bytes" in shown
    assert (lab / "out" / "gateway.conf").read_text() == "private\n"


def test_a_file_that_left_the_files_is_removed_where_it_is_as_we_wrote_it(lab: Path) -> None:
    apply(lab)
    wish(lab, "[]")
    assert steps(lab) == [("remove", AT)]
    apply(lab)
    assert not (lab / "out" / "gateway.conf").exists()
    assert run(lab, "state", "list").stdout == ""


@pytest.mark.parametrize("spelling", ["./out/gateway.conf", "out//gateway.conf", "{lab}/out/gateway.conf", "linked/gateway.conf"])
def test_a_file_whose_path_is_spelled_anew_stays(lab: Path, spelling: str) -> None:
    apply(lab)
    (lab / "linked").symlink_to("out")
    wish(lab, f"[{{template: gateway.j2, to: {spelling.format(lab=lab)}, vars: {{port: 8080}}}}]")
    assert "remove" not in {action for action, _ in steps(lab)}
    apply(lab)
    assert "listen 8080" in (lab / "out" / "gateway.conf").read_text()
    assert steps(lab) == []


def test_a_file_that_somebody_changed_is_forgotten_and_stays(lab: Path) -> None:
    apply(lab)
    (lab / "out" / "gateway.conf").write_text("mine\n")
    wish(lab, "[]")
    shown = run(lab, "plan").stdout
    assert steps(lab) == []
    assert "it is left there and forgotten" in " ".join(shown.split())
    apply(lab)
    assert (lab / "out" / "gateway.conf").read_text() == "mine\n"
    assert run(lab, "state", "list").stdout == ""


def test_a_saved_plan_writes_just_what_it_shows(lab: Path) -> None:
    saved = lab / "a.plan"
    run(lab, "plan", "--out", str(saved))
    run(lab, "apply", str(saved))
    assert "listen 8080" in (lab / "out" / "gateway.conf").read_text()


def test_a_saved_plan_is_stale_once_the_file_or_its_template_moved(lab: Path) -> None:
    saved = lab / "a.plan"
    run(lab, "plan", "--out", str(saved))
    (lab / "out" / "gateway.conf").write_text("came meanwhile\n")
    stale = run(lab, "apply", str(saved))
    assert stale.exit_code == 6
    assert "it is there now" in stale.stderr
    (lab / "out" / "gateway.conf").unlink()
    (lab / "templates" / "gateway.j2").write_text("other\n")
    assert run(lab, "apply", str(saved)).exit_code == 6
    assert not (lab / "out" / "gateway.conf").exists()


def test_an_edited_text_in_a_saved_plan_is_refused(lab: Path) -> None:
    saved = lab / "a.plan"
    run(lab, "plan", "--out", str(saved))
    saved.write_text(saved.read_text().replace("listen 8080", "listen 6666"))
    assert run(lab, "apply", str(saved)).exit_code in (1, 6)
    assert not (lab / "out" / "gateway.conf").exists()


@pytest.mark.parametrize(
    ("template", "files", "says"),
    [
        ("{{ nothing }}\n", None, "templates/gateway.j2:1: this template cannot be rendered: 'nothing' is undefined"),
        (
            "a\n{{ fleet.name }}\n",
            None,
            "gateway.j2:2: this template cannot be rendered: text has no attribute 'name', in {{ fleet.name }}; ",
        ),
        (
            "{% if nodes[0].nme %}{% endif %}",
            None,
            "a node has no attribute 'nme', in {% if nodes[0].nme %}; a node has address, engines, gpus, labels, name, ram_bytes",
        ),
        ("{{ nodes[99].name }}", None, "cannot be rendered: a list has no element 99"),
        ("a\n{% if %}\n", None, "templates/gateway.j2:2: this template cannot be rendered"),
        ("a\n{{ fleet.__class__.__mro__ }}\n", None, "templates/gateway.j2:2: this template cannot be rendered"),
        ("{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}", None, "cannot be rendered"),
        ("{{ '\\ud800' }}", None, "templates/gateway.j2: this template cannot be rendered: it renders to half a character"),
        ("{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}", None, "templates/gateway.j2: this template cannot be rendered"),
        ("{{ 1" + "+1" * 5000 + " }}", None, "templates/gateway.j2: this template cannot be rendered"),
        ("{{ " + "1" * 5000 + " }}", None, "templates/gateway.j2: this template cannot be rendered: Exceeds the limit"),
        ("{% for i in [1] %}" * 30 + "{% endfor %}" * 30, None, "this template cannot be rendered: too many statically nested blocks"),
        ("{{ 1 }}" * 50_000, None, "templates/gateway.j2: this template cannot be rendered: it has 350,000 characters"),
        ("a\n", "[{template: none.j2, to: x}]", "lab.yaml:2:20: templates/none.j2 does not exist"),
        ("a\n", "[{template: ../desired/lab.yaml, to: x}]", "is no file of templates/"),
        ("a\n", "[{template: gateway.j2, to: ../x}]", "is no path of a file"),
        ("a\n", "[{template: gateway.j2, to: x, mode: 644}]", 'write it as "0644"'),
        ("a\n", "[{template: gateway.j2, to: x}, {template: gateway.j2, to: x}]", "two files are written to 'x'"),
        ("a\n", "[{template: gateway.j2, to: x}, {template: gateway.j2, to: .//x}]", "two files are written to 'x'"),
        ("a\n", "[{template: gateway.j2, to: linked/x}, {template: gateway.j2, to: out/x}]", "two files are written to 'out/x'"),
        ("a\n", "[{template: gateway.j2, to: .}]", "is no path of a file"),
        ("a\n", "[{template: gateway.j2, to: ~/x}]", "is no path of a file"),
        ("a\n", "[{template: gateway.j2, to: state/lab.db}]", "'state/lab.db' is among the files that gpurec itself reads or keeps"),
        ("a\n", "[{template: gateway.j2, to: ./desired/lab.yaml}]", "'desired/lab.yaml' is among the files that gpurec itself reads"),
        ("a\n", "[{template: gateway.j2, to: x, per: node}]", "'to' of a file on a node is not absolute; write its whole path"),
        ("a\n", "[{template: gateway.j2, to: /x, per: nodes}]", "'per' of a file cannot be 'nodes'; did you mean 'node'?"),
        ("a\n", "[{template: gateway.j2, to: x, on: bea}]", "'on' goes with one file for each node, engine or card"),
        ("a\n", "[{template: gateway.j2, to: /x, per: node, on: eve}]", "'on' of a file: "),
        ("a\n", "[{template: gateway.j2, to: x, owner: 'a b'}]", "'owner' of a file is no name of a user"),
        ("a\n", "[{template: gateway.j2, to: x, validate: [true]}]", "an item of 'validate' of a file must be text"),
        ("a\n", "[{template: gateway.j2, to: x, validate: [nginx, -t]}]", "says nowhere {path}; write {path} where"),
        ("a\n", "[{template: gateway.j2, to: x, reload: systemctl reload nginx}]", "'reload' of a file must be a list"),
        ("a\n", "[{template: gateway.j2, to: x, reload: [bin/reload]}]", "'reload' of a file names no program"),
        ("a\n", "[{template: gateway.j2, to: 'x-{{ replicas | length }}'}]", "'to' speaks of replicas"),
        ("a\n", "[{template: gateway.j2, to: 'x-{{ node.name }}'}]", "lab.yaml:2: this template cannot be rendered: 'node' is undefined"),
        ("a\n", "[{template: gateway.j2, to: '{{ fleet }}/../x'}]", "`to` renders to 'lab/../x' for node local"),
        ("a\n", "[{template: gateway.j2, to: '{{ \"state\" }}/x'}]", "'state/x' is among the files that gpurec itself reads or keeps"),
        (
            "a\n",
            "[{template: gateway.j2, to: '/x-{{ fleet }}', per: node}, {template: gateway.j2, to: /x-lab, per: node, on: amy}]",
            "two files of amy are written to '/x-lab', the first at desired/lab.yaml:2:9",
        ),
        ("a\n", "[{template: gateway.j2, to: /x, per: engine, on: two}]", "say in `to` which engine it is for, as in {{ engine.name }}"),
        (
            "a\n",
            "[{template: gateway.j2, to: x, vars: {a: '{{ 1/0 }}'}}]",
            "lab.yaml:2: this template cannot be rendered: division by zero",
        ),
        ("a\n", "{a: b}", "'files' must be a list"),
    ],
)
def test_what_is_wrong_is_one_sentence_with_its_place_and_nothing_is_written(
    lab: Path, template: str, files: str | None, says: str
) -> None:
    (lab / "templates" / "gateway.j2").write_text(template)
    (lab / "linked").symlink_to("out")
    if files is not None:
        wish(lab, files)
    result = apply(lab)
    assert result.exit_code == 1
    assert says in result.stderr
    assert list((lab / "out").iterdir()) == []


def test_a_file_whose_folder_is_missing_fails_with_what_to_do(lab: Path) -> None:
    wish(lab, "[{template: gateway.j2, to: nowhere/gateway.conf, vars: {port: 1}}]")
    result = apply(lab)
    assert result.exit_code == 3
    assert "make the folder first" in result.stdout + result.stderr


def test_a_file_that_somebody_else_puts_back_again_and_again_is_held(lab: Path) -> None:
    apply(lab)
    written = lab / "out" / "gateway.conf"
    written.write_text("theirs\n")
    apply(lab)
    written.write_text("theirs\n")
    shown = " ".join(run(lab, "plan").stdout.split())
    assert steps(lab) == []
    assert "was put right within the last hour and is not as wanted again (content)" in shown
    assert apply(lab).exit_code == 3
    assert written.read_text() == "theirs\n"
    wish(lab, "[{template: gateway.j2, to: out/gateway.conf, vars: {port: 9}}]")
    assert steps(lab) == [("update", AT)]
    apply(lab)
    assert steps(lab) == []


def other_fleet(lab: Path, files: str) -> None:
    (lab / "inventories" / "two.yaml").write_text(INVENTORY)
    (lab / "desired" / "two.yaml").write_text(f"version: 1\nfiles: {files}\n")


def test_two_fleets_of_a_workspace_do_not_write_one_file(lab: Path) -> None:
    other_fleet(lab, "[{template: gateway.j2, to: ./out/gateway.conf, vars: {port: 1}}]")
    result = run(lab, "--fleet", "lab", "apply", "--auto-approve")
    assert result.exit_code == 1
    assert "desired/lab.yaml:2:9: 'out/gateway.conf' is a file of the fleet two too, at desired/two.yaml:2:9" in result.stderr


def test_a_file_that_went_over_to_another_fleet_is_given_up_and_not_removed(lab: Path) -> None:
    apply(lab)
    other_fleet(lab, "[{template: gateway.j2, to: out/gateway.conf, vars: {port: 1}}]")
    wish(lab, "[]")
    run(lab, "--fleet", "lab", "apply", "--auto-approve")
    assert (lab / "out" / "gateway.conf").exists()
    assert run(lab, "--fleet", "lab", "state", "list").stdout == ""


def test_a_state_elsewhere_is_never_written_as_a_file(lab: Path) -> None:
    wish(lab, "[{template: gateway.j2, to: out/own.db, vars: {port: 1}}]")
    result = run(lab, "--state", "out/own.db", "apply", "--auto-approve")
    assert result.exit_code == 1
    assert "'out/own.db' is the state of this fleet" in result.stderr


def test_the_way_back_says_that_it_takes_no_file_back(lab: Path) -> None:
    apply(lab)
    (lab / "templates" / "gateway.j2").write_text("later\n")
    apply(lab)
    result = run(lab, "rollback", "1")
    assert "No changes" in result.stdout
    assert "models go back, and what `files:` writes do not: they are as the files of now make them" in result.stderr


def test_with_a_limit_nothing_is_done_about_files(lab: Path) -> None:
    assert json.loads(run(lab, "plan", "--limit", "bea", "--format", "json").stdout)["steps"] == []


def test_a_text_too_long_to_compare_is_told_by_its_lines(lab: Path) -> None:
    (lab / "templates" / "gateway.j2").write_text("{% for one in range(12000) %}{{ one }} {{ vars.port }}\n{% endfor %}")
    shown = run(lab, "plan").stdout
    assert "! 0 lines become 12,000: too many to show what changes" in shown
    assert apply(lab).exit_code in (0, 4)
    assert len((lab / "out" / "gateway.conf").read_text().splitlines()) == 12000
