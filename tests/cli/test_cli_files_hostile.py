"""What stands in a file on a node, in a template and in what its judge says cannot drive a terminal or leave its place on a page."""

from __future__ import annotations

import re
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner

from reconciler.cli.main import cli

HOSTILE = (
    "evil\x1b[2J\x1b]0;title\x07 \u202eexe\u200b \x9b31m <script>alert(1)</script> <img src=x onerror=alert(1)>\n"
    "````\n</details>\n@someone\n  + load    model.forged@box/ollama\n"
)
FORBIDDEN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")
FENCED = re.compile(r"^(`{3,}|~{3,})[^`\n]*\n.*?^\1$", re.DOTALL | re.MULTILINE)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for folder in ("inventories", "desired", "templates", "nodes"):
        (tmp_path / folder).mkdir()
    (tmp_path / "inventories" / "lab.yaml").write_text("all: {hosts: {box: {ansible_connection: local, gpus: []}}}\n")
    (tmp_path / "templates" / "t.j2").write_text("# {{ vars.of }}\n" + HOSTILE)
    want(tmp_path, "first")
    return tmp_path


def want(root: Path, of: str, more: str = "") -> None:
    file = f"{{template: t.j2, per: node, to: '{root}/nodes/file', vars: {{of: {of}}}{more}}}"
    (root / "desired" / "lab.yaml").write_text(f"version: 1\nfiles: [{file}]\n")


def shown(root: Path, *arguments: str) -> str:
    result = CliRunner().invoke(cli, ["-C", str(root), *arguments])
    assert result.exit_code in (0, 2, 3), result.output
    assert not FORBIDDEN.search(result.output), (arguments, FORBIDDEN.search(result.output))
    return result.output


def everywhere(root: Path) -> list[str]:
    """A plan and the drift in every format; neither has what would be obeyed there."""
    pages = [shown(root, "plan", "--format", "html")]
    marked = [shown(root, command, "--format", "markdown") for command in ("plan", "drift")]
    others = [shown(root, command, "--format", form) for command in ("plan", "drift") for form in ("text", "json")]
    assert not [one for one in pages if "<script>alert" in one or "<img" in one]
    for one in marked:
        outside = FENCED.sub("", one)
        assert not re.search(r"<script|<img|forged|@someone", outside), outside
        assert outside.count("<details>") == outside.count("</details>")
    assert not [line for one in others for line in one.splitlines() if line.startswith("  + load")]
    return [*pages, *marked, *others]


def test_a_file_of_somebody_else_shows_nothing_of_itself_and_ours_is_shown_and_not_obeyed(root: Path) -> None:
    (root / "nodes" / "file").write_text("somebody's " + HOSTILE)
    found = everywhere(root)
    assert not [one for one in found if "somebody's" in one]
    assert "evil\\x1b[2J" in found[3]
    shown(root, "apply", "--auto-approve")
    (root / "nodes" / "file").write_text("by hand " + HOSTILE)
    want(root, "second")
    assert not [one for one in everywhere(root) if "by hand" in one]


def test_what_the_judge_and_the_reload_of_a_file_say_is_told_and_not_obeyed(root: Path) -> None:
    tool = root / "tool"
    tool.write_text(f"#!/bin/sh\ncat >&2 <<'END'\n{HOSTILE}END\nexit 1\n")
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    want(root, "first", f", validate: ['{tool}', '{{path}}']")
    assert "evil" in shown(root, "apply", "--auto-approve")
    want(root, "first", f", reload: ['{tool}']")
    assert "evil" in shown(root, "apply", "--auto-approve")
    shown(root, "history")
    shown(root, "status")
