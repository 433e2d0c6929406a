"""A state that somebody else may write: said at every use, refused for an apply."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reconciler.fleet import StateError
from reconciler.state import open_writer, refuse_unsafe, unsafe_sentence


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "folder" / "s.db"
    with open_writer(path, command="apply", new_folder=True) as state:
        state.begin_run("p", "c", "apply")
    return path


def test_a_state_as_gpurec_makes_it_is_its_users_alone(path: Path) -> None:
    assert unsafe_sentence(path) is None
    refuse_unsafe(path)
    path.chmod(0o644)
    assert unsafe_sentence(path) is None, "to be read by others is no danger to the fleet"


def test_a_state_that_is_not_there_yet_is_nobodys(tmp_path: Path) -> None:
    assert unsafe_sentence(tmp_path / "s.db") is None


@pytest.mark.parametrize(
    ("file", "folder", "said"),
    [
        (0o666, 0o700, "s.db can be written by others (mode 0666)"),
        (0o602, 0o700, "s.db can be written by others (mode 0602)"),
        (0o600, 0o777, "its folder can be written by others (mode 0777)"),
        (0o600, 0o702, "its folder can be written by others (mode 0702)"),
    ],
)
def test_one_that_others_may_write_is_said_and_refused_with_what_mends_it(path: Path, file: int, folder: int, said: str) -> None:
    path.chmod(file)
    path.parent.chmod(folder)
    assert said in (unsafe_sentence(path) or "")
    with pytest.raises(StateError, match="--allow-unsafe-state") as caught:
        refuse_unsafe(path)
    assert said in str(caught.value)
    assert "chmod 600" in str(caught.value)


def test_a_sticky_folder_of_everybody_keeps_the_files_in_it(path: Path) -> None:
    path.parent.chmod(0o1777)
    assert unsafe_sentence(path) is None


def test_a_folder_of_everybody_above_that_of_the_state_is_said(path: Path) -> None:
    above = path.parent.parent
    above.chmod(0o777)
    assert f"its folder lies in {above}, which everybody can write (mode 0777)" in (unsafe_sentence(path) or "")
    with pytest.raises(StateError, match="--allow-unsafe-state"):
        refuse_unsafe(path)
    above.chmod(0o1777)
    assert unsafe_sentence(path) is None


def test_one_of_another_owner_is_said(path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    os.chown(path, 12345, 12345)
    assert "s.db belongs to another user (id 12345)" in (unsafe_sentence(path) or "")
    os.chown(path, 0, 0)
    os.chown(path.parent, 12345, 12345)
    assert "its folder belongs to another user (id 12345); own it" in (unsafe_sentence(path) or "")


def test_the_file_behind_a_link_counts(path: Path, tmp_path: Path) -> None:
    (tmp_path / "link.db").symlink_to(path)
    path.chmod(0o666)
    assert "can be written by others" in (unsafe_sentence(tmp_path / "link.db") or "")
