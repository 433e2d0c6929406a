"""What a YAML text means, and how a text that is wrong is refused."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from reconciler.fleet import WorkspaceError
from reconciler.workspace import load_workspace
from reconciler.workspace.files import Sources
from reconciler.workspace.parse import parse
from reconciler.workspace.problems import Problems
from reconciler.workspace.scalars import YamlVersion, resolve
from reconciler.workspace.tree import ListNode, MapNode, Node, PlainValues, ScalarNode, same_value


def plain(text: str, version: YamlVersion = YamlVersion.V1_2) -> object:
    problems = Problems()
    node = parse(text, "f.yaml", version, problems)
    problems.raise_if_any()
    assert node is not None
    return PlainValues().of(node)


def refusal(text: str) -> str:
    problems = Problems()
    parse(text, "f.yaml", YamlVersion.V1_2, problems)
    with pytest.raises(WorkspaceError) as raised:
        problems.raise_if_any()
    return str(raised.value)


@pytest.mark.parametrize(
    ("text", "old", "new"),
    [
        ("yes", True, "yes"),
        ("on", True, "on"),
        ("Off", False, "Off"),
        ("true", True, True),
        ("010", 8, 10),
        ("0o10", "0o10", 8),
        ("1:30", 90, "1:30"),
        ("1_000", 1000, "1_000"),
        ("1e3", "1e3", 1000.0),
        ("1.5e+3", 1500.0, 1500.0),
        ("0x1F", 31, 31),
        ("~", None, None),
        ("2024-01-02", date(2024, 1, 2), "2024-01-02"),
        ("8.6", 8.6, 8.6),
        ("525.60.13", "525.60.13", "525.60.13"),
    ],
)
def test_workspace_a_scalar_means_what_its_yaml_version_says(text: str, old: object, new: object) -> None:
    assert resolve(text, YamlVersion.V1_1) == old
    assert resolve(text, YamlVersion.V1_2) == new
    assert type(resolve(text, YamlVersion.V1_1)) is type(old)


def test_workspace_merge_keys_give_way_to_own_keys() -> None:
    assert plain("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\n") == {"a": {"x": 1, "y": 2}, "b": {"y": 3, "x": 1}}


def test_workspace_the_earlier_mapping_of_a_merge_list_counts_whatever_the_version() -> None:
    for version in YamlVersion:
        assert plain("a: {<<: [{x: 1}, {x: 2, y: 3}]}\n", version) == {"a": {"x": 1, "y": 3}}


def test_workspace_comparing_two_values_costs_no_more_than_what_is_written() -> None:
    """Each stands for 2**60 values."""
    one: Node = ScalarNode("f", 1, 1, 1, "1")
    other: Node = ScalarNode("f", 1, 1, 1, "1")
    third: Node = ScalarNode("f", 1, 1, True, "true")
    for _ in range(60):
        one, other, third = (ListNode("f", 1, 1, [each, each]) for each in (one, other, third))
    assert same_value(one, other)
    assert not same_value(one, third)


def test_workspace_an_alias_shares_its_node() -> None:
    node = parse("a: &a {x: 1}\nb: *a\n", "f", YamlVersion.V1_2, Problems())
    assert isinstance(node, MapNode)
    assert node.get("a") is node.get("b")


def test_workspace_a_duplicate_key_names_both_places() -> None:
    assert refusal("a: 1\nb: 2\na: 3\n").startswith("f.yaml:3:1: key 'a' is defined twice, first at f.yaml:1:1;")


def test_workspace_a_tab_is_named_with_its_place() -> None:
    assert refusal("a:\n\tb: 1\n") == "f.yaml:2:1: a tab cannot stand here; indent with spaces"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: [1\nb: 2\n", "f.yaml:2:2: this is not YAML"),
        ("a: 'x\x1by'\n", "f.yaml:1:6: this is not YAML"),
        ("a: *nope\n", "alias *nope is not defined"),
        ("a: &a [*a]\n", "alias *a contains itself"),
        ("a: 1\n---\nb: 1\n", "f.yaml:2:1: a second YAML document"),
        ("? [a]\n: 1\n", "a key must be a single value"),
        ("a: !!int x\n", "'x' is not of type int"),
        ("a: !thing x\n", "the tag '!thing' is not known"),
        ("a: {<<: 3}\n", "'<<' merges mappings only"),
        ("[" * 200, "nested deeper than 100"),
    ],
)
def test_workspace_broken_yaml_is_refused_with_one_sentence(text: str, told: str) -> None:
    assert told in refusal(text)
    assert "\n" not in refusal(text)


def test_workspace_keys_that_are_dates_are_shown_as_text() -> None:
    assert plain("a: {2024-01-02: 1}", YamlVersion.V1_1) == {"a": {"2024-01-02": 1}}


def test_workspace_an_alias_bomb_is_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
    assert "the aliases here stand for" in refusal("\n".join(lines))


def test_workspace_a_file_that_is_not_utf8_is_refused_at_the_byte(tmp_path: Path) -> None:
    (tmp_path / "f.yaml").write_bytes(b"a: 1\nb: \xff\n")
    problems = Problems()
    assert Sources(tmp_path, problems).read(Path("f.yaml"), YamlVersion.V1_2) is None
    with pytest.raises(WorkspaceError, match=r"f\.yaml:2:4: this file is not UTF-8"):
        problems.raise_if_any()


def test_workspace_a_huge_file_is_refused_without_being_parsed(tmp_path: Path) -> None:
    with (tmp_path / "f.yaml").open("wb") as stream:
        stream.truncate(10 * 2**30)
    problems = Problems()
    assert Sources(tmp_path, problems).read(Path("f.yaml"), YamlVersion.V1_2) is None
    with pytest.raises(WorkspaceError, match="larger than 64 MiB"):
        problems.raise_if_any()


def test_workspace_a_missing_desired_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "i.yaml").write_text("all: {hosts: {a: {engines: {ollama: {url: 'http://a:1'}}}}}")
    with pytest.raises(WorkspaceError, match=r"^d\.yaml: this file does not exist; "):
        load_workspace(tmp_path, inventory=[Path("i.yaml")], desired=[Path("d.yaml")])


@pytest.mark.parametrize(
    ("folder", "how", "told"),
    [
        (".", {"inventory": [Path("nothere")]}, r"^nothere: this file does not exist; "),
        (".", {"desired": [Path("nothere.yaml")]}, r"^nothere\.yaml: this file does not exist; "),
        ("nothere", {}, r"nothere: this folder does not exist; "),
    ],
)
def test_workspace_what_is_named_and_not_there_is_said_before_what_follows_from_that(
    tmp_path: Path, folder: str, how: dict[str, list[Path]], told: str
) -> None:
    with pytest.raises(WorkspaceError, match=told) as refused:
        load_workspace(tmp_path / folder, **how)  # type: ignore[arg-type]
    assert len(refused.value.problems) == 1
