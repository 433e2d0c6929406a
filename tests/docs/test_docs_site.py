"""The site: every page is in its navigation by a title, and its reference says of every code what helps."""

from __future__ import annotations

import importlib.util
import re
from types import ModuleType

import pytest
from pages import ROOT

PLACEMENT = ROOT / "reconciler" / "placement"


@pytest.fixture(scope="module")
def site() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_site", ROOT / "docs" / "site.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_says_what_to_do_about_every_reason(site: ModuleType) -> None:
    told = (PLACEMENT / "explain.py").read_text()
    codes = set(re.findall(r'(?:case |^    )"(\w+)":', told, re.MULTILINE)) | {"never_with", "with"}
    for room in ("fit.py", "eligibility.py"):
        codes |= set(re.findall(r'return "(\w+)"', (PLACEMENT / room).read_text()))
    assert set(site.ADVICE) == codes


def test_the_reference_has_every_command_metric_and_key_of_the_plan(site: ModuleType) -> None:
    pages = site.reference()
    for command in ("plan", "state list", "serve", "explain"):
        assert f"## `gpurec {command}`" in pages["commands"]
    for metric in ("gpurec_apply_steps_total", "gpurec_engine_up", "gpu_memory_used_mb", "gpurec_look_seconds"):
        assert f"| `{metric}` |" in pages["metrics"]
    assert "| `digest` | string |" in pages["plan"]
    assert all(f"| **{status}** |" in pages["exit-status"] for status in (0, 1, 2, 3, 4, 5, 6, 7, 130, 141))


def test_every_page_is_in_the_navigation() -> None:
    named = set(re.findall(r": ([\w./-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE))
    pages = {page.relative_to(ROOT / "docs").as_posix() for page in (ROOT / "docs").glob("**/*.md") if "decisions" not in page.parts}
    assert {name for name in named if not name.startswith("reference/")} == pages
