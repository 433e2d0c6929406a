"""What a stranger may write into the files: refused with one sentence and its place, within bounds of time and memory."""

from __future__ import annotations

import re
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

import reconciler
from reconciler.fleet import UnitError, WorkspaceError, parse_bytes, parse_duration, parse_version
from reconciler.workspace import Workspace, groups, variables
from reconciler.workspace.parse import parse
from reconciler.workspace.problems import Problems
from reconciler.workspace.scalars import YamlVersion

HOST = 'all: {{hosts: {{h: {{engines: {{ollama: {{url: "http://h:1"}}}}, {0}}}}}}}\n'
PLACED = re.compile(r"(inventories|desired)/x\.yaml:\d+:\d+: ")


@pytest.mark.parametrize(
    "gpus",
    [
        "{{ [cards_of_mine] }}",
        "{{ [[{'index': none_of_it}]] }}",
        "{{ {'index': none_of_it} }}",
        "{{ (0, none_of_it) }}",
    ],
)
def test_what_is_not_defined_inside_a_value_is_told_with_its_place(problems: Callable[..., list[str]], gpus: str) -> None:
    (said,) = problems(HOST.format(f'gpus: "{gpus}"'))
    assert PLACED.match(said)
    assert "is undefined" in said


@pytest.mark.parametrize(
    "template",
    [
        "{% set a = (1, 1) %}" + "".join("{% set a = (a, a) %}" for _ in range(60)) + "{% set d = {a: 1} %}x",
        "{% set a = (1, 1) %}" + "".join("{% set a = (a, a) %}" for _ in range(60)) + "{{ {}[a] }}",
        "{% set a = (1, 1) %}" + "".join("{% set a = (a, a) %}" for _ in range(60)) + "{{ {'b': 1}.get(a) }}",
        "{% set a = (1, 1) %}" + "".join("{% set a = (a, a) %}" for _ in range(60)) + "{{ dict([(a, 1)]) }}",
        "{% set a = (1, 1) %}" + "".join("{% set a = (a, a) %}" for _ in range(60)) + "{{ a in {'b': 1} }}",
        "{% set a = (1, 1) %}" + "".join("{% set a = (a, a) %}" for _ in range(60)) + "{{ [a] | unique | list }}",
    ],
)
def test_hashing_is_paid_for_like_every_walk(problems: Callable[..., list[str]], template: str) -> None:
    (said,) = problems(HOST.format(f'labels: {{a: "{template.replace(chr(34), chr(39))}"}}'))
    assert "takes more than" in said


def test_what_pythons_compiler_makes_of_a_template_is_that_templates_error(problems: Callable[..., list[str]]) -> None:
    deep = "{% for a in [1] %}" * 60 + "x" + "{% endfor %}" * 60
    (said,) = problems(HOST.format(f'labels: {{a: "{deep}"}}'))
    assert "cannot be rendered for host 'h'" in said


@pytest.mark.parametrize(
    "text",
    [
        "%YAML 1.3\n---\nversion: 1\n",
        "# note\n%YAML 9.1\n---\na: 1\n",
        "%YAML 1." + "9" * 5000 + "\n---\na: 1\n",
        "%YAML\n---\na: 1\n",
        "%TAG\n---\n",
    ],
)
@pytest.mark.parametrize("form", list(YamlVersion))
def test_a_directive_that_the_parser_does_not_take_is_told_with_its_place(text: str, form: YamlVersion) -> None:
    problems = Problems()
    assert parse(text, "f.yaml", form, problems) is None
    with pytest.raises(WorkspaceError, match=r"^f\.yaml:\d+:\d+: this is not YAML") as raised:
        problems.raise_if_any()
    assert len(str(raised.value)) < 1000
    assert ("remove this line" in str(raised.value)) is ("%YAML" in text)


@pytest.mark.parametrize(
    "pattern",
    [
        "~" + "(" * 3000,
        "~a{99999999999}",
        "~" + "a" * 2000,
        "gpu[" + "9" * 5000 + "]",
        "[" * 4000,
        "gpu[0:" + "9" * 5000 + "]",
        "~(a+)+$",
        "~(?P<" + "x" * 900,
    ],
)
def test_a_pattern_that_cannot_be_matched_in_time_is_told_with_its_place(problems: Callable[..., list[str]], pattern: str) -> None:
    said = problems(desired=f"version: 1\nmodels: {{m: {{on: '{pattern}'}}}}\n")
    assert PLACED.match(said[0])
    assert len(said[0]) < 1000


@pytest.mark.parametrize("bound", [" " * 50_000 + "x", ">=" + " " * 50_000, ">= " + "9." * 50_000, ">=" + "9" * 5000, "9" * 5000 + ".1"])
def test_a_bound_of_a_version_is_short(problems: Callable[..., list[str]], bound: str) -> None:
    (said,) = problems(desired=f"version: 1\nmodels: {{m: {{requires: {{driver: '{bound}'}}}}}}\n")
    assert PLACED.match(said)
    assert len(said) < 500


@pytest.mark.parametrize("read", [parse_bytes, parse_duration, parse_version])
@pytest.mark.parametrize("said", ["9" * 5000, "9" * 5000 + "GiB", "1." + "9" * 5000, " " * 90_000, "1s" * 50_000])
def test_no_quantity_has_thousands_of_digits(read: Callable[[object], object], said: str) -> None:
    with pytest.raises(UnitError):
        read(said)


@pytest.mark.parametrize("hosts", ["h[0:999999]", "h[0:999][0:999]"])
def test_a_range_of_too_many_hosts_is_refused_before_they_are_made(problems: Callable[..., list[str]], hosts: str) -> None:
    tracemalloc.start()
    try:
        (said,) = problems(f"all: {{hosts: {{'{hosts}': {{}}}}}}\n")
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert "is more than 100000 hosts" in said
    assert most < 30 * 2**20


def test_the_hosts_of_all_ranges_together_are_bounded(problems: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "MOST_HOSTS", 1000)
    rows = "\n".join(f"    'g{number}-h[0:499]': {{}}" for number in range(60))
    (said,) = problems(f"all:\n  hosts:\n{rows}\n")
    assert "this inventory has more than 1000 hosts" in said


def test_the_places_of_hosts_in_groups_are_bounded(problems: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "MOST_PLACES", 1000)
    rows = "\n".join(f"g{number}: {{hosts: {{'h[0:299]': {{}}}}}}" for number in range(200))
    (said,) = problems(f"{rows}\n")
    assert "this inventory names hosts 1000 times and more" in said


def test_variables_that_many_hosts_copy_are_bounded(problems: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(variables, "MOST_MERGED", 1000)
    many = ", ".join(f"v{number}: 1" for number in range(200))
    hosts = ", ".join(f"h{number}: {{w: {number}}}" for number in range(90))
    (said,) = problems(f"all: {{vars: {{{many}}}, hosts: {{{hosts}}}}}\n")
    assert "the hosts of this inventory have more than 1000 variables together" in said


def test_groups_above_groups_are_bounded(problems: Callable[..., list[str]]) -> None:
    rows = "\n".join(f"g{number}: {{children: {{g{number + 1}: }}}}" for number in range(1000))
    assert any("more than 200 groups are above" in said for said in problems(f"{rows}\n"))


@pytest.fixture
def unknown(problems: Callable[..., list[str]]) -> Callable[[str], str]:
    """What is said of a key or value of a model that is not known."""

    def read(keys: str) -> str:
        return problems(desired=f"version: 1\nmodels: {{m: {{{keys}}}}}\n")[0].rpartition("; ")[2]

    return read


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("nodes: all", "did you mean 'on'?"),
        ("hosts: all", "did you mean 'on'?"),
        ("count: 2", "did you mean 'replicas'?"),
        ("num_ctx: 8192", "did you mean 'context'?"),
        ("max-model-len: 8192", "did you mean 'context'?"),
        ("keepAlive: -1", "did you mean 'keep_alive'?"),
        ("contxt: 8192", "did you mean 'context'?"),
        ("context: 8k", "write 8192"),
        ("context: 8K", "write 8192"),
        ("context: '8192'", "write 8192"),
        ("context: '8,192'", "write 8192"),
        ("context: 99999999k", "write a number such as 1"),
        ("replicas: 2.0", "write 2"),
        ("context: 4096, num_ctx: 8192", "this is `context`, which is written here already: remove one of the two"),
    ],
)
def test_the_word_that_is_meant_is_the_nearest_one_that_works(unknown: Callable[[str], str], keys: str, said: str) -> None:
    assert unknown(keys) == said


@pytest.mark.parametrize("keys", ["paralel: 2", "kv_cach: q8_0", "max_unavailble: 1", "each: node, count: 2", "replica: 2, each: node"])
def test_no_key_is_advised_that_is_then_refused(unknown: Callable[[str], str], load: Callable[..., Workspace], keys: str) -> None:
    said = unknown(keys)
    advised = re.findall(r"did you mean '(\w+)'", said)
    kept = ", ".join(one for one in keys.split(", ") if one.startswith("each"))
    for word in advised:
        value = {"replicas": "2", "parallel": "2", "kv_cache": "f16", "max_unavailable": "1"}.get(word, "x")
        load(desired=f"version: 1\nmodels: {{m: {{{kept}{', ' if kept else ''}{word}: {value}}}}}\n")


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("engines: {ollama: {address: 'http://h:1'}}", "did you mean 'url'?"),
        ("engines: {ollama: {url: 'http://h:1', cards: [0]}}", "did you mean 'gpus'?"),
        ("gpus: [{memory: 8GiB}]", "did you mean 'vram'?"),
        ("probe: {username: ops}", "did you mean 'user'?"),
    ],
)
def test_keys_of_hosts_are_led_to_the_words_that_work_too(problems: Callable[..., list[str]], keys: str, said: str) -> None:
    found = problems(f"all: {{hosts: {{h: {{{keys}}}}}}}\n")
    assert any(one.endswith(said) for one in found), found


def test_the_values_of_a_file_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconciler.workspace.tree_builder.MOST_VALUES", 100)
    problems = Problems()
    assert parse("[" + "a," * 200 + "]", "f.yaml", YamlVersion.V1_1, problems) is None
    with pytest.raises(WorkspaceError, match=r"^f\.yaml:1:202: this file has more than 100 values; split it"):
        problems.raise_if_any()


@pytest.mark.parametrize("value", ["a" * 100_000, '"08:00 ' + "a" * 100_000 + '"', "1" * 5000])
@pytest.mark.parametrize(
    "written",
    [
        "models: {{m: {{engine: ollama, parallel: {0}}}}}",
        "models: {{m: {{engine: ollama, kv_cache: {0}}}}}",
        "models: {{m: {{engine: ollama, best_effort: {0}}}}}",
        "placement: {{strategy: weighted, weights: {{load: {0}}}}}",
        "policy: {{guards: {{max_unload: {0}}}}}",
        "policy: {{unknown_foreign: {0}}}",
    ],
)
def test_a_mistake_repeats_no_more_of_a_value_than_one_reads(problems: Callable[..., list[str]], written: str, value: str) -> None:
    (said,) = problems(desired="version: 1\n" + written.format(value) + "\n")
    assert PLACED.match(said)
    assert len(said) < 500


@pytest.mark.parametrize("form", list(YamlVersion))
@pytest.mark.parametrize("dropped", ["{x: 1}", "[[1], [2], [3]]"])
def test_what_contains_itself_is_told_also_after_a_key_that_is_defined_twice(dropped: str, form: YamlVersion) -> None:
    for times in range(1, 6):
        problems = Problems()
        assert parse(f"a: {dropped}\na: 2\n" * times + "b: &r {c: *r}\n", "f.yaml", form, problems) is None
        with pytest.raises(WorkspaceError, match=r"alias \*r contains itself"):
            problems.raise_if_any()


@pytest.mark.parametrize(
    ("host", "wanted", "told"),
    [
        ("{docker: {url: [x]}}", "", "'url' of 'docker' must be text"),
        ("{engines: {ollama: {runtime: container, port: 1, container: 5}}}", "", "'container' of engine 'ollama' must be a mapping"),
        ("{engines: {llamacpp: {runtime: systemd, port: 1, systemd: 5}}}", "", "'systemd' of engine 'llamacpp' must be a mapping"),
        ("{probe: {via: prometheus, url: 5, match: {b: c}}}", "", "'url' of 'probe' must be"),
        ("{probe: {via: prometheus, url: 'http://a:1', match: 5}}", "", "'match' of 'probe' must be"),
        ("{engines: {mine: {kind: 5, url: 'http://a:1'}}}", "", "'kind' of engine 'mine'"),
        (
            "{docker: 'unix:///s', engines: {ollama: {url: 'http://a:1'}}}",
            "models: {m: {split: {cards: 0}}}",
            "'cards' of 'split' of model 'm' must be a whole number",
        ),
        ("{docker: 'unix:///s'}", "agents: {x: {container: {image: 'a/b:1'}, near: node, model: [x]}}", "'model' of agent 'x' must be"),
    ],
)
def test_a_key_with_a_wrong_value_is_told_once_and_not_as_missing_too(problems, host, wanted, told):
    found = problems(f"all: {{hosts: {{a: {host or '{}'}}}}}", f"version: 1\n{wanted}")
    assert [told in sentence for sentence in found] == [True], found


def test_no_file_of_a_stranger_is_read_by_the_libyaml_that_comes_with_old_versions_of_ruamel() -> None:
    """It refuses `{server: https://10.0.0.1:6443}`; where ruamel.yaml.clib is installed it is taken unless the reader is pure."""
    sources = Path(reconciler.__file__).parent.rglob("*.py")
    assert [str(path) for path in sources if 'YAML(typ="safe")' in path.read_text(encoding="utf-8")] == []
