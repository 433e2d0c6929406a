"""Pages as a reader has them: Chromium (apt), driven by playwright, judged by axe-core.

    with opened(url_or_file, width=320, dark=True) as page:
        assert page.axe() == []
        page.page.keyboard.press("Tab")        # playwright's own page
        assert page.requests == []             # what it asked for beyond itself

While a page is open its thread has a running event loop: `asyncio.run` fails there, so ask gpurec as a command.
"""

from __future__ import annotations

import shutil
import site
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from review_tools import CHROMIUM, review_tools

AXE_TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
SECONDS = 20
"""The longest that one request of a test may take."""


@dataclass
class Opened:
    """A page that is open: `page` is playwright's."""

    page: Any
    axe_source: str
    requests: list[str] = field(default_factory=list)
    """URLs that it asked for, without its own."""
    errors: list[str] = field(default_factory=list)
    """What its scripts and its own policy complained of."""

    def axe(self, within: str | None = None) -> list[str]:
        """What axe-core finds: `rule (impact): target, …`, one each; empty where it has nothing to say. Not of a page without script."""
        self.page.evaluate(self.axe_source)
        options = {"runOnly": {"type": "tag", "values": AXE_TAGS}, "resultTypes": ["violations"]}
        found = self.page.evaluate("([within, options]) => axe.run(within || document, options)", [within, options])
        return [
            f"{rule['id']} ({rule['impact']}): {', '.join(' '.join(map(str, node['target'])) for node in rule['nodes'][:5])}"
            for rule in found["violations"]
        ]

    def overflow(self) -> int:
        """By how many pixels the page is wider than its window."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))

    def shot(self, path: Path, *, whole: bool = True) -> Path:
        self.page.screenshot(path=str(path), full_page=whole)
        return path


@contextmanager
def opened(
    what: str | Path,
    *,
    width: int = 1280,
    height: int = 800,
    dark: bool = False,
    script: bool = True,
    headers: dict[str, str] | None = None,
) -> Iterator[Opened]:
    """Opens an URL or a file in a browser of its own."""
    tools = review_tools()
    chromium = shutil.which(CHROMIUM)
    if chromium is None or not tools.python.exists():
        pytest.fail("Chromium or playwright is missing; run `make real`, or `python tests/real/provision.py --review` first", pytrace=False)
    (packages,) = tools.environment.glob("lib/python*/site-packages")
    site.addsitedir(str(packages))  # of the same Python, behind everything that this environment has
    from playwright.sync_api import sync_playwright

    url = what if isinstance(what, str) else what.resolve().as_uri()
    axe = (packages / "axe_playwright_python" / "axe.min.js").read_text(encoding="utf-8")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-dev-shm-usage"])
        try:
            context = browser.new_context(
                viewport={"width": width, "height": height},
                color_scheme="dark" if dark else "light",
                java_script_enabled=script,
                extra_http_headers=headers or {},
            )
            context.set_default_timeout(SECONDS * 1000)
            found = Opened(context.new_page(), axe)
            found.page.on("request", lambda request: found.requests.append(request.url) if request.url != url else None)
            found.page.on("pageerror", lambda error: found.errors.append(str(error)))
            found.page.on("console", lambda said: found.errors.append(said.text) if said.type == "error" else None)
            found.page.goto(url)
            yield found
        finally:
            browser.close()
