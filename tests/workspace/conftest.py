"""A workspace in a temporary folder, written from plain texts."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.fleet import WorkspaceError
from reconciler.workspace import Workspace, load_workspace

HOSTS = """
all:
  hosts:
    a: {engines: {ollama: {url: "http://a:11434"}}}
"""
MODELS = """
version: 1
models:
  m: {}
"""


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes files (path to text, dedented) below a new workspace and returns its folder."""

    def files(**texts: str) -> Path:
        for name, text in texts.items():
            path = tmp_path / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text).lstrip("\n"), encoding="utf-8")
        return tmp_path

    return files


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Workspace]:
    """Loads a fleet `x` from an inventory text and a desired text."""

    def read(inventory: str = HOSTS, desired: str = MODELS, **more: str) -> Workspace:
        texts = {"inventories/x.yaml": inventory, "desired/x.yaml": desired, **more}
        for name, text in texts.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text).lstrip("\n"), encoding="utf-8")
        return load_workspace(tmp_path)

    return read


@pytest.fixture
def problems(load: Callable[..., Workspace]) -> Callable[..., list[str]]:
    """The sentences with which a workspace is refused."""

    def read(inventory: str = HOSTS, desired: str = MODELS, **more: str) -> list[str]:
        with pytest.raises(WorkspaceError) as raised:
            load(inventory, desired, **more)
        return [problem.sentence() for problem in raised.value.problems]

    return read
