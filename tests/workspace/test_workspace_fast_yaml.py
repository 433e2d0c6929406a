"""What libyaml reads is what ruamel.yaml reads: values, tags and positions, shared nodes, warnings and errors."""

from __future__ import annotations

from pathlib import Path
from time import process_time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from two_readers import same

from reconciler.workspace import fast_reading
from reconciler.workspace.parse import parse, parse_slowly
from reconciler.workspace.problems import Problems
from reconciler.workspace.scalars import YamlVersion
from reconciler.workspace.tree import MapNode
from reconciler.workspace.tree_builder import TreeBuilder

ROOT = Path(__file__).parents[2]
PATTERNS = ("tests/**/*.y*ml", "examples/**/*.y*ml", "reconciler/**/*.y*ml", "tests/fuzz/found/*/*")
FILES = sorted(file for pattern in PATTERNS for file in ROOT.glob(pattern))

HOST = "    node{n}:\n      engines: {{ollama: {{url: 'http://node{n}:11434'}}}}  # of rack {n}\n      gpus: []\n      labels:"
HOSTS = "\n".join(HOST.format(n=n) for n in range(9))

PIECES = (
    *("a: ", "b:", "- ", "- - ", "k: &x ", '"k" : ', "? ", "? k\n: v\n", ": ", "a: 1\n", "k:\n- 1\n- 2\n", "- a: 1\n  b: 2\n"),
    *("*x", "&x", "&x-y ", "<<: *x\n", "{<<: *x, a: 2}", "&a: 1\n", "*a :", "*a: 1\n", "{&a x: *a }", "key of words: v\n"),
    *("{a: 1, b: [x, y]}", "{a: , b}", "{a:1}", '{"a":1}', "{? a : b}", "[a, b: c, ? d]", "[a:1]", "[,]", "[a,]"),
    *("{", "}", "[", "]", ",", "{}", "[ ]", "!vault ", "!vault |\n  $ANSIBLE\n  3333\n", "!unsafe x"),
    *("!!int ", "!!str ", "!!map ", "!!seq [a]", "!x ", "!", "!<tag:yaml.org,2002:str> x", "|", ">", "a\n b\n"),
    *("|\n  text\n   more\n", ">-\n  folded\n  line\n\n  x\n", "|2\n", "|+\n\n", ">#", '"a\n b"', "'a\n\n b'"),
    *('"q\\u00e9\\n"', '"\\/"', '"\\x41"', '"\\ud83d"', "'it''s'", '"', "'", "\\", "é", "\U0001f600", "~", "="),
    *("#c\n", " # c\n", "a #b", "a#b", "---\n", "--- a\n", "---a", "...\n", "...\n---\n", "%YAML 1.1\n", "%TAG ! x\n", "%"),
    *("@", "`", "\n", "\n\n", " ", "  ", "    ", "\t", "\r\n", "\r", "\x85", "\u2028", "\ufeff", "\x00", "\x07", "?", "-", "--"),
    *("-1", "yes", "010", "1:30", "1e3", "2024-01-02", "0x1F", ".5", ".inf", "1_000", "http://a:1/x?y=1#z", "a:b", ":a", "a: b: c"),
)


def is_read_fast(text: str) -> bool:
    return fast_reading.read_fast(text, TreeBuilder("f.yaml", YamlVersion.V1_2, Problems(), json_form=False))


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_workspace_every_yaml_file_here_is_the_same_to_both_readers(file: Path) -> None:
    content = file.read_bytes()
    if len(content) < 50_000:
        same(content.decode("utf-8-sig", "replace"))


@settings(max_examples=600, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=9).map("".join))
def test_workspace_a_drawn_text_is_the_same_to_both_readers(text: str) -> None:
    same(text)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(HOSTS)), st.sampled_from(PIECES), st.integers(0, 3))
def test_workspace_an_inventory_in_which_something_was_mistyped_is_the_same_to_both_readers(at: int, piece: str, gone: int) -> None:
    same(f"all:\n  hosts:\n{HOSTS[:at]}{piece}{HOSTS[at + gone :]}\n")


def test_workspace_what_people_write_is_read_by_the_fast_reader() -> None:
    assert is_read_fast(f"# Is this fast?\nall:\n  hosts:\n{HOSTS}\n")
    assert is_read_fast("a: &x {b: !vault 'c', d: , e: }\nf: {<<: *x, url: \"http://h/?q\"}\ng: |\n  text?\n")


def test_workspace_what_only_one_reader_takes_so_is_left_to_the_other() -> None:
    for text in ("- |\n \n  x\n", "k: >\n \n  ", "[{!!str x?}]", "['x':1]", 'a: [b, "c":{}]'):  # refused by the slow one
        same(text)
        assert not is_read_fast(text)
    for text in ("a:\tb\n", "a: [b? c]\n", "&a: 1\n", "a: 1\n\u2028b: 2\n", ">#", "{a: !, b}", "!!map &a {b: 1}", "? a\n", "a: 1\n...\n"):
        assert not is_read_fast(text)


@pytest.mark.parametrize("piece", ["!", "!a", "&", "*", "|", "| #", ">0", "! ", "[", "{", ": "])
def test_workspace_whether_a_text_can_be_read_fast_is_known_after_one_look_at_it(piece: str) -> None:
    started = process_time()
    assert is_read_fast(f'a: "{piece * 100_000}"\n')
    assert process_time() - started < 10.0  # hundredths of a second; a look from each sign to the end would take minutes


def test_workspace_without_the_c_extension_files_are_read_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast_reading, "IS_HERE", False)
    assert not is_read_fast("a: 1\n")
    same("a: 1\nb: [x, {y: }]\na: 2\n")


def test_workspace_a_value_that_is_left_out_stands_where_its_key_does() -> None:
    for reader in (parse, parse_slowly):
        for text in ("x: 1\n\na:\n\n# of b\nb: 1\n", "x: 1\n\na:", "x: 1\n\na: # nothing\n"):
            root = reader(text, "f.yaml", YamlVersion.V1_2, Problems())
            assert isinstance(root, MapNode)
            value = root.get("a")
            assert value is not None
            assert (value.line, value.column) == (3, 1)
