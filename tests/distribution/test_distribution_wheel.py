"""The wheel that is built from this checkout works by itself: what is no Python in it (templates, catalogue, schemas) is there."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

import reconciler
from reconciler.operations.schemas import NAMES

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def gpurec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command, from the wheel and nothing of this checkout, in an environment that sees the libraries of this one."""
    folder = tmp_path_factory.mktemp("wheel")
    build = f"import hatchling.build; print(hatchling.build.build_wheel({str(folder)!r}))"
    name = subprocess.run([sys.executable, "-c", build], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()[-1]
    venv.create(folder / "env", with_pip=False)
    (packages,) = (folder / "env").glob("lib/python*/site-packages")
    python = folder / "env" / "bin" / "python"
    where = ["--python", str(python), "--no-index", "--no-deps", "--no-compile"]
    subprocess.run([sys.executable, "-m", "pip", *where[:2], "install", "-q", *where[2:], str(folder / name)], check=True)
    # added to the path as it is, without its own .pth files: by one of them this checkout would come in
    libraries = Path(pytest.__file__).parents[1]
    (packages / "libraries.pth").write_text(f"{libraries}\n")
    return folder / "env" / "bin" / "gpurec"


def said(gpurec: Path, *arguments: str, cwd: Path) -> str:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("GPUREC_", "PYTHON"))}
    done = subprocess.run([str(gpurec), *arguments], cwd=cwd, env=clean, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_is_the_wheel_that_runs(gpurec: Path, tmp_path: Path) -> None:
    assert reconciler.__version__ in said(gpurec, "--version", cwd=tmp_path)
    where = "import reconciler; print(reconciler.__file__)"
    python = gpurec.with_name("python")
    found = subprocess.run([str(python), "-c", where], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert Path(found.strip()).is_relative_to(gpurec.parents[1])


@pytest.mark.parametrize("name", NAMES)
def test_the_schemas_are_in_it(gpurec: Path, tmp_path: Path, name: str) -> None:
    assert said(gpurec, "schema", name, cwd=tmp_path) == (ROOT / "reconciler" / "operations" / "schemas" / f"{name}.json").read_text()


def test_the_templates_are_in_it(gpurec: Path, tmp_path: Path) -> None:
    there = {path.stem for path in (ROOT / "reconciler" / "rendering" / "built_in").glob("*.j2")}
    assert {line.split()[0].removeprefix("gpurec:") for line in said(gpurec, "template", "list", cwd=tmp_path).splitlines()} == there


def test_a_new_workspace_is_made_and_read_with_the_catalogue_that_is_in_it(gpurec: Path, tmp_path: Path) -> None:
    said(gpurec, "init", "--no-look", cwd=tmp_path)
    assert said(gpurec, "validate", cwd=tmp_path).startswith("Valid.")


def test_every_file_of_the_package_is_in_it(gpurec: Path) -> None:
    (installed,) = gpurec.parents[1].glob("lib/python*/site-packages/reconciler")
    assert files_of(ROOT / "reconciler") == files_of(installed)


def files_of(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and path.parent.name != "__pycache__"}
