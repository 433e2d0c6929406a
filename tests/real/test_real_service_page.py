"""The pages of the service as people have them: in Chromium, by clicks, by keyboard, without script, in a narrow window and dark."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from browser import opened
from cli_lab import SMALL, Lab, served, serving

from reconciler.sim import builtin_fleet
from reconciler.sim.read import read_sim_text

POLICY = """
policy:
  service:
    tokens: [{name: reader, secret: env:READER}, {name: ops, secret: env:OPS, role: apply}]
"""
PLACES = ("/", "/plan", "/drift", "/history", "/card/ada/0", "/why/model.nomic-embed-text@ada/ollama", "/login")
SHOTS = os.environ.get("GPUREC_SHOTS")
"""A folder for pictures of every page, for whoever wants to look at them."""


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with served(builtin_fleet("demo").with_time_scale(0), tmp_path) as lab:
        lab.want(SMALL + POLICY)
        yield lab


@pytest.fixture
def client(lab: Lab) -> Iterator[httpx.Client]:
    with serving(lab, "--interval", "1h") as client:
        yield client


@pytest.mark.timeout(600)
def test_axe_finds_nothing_on_any_page_wide_narrow_light_and_dark(client: httpx.Client) -> None:
    base = str(client.base_url).rstrip("/")
    for width, dark in ((1280, False), (320, True)):
        with opened(base + "/", width=width, dark=dark) as page:
            for place in PLACES:
                page.page.goto(base + place)
                assert page.axe() == [], place
                assert page.overflow() == 0, place
                assert page.errors == [], place
                if SHOTS:
                    page.shot(Path(SHOTS) / f"{place.strip('/').replace('/', '_') or 'fleet'}-{width}.png")
            assert all(one.startswith(base) for one in page.requests)


@pytest.mark.timeout(600)
def test_a_plan_is_approved_by_keyboard_alone_and_its_run_and_steps_are_read(lab: Lab, client: httpx.Client) -> None:
    base = str(client.base_url).rstrip("/")
    with opened(base + "/") as page:
        keys, at = page.page.keyboard, "document.activeElement.textContent"

        def tab_to(text: str) -> None:
            for _ in range(40):
                keys.press("Tab")
                if page.page.evaluate(at).strip() == text or page.page.evaluate("document.activeElement.id") == text:
                    return
            raise AssertionError(f"the keyboard does not reach {text}")

        tab_to("Plan")
        keys.press("Enter")
        page.page.wait_for_url("**/plan")
        tab_to("token")
        keys.type("reader-secret")
        keys.press("Enter")
        page.page.locator("[role=alert]").wait_for()
        assert "has the role read, and this needs apply" in page.page.inner_text("main")
        page.page.goto(base + "/plan")
        tab_to("token")
        keys.type("ops-secret")
        keys.press("Enter")
        page.page.wait_for_url("**/history")
        page.page.locator("text=serve: approved by ops").first.wait_for()  # the page is shown anew as soon as the run has begun
        tab_to("run 1")
        keys.press("Enter")
        page.page.wait_for_url("**/history/1")
        page.page.locator("text=model.nomic-embed-text@ada/ollama").first.click()
        assert "nomic-embed-text" in page.page.inner_text("h1")
        assert page.axe() == []
        page.page.goto(base + "/plan")
        page.page.wait_for_function("document.querySelector('h1').textContent.includes('no changes')")  # shown as soon as it was looked at


def test_without_script_all_can_be_read_and_a_plan_approved(lab: Lab, client: httpx.Client) -> None:
    base = str(client.base_url).rstrip("/")
    with opened(base + "/plan", script=False) as page:
        page.page.fill("#token", "ops-secret")
        page.page.click("button[type=submit]")
        page.page.wait_for_url("**/history")
        page.page.click("text=Fleet")
        page.page.fill("#q", "ada")
        page.page.click("text=Show")
        assert "1 card of" in page.page.inner_text("main")
    assert len([one for one in lab.sent() if "embed" in one]) == 2


MANY = 1000


@pytest.mark.timeout(600)
def test_a_thousand_nodes_are_seen_at_a_glance_and_found_by_a_word(tmp_path: Path) -> None:
    nodes = "\n".join(
        f"  n{number:04}: {{gpus: [{{name: RTX, vram: 24GiB}}], engines: {{ollama: {{kind: ollama}}}}}}" for number in range(1)
    )
    with served(read_sim_text(f"time_scale: 0\nmodels: []\nnodes:\n{nodes}\n", "many"), tmp_path) as lab:
        hosts = "\n".join(
            f"    n{number:04}: {{probe: {{via: declared}}, gpus: [{{index: 0, name: RTX, vram: 24GiB}}], "
            f"engines: {{ollama: {{url: 'http://127.0.0.1:9', timeout: 1s}}}}}}"
            for number in range(MANY)
        )
        (lab.root / "inventories" / "demo.yaml").write_text(f"all:\n  hosts:\n{hosts}\n".replace("127.0.0.1:9'", "127.0.0.1:9'"))
        lab.want("version: 1\nmodels: {}\n" + POLICY)
        with serving(lab, "--interval", "1h") as client:
            base = str(client.base_url).rstrip("/")
            for width in (1280, 320):
                with opened(base + "/?page=3", width=width) as page:
                    assert "1,000 not to be reached" in page.page.inner_text("main")
                    assert "1,000 cards of 1,000, page 3 of 10" in page.page.inner_text("main")
                    assert (page.axe(), page.overflow(), page.errors) == ([], 0, [])
                    page.page.fill("#q", "n0777")
                    page.page.click("text=Show")
                    page.page.locator("text=1 card of 1,000").wait_for()  # a click is not yet its page
                    assert page.page.locator("tbody tr").count() == 1
                    if SHOTS:
                        page.shot(Path(SHOTS) / f"thousand-{width}.png", whole=False)
