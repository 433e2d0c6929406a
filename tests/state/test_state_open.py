"""A state by its URL."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from reconciler.fleet import StateError
from reconciler.state import open_state


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("state/lab.db", "state/lab.db"),
        ("sqlite:///state/lab.db", "state/lab.db"),
        ("sqlite:////srv/lab.db", "/srv/lab.db"),
        ("/srv/lab.db", "/srv/lab.db"),
    ],
)
def test_a_path_is_below_the_workspace_unless_it_is_absolute(tmp_path: Path, url: str, path: str) -> None:
    assert open_state(url, tmp_path).file == tmp_path / path


def test_what_is_opened_reads_and_writes(tmp_path: Path) -> None:
    store = open_state("s.db", tmp_path)
    with closing(store.reader()) as state:
        assert state.applied().lineage is None
    with store.writer(command="apply", fleet="lab") as state:
        state.begin_run("p", "c", "apply")
        assert not state.takes_no_more
    with closing(store.reader()) as state:
        assert state.applied().lineage is not None


@pytest.mark.parametrize("url", ["postgresql://ops:HUSH@db/gpurec", "postgres://ops:HUSH@db/gpurec"])
def test_postgresql_is_one_sentence_that_names_the_extra_and_no_password(url: str) -> None:
    with pytest.raises(StateError, match="needs the extra `postgres`") as caught:
        open_state(url)
    assert "HUSH" not in str(caught.value)
    assert len(caught.value.problems) == 1


def test_another_kind_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="kind 'mysql' cannot be opened"):
        open_state("mysql://x/y", tmp_path)
