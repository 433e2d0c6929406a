"""`prefer` of a model, and `placement.weights`."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from reconciler.fleet import Prefer, Strategy, Weights
from reconciler.workspace import Workspace

Load = Callable[..., Workspace]
Sentences = Callable[..., list[str]]
TWO = """
all:
  children:
    big: {hosts: {a: {engines: {ollama: {url: "http://a:11434"}}}}}
    small: {hosts: {"b[1:2]": {engines: {ollama: {url: "http://{{ inventory_hostname }}:11434"}}}}}
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[small, a]", Prefer((frozenset({"b1", "b2"}), frozenset({"a"})))),
        ("[b1]", Prefer((frozenset({"b1"}),))),
        ("speed", Prefer(speed=True)),
    ],
)
def test_workspace_prefer_is_patterns_in_an_order_or_speed(load: Load, text: str, expected: Prefer) -> None:
    assert load(TWO, f"version: 1\nmodels: {{m: {{prefer: {text}}}}}\n").desired.models[0].prefer == expected


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("models: {m: {prefer: fast}}", "'prefer' of model 'm' cannot be 'fast'; write `speed`, or patterns of hosts as a list: [fast]"),
        ("models: {m: {prefer: [bigger]}}", "model 'm': "),
        ("placement: {strategy: weighted, weights: {lod: 1}}", "unknown key 'lod'"),
        ("placement: {strategy: weighted, weights: {load: 0}}", "nothing counts; give one of them a weight above 0"),
        ("placement: {weights: {load: 1}}", "has weights, and its strategy is least_loaded; write strategy: weighted"),
    ],
)
def test_workspace_preferences_that_cannot_be_are_refused(problems: Sentences, text: str, told: str) -> None:
    (found,) = problems(TWO, f"version: 1\n{text}\n")
    assert told in found


def test_workspace_weights_that_are_given_are_all_that_counts(load: Load) -> None:
    found = load(TWO, "version: 1\nplacement: {strategy: weighted, weights: {speed: 2, cost: 0.5}}\n").desired
    assert (found.strategy, found.weights) == (Strategy.WEIGHTED, Weights(load=0.0, speed=2.0, cost=0.5))
    assert load(TWO, "version: 1\nplacement: {strategy: weighted}\n").desired.weights == Weights()
