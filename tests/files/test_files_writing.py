"""Files that are written: links followed, streams written to, and a regular file whole or not at all."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from reconciler.files import PRIVATE, UnsafeLink, find_target, others_may_write, write_file
from reconciler.fleet import GpurecError


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(autouse=True)
def usual_umask():
    before = os.umask(0o022)
    yield
    os.umask(before)


def test_a_new_file_gets_the_mode_that_is_asked_for_or_the_usual_one(tmp_path: Path):
    write_file(tmp_path / "plan.json", "{}", mode=PRIVATE)
    write_file(tmp_path / "desired.yaml", "version: 1\n")
    assert (mode_of(tmp_path / "plan.json"), mode_of(tmp_path / "desired.yaml")) == (0o600, 0o644)


def test_a_file_that_is_there_keeps_its_mode(tmp_path: Path):
    file = tmp_path / "plan.json"
    file.write_text("old")
    file.chmod(0o640)
    write_file(file, "new", mode=PRIVATE)
    assert (file.read_text(), mode_of(file)) == ("new", 0o640)


def test_a_link_is_followed_and_stays_a_link(tmp_path: Path):
    (tmp_path / "real").mkdir()
    real, link = tmp_path / "real" / "plan.json", tmp_path / "link"
    real.write_text("old")
    link.symlink_to("hop")
    (tmp_path / "hop").symlink_to(Path("real") / ".." / "real" / "plan.json")
    write_file(link, "new")
    assert link.is_symlink()
    assert real.read_text() == "new"
    assert not [one for one in (tmp_path / "real").iterdir() if one != real], "a draft is left"


def test_a_link_to_a_file_that_is_not_there_yet_makes_it_where_it_leads(tmp_path: Path):
    (tmp_path / "link").symlink_to("new.json")
    write_file(tmp_path / "link", "{}", mode=PRIVATE)
    assert (tmp_path / "link").is_symlink()
    assert mode_of(tmp_path / "new.json") == 0o600


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o773])
@pytest.mark.parametrize("where", ["the file", "its folder"])
def test_a_link_in_a_folder_that_others_may_write_to_is_not_followed(tmp_path: Path, mode: int, where: str):
    mine, public = tmp_path / "mine", tmp_path / "public"
    mine.mkdir()
    public.mkdir()
    (mine / "keys").write_text("precious")
    named = public / "out.json" if where == "the file" else public / "folder" / "keys"
    (public / "out.json").symlink_to(mine / "keys")
    (public / "folder").symlink_to(mine)
    public.chmod(mode)
    with pytest.raises(GpurecError, match="symbolic link in a folder that others may write to"):
        write_file(named, "{}")
    assert (mine / "keys").read_text() == "precious"


def test_links_in_a_ring_are_said(tmp_path: Path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(GpurecError, match="ring"):
        write_file(tmp_path / "a", "{}")


def test_a_pipe_is_written_to_and_stays_a_pipe(tmp_path: Path):
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    heard: list[str] = []
    reader = threading.Thread(target=lambda: heard.append(pipe.read_text()))
    reader.start()
    write_file(link, "{}" * 100_000)
    reader.join(10)
    assert heard == ["{}" * 100_000]
    assert stat.S_ISFIFO(pipe.lstat().st_mode)


def test_a_device_is_written_to_and_stays_a_device(tmp_path: Path):
    device = tmp_path / "null"
    try:
        os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        device.open("wb").close()
    except PermissionError:
        pytest.skip("this user may make, or open, no device")
    write_file(device, "{}", mode=PRIVATE)
    assert stat.S_ISCHR(device.lstat().st_mode)
    assert find_target(device).stream


def test_an_open_descriptor_is_written_to_where_it_leads(tmp_path: Path):
    if not Path("/proc/self/fd").exists():
        pytest.skip("this system has no /proc")
    file = tmp_path / "redirected"
    with file.open("wb") as stream:
        write_file(Path(f"/proc/self/fd/{stream.fileno()}"), "{}")
        assert os.fstat(stream.fileno()).st_ino == file.stat().st_ino, "the file that the shell opened was replaced"
    assert file.read_text() == "{}"


def test_no_folder_is_made_for_a_mistyped_path(tmp_path: Path):
    with pytest.raises(GpurecError, match=r"folder .*mistyped does not exist"):
        write_file(tmp_path / "mistyped" / "plan.json", "{}")
    assert not list(tmp_path.iterdir())


def test_a_folder_is_no_file(tmp_path: Path):
    with pytest.raises(GpurecError, match="this is a folder"):
        write_file(tmp_path, "{}")


def test_without_overwrite_a_file_that_is_there_stays(tmp_path: Path):
    file = tmp_path / "desired.yaml"
    file.write_text("mine")
    (tmp_path / "link").symlink_to(file)
    for path in (file, tmp_path / "link"):
        with pytest.raises(GpurecError, match="there already"):
            write_file(path, "new", overwrite=False)
    assert file.read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 2


def test_what_cannot_be_written_whole_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = tmp_path / "plan.json"
    file.write_text("old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(GpurecError, match="No space left"):
        write_file(file, "new")
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_name_as_long_as_the_system_takes_can_be_written(tmp_path: Path):
    file = tmp_path / ("n" * 250 + ".json")
    write_file(file, "{}")
    assert file.read_text() == "{}"


def test_a_strangers_file_in_a_public_folder_gives_neither_its_mode_nor_its_owner(tmp_path: Path):
    if os.geteuid() != 0:
        pytest.skip("only root can make the file of another user")
    file = tmp_path / "plan.json"
    file.write_text("bait")
    file.chmod(0o666)
    os.chown(file, 12345, 12345)
    tmp_path.chmod(0o1777)
    write_file(file, "{}", mode=PRIVATE)
    assert (file.stat().st_uid, mode_of(file)) == (0, 0o600)


@pytest.mark.parametrize(("mode", "open_"), [(0o700, False), (0o755, False), (0o757, True), (0o1777, True)])
def test_who_may_write_is_told_by_the_mode(tmp_path: Path, mode: int, open_: bool):
    tmp_path.chmod(mode)
    assert others_may_write(tmp_path.stat()) is open_


def test_new_folders_are_made_where_the_links_lead(tmp_path: Path):
    (tmp_path / "link").symlink_to("real")
    write_file(tmp_path / "link" / "a" / "b.txt", "new", new_folders=True)
    assert (tmp_path / "real" / "a" / "b.txt").read_text() == "new"
    assert (tmp_path / "link").is_symlink()


def test_no_folder_is_made_through_the_link_of_a_stranger(tmp_path: Path):
    public, real = tmp_path / "public", tmp_path / "real"
    public.mkdir()
    public.chmod(0o1777)
    real.mkdir()
    (public / "link").symlink_to(real)
    with pytest.raises(UnsafeLink, match=r"public/link is a symbolic link in a folder that others may write to"):
        write_file(public / "link" / "a" / "b.txt", "new", new_folders=True)
    assert not list(real.iterdir())


def test_a_file_in_the_way_of_a_folder_is_named(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(GpurecError, match=r"file/a/b\.txt: the file cannot be written: \S+/file is a file, not a folder"):
        write_file(tmp_path / "file" / "a" / "b.txt", "new", new_folders=True)


@pytest.mark.parametrize("name", ["file", "folder/file", "new"])
def test_nothing_is_written_out_of_the_folder_that_it_is_to_stay_in(tmp_path: Path, name: str):
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    for folder in (inside, outside):
        folder.mkdir()
    (outside / "file").write_text("old")
    for link, to in (("file", outside / "file"), ("folder", outside), ("new", outside / "new")):
        (inside / link).symlink_to(to)
    with pytest.raises(GpurecError, match=r"this leads out of the workspace by a link.*--allow-outside-links"):
        write_file(inside / name, "new", within=inside)
    assert [(one.name, one.read_text()) for one in outside.iterdir()] == [("file", "old")]
    (tmp_path / "link").symlink_to("inside")
    write_file(tmp_path / "link" / "own", "new", within=tmp_path / "link")
    assert (inside / "own").read_text() == "new"
