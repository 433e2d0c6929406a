"""Commands and files of a host: the same whether it is this machine or is reached by ssh."""

from __future__ import annotations

import asyncio
import getpass
import hashlib
import os
import stat
import sys
from pathlib import Path

import pytest

from reconciler.fleet import NodeSpec, ProbeSpec
from reconciler.hosts import MOST_FILE, FileSeen, Host, HostError, OverSsh, SshClient, ThisMachine, host_of, is_this_machine
from reconciler.hosts.bounded import run_bounded

FAKE_SSH = """#!/bin/sh
printf '%s\\n' "$@" >{log}
while [ "$1" != -- ]; do shift; done
shift 2
exec sh -c "$*"
"""
WITHIN = 30.0


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SshClient:
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "ssh").write_text(FAKE_SSH.format(log=tmp_path / "arguments"))
    (tools / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    folder = tmp_path / "control"
    folder.mkdir()
    return SshClient(folder)


def node(address: str = "192.0.2.1", **probe: object) -> NodeSpec:
    return NodeSpec("box", address, probe=ProbeSpec(**probe))  # type: ignore[arg-type]


@pytest.fixture(params=["here", "ssh"])
def host(request: pytest.FixtureRequest, client: SshClient) -> Host:
    return ThisMachine("box") if request.param == "here" else OverSsh(node(), client)


def run(host: Host, *command: str, **more: object):
    return asyncio.run(host.run(command, within=WITHIN, **more))  # type: ignore[arg-type]


def write(host: Host, path: Path, content: bytes, **more: object) -> None:
    asyncio.run(host.write_file(str(path), content, within=WITHIN, **more))  # type: ignore[arg-type]


def read(host: Host, path: Path):
    return asyncio.run(host.read_file(str(path), within=WITHIN))


def refused(host: Host, path: Path, content: bytes = b"new", **more: object) -> str:
    with pytest.raises(HostError) as caught:
        write(host, path, content, **more)
    assert str(caught.value).startswith("box: ")
    return caught.value.code


ODD = ["a b", "$(touch no)", "'", '"', "\\\\", "*", "", "-n", "ü\n"]


def test_a_command_is_a_list_and_no_shell_reads_it(host: Host) -> None:
    ran = run(host, sys.executable, "-X", "utf8", "-c", "import sys; print(sys.argv[1:])", *ODD)
    assert (ran.code, ran.out.decode()) == (0, f"{ODD}\n")


def test_what_is_given_is_its_input_to_the_byte_and_else_it_has_none(host: Host) -> None:
    everything = bytes(range(256)) * 300
    assert run(host, "cat", given=everything).out == everything
    assert run(host, "cat").out == b""


def test_how_a_command_ends_and_what_it_says_of_that_come_back(host: Host) -> None:
    ran = run(host, "sh", "-c", "echo no >&2; exit 7")
    assert (ran.code, ran.err) == (7, b"no\n")


def test_an_answer_beyond_its_bound_ends_the_command(host: Host) -> None:
    with pytest.raises(HostError) as caught:
        run(host, "yes", limit=2**20)
    assert caught.value.code == "too_large"


def test_nothing_is_said_on_the_way_about_programs_that_were_killed(caplog: pytest.LogCaptureFixture) -> None:
    """What no logger takes, Python writes to stderr, where a command's own words stand."""

    async def cut_often() -> list[str | None]:
        return [(await run_bounded(["yes"], within=60, limit=2000)).cut for _ in range(40)]

    assert set(asyncio.run(cut_often())) == {"too_large"}
    assert caplog.messages == []


def test_a_command_that_hangs_costs_its_time_and_no_more(host: Host) -> None:
    with pytest.raises(HostError) as caught:
        asyncio.run(host.run(("sleep", "600"), within=0.5))
    assert caught.value.code == "timeout"


def left(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir() if entry.name.startswith(".gpurec")]


def test_a_file_is_written_whole_with_its_mode_and_read_back(host: Host, tmp_path: Path) -> None:
    path = tmp_path / "a file with ' and $x"
    content = bytes(range(256)) * 999
    write(host, path, content, mode=0o640)
    found = read(host, path)
    assert (found.content, found.mode, found.owner) == (content, 0o640, path.owner())
    write(host, path, b"")
    assert (read(host, path).content, read(host, path).mode) == (b"", 0o644)
    assert left(tmp_path) == []


def test_a_file_that_is_not_there_is_none_and_one_that_cannot_be_read_is_an_error(host: Host, tmp_path: Path) -> None:
    assert read(host, tmp_path / "nothing") is None
    with pytest.raises(HostError) as caught:
        read(host, tmp_path)
    assert caught.value.code == "not_a_file"


def look(host: Host, *paths: Path):
    return asyncio.run(host.look_at_files([str(path) for path in paths], within=WITHIN))


def test_many_files_are_looked_at_at_once_and_none_of_their_content_comes_back(host: Host, tmp_path: Path) -> None:
    names = [f"f{number} '$(no)'" for number in range(1200)]
    for name in names[::2]:
        (tmp_path / name).write_text(name)
    found = look(host, *(tmp_path / name for name in names))
    assert [found[str(tmp_path / name)] is not None for name in names] == [True, False] * 600
    one = found[str(tmp_path / names[4])]
    assert isinstance(one, FileSeen)
    assert (one.digest, one.size) == (hashlib.sha256(names[4].encode()).hexdigest(), len(names[4]))
    assert one.owner == getpass.getuser()


def test_what_cannot_be_read_as_a_file_is_an_error_of_its_own_among_many(host: Host, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "nowhere").symlink_to("gone")
    with (tmp_path / "large").open("wb") as large:
        large.truncate(MOST_FILE + 1)
    (tmp_path / "fine").write_bytes(b"x")
    found = look(host, *(tmp_path / name for name in ("folder", "nowhere", "large", "fine", "none/at/all")))
    assert [getattr(one, "code", None) for one in found.values()] == ["not_a_file", "not_a_file", None, None, None]
    large_one, fine = found[str(tmp_path / "large")], found[str(tmp_path / "fine")]
    assert isinstance(large_one, FileSeen)
    assert (large_one.digest, large_one.size, isinstance(fine, FileSeen)) == (None, MOST_FILE + 1, True)


@pytest.mark.parametrize("answer", ["", "nonsense\n", "0\n0\n", "+ 644 a 0 1 abc\n"])
def test_an_answer_about_files_that_is_none_is_never_taken_for_one(client: SshClient, tmp_path: Path, answer: str) -> None:
    (tmp_path / "tools" / "ssh").write_text(f"#!/bin/sh\ncat >/dev/null\nprintf %s '{answer}'\n")
    try:
        (found,) = look(OverSsh(node(), client), tmp_path / "f").values()
    except HostError as error:
        found = error
    assert isinstance(found, HostError)
    assert found.code == "unreadable"


def test_new_content_is_judged_under_its_own_name_and_put_there_only_where_that_goes_well(host: Host, tmp_path: Path) -> None:
    path = tmp_path / "a 'b' $c.conf"
    judge = ("sh", "-c", 'test "$(basename "$1")" = "$2" && grep -q good "$1"', "-", "{path}", path.name)
    write(host, path, b"good", validate=judge)
    assert refused(host, path, b"bad", validate=(*judge[:2], "echo why >&2; exit 3", "{path}")) == "invalid"
    assert refused(host, path, b"bad", validate=("no-such-program", "{path}")) == "invalid"
    assert path.read_bytes() == b"good"
    assert [one.name for one in tmp_path.iterdir() if one.name.startswith(".")] == []


def test_a_link_is_followed_but_not_where_everybody_may_make_one(host: Host, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    target, link = tmp_path / "real" / "f", tmp_path / "link"
    target.write_bytes(b"old")
    link.symlink_to(target)
    write(host, link, b"new")
    assert (link.is_symlink(), target.read_bytes()) == (True, b"new")
    tmp_path.chmod(0o777)
    assert refused(host, link, b"other") == "unsafe_link"
    assert target.read_bytes() == b"new"


def test_root_follows_no_link_that_the_owner_of_its_folder_may_have_made(host: Host, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder away")
    theirs, target = tmp_path / "theirs", tmp_path / "target"
    theirs.mkdir()
    target.write_bytes(b"old")
    (theirs / "link").symlink_to(target)
    os.chown(theirs, 12345, 12345)
    assert refused(host, theirs / "link", b"other") == "unsafe_link"
    assert target.read_bytes() == b"old"


def test_what_is_no_file_is_never_replaced(host: Host, tmp_path: Path) -> None:
    pipe, folder = tmp_path / "pipe", tmp_path / "folder"
    os.mkfifo(pipe)
    folder.mkdir()
    assert [refused(host, pipe), refused(host, folder)] == ["not_a_file"] * 2
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_folder_that_is_not_there_and_an_owner_that_is_none_leave_everything_as_it_was(host: Host, tmp_path: Path) -> None:
    assert refused(host, tmp_path / "no" / "f") == "no_folder"
    path = tmp_path / "f"
    path.write_bytes(b"old")
    assert refused(host, path, owner="nobody-of-this-name") == "no_such_owner"
    assert (path.read_bytes(), left(tmp_path)) == (b"old", [])


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_half_of_a_script_does_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"old")
    whole = ThisMachine._sh

    async def cut_off(self, shell, text, within, limit):  # type: ignore[no-untyped-def]
        return await whole(self, shell, text[: int(len(text) * share)], within, limit)

    monkeypatch.setattr(ThisMachine, "_sh", cut_off)
    with pytest.raises(HostError):
        write(ThisMachine("box"), path, b"new" * 1000)
    assert (path.read_bytes(), left(tmp_path)) == (b"old", [])


def test_ssh_is_told_how_to_reach_the_node_and_no_name_can_be_an_option(client: SshClient, tmp_path: Path) -> None:
    at = node("-oProxyCommand=x", user="ops", port=2222, key_file="~/.ssh/lab", ssh_options=("-J", "bastion"))
    run(OverSsh(at, client), "true")
    said = (tmp_path / "arguments").read_text().splitlines()
    assert said[said.index("-J") :] == [
        *("-J", "bastion", "-i", "~/.ssh/lab", "-l", "ops", "-p", "2222", "--", "-oProxyCommand=x", "sh", "-s"),
    ]


@pytest.mark.parametrize(
    ("said", "code"), [("Permission denied (publickey).", "key_refused"), ("connect: Connection refused", "refused"), ("odd", "ssh_failed")]
)
def test_every_no_of_ssh_has_its_reason(client: SshClient, tmp_path: Path, said: str, code: str) -> None:
    (tmp_path / "tools" / "ssh").write_text(f"#!/bin/sh\necho '{said}' >&2\nexit 255\n")
    with pytest.raises(HostError) as caught:
        run(OverSsh(node(), client), "true")
    assert caught.value.code == code


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "runtime"
    folder.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def config_of(client: SshClient) -> Path:
    command = client.command(node())
    return Path(command[command.index("-F") + 1])


def test_what_stands_in_the_place_of_our_folder_leaves_us_another_one(runtime: Path) -> None:
    own = runtime / f"gpurec-{os.getuid()}"
    own.write_text("in the way")
    config = config_of(SshClient())
    assert (config.is_file(), config.parent.name.startswith("gpurec-"), own.read_text()) == (True, True, "in the way")


def test_a_folder_that_others_may_enter_is_not_ours(runtime: Path) -> None:
    own = runtime / f"gpurec-{os.getuid()}"
    own.mkdir()
    own.chmod(0o777)
    assert config_of(SshClient()).parent != own


def test_a_nodes_connection_says_where_it_is(client: SshClient) -> None:
    assert is_this_machine(node(connection="local"))
    assert isinstance(host_of(node(connection="local"), client), ThisMachine)
    assert isinstance(host_of(node(), client), OverSsh)
    with pytest.raises(HostError, match="winrm"):
        host_of(node(connection="winrm"), client)


def test_a_file_of_another_owner_is_written_as_root_without_a_question(host: Host, tmp_path: Path) -> None:
    (tmp_path / "tools" / "sudo").write_text(f'#!/bin/sh\nprintf "%s\\n" "$*" >{tmp_path / "sudo"}\nshift 2\nexec "$@"\n')
    (tmp_path / "tools" / "sudo").chmod(0o755)
    write(host, tmp_path / "f", b"new", sudo=True)
    assert ((tmp_path / "f").read_bytes(), (tmp_path / "sudo").read_text()) == (b"new", "-n -- sh -s\n")
