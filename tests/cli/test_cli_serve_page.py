"""The page of `gpurec serve`: what is on a card, as far as anybody can tell, and what a browser gets where there is nothing."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml
from cli_lab import Lab, served, serving

from reconciler.sim import builtin_fleet

BROWSER = {"Accept": "text/html,application/xhtml+xml"}


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with served(builtin_fleet("demo").with_time_scale(0), tmp_path) as lab:
        yield lab


def words(page: httpx.Response) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page.text)).split())


def row(page: httpx.Response, card: str) -> str:
    """The words of the row of a card."""
    (found,) = (one for one in re.findall(r"<tr.*?</tr>", page.text, re.DOTALL) if f'href="/card/{card}"' in one)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", found)).split())


def test_a_model_is_shown_on_every_card_that_it_could_be_on(lab: Lab) -> None:
    file = lab.root / "inventories" / "demo.yaml"
    inventory = yaml.safe_load(file.read_text())
    (ada,) = (one for group in inventory["all"]["children"].values() for name, one in group["hosts"].items() if name == "ada")
    ada["probe"] = {"via": "declared"}
    ada["gpus"] = [{"index": number, "name": "RTX", "vram": "24GiB"} for number in range(2)]
    file.write_text(yaml.safe_dump(inventory))
    lab.run("apply", "--auto-approve")
    with serving(lab) as client:
        page = client.get("/")
        for card in ("ada/0", "ada/1"):
            assert "model.nomic-embed-text@ada/ollama could be on it" in row(page, card)
            assert "model.nomic-embed-text@ada/ollama could be on it" in words(client.get(f"/card/{card}"))
        assert "could be on it" not in row(page, "bea/0")
        assert "2 cards of 4" in words(client.get("/?q=nomic+ada"))


def test_a_resident_that_nobody_asked_for_is_shown_as_not_ours_and_one_that_is_gone_is_not_shown(lab: Lab) -> None:
    lab.run("apply", "--auto-approve")
    lab.fleet.engines["bea/ollama"].restart()
    ada = f"http://127.0.0.1:{lab.fleet.engines['ada/ollama'].port}"
    httpx.post(f"{ada}/api/generate", json={"model": "llama3.1:8b"}).raise_for_status()
    with serving(lab) as client:
        page = client.get("/")
        assert "llama3.1:8b not ours" in row(page, "ada/0")
        assert "model." not in row(page, "bea/0")


def test_what_an_engine_that_does_not_answer_holds_is_unknown_and_not_nothing(lab: Lab) -> None:
    lab.fleet.engines["bea/ollama"].kill()
    with serving(lab) as client:
        assert "ollama does not answer: what it holds is unknown unknown" in row(page := client.get("/"), "bea/0")
        assert "unknown" not in row(page, "ada/0")
        assert "ollama does not answer: what it holds is unknown" in words(client.get("/card/bea/0"))


def test_a_browser_gets_a_page_where_there_is_nothing_and_a_program_an_object(lab: Lab) -> None:
    with serving(lab) as client:
        for path in ("/nowhere", "/card/ada/7", "/why/model.no@ada/ollama"):
            page = client.get(path, headers=BROWSER)
            assert (page.status_code, page.headers["content-type"].partition(";")[0]) == (404, "text/html")
            assert 'href="/plan"' in page.text
        for path, headers in (("/nowhere", {}), ("/v1/nowhere", BROWSER)):
            assert "nothing at this path" in client.get(path, headers=headers).json()["error"]
