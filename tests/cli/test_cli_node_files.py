"""Files on nodes: one for each node, engine or card, by ssh; approved before, read again after, left alone where nobody can look."""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from reconciler.cli.main import cli

INVENTORY = """\
all:
  hosts:
    amy: {{address: 198.51.100.1, probe: {{via: declared, user: ops}}, gpus: [{{vram: 8GiB}}, {{vram: 12GiB}}]{amy}}}
    bea:
      address: 198.51.100.2
      probe: {{via: declared, user: ops}}
      gpus: []
      engines: {{ollama: {{url: "http://127.0.0.1:9"}}}}
"""
SSH = """#!/bin/sh
echo >>{lab}/ssh-calls
while [ "$1" != -- ]; do shift; done
echo "$2" >>{lab}/ssh-hosts
[ -e {lab}/down-"$2" ] && {{ echo 'ssh: connect to host: Connection refused' >&2; exit 255; }}
shift 2
exec sh -c "$*"
"""


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for folder in ("inventories", "desired", "templates", "state", "nodes", "tools", "run"):
        (tmp_path / folder).mkdir(mode=0o700)
    (tmp_path / "templates" / "a.j2").write_text("# {{ node.name }}\nport {{ vars.port }}\n")
    hosts(tmp_path)
    program(tmp_path, "ssh", SSH.format(lab=tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path / 'tools'}:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    return tmp_path


def hosts(lab: Path, amy: str = "") -> None:
    (lab / "inventories" / "lab.yaml").write_text(INVENTORY.format(amy=amy))


def program(lab: Path, name: str, text: str) -> None:
    (lab / "tools" / name).write_text(text)
    (lab / "tools" / name).chmod(0o755)


def wish(lab: Path, *files: str) -> None:
    lines = "".join(f"  - {{template: a.j2, {one}}}\n" for one in files).replace("NODES", str(lab / "nodes"))
    (lab / "desired" / "lab.yaml").write_text(f"version: 1\nfiles:\n{lines or '  []'}\n")


ONE = 'per: node, to: "NODES/{{ node.name }}.conf", vars: {port: 1}'


def run(lab: Path, *arguments: str) -> Result:
    result = CliRunner().invoke(cli, ["-C", str(lab), *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def apply(lab: Path, *more: str) -> Result:
    return run(lab, "apply", "--auto-approve", *more)


def words(lab: Path, *arguments: str) -> str:
    return " ".join(run(lab, *arguments).stdout.split())


def planned(lab: Path, *more: str) -> list[tuple[str, str]]:
    document = json.loads(run(lab, "plan", "--format", "json", *more).stdout)
    return [(step["action"], step["address"].replace(str(lab), "")) for step in document["steps"]]


def calls(lab: Path) -> int:
    log = lab / "ssh-calls"
    found = len(log.read_text().splitlines()) if log.exists() else 0
    log.unlink(missing_ok=True)
    return found


def written(lab: Path) -> dict[str, str]:
    return {one.name: one.read_text() for one in sorted((lab / "nodes").iterdir())}


def test_each_node_gets_its_own_and_then_one_look_a_node_finds_nothing_to_do(lab: Path) -> None:
    wish(lab, ONE, 'per: node, on: amy, to: "NODES/second", vars: {port: 2}', 'per: node, on: amy, to: "NODES/third", vars: {port: 3}')
    assert planned(lab) == [
        ("create", "file./nodes/amy.conf@amy"),
        ("create", "file./nodes/bea.conf@bea"),
        ("create", "file./nodes/second@amy"),
        ("create", "file./nodes/third@amy"),
    ]
    calls(lab)
    apply(lab)
    assert calls(lab) == 2 + 2 * 4, "one look a node, then for each file a look and a write that says what is there after it"
    assert written(lab) == {
        "amy.conf": "# amy\nport 1\n",
        "bea.conf": "# bea\nport 1\n",
        "second": "# amy\nport 2\n",
        "third": "# amy\nport 3\n",
    }
    assert planned(lab) == []
    assert calls(lab) == 2


def test_each_engine_and_each_card_gets_its_own(lab: Path) -> None:
    (lab / "templates" / "a.j2").write_text("{{ (engine | default(gpu)).node }} {{ vars.what }}\n")
    wish(
        lab,
        'per: engine, to: "NODES/{{ engine.name }}.env", vars: {what: "{{ engine.url }}"}',
        'per: gpu, to: "NODES/{{ node.name }}-{{ gpu.index }}", vars: {what: "{{ gpu.vram_bytes // 2**30 }}"}',
    )
    apply(lab)
    assert written(lab) == {"amy-0": "amy 8\n", "amy-1": "amy 12\n", "ollama.env": "bea http://127.0.0.1:9\n"}


def test_files_for_cards_that_are_not_known_stay_until_they_are(lab: Path) -> None:
    (lab / "templates" / "a.j2").write_text("{{ gpu.index }}\n")
    wish(lab, 'per: gpu, on: amy, to: "NODES/{{ gpu.index }}"')
    apply(lab)
    inventory = lab / "inventories" / "lab.yaml"
    inventory.write_text(inventory.read_text().replace(", gpus: [{vram: 8GiB}, {vram: 12GiB}]", ""))
    assert planned(lab) == []
    assert "the cards of its node are not known" in words(lab, "plan")
    assert sorted(written(lab)) == ["0", "1"]


def test_new_content_takes_the_place_only_once_it_is_approved(lab: Path) -> None:
    program(lab, "judge", '#!/bin/sh\ncase $1 in */amy.conf) ;; *) echo "bad name $1" >&2; exit 2;; esac\n! grep -q \'port 2\' "$1"\n')
    approved = ONE + ", on: amy, validate: [judge, '{path}']"
    wish(lab, approved)
    assert "written only if this approves of it: judge '{path}'" in words(lab, "plan")
    apply(lab)
    assert written(lab) == {"amy.conf": "# amy\nport 1\n"}
    program(lab, "judge", "#!/bin/sh\nprintf 'port 2 is \\033[31mtaken\\n' >&2; exit 1\n")
    wish(lab, approved.replace("port: 1", "port: 2"))
    result = apply(lab)
    assert result.exit_code == 3
    assert "its `validate` refuses the new content: port 2 is" in " ".join(result.output.split())
    assert "\033[31mtaken" not in result.output
    assert written(lab) == {"amy.conf": "# amy\nport 1\n"}


def reloads(lab: Path) -> list[str]:
    log = lab / "reloads"
    found = log.read_text().splitlines() if log.exists() else []
    log.unlink(missing_ok=True)
    return found


def with_reload(lab: Path, port: int = 1, *more: str) -> None:
    program(lab, "again", f"#!/bin/sh\n[ -e {lab}/refuse ] && {{ echo no >&2; exit 1; }}\nls {lab}/nodes | xargs >>{lab}/reloads\n")
    wish(lab, *(f'per: node, on: amy, to: NODES/{name}, vars: {{port: {port}}}, reload: [again, "it"]' for name in ("a", "b", *more)))


def test_what_reads_the_files_is_told_once_after_all_of_them(lab: Path) -> None:
    with_reload(lab)
    assert planned(lab) == [("create", "file./nodes/a@amy"), ("create", "file./nodes/b@amy"), ("reload", "reload.again it@amy")]
    assert "2 files change that it reads" in words(lab, "plan")
    assert reloads(lab) == []
    apply(lab)
    assert reloads(lab) == ["a b"]
    assert planned(lab) == []
    apply(lab)
    assert reloads(lab) == []
    assert "reload." not in run(lab, "state", "list").stdout
    with_reload(lab, 1, "c")
    apply(lab)
    assert reloads(lab) == ["a b c"]
    with_reload(lab)
    assert planned(lab) == [("remove", "file./nodes/c@amy"), ("reload", "reload.again it@amy")]
    apply(lab)
    assert reloads(lab) == ["a b"]


def test_what_is_adopted_tells_nobody(lab: Path) -> None:
    with_reload(lab)
    for name in ("a", "b"):
        (lab / "nodes" / name).write_text("# amy\nport 1\n")
        (lab / "nodes" / name).chmod(0o644)
    assert planned(lab) == [("adopt", "file./nodes/a@amy"), ("adopt", "file./nodes/b@amy")]
    apply(lab)
    assert reloads(lab) == []


def test_a_reload_that_failed_is_made_up_for_by_the_next_apply(lab: Path) -> None:
    with_reload(lab)
    (lab / "refuse").touch()
    failed = apply(lab)
    assert failed.exit_code == 3
    assert "again it failed: no" in " ".join(failed.output.split())
    assert planned(lab) == [("reload", "reload.again it@amy")]
    assert "files that it reads were written before" in words(lab, "plan")
    (lab / "down-198.51.100.1").touch()
    assert planned(lab) == []
    (lab / "down-198.51.100.1").unlink()
    (lab / "refuse").unlink()
    apply(lab)
    assert reloads(lab) == ["a b"]
    assert planned(lab) == []


def test_a_reload_that_nobody_names_any_more_is_forgotten(lab: Path) -> None:
    with_reload(lab)
    (lab / "refuse").touch()
    apply(lab)
    wish(lab, *(f"per: node, on: amy, to: NODES/{name}, vars: {{port: 1}}" for name in ("a", "b")))
    assert planned(lab) == []
    apply(lab)
    assert "reload." not in run(lab, "state", "list").stdout
    with_reload(lab)
    assert planned(lab) == []


def test_a_saved_plan_that_was_carried_out_reloads_nothing_again(lab: Path) -> None:
    with_reload(lab)
    run(lab, "plan", "--out", str(lab / "a.plan"))
    run(lab, "apply", str(lab / "a.plan"))
    assert reloads(lab) == ["a b"]
    run(lab, "apply", str(lab / "a.plan"))
    assert reloads(lab) == []


def test_a_command_of_a_saved_plan_is_part_of_its_digest(lab: Path) -> None:
    with_reload(lab)
    saved = lab / "a.plan"
    run(lab, "plan", "--out", str(saved))
    saved.write_text(saved.read_text().replace('"again"', '"other"').replace("reload.again", "reload.other"))
    assert run(lab, "apply", str(saved)).exit_code == 6
    assert written(lab) == {}


def test_a_node_that_cannot_be_reached_is_unknown_and_the_rest_goes_on(lab: Path) -> None:
    wish(lab, ONE)
    apply(lab)
    (lab / "down-198.51.100.1").touch()
    wish(lab, ONE.replace("port: 1", "port: 2"))
    shown = words(lab, "plan")
    assert "refuses the connection" in shown
    assert planned(lab) == [("update", "file./nodes/bea.conf@bea")]
    apply(lab)
    wish(lab)
    assert planned(lab) == [("remove", "file./nodes/bea.conf@bea")]
    assert apply(lab).exit_code == 4
    assert written(lab) == {"amy.conf": "# amy\nport 1\n"}
    (lab / "down-198.51.100.1").unlink()
    assert planned(lab) == [("remove", "file./nodes/amy.conf@amy")]


@pytest.mark.parametrize(
    ("change", "kinds"),
    [
        (lambda path: path.write_text("\033[2Jsecret\n"), ["content"]),
        (lambda path: path.chmod(0o600), ["mode"]),
        (lambda path: path.unlink(), ["missing"]),
    ],
)
def test_a_change_by_hand_is_drift_and_put_right_and_never_shown(lab: Path, change: object, kinds: list[str]) -> None:
    wish(lab, ONE)
    apply(lab)
    path = lab / "nodes" / "amy.conf"
    change(path)  # type: ignore[operator]
    found = run(lab, "drift", "--format", "json")
    assert [one["kind"] for one in json.loads(found.stdout)["drift"]] == kinds
    assert "secret" not in found.stdout + run(lab, "plan").output
    apply(lab)
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("# amy\nport 1\n", 0o644)


def test_without_a_look_a_file_is_taken_to_be_as_it_was_written(lab: Path) -> None:
    wish(lab, ONE)
    apply(lab)
    calls(lab)
    wish(lab, ONE.replace("port: 1", "port: 2"), "per: node, on: amy, to: NODES/new, vars: {port: 1}")
    assert planned(lab, "--refresh", "never") == [("update", "file./nodes/amy.conf@amy"), ("update", "file./nodes/bea.conf@bea")]
    shown = words(lab, "plan", "--refresh", "never")
    assert "+port 2" in shown
    assert "nodes are not asked" in shown
    assert calls(lab) == 0


def test_a_limit_takes_the_files_of_its_nodes(lab: Path) -> None:
    wish(lab, ONE)
    assert planned(lab, "--limit", "bea") == [("create", "file./nodes/bea.conf@bea")]
    apply(lab, "--limit", "bea")
    assert list(written(lab)) == ["bea.conf"]
    wish(lab)
    assert planned(lab, "--limit", "amy") == []


def test_the_file_of_another_owner_needs_leave_to_become_root(lab: Path) -> None:
    other = "nobody" if getpass.getuser() != "nobody" else "root"
    program(lab, "sudo", f'#!/bin/sh\necho "$*" >>{lab}/sudo-calls\nshift 2\nexec "$@"\n')
    program(lab, "chown", f'#!/bin/sh\n[ -e {lab}/sudo-calls ] && exec /bin/chown "$@"\nexit 1\n')
    wish(lab, f"{ONE}, on: amy, owner: {other}")
    refused = apply(lab)
    assert refused.exit_code == 3
    assert "only root gives files away: `ansible_become: true` for the host" in " ".join(refused.output.split())
    assert written(lab) == {}
    hosts(lab, ", ansible_become: yes")
    apply(lab)
    assert set((lab / "sudo-calls").read_text().splitlines()) == {"-n -- sh -s"}
    if os.geteuid() == 0:
        assert (lab / "nodes" / "amy.conf").owner() == other
        assert planned(lab) == []


def test_two_names_of_one_machine_do_not_write_one_file(lab: Path) -> None:
    inventory = lab / "inventories" / "lab.yaml"
    inventory.write_text(inventory.read_text().replace("198.51.100.2", "198.51.100.1"))
    wish(lab, "per: node, to: NODES/same, vars: {port: 1}")
    result = apply(lab)
    assert result.exit_code == 1
    assert "/nodes/same@amy are one file" in result.stderr.replace(str(lab), "")
    assert written(lab) == {}


def test_what_is_there_as_a_folder_is_said_and_left(lab: Path) -> None:
    (lab / "nodes" / "amy.conf").mkdir()
    wish(lab, f"{ONE}, on: amy")
    assert planned(lab) == []
    assert "it is there and is no file" in words(lab, "plan")


def test_a_thousand_files_on_a_hundred_nodes_that_are_as_wanted_cost_one_question_a_node(lab: Path) -> None:
    names = [f"n{number:03}" for number in range(100)]
    listed = "".join(f"    {one}: {{address: {one}.example, probe: {{via: declared}}, gpus: []}}\n" for one in names)
    (lab / "inventories" / "lab.yaml").write_text(f"all:\n  hosts:\n{listed}")
    wish(lab, *(f'per: node, to: "NODES/{{{{ node.name }}}}-{number}", vars: {{port: {number}}}' for number in range(10)))
    for one in names:
        for number in range(10):
            (lab / "nodes" / f"{one}-{number}").write_text(f"# {one}\nport {number}\n")
    document = json.loads(run(lab, "plan", "--format", "json").stdout)
    assert document["summary"]["adopt"] == 1000
    assert calls(lab) == 100


def test_a_file_that_is_as_wanted_costs_two_questions_at_most_when_it_is_adopted_and_none_after(lab: Path) -> None:
    wish(lab, *(f'per: node, to: "NODES/{{{{ node.name }}}}-{number}", vars: {{port: {number}}}' for number in range(5)))
    for node in ("amy", "bea"):
        for number in range(5):
            (lab / "nodes" / f"{node}-{number}").write_text(f"# {node}\nport {number}\n")
    apply(lab)
    assert calls(lab) <= 2 + 2 * 10
    assert planned(lab) == []
    assert calls(lab) == 2


@pytest.fixture
def secret(lab: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A file whose template prints a secret, and the secret."""
    value = "hunter2-hunter2-'\"$x"
    monkeypatch.setenv("TOKEN", value)
    (lab / "templates" / "a.j2").write_text("port 1\nkey {{ vars.key }}\n")
    wish(lab, SECRET)
    return value


SECRET = 'per: node, on: amy, to: NODES/a, mode: "0600", vars: {key: "env:TOKEN"}'


def state_bytes(lab: Path) -> bytes:
    return b"".join(one.read_bytes() for one in (lab / "state").iterdir())


def test_a_secret_is_in_the_file_and_nowhere_else(lab: Path, secret: str) -> None:
    saved = lab / "a.plan"
    shown = run(lab, "plan", "--out", str(saved)).output
    assert "+key (secret env:TOKEN)" in shown
    applied_ = run(lab, "apply", str(saved)).output
    assert written(lab) == {"a": f"port 1\nkey {secret}\n"}
    told = shown + applied_ + saved.read_text() + run(lab, "state", "show", f"file.{lab}/nodes/a@amy").output
    assert "hunter2" not in told
    assert "_key" not in told
    assert b"hunter2" not in state_bytes(lab)
    assert hashlib.sha256(written(lab)["a"].encode()).hexdigest().encode() not in state_bytes(lab)
    assert planned(lab) == []


def test_a_secret_that_changed_is_told_and_written_and_its_values_are_not(lab: Path, secret: str, monkeypatch: pytest.MonkeyPatch) -> None:
    apply(lab)
    monkeypatch.setenv("TOKEN", "correct-horse")
    shown = run(lab, "plan").output
    assert [line.strip() for line in shown.splitlines() if "differs)" in line] == [
        "-key (secret env:TOKEN: differs)",
        "+key (secret env:TOKEN: differs)",
    ]
    assert "changed since gpurec wrote it" not in shown
    apply(lab)
    assert written(lab) == {"a": "port 1\nkey correct-horse\n"}
    assert planned(lab) == []


def test_where_a_secret_is_not_known_a_plan_can_be_made_and_not_carried_out(
    lab: Path, secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TOKEN")
    assert planned(lab) == [("create", "file./nodes/a@amy")]
    result = apply(lab)
    assert result.exit_code == 3
    assert "the environment variable TOKEN is not set" in " ".join(result.output.split())
    assert written(lab) == {}
    monkeypatch.setenv("TOKEN", secret)
    apply(lab)
    monkeypatch.delenv("TOKEN")
    assert planned(lab) == []


def test_a_change_by_hand_of_a_file_with_a_secret_is_drift_and_removed_only_as_we_left_it(lab: Path, secret: str) -> None:
    apply(lab)
    (lab / "nodes" / "a").write_text(f"port 2\nkey {secret}\n")
    found = run(lab, "drift", "--format", "json").stdout
    assert [one["kind"] for one in json.loads(found)["drift"]] == ["content"]
    assert hashlib.sha256(written(lab)["a"].encode()).hexdigest() not in found
    apply(lab)
    assert planned(lab) == []
    wish(lab)
    assert planned(lab) == [("remove", "file./nodes/a@amy")]
    apply(lab)
    assert written(lab) == {}


def test_what_a_judge_or_a_reload_says_back_has_no_secret_in_it(lab: Path, secret: str) -> None:
    program(lab, "judge", '#!/bin/sh\nprintf "%0280d" 0 >&2; cat "$1" >&2; exit 1\n')
    wish(lab, SECRET + ", validate: [judge, '{path}']")
    result = apply(lab)
    assert result.exit_code == 3
    assert "refuses the new content" in " ".join(result.output.split())
    program(lab, "again", f"#!/bin/sh\ncat {lab}/nodes/a >&2; exit 1\n")
    wish(lab, SECRET + ", reload: [again]")
    failed = apply(lab).output
    assert "key (the key)" in " ".join(failed.split())
    assert "hunter2" not in result.output + failed
    assert b"hunter2" not in state_bytes(lab)


@pytest.mark.parametrize(
    "use",
    [
        "{{ vars.key | upper }}", "{{ vars.key | length }}", "{{ 'a' ~ vars.key }}", "{{ 'a' + vars.key }}", "{{ [vars.key] }}",
        "{{ vars.key | tojson }}", "{{ '%s' % vars.key }}", "{{ [vars.key, 'b'] | join }}", "{{ vars.key[0] }}", "{{ vars.key._mark }}",
        "{% set x %}{{ vars.key }}{% endset %}{{ x }}", "{% macro m() %}{{ vars.key }}{% endmacro %}{{ m() }}", "{{ vars.key | string }}",
        "{% filter upper %}{{ vars.key }}{% endfilter %}", "{{ '\ufdd0env:HOME\ufdd1' }}", "\ufdd0env:HOME\ufdd1",
        "{{ '%denv:HOME%d' | replace('%d', '\ufdd0') }}",
    ],
)  # fmt: skip
def test_a_secret_is_printed_whole_and_nothing_else_is_done_with_it(lab: Path, secret: str, use: str) -> None:
    (lab / "templates" / "a.j2").write_text(f"line\n{use}\n")
    result = run(lab, "render", "--check")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: templates/a.j2")
    assert "cannot be rendered" in result.stderr


def test_what_a_node_says_never_stands_for_a_secret(lab: Path, secret: str) -> None:
    hosts(lab, ', labels: {zone: "\ufdd0env:TOKEN\ufdd1"}')
    (lab / "templates" / "a.j2").write_text("{{ node.labels.zone }}\n")
    assert run(lab, "render", "--check").exit_code == 1
