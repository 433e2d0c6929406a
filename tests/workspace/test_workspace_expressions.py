"""A regular expression in a pattern ends: what could take for ever is refused before it is run, what people write is not."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable

import pytest

from reconciler.workspace import Workspace
from reconciler.workspace.expressions import LONGEST, why_too_much

NAMES = [f"gpu-{number:05d}.rack{number % 40}.berlin.example.com" for number in range(10_000)]
WORST = ["a" * 250]


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "gpu",
        "gpu-[ab]$",
        "^node[0-9]+$",
        r".*\.lan$",
        r"(web|db)\d+\.(berlin|paris)\..*",
        r"^(gpu|node).*[12a]$",
        r"gpu(0[1-9]|1[0-2])",
        r"(?i:gpu)-\d{1,3}[a-z]?",
        r"(?=gpu)(?!gpu-0).*",
        r"(ab){3}",
        r"(?:[ab]c)+",
        r".*-.*\.example",
    ],
)
def test_workspace_what_people_write_is_run(expression: str) -> None:
    assert why_too_much(expression, NAMES) is None


@pytest.mark.parametrize(
    "expression",
    [
        "(a+)+$",
        "(a*)*b",
        "(a|a)*b",
        "(a|ab)*c",
        "(a?){30}a{30}",
        "(?:a{2,5})+",
        "((?:a+b?)+)*",
        "(?=(a+)+b)",
        "(x)?(?(1)(a+)+|b)",
        ".*.*.*.*.*.*=",
        "a?" * 40 + "a" * 40,
        "(a|b|ab)(a|b|ab)" * 20,
        "a" * (LONGEST + 1),
    ],
)
def test_workspace_what_could_take_for_ever_is_refused_at_once(expression: str) -> None:
    started = time.monotonic()
    assert why_too_much(expression, WORST * 1000) is not None
    assert time.monotonic() - started < 1.0


def test_workspace_whatever_is_let_through_ends_soon() -> None:
    rng = random.Random(4)
    atoms = ["a", "b", ".", "[ab]", r"\w", "(a|b)", "(ab|a)", "(?:a)", "(a+)", "(a?b)"]
    through = 0
    for _ in range(250):
        expression = "".join(
            rng.choice(atoms) + rng.choice(["", "", "*", "+", "?", "*?", "{2}", "{0,9}"]) for _ in range(rng.randint(1, 8))
        )
        if why_too_much(expression + "!", WORST) is None:
            through += 1
            compiled = re.compile(expression + "!")
            started = time.process_time()
            assert compiled.match(WORST[0]) is None
            assert time.process_time() - started < 10.0, expression
    assert through > 50


def test_workspace_a_pattern_that_could_take_for_ever_is_told_with_its_place(problems: Callable[..., list[str]]) -> None:
    (sentence,) = problems(desired="version: 1\nmodels: {m: {on: '~(a+)+$'}}\n")
    assert sentence.startswith("desired/x.yaml:2:")
    assert "'~(a+)+$' repeats what holds a repeat" in sentence


def test_workspace_wildcards_need_no_bound(load: Callable[..., Workspace]) -> None:
    name = "a" * 200
    started = time.monotonic()
    loaded = load(
        f"all: {{hosts: {{{name}: {{engines: {{ollama: {{url: 'http://n:1'}}}}}}}}}}\n",
        "version: 1\nmodels: {m: {on: '" + "*a" * 60 + "'}}\n",
    )
    assert loaded.desired.models[0].nodes == (name,)
    assert time.monotonic() - started < 5.0
