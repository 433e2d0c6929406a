"""The locks hold what is asked for, and everything in them by version and hash. `make lock` writes them."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "requirements"
LOCKS = sorted(path.stem for path in FOLDER.glob("*.txt"))


def asked(name: str) -> list[Requirement]:
    """What a lock is made from: pyproject.toml with or without its extras, or a file of requirements and those that override it."""
    if name in ("dev", "image"):
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        lines = [*project["dependencies"]]
        if name == "dev":
            lines += [line for extra in project["optional-dependencies"].values() for line in extra]
    else:
        files = [FOLDER / f"{name}.in", *FOLDER.glob(f"{name}.overrides")]
        lines = [line for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    return [Requirement(text) for line in lines if (text := line.split("#")[0].strip())]


def entries(name: str) -> list[str]:
    """The packages of a lock, each with its hashes on one line."""
    text = re.sub(r"^\s*#.*\n", "", (FOLDER / f"{name}.txt").read_text(encoding="utf-8"), flags=re.MULTILINE)
    return text.replace("\\\n", "").splitlines()


@pytest.mark.parametrize("name", LOCKS)
def test_requirements_a_lock_holds_every_package_that_is_asked_for(name: str) -> None:
    locked: dict[str, list[str]] = {}
    for entry in entries(name):
        one = Requirement(entry.split(" --hash=")[0])
        (version,) = one.specifier
        assert version.operator == "=="
        locked.setdefault(canonicalize_name(one.name), []).append(version.version)
    wanted = asked(name)
    assert wanted
    for one in wanted:
        versions = locked.get(canonicalize_name(one.name), [])
        assert versions, f"{one.name} is not in requirements/{name}.txt; run make lock"
        assert all(map(one.specifier.contains, versions)), f"{one} is not what requirements/{name}.txt has; run make lock"


@pytest.mark.parametrize("name", LOCKS)
def test_requirements_everything_in_a_lock_has_hashes_and_no_address(name: str) -> None:
    found = entries(name)
    assert found
    for entry in found:
        assert re.fullmatch(r"[a-z0-9-]+==\S+( ; [^@]+?)?(\s+--hash=sha256:[0-9a-f]{64})+", entry), entry


def test_requirements_everything_that_asks_has_a_lock() -> None:
    assert {"dev", "image", *(path.stem for path in FOLDER.glob("*.in"))} == set(LOCKS)


def test_requirements_the_image_has_the_versions_that_its_wheels_are_taken_in_and_no_installer() -> None:
    pinned = {name: {entry.split(" --hash=")[0].strip() for entry in entries(name)} for name in ("image", "users")}
    assert pinned["image"] < pinned["users"]
    assert not any(re.match(r"(pip|hatchling)==", one) for one in pinned["image"])
