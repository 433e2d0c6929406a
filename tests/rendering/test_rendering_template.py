"""One rendering of a template, beside others."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from reconciler.rendering import template as module
from reconciler.rendering.template import RenderingError, Template, render


def test_renderings_of_one_template_in_several_threads_have_a_budget_each(monkeypatch: pytest.MonkeyPatch) -> None:
    def sums(rounds: int) -> Template:
        return Template("sums.j2", "{% for one in range(ROUNDS) %}{% set two = one + 1 %}{% endfor %}done".replace("ROUNDS", str(rounds)))

    monkeypatch.setattr(module, "MOST_WORK", 200_000)
    fits = next(rounds for rounds in range(100_000, 1_000, -1_000) if _fits(sums(rounds)))
    module._compiled.cache_clear()
    was = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(4) as several:
            assert list(several.map(lambda _: render(sums(fits), {}), range(8))) == ["done"] * 8
    finally:
        sys.setswitchinterval(was)


def _fits(template: Template) -> bool:
    try:
        return render(template, {}) == "done"
    except RenderingError:
        return False
