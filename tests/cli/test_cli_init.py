"""A new workspace."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from reconciler.cli.main import cli


def test_init_makes_a_workspace_and_never_overwrites(tmp_path: Path) -> None:
    mine = tmp_path / "ws" / "desired" / "default.yaml"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    first = CliRunner().invoke(cli, ["init", str(tmp_path / "ws")])
    assert first.exit_code == 0
    assert mine.read_text() == "mine"
    inventory = tmp_path / "ws" / "inventories" / "default.yaml"
    assert "http://127.0.0.1:11434" in inventory.read_text()
    assert "/state/" in (tmp_path / "ws" / ".gitignore").read_text()
    second = CliRunner().invoke(cli, ["-C", str(tmp_path), "init", "ws"])
    assert second.stdout.count("kept") == 3
    assert "created" not in second.stdout
