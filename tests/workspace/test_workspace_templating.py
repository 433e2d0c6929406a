"""Templates: what they may use, and that none of them can hang the reader or fill its memory."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from reconciler.rendering.sandbox import EACH_ADDS, Meter, TooMuchWork
from reconciler.workspace import Workspace

Load = Callable[..., Workspace]
Sentences = Callable[..., list[str]]


def address(template: str, more: str = "") -> str:
    indented = "\n".join("          " + line for line in template.split("\n"))
    return f"all:\n  hosts:\n    a:\n      address: >-\n{indented}\n{more}"


def twice(start: str, step: str) -> str:
    return start + step * 40


ENDLESS = [
    "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}",
    "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
    "{% for a in range(9999) %}{% if a in range(9999) | list %}{% endif %}{% endfor %}",
    "{% for a in [1] recursive %}{{ loop([1, 1]) }}{% endfor %}",
    "{% macro f(n) %}{{ f(n - 1) if n else '' }}{{ f(n - 1) if n else '' }}{% endmacro %}{{ f(40) }}",
    "{{ range(99999) | map('string') | map('int') | map('string') | list | length }}",
    twice("{% set a = 'xx' %}", "{% set a = a ~ a %}"),
    twice("{% set a = 'xx' %}", "{% set a = a + a %}"),
    twice("{% set a = [1] %}", "{% set a = [a, a] %}") + "{{ a }}",
    twice("{% set a = [1] %}", "{% set a = [a, a] %}") + "{{ a == [a] }}",
    twice("{% set a = [1] %}", "{% set a = [a, a] %}") + "{{ a | tojson | length }}",
    twice("{% set a = 9 %}", "{% set a = a * a %}"),
    twice("{% set x %}xx{% endset %}", "{% set x %}{{ x }}{{ x }}{% endset %}"),
]
LARGE = [
    "{{ 'x' * 999999999 }}",
    "{{ [1] * 999999999 }}",
    "{{ 9 ** 99999999 }}",
    "{{ '%999999999d' % 1 }}",
    "{{ '%*d' % (999999999, 1) }}",
    "{{ '%999999999d' | format(1) }}",
    "{{ '{:999999999}'.format(1) }}",
    "{{ 'x'.ljust(999999999) }}",
    "{{ 'x' | center(999999999) }}",
    "{{ ('x' * 9999) | replace('x', 'x' * 9999) }}",
    "{{ ('x' * 9999).replace('x', 'x' * 9999) }}",
    "{{ range(9999) | map('string') | join('x' * 9999) }}",
    "{{ ('x' * 9999).join(range(9999) | map('string')) }}",
    "{{ (1).to_bytes(999999999) }}",
    "{{ 1.5 | round(999999999) }}",
    "{{ [1] | tojson(indent=999999999) }}",
    "{{ range(99999999) | list }}",
]


@pytest.mark.timeout(20)
@pytest.mark.parametrize("template", ENDLESS + LARGE)
def test_workspace_a_template_cannot_hang_the_reader_or_fill_its_memory(problems: Sentences, template: str) -> None:
    (sentence, *_) = problems(address(template))
    assert sentence.startswith("inventories/x.yaml:4:16: ")
    assert "; " in sentence
    assert "\n" not in sentence


@pytest.mark.timeout(20)
def test_workspace_templates_that_fan_out_share_one_budget(problems: Sentences) -> None:
    more = "".join(
        f"      v{n}: '{{{{ a{n} }}}}{{{{ b{n} }}}}'\n      a{n}: '{{{{ v{n + 1} }}}}'\n      b{n}: '{{{{ v{n + 1} }}}}'\n"
        for n in range(9)
    )
    assert "takes more than 200000 steps" in problems(address("{{ v0 }}" * 1, more + "      v9: '{{ range(999) | sum }}'\n"))[0]


@pytest.mark.timeout(60)
def test_workspace_a_template_that_is_too_much_work_is_tried_for_one_host_only(problems: Sentences) -> None:
    template = "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}"
    told = problems(f"all: {{vars: {{address: '{template}'}}, hosts: {{'n[1:5000]': }}}}")
    assert len(told) == 1
    assert "write the value out, or make it with fewer and smaller loops" in told[0]


def test_workspace_many_small_renderings_are_no_work_and_many_large_ones_are() -> None:
    meter = Meter()

    def render(times: int, steps: int) -> None:
        for _ in range(times):
            meter.begin()
            meter.spend(steps)

    render(100_000, EACH_ADDS)
    with pytest.raises(TooMuchWork, match="together"):
        render(1_000, 100_000)


@pytest.mark.parametrize(
    ("template", "address_"),
    [
        ("{% for a in range(3) %}{{ a }}{{ '.' if not loop.last }}{% endfor %}", "0.1.2"),
        ("{{ 'gpu%02d' | format(7) }}-{{ 'n%s' % 1 }}", "gpu07-n1"),
        ("{{ names | map('upper') | join('-') }}", "A-B"),
        ("{{ (names + ['c']) | reverse | list | first ~ '.lan' }}", "c.lan"),
        ("{{ table.k[1:] | replace('v', 'w') }}{{ ' yes' if 'a' in names and table.k == 'xv' }}", "w yes"),
        ("{% set ns = namespace(n=0) %}{% for a in names %}{% set ns.n = ns.n + 2 ** 3 %}{% endfor %}{{ ns.n }}x", "16x"),
        ("{% macro host(n) %}h{{ n }}{% endmacro %}{{ host(4) }}", "h4"),
        ("{{ names | length }}{{ inventory_hostname.upper().rjust(3, '-') }}", "2--A"),
    ],
)
def test_workspace_ordinary_jinja_is_rendered(load: Load, template: str, address_: str) -> None:
    more = "      names: [a, b]\n      table: {k: xv}\n      engines: {ollama: {url: 'http://a:1'}}\n"
    assert load(address(template, more)).fleet.nodes["a"].address == address_


@pytest.mark.parametrize(
    "template", ["{{ x y }}", "{{ 1 +", "{% bad %}", "{{ 'a' | nofilter }}", "{% if %}", "{{ 1 / 0 }}", "{{ ''.__class__ }}"]
)
def test_workspace_an_error_of_jinja_is_one_line_without_made_up_files(problems: Sentences, template: str) -> None:
    (sentence,) = problems(address(template))
    assert "introspection" not in sentence
    assert "File" not in sentence
    assert "<unknown>" not in sentence
    assert "line 1" not in sentence
