"""Every regular expression of the package takes one pass over a text: it is bounded by the text's length, whoever wrote it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from regex_rules import ANCHORED, Use, faults_of, uses_in

import reconciler

PACKAGE = Path(reconciler.__file__).parent
USES = [use for path in sorted(PACKAGE.rglob("*.py")) for use in uses_in(path, str(path.relative_to(PACKAGE)))]
MADE_AT_RUN_TIME = {
    "workspace/patterns.py": "what a user writes after `~`, or a glob",
    "rendering/variables.py": "one of the words that LiteLLM knows",
    "engines/keys.py": "a key, without a repeat that has no bound",
    "views/alike.py": "a name of a node, without a repeat",
}


def test_the_package_has_patterns_and_they_are_found() -> None:
    assert len(USES) > 40


@pytest.mark.parametrize("use", USES, ids=lambda use: use.where)
def test_no_pattern_goes_over_a_text_more_than_once(use: Use) -> None:
    if not use.pattern:
        assert use.where.rpartition(":")[0] in MADE_AT_RUN_TIME, f"{use.where}: a pattern that is made at run time cannot be read here"
    assert faults_of(use) == [], f"{use.where}: {use.pattern}"


@pytest.mark.parametrize(
    ("pattern", "way", "text"),
    [
        (r"^FROM\s+.*sha256[-:]([0-9a-f]{64})\s*$", "search", "FROM" + " " * 60_000),
        (r'([a-z_]+)="', "findall", "a" * 60_000),
        (r"\s*(>=|>)?\s*(\S+)\s*", "fullmatch", " " * 20_000),
        (r"(a+)+b", "match", "a" * 26),
        (r"(\S+\s*)+;", "match", "ab " * 9),
        (r"<.*>", "search", "<" * 30_000),
    ],
)
def test_patterns_that_take_minutes_are_refused(pattern: str, way: str, text: str) -> None:
    assert faults_of(Use("here", pattern, 0, frozenset({way})))
    assert text


@pytest.mark.parametrize(
    ("pattern", "way"),
    [
        (r"[0-9]+(?:\.[0-9]+)?", "fullmatch"),
        (r"GPU (\d{1,3}): ", "search"),
        (r"(?:[^\"\\]|\\.)*+\"", "match"),
        (r"([a-z]+)=([0-9]+)", "fullmatch"),
        (r'"key"\s*=\s*([0-9]+)', "search"),
    ],
)
def test_patterns_that_take_one_pass_are_taken(pattern: str, way: str) -> None:
    assert faults_of(Use("here", pattern, 0, frozenset({way}))) == []


@pytest.mark.parametrize("use", [use for use in USES if use.pattern], ids=lambda use: use.where)
def test_no_pattern_takes_long_on_a_text_of_one_character(use: Use) -> None:
    import re

    pattern = re.compile(use.pattern, use.flags)
    called = "fullmatch" if use.ways <= ANCHORED else "search"
    starts = {use.pattern[:12].strip("^\\()[]?:+*$|"), "FROM", "card", '"', ""}
    for start in sorted(starts):
        for character in ' \ta0-.:/="\\,[{<':
            began = time.process_time()
            getattr(pattern, called)(start + character * 20_000 + "\x01")
            assert time.process_time() - began < 2.0, f"{use.where}: {start!r} and {character!r}"
