"""Cards by the system's OpenSSH client from a real sshd: users' configuration holds, and every no has its reason."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from sshd import Sshd

from reconciler.fleet import MIB, CardSpec, NodeSpec, ProbeSpec
from reconciler.hosts import FileSeen, HostError, OverSsh, SshClient
from reconciler.probes.protocol import ProbeError, Seen
from reconciler.probes.ssh import Ssh

AT = "2026-01-01T00:00:00Z"


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    server = Sshd(tmp_path / "sshd")
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def controls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where connections are kept; a path that is short enough for a socket."""
    return tmp_path_factory.mktemp("c")


def node(
    sshd: Sshd, within: float = 30.0, user: str | None = None, port: int | None = None, gpus: tuple[CardSpec, ...] | None = None
) -> NodeSpec:
    probe = ProbeSpec("ssh", user or sshd.user, port or sshd.port, within)
    return NodeSpec("box", "127.0.0.1", gpus=gpus, probe=probe)


def look(sshd: Sshd, controls: Path, at: NodeSpec | None = None, config: Path | None = None) -> Seen:
    return asyncio.run(Ssh(controls, user_config=str(config or sshd.client_config())).look(at or node(sshd), AT))


def refused(sshd: Sshd, controls: Path, at: NodeSpec | None = None, config: Path | None = None) -> ProbeError:
    with pytest.raises(ProbeError) as caught:
        look(sshd, controls, at, config)
    return caught.value


def test_cards_ram_clock_and_processes_come_in_one_login(sshd: Sshd, controls: Path) -> None:
    sshd.give_cards()
    seen = look(sshd, controls)
    first, second = seen.cards or ()
    assert (first.source, first.total_bytes, first.used_bytes, first.temperature) == ("ssh", 16376 * MIB, 596 * MIB, 55.0)
    assert [one.pid for one in first.processes or ()] == [1860, 2020]
    assert second.ecc_errors == 2
    assert (seen.ram_bytes or 0) > 256 * MIB
    assert abs((seen.clock or 0) - time.time()) < 60
    assert seen.table is not None
    assert 1 in seen.table.names
    assert sshd.logins() == 1


def test_a_second_look_reuses_the_connection(sshd: Sshd, controls: Path) -> None:
    sshd.give_cards()
    look(sshd, controls)
    look(sshd, controls)
    assert (sshd.logins(), len(sshd.asked.read_text().splitlines()) >= 6) == (1, True)


def test_a_driver_that_does_not_know_a_field_is_asked_again_with_fewer(sshd: Sshd, controls: Path) -> None:
    sshd.give_cards()
    sshd.old_driver.touch()
    assert len(look(sshd, controls).cards or ()) == 2


def test_a_key_that_is_refused_is_told_as_that_and_nobody_is_asked(sshd: Sshd, controls: Path) -> None:
    error = refused(sshd, controls, config=sshd.client_config(key=sshd.stranger))
    assert error.code == "key_refused"
    assert f"ssh {sshd.user}@127.0.0.1:{sshd.port} refuses our key" in str(error)


def test_a_host_key_that_is_not_known_is_told_as_that(sshd: Sshd, controls: Path) -> None:
    other = sshd.home / "other_hosts"
    other.write_text("")
    assert refused(sshd, controls, config=sshd.client_config(known_hosts=other)).code == "host_key"


def test_an_sshd_that_is_not_there_is_refused(sshd: Sshd, controls: Path) -> None:
    sshd.stop()
    assert refused(sshd, controls).code == "refused"


def test_a_name_that_cannot_be_resolved_is_told_as_that(sshd: Sshd, controls: Path) -> None:
    at = NodeSpec("box", "no-such-host.invalid", probe=ProbeSpec("ssh", "ops", timeout=20))
    assert refused(sshd, controls, at).code == "no_such_host"


def test_a_tool_that_hangs_costs_the_deadline_and_no_more(sshd: Sshd, controls: Path) -> None:
    sshd.give_program("nvidia-smi", "sleep 600\n")
    start = time.monotonic()
    assert refused(sshd, controls, node(sshd, within=3.0)).code == "timeout"
    assert time.monotonic() - start < 12


def test_an_answer_without_end_is_cut(sshd: Sshd, controls: Path) -> None:
    sshd.give_program("nvidia-smi", "yes\n")
    assert refused(sshd, controls, node(sshd)).code == "too_large"


def test_a_broken_driver_is_named_by_what_nvidia_smi_says(sshd: Sshd, controls: Path) -> None:
    sshd.give_program("nvidia-smi", 'echo "NVIDIA-SMI has failed because it couldn\'t communicate with the NVIDIA driver."; exit 9\n')
    error = refused(sshd, controls)
    assert (error.code, "couldn't communicate" in str(error)) == ("no_driver", True)


def test_a_node_without_tools_is_unknown_unless_it_is_said_to_have_no_card(sshd: Sshd, controls: Path) -> None:
    assert look(sshd, controls, node(sshd, gpus=())).cards == ()
    assert refused(sshd, controls).code == "no_tool"
    assert refused(sshd, controls, node(sshd, gpus=(CardSpec(0),))).code == "no_tool"


def test_no_name_can_be_an_option(sshd: Sshd, controls: Path, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    at = NodeSpec("box", f"-oProxyCommand=touch {mark}", probe=ProbeSpec("ssh", timeout=20))
    refused(sshd, controls, at)
    assert not mark.exists()


@pytest.fixture(autouse=True)
def closed(controls: Path) -> Iterator[None]:
    """Ends the connections that a test kept."""
    yield
    for control in controls.iterdir():
        if control.is_socket():
            subprocess.run(["ssh", "-o", f"ControlPath={control}", "-O", "exit", "x"], capture_output=True, check=False)


def test_files_are_written_judged_and_looked_at_over_one_login(sshd: Sshd, controls: Path, tmp_path: Path) -> None:
    host = OverSsh(node(sshd), SshClient(controls, user_config=str(sshd.client_config())))
    contents = {str(tmp_path / f"f {number}'"): f"{number}\n".encode() * number for number in range(8)}

    async def written() -> None:
        await host.look_at_files(list(contents), within=30.0)  # the connection that the others then share
        await asyncio.gather(
            *(host.write_file(path, text, within=30.0, mode=0o640, validate=("test", "-f", "{path}")) for path, text in contents.items())
        )

    async def looked() -> Mapping[str, FileSeen | HostError | None]:
        return await host.look_at_files([*contents, str(tmp_path / "none")], within=30.0)

    asyncio.run(written())
    found = asyncio.run(looked())
    assert found.pop(str(tmp_path / "none")) is None
    digests = {path: (one.digest, one.mode) for path, one in found.items() if isinstance(one, FileSeen)}
    assert digests == {path: (hashlib.sha256(text).hexdigest(), 0o640) for path, text in contents.items()}
    assert sorted(one.name for one in tmp_path.iterdir() if one.name.startswith(".")) == []
    assert sshd.logins() == 1
