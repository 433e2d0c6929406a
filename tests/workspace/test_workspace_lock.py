"""The lock file: digests beside the desired state, read as a form of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.workspace import Workspace, load_workspace

Load = Callable[..., Workspace]
D, E = "sha256:" + "d" * 64, "sha256:" + "e" * 64
HOSTS = 'all: {hosts: {a: {engines: {ollama: {url: "http://a:11434"}}}}}'
MODELS = "version: 1\nmodels: {m: {}}\n"
LOCK = "desired/x.lock.yaml"


def test_the_lock_file_gives_its_models_their_digest_and_is_part_of_the_config_digest(load: Load) -> None:
    without = load()
    locked = load(**{LOCK: f"version: 1\ndigests:\n  m: {D}\n"})
    assert (without.desired.models[0].digest, locked.desired.models[0].digest) == (None, D)
    assert without.config_digest != locked.config_digest
    assert load(**{LOCK: f"version: 1\ndigests:\n  m: {E}\n"}).config_digest != locked.config_digest


def test_a_models_own_digest_wins_with_a_warning(load: Load) -> None:
    found = load(desired=f"version: 1\nmodels:\n  m: {{digest: '{E}'}}\n", **{LOCK: f"version: 1\ndigests: {{m: '{D}'}}\n"})
    assert found.desired.models[0].digest == E
    assert [str(one.where) for one in found.warnings] == ["desired/x.lock.yaml:2:11"]


def test_a_pin_that_nobody_wants_is_a_warning(load: Load) -> None:
    found = load(**{LOCK: f"version: 1\ndigests:\n  gone: {D}\n"})
    assert [one.sentence() for one in found.warnings] == [
        "desired/x.lock.yaml:3:3: the lock file pins 'gone', which is no model of the desired state; run gpurec pin to write it again"
    ]


def test_the_lock_file_of_a_desired_folder_stands_beside_it(tmp_path: Path) -> None:
    texts = {"inventories/x.yaml": HOSTS, "desired/x/one.yaml": MODELS, LOCK: f"version: 1\ndigests: {{m: '{D}'}}\n"}
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert load_workspace(tmp_path).desired.models[0].digest == D


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("digests: {}\n", "the lock file lacks 'version'"),
        ("version: 2\n", "desired/x.lock.yaml:1:10: 'version' of the lock file must be 1"),
        ("version: 1\nmodels: {}\n", "desired/x.lock.yaml:2:1: unknown key 'models' of the lock file"),
        ("version: 1\ndigests: {m: latest}\n", "desired/x.lock.yaml:2:14: 'digests' of the lock file.'m' is no digest of weights"),
        ("version: 1\ndigests: [m]\n", "desired/x.lock.yaml:2:10: 'digests' of the lock file must be a mapping"),
        ("- 1\n", "desired/x.lock.yaml:1:1: the lock file must be a mapping"),
    ],
)
def test_what_is_wrong_with_a_lock_file_is_told_with_its_place(problems: Callable[..., list[str]], text: str, said: str) -> None:
    (sentence,) = problems(**{LOCK: text})
    assert said in sentence


def test_a_digest_that_is_none_is_told_with_its_place(problems: Callable[..., list[str]]) -> None:
    (sentence,) = problems(desired="version: 1\nmodels:\n  m: {digest: sha256:abc}\n")
    assert sentence.startswith("desired/x.yaml:3:15: 'digest' of model 'm' is no digest of weights; write sha256: and 64")
