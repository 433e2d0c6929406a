"""One rendering of a template, beside others."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from reconciler.rendering import template as module
from reconciler.rendering.parts import AgentValue
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


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{% macro f() %}{{ f() }}{% endmacro %}\n{{ f() }}", "it has too much in one another: calls, lists or conditions; correct"),
        ("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", "it has too much in one another: calls, lists or conditions; correct"),
        ("a\n{% include 'other.j2' %}", "other.j2:2: this template cannot be rendered: include, import and extends are not there"),
        ("{% import 'other.j2' as other %}", "include, import and extends are not there: a template is one file; correct the template"),
        ("{{ 1 // 0 }}", "integer division or modulo by zero; correct the template"),
        ("{{ 'a' | indent(9) }}", "No filter named 'indent'.; Jinja's own filters are there, but those for laying out text"),
    ],
)
def test_what_a_template_cannot_do_is_told_in_its_own_words(text: str, says: str) -> None:
    with pytest.raises(RenderingError) as caught:
        render(Template("other.j2", text), {})
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("\n{{ nope }}", "file.j2:2: this template cannot be rendered: 'nope' is undefined"),
        ("{% for one in agents %}\n\n{{ one.nam }}{% endfor %}", "file.j2:3: this template cannot be rendered: "),
        ("{% macro m(x) %}\n{{ x.zone }}{% endmacro %}\n{{ m(agents[0]) }}", "file.j2:2: this template cannot be rendered: "),
        ("\n{{ vars.x }}", "file.j2:2: this template cannot be rendered: "),
        ("\n\n{{ 1 // 0 }}", "file.j2:3: this template cannot be rendered: integer division or modulo by zero"),
        ("a\n{% if %}", "file.j2:2: this template cannot be rendered: Expected an expression"),
        ("a\n{{ 'x' | shout }}", "file.j2:2: this template cannot be rendered: No filter named 'shout'"),
        ("a\n{{ agents[0].__class__ }}", "file.j2:2: this template cannot be rendered: access to attribute '__class__'"),
        ("a\n{% include 'x' %}", "file.j2:2: this template cannot be rendered: "),
        ("a\n{{ 'x' * 999999999 }}", "file.j2:2: this template cannot be rendered: this would make something too large"),
    ],
)
def test_whatever_is_wrong_with_a_template_is_told_with_its_file_and_its_line(text: str, says: str) -> None:
    agent = AgentValue("a", None, None)
    with pytest.raises(RenderingError) as caught:
        render(Template("file.j2", text), {"agents": (agent,), "vars": {}})
    assert caught.value.problems[0].sentence().startswith(says)
