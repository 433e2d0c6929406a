"""Several `-f`: each over the ones before it, for several uses of one fleet."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.fleet import Desired, WorkspaceError
from reconciler.workspace import load_workspace

HOSTS = "all: {hosts: {a: {engines: {ollama: {url: 'http://a:1'}}}}}\n"


def desired(root: Path, *layers: str) -> Desired:
    (root / "inventories").mkdir(exist_ok=True)
    (root / "inventories" / "lab.yaml").write_text(HOSTS)
    paths = [root / f"{number}.yaml" for number, _ in enumerate(layers)]
    for path, text in zip(paths, layers, strict=True):
        path.write_text(text)
    return load_workspace(root, desired=paths).desired


BASE = "version: 1\npolicy: {lost_after: 10m, guards: {max_unload: 3}}\nmodels: {chat: {context: 4096, priority: 5}, embed: {}}\n"


def test_what_a_later_file_says_counts_and_the_rest_stays(tmp_path: Path) -> None:
    found = desired(tmp_path, BASE, "models: {chat: {context: 8192}, code: {}}\npolicy: {guards: {max_evictions: 1}}\n")
    by_name = {model.name: model for model in found.models}
    assert set(by_name) == {"chat", "embed", "code"}
    assert (by_name["chat"].context, by_name["chat"].priority) == (8192, 5)
    assert (found.policy.lost_after, found.policy.guards.max_unload, found.policy.guards.max_evictions) == (600, 3, 1)
    assert {model.name: model for model in desired(tmp_path, BASE).models}["chat"].context == 4096


def test_lists_and_single_values_are_replaced_and_the_order_counts(tmp_path: Path) -> None:
    first, second = "version: 1\npriority_models: [chat, embed]\n", "priority_models: [code]\n"
    assert [model.name for model in desired(tmp_path, first, second).models] == ["code"]
    assert [model.name for model in desired(tmp_path, second, first).models] == ["chat", "embed"]


def test_a_key_without_a_value_takes_nothing_away(tmp_path: Path) -> None:
    found = desired(tmp_path, BASE, "models: {chat: , embed: {replicas: 0}}\npolicy:\n")
    by_name = {model.name: model for model in found.models}
    assert (by_name["chat"].context, by_name["embed"].replicas, found.policy.lost_after) == (4096, 0, 600)


def test_a_later_number_of_replicas_takes_the_place_of_one_for_each(tmp_path: Path) -> None:
    (chat,) = desired(tmp_path, "version: 1\nmodels: {chat: {each: node}}\n", "models: {chat: {replicas: 0}}\n").models
    assert (chat.each, chat.replicas) == (None, 0)


def test_a_mistake_is_told_in_the_file_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match=r"1\.yaml:1:26: 'context' of model 'chat' must be a whole number"):
        desired(tmp_path, BASE, "models: {chat: {context: many}}\n")


def test_within_one_layer_a_key_twice_stays_a_mistake(tmp_path: Path) -> None:
    folder = tmp_path / "two"
    folder.mkdir()
    for name in ("a", "b"):
        (folder / f"{name}.yaml").write_text("version: 1\nmodels: {chat: {}}\n")
    desired(tmp_path, BASE)
    with pytest.raises(WorkspaceError, match="'chat' of models is defined twice"):
        load_workspace(tmp_path, desired=[folder])
