"""`with` and `never_with` of a desired state."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from reconciler.workspace import Workspace

Load = Callable[..., Workspace]
Sentences = Callable[..., list[str]]


def test_workspace_company_is_read(load: Load) -> None:
    first, second, third = load(desired="version: 1\nmodels: {a: {with: [b, c]}, b: {}, c: {never_with: [b]}}\n").desired.models
    assert (first.with_models, first.never_with) == (("b", "c"), ())
    assert (second.with_models, third.never_with) == ((), ("b",))


@pytest.mark.parametrize(
    ("models", "told"),
    [
        ("{a: {with: [a]}}", "model 'a' names itself in `with`"),
        (
            "{a: {with: [lama]}, llama: {}}",
            "`with` names 'lama', which is no model of these files that is to be loaded; did you mean 'llama'?",
        ),
        ("{a: {never_with: [b]}, b: {ensure: present}}", "`never_with` names 'b', which is no model of these files that is to be loaded"),
        ("{a: {with: [b]}, b: {never_with: [a]}}", "model 'a' is to be on a card with 'b', and never on one with it"),
        ("{a: {with: [b], residency: cpu}, b: {}}", "model 'a' belongs on the CPU, and has `with`"),
        ("{a: {with: [b], ensure: present}, b: {}}", "model 'a' has `with`, and is not to be loaded by gpurec"),
    ],
)
def test_workspace_company_that_cannot_be_is_refused(problems: Sentences, models: str, told: str) -> None:
    (found,) = problems(desired=f"version: 1\nmodels: {models}\n")
    assert told in found
    assert "desired/x.yaml:2:" in found


def test_workspace_models_beside_each_other_go_in_no_ring(problems: Sentences) -> None:
    found = problems(desired="version: 1\nmodels: {a: {with: [b]}, b: {with: [a]}}\n")
    assert len(found) == 2
    assert "model 'a' is to be beside others that are to be beside it" in found[0]
