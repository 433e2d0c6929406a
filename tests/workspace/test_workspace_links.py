"""Files of a stranger's branch: no link leads out of the workspace, and no error shows what a file holds that is none of ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.fleet import WorkspaceError
from reconciler.workspace import load_fleet, load_workspace

INVENTORY = "all: {hosts: {n: {engines: {ollama: {url: 'http://127.0.0.1:1'}}}}}\n"
DESIRED = "version: 1\nmodels: {}\n"
SECRETS = (
    "root:$6$HUSH:19000:0:99999",
    "TOKEN=HUSH\nOTHER=HUSH\n",
    "-----BEGIN KEY-----\nHUSH\n-----END KEY-----\n",
    "machine x login y password HUSH\n",
    '[core]\n\trepositoryformatversion = 0\n[http "https://x"]\n\textraheader = AUTHORIZATION: basic HUSH\n',
    "password: HUSH\n",
    '{"auths": {"x": {"auth": "HUSH"}}}\n',
    "- HUSH\n",
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "workspace"
    for folder, text in (("inventories", INVENTORY), ("desired", DESIRED)):
        (root / folder).mkdir(parents=True)
        (root / folder / "lab.yaml").write_text(text)
    (tmp_path / "outside").mkdir()
    return root


@pytest.mark.parametrize("folder", ["desired", "inventories"])
@pytest.mark.parametrize("how", ["a link", "a link to a link", "a folder that is one"])
def test_a_link_that_leads_out_of_the_workspace_is_refused_and_not_read(root: Path, folder: str, how: str) -> None:
    outside, file = root.parent / "outside" / "lab.yaml", root / folder / "lab.yaml"
    outside.write_text(file.read_text())
    file.unlink()
    if how == "a link":
        file.symlink_to(outside)
    elif how == "a link to a link":
        (root / "hop").symlink_to(outside)
        file.symlink_to(Path("..") / "hop")
    else:
        file.parent.rmdir()
        file.parent.symlink_to(outside.parent)
    with pytest.raises(WorkspaceError, match=r"link that leads out of the workspace.*--allow-outside-links") as caught:
        load_workspace(root)
    assert str(caught.value.problems[0].where) == f"{folder}/lab.yaml"
    assert load_workspace(root, allow_outside_links=True).name == "lab"
    if folder == "inventories":
        with pytest.raises(WorkspaceError, match="link that leads out"):
            load_fleet(root)


def test_a_link_inside_the_workspace_and_a_workspace_behind_a_link_are_read(root: Path) -> None:
    (root / "desired" / "lab.yaml").rename(root / "shared.yaml")
    (root / "desired" / "lab.yaml").symlink_to(Path("..") / "shared.yaml")
    (root.parent / "link").symlink_to(root)
    assert load_workspace(root).name == "lab"
    assert load_workspace(root.parent / "link").name == "lab"


def test_a_file_outside_that_is_named_by_whoever_runs_it_is_read(root: Path) -> None:
    outside = root.parent / "outside" / "d.yaml"
    outside.write_text(DESIRED)
    (root.parent / "outside" / "link.yaml").symlink_to(outside)
    assert load_workspace(root, desired=[root.parent / "outside" / "link.yaml"]).name == "lab"


@pytest.mark.parametrize("folder", ["desired", "inventories"])
@pytest.mark.parametrize("secret", SECRETS)
def test_an_error_says_where_and_what_kind_and_quotes_nothing_of_a_file_that_is_none(root: Path, folder: str, secret: str) -> None:
    (root / "secret").write_text(secret)
    (root / folder / "lab.yaml").unlink()
    (root / folder / "lab.yaml").symlink_to(Path("..") / "secret")
    with pytest.raises(WorkspaceError) as caught:
        load_workspace(root)
    assert f"{folder}/lab.yaml:" in str(caught.value)
    assert "HUSH" not in str(caught.value)
