"""Two engines of the inventory that lead to one server: nothing is planned for them, and both places are named."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from reconciler.cli.main import cli
from reconciler.sim import read_sim_text, running

SIM = """
time_scale: 0
nodes:
  o: {gpus: [{name: card, vram: 8GiB}], engines: {e: {kind: ollama, installed: [{name: "m:1", size: 1GB}]}}}
"""
INVENTORY = """
all:
  hosts:
    a: {engines: {ollama: {url: "%s"}}, gpus: [{index: 0, vram: 8GiB}]}
    b: {engines: {e: {kind: ollama, url: "%s/"}}, gpus: [{index: 0, vram: 8GiB}]}
"""


def workspace(root: Path, url: str, other: str) -> Path:
    wanted = 'version: 1\nmodels: {"m:1": {replicas: 2, vram: 1GiB}}\n'
    for folder, text in (("inventories", INVENTORY % (url, other)), ("desired", wanted)):
        (root / folder).mkdir()
        (root / folder / "lab.yaml").write_text(text)
    return root


def ran(root: Path, *arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli, ["-C", str(root), *arguments])
    return result.exit_code, result.output


def test_one_server_under_two_hosts_is_refused_with_both_places_and_sent_nothing(tmp_path: Path) -> None:
    with running(read_sim_text(SIM, "one")) as fleet:
        server = fleet.engines["o/e"]
        root = workspace(tmp_path, server.url, server.url.replace("127.0.0.1", "localhost"))
        for arguments in (("validate",), ("plan",), ("apply", "--auto-approve"), ("import",)):
            code, said = ran(root, *arguments)
            assert code == 1
            assert f"inventories/lab.yaml:4:33: engine a/ollama ({server.url}) and engine b/e (" in said
            assert "at inventories/lab.yaml:5:42 lead to one server" in said
        assert {method for method, path, *_ in server.requests if path != "/api/show"} == {"GET"}


def test_of_urls_at_which_nothing_answers_only_validate_says_so(tmp_path: Path) -> None:
    root = workspace(tmp_path, "http://127.0.0.1:9", "http://127.0.0.1:9")
    assert ran(root, "validate")[0] == 1
    assert ran(root, "plan")[0] == 0
