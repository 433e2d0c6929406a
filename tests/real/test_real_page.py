"""The page of a plan as readers have it: in Chromium, by axe-core, keyboard, a narrow window, dark, paper, and without script."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest
from browser import opened

from reconciler.planning.plan import Plan
from reconciler.views.html import plan_html

_SPEC = importlib.util.spec_from_file_location("plans_of_views", Path(__file__).parents[1] / "views" / "conftest.py")
assert _SPEC is not None
assert _SPEC.loader is not None
PLANS = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(PLANS)
NAMES = ("FULL_PLAN", "EMPTY_PLAN", "HOSTILE_PLAN")


def written(name: str, tmp_path: Path) -> Path:
    plan = getattr(PLANS, name)
    assert isinstance(plan, Plan)
    file = tmp_path / f"{name}.html"
    file.write_text(plan_html(plan))
    return file


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 320])
@pytest.mark.parametrize("name", NAMES)
def test_axe_finds_nothing_and_nothing_is_asked_for_or_wider_than_the_window(name: str, width: int, dark: bool, tmp_path: Path) -> None:
    with opened(written(name, tmp_path), width=width, dark=dark) as page:
        assert page.axe() == []
        assert page.overflow() == 0
        assert (page.requests, page.errors) == ([], [])


def test_a_plan_of_ten_thousand_steps_opens_and_is_judged_as_any_other(tmp_path: Path) -> None:
    file = tmp_path / "large.html"
    file.write_text(plan_html(PLANS.large_plan()))
    with opened(file) as page:
        assert page.axe() == []
        assert page.overflow() == 0
        assert page.page.evaluate("document.querySelectorAll('*').length") < 10_000
        page.page.locator("#filter").fill("gpu0999 unload")
        (row,) = page.page.locator("tr[data-row]:visible").all_inner_texts()
        assert "model.old@gpu0999/ollama" in row
    with opened(file, width=320) as page:
        assert page.overflow() == 0


def test_a_fold_of_alike_nodes_is_found_by_the_name_of_each(tmp_path: Path) -> None:
    nodes = [f"gpu{at:02}" for at in range(20)]
    steps = tuple(PLANS.step(PLANS.Action.LOAD, "m", node, "ollama", "missing", id=node) for node in nodes)
    file = tmp_path / "alike.html"
    file.write_text(plan_html(replace(PLANS.EMPTY_PLAN, steps=steps)))
    with opened(file) as page:
        page.page.locator("#filter").fill("gpu17")
        assert page.page.locator("tr[data-row]:visible").count() == 1


def test_the_keyboard_reaches_the_filter_and_every_fold_and_filters(tmp_path: Path) -> None:
    with opened(written("FULL_PLAN", tmp_path)) as page:
        folds = page.page.locator("details").count()
        assert folds >= 2
        visited = []
        for _ in range(30):
            page.page.keyboard.press("Tab")
            visited.append(page.page.evaluate("document.activeElement.tagName"))
        assert visited.count("INPUT") >= 1
        assert visited.count("SUMMARY") >= folds
        page.page.locator("summary").first.focus()
        was = page.page.locator("details").first.evaluate("fold => fold.open")
        page.page.keyboard.press("Enter")
        assert page.page.locator("details").first.evaluate("fold => fold.open") is not was
        page.page.locator("#filter").focus()
        page.page.keyboard.type("gemma2")
        rows = page.page.locator("tr[data-row]:visible")
        assert 0 < rows.count() < page.page.locator("tr[data-row]").count()
        assert all("gemma2" in text for text in rows.all_inner_texts())
        assert page.axe() == []


def test_no_cell_of_a_narrow_window_is_squeezed_to_single_letters(tmp_path: Path) -> None:
    with opened(written("FULL_PLAN", tmp_path), width=320) as page:
        cells = "[...document.querySelectorAll('td')].filter(cell => cell.offsetHeight > 200).map(cell => cell.textContent)"
        assert page.page.evaluate(cells) == []


def test_paper_is_white_and_has_every_fold_open(tmp_path: Path) -> None:
    with opened(written("FULL_PLAN", tmp_path), dark=True) as page:
        page.page.evaluate("document.querySelectorAll('details').forEach(fold => { fold.open = false; })")
        page.page.evaluate("dispatchEvent(new Event('beforeprint'))")
        page.page.emulate_media(media="print")
        assert page.page.locator("details:not([open])").count() == 0
        assert page.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert not page.page.locator("#filter").is_visible()
        assert page.page.pdf()[:5] == b"%PDF-"


def test_without_script_everything_can_be_read(tmp_path: Path) -> None:
    file = written("FULL_PLAN", tmp_path)
    with opened(file, script=False) as page:
        bare = page.page.inner_text("body")
        assert not page.page.locator("#filter").is_visible()
    with opened(file) as page:
        assert bare == page.page.inner_text("body")
    assert "model.gemma2:9b@gpu-b/gpu1" in bare
