"""A unit that gpurec writes: which commands systemd is given and in which order, what is left where a start fails, and whose a unit is."""

from __future__ import annotations

import asyncio
import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.engines.keys import Keys
from reconciler.execution.kinds.engine.units import SystemdUnitError, UnitWork
from reconciler.fleet import CardFacts, EngineId, EngineKind, EngineSpec, EngineUnit, NodeSpec, OwnedEngine, SecretRef, UnitScope, UnitSpec
from reconciler.hosts import FileSeen, HostError, ThisMachine, host_error
from reconciler.planning.kinds.engine.unit import unit_of

SYSTEMCTL = """#!/bin/sh
echo "$@" >> "$FAKE/calls"
units="$HOME/.config/systemd/user"
[ "$1" = --user ] && shift; [ "$1" = --no-pager ] && shift
verb=$1; unit=$2; [ "$unit" = --now ] && unit=$3
case $verb in
show)
  there=not-found; at=
  [ -e "$units/$unit" ] && there=loaded at="$units/$unit"
  [ -e "$FAKE/elsewhere" ] && there=loaded at=/usr/lib/systemd/system/$unit
  echo "LoadState=$there"; echo "FragmentPath=$at"
  if grep -q crash "$units/$unit" 2>/dev/null; then
    echo x >> "$FAKE/restarts"; echo "NRestarts=$(wc -l < "$FAKE/restarts")"; echo activating > "$FAKE/active"
  fi
  echo "ActiveState=$(cat "$FAKE/active" 2>/dev/null || echo inactive)"; echo "ExecMainStatus=1"
  echo "UnitFileState=$(cat "$FAKE/enabled" 2>/dev/null)";;
restart) if grep -q broken "$units/$unit" 2>/dev/null; then echo failed > "$FAKE/active"; else echo active > "$FAKE/active"; fi;;
enable) echo enabled > "$FAKE/enabled";;
disable) echo disabled > "$FAKE/enabled"; echo inactive > "$FAKE/active";;
esac
"""
JOURNALCTL = "#!/bin/sh\necho 'no such option --flash'\necho bye\n"


@dataclass
class Machine:
    """This machine with a systemctl of the test's own."""

    root: Path

    @property
    def calls(self) -> list[str]:
        """What systemctl was asked, without the looks."""
        lines = (self.root / "calls").read_text().splitlines() if (self.root / "calls").exists() else []
        return [line.removeprefix("--user --no-pager ") for line in lines if " show " not in line]

    def forget(self) -> None:
        (self.root / "calls").write_text("")

    def state(self, name: str, text: str) -> None:
        (self.root / name).write_text(f"{text}\n")

    @property
    def unit(self) -> Path:
        return self.root / "home/.config/systemd/user/gpurec-llama.service"

    @property
    def secrets(self) -> Path:
        return self.unit.parent / "gpurec-llama.service.d/gpurec.env"

    def work(self, spec: UnitSpec) -> UnitWork:
        async def is_healthy() -> bool:
            return True

        return UnitWork(ThisMachine("box"), spec, False, is_healthy, 5.0, 0.0, Keys())

    def make(self, spec: UnitSpec) -> None:
        async def both() -> None:
            work = self.work(spec)
            await work.make()
            await work.wait()

        asyncio.run(both())


class FullBehindSecrets(ThisMachine):
    """A disk that is full once, when the unit itself is written."""

    full = True

    async def write_file(self, path: str, content: bytes, **more: Any) -> FileSeen | HostError | None:
        if path.endswith(".service") and self.full:
            self.full = False
            raise host_error("no_room", self.name, "there is no room")
        return await super().write_file(path, content, **more)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    for folder in ("bin", "home"):
        (tmp_path / folder).mkdir()
    for name, text in (("systemctl", SYSTEMCTL), ("journalctl", JOURNALCTL)):
        path = tmp_path / "bin" / name
        path.write_text(text)
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FAKE", str(tmp_path))
    return Machine(tmp_path)


NODE = NodeSpec("box", "10.0.0.1")
CARD = CardFacts(0, uuid="GPU-1")


def engine(
    exec_: tuple[str, ...] | None = ("/usr/bin/llama-server",), kind: EngineKind = EngineKind.LLAMACPP, **more: object
) -> EngineSpec:
    owned = OwnedEngine(EngineUnit("gpurec-llama", UnitScope.USER, exec_), 8080)
    return EngineSpec(EngineId("box", "llama"), kind, "http://10.0.0.1:8080", owned=replace(owned, **more))  # type: ignore[arg-type]


def unit(*args: str, **more: object) -> UnitSpec:
    return unit_of("lab", NODE, engine(**more), (CARD,), args)  # type: ignore[arg-type]


def test_a_new_unit_is_written_loaded_enabled_and_started(machine: Machine) -> None:
    machine.make(unit("-m", "/models/a b.gguf"))
    assert machine.calls == ["daemon-reload", "enable gpurec-llama.service", "restart gpurec-llama.service"]
    assert machine.unit.read_text() == (
        "# Written by gpurec: engine.box/llama of fleet lab\n"
        "[Unit]\nDescription=Engine box/llama\nAfter=network-online.target\n\n"
        '[Service]\nEnvironment="CUDA_VISIBLE_DEVICES=GPU-1"\n'
        'ExecStart="/usr/bin/llama-server" "--host" "10.0.0.1" "--port" "8080" "-m" "/models/a b.gguf"\n'
        "Restart=on-failure\nRestartSec=2\n\n[Install]\nWantedBy=default.target\n"
    )
    found = asyncio.run(machine.work(unit("-m", "/models/a b.gguf")).look(True))
    assert found.exists
    assert dict(found.fields) == {
        "runtime": "systemd",
        "unit": "gpurec-llama",
        "content": unit("-m", "/models/a b.gguf").digest,
        "state": "running",
        "enabled": True,
        "healthy": True,
    }


def test_a_unit_that_changes_is_started_anew(machine: Machine) -> None:
    machine.make(unit())
    machine.forget()
    machine.make(unit("-c", "4096"))
    assert machine.calls == ["daemon-reload", "enable gpurec-llama.service", "restart gpurec-llama.service"]
    assert "4096" in machine.unit.read_text()


def test_a_first_start_that_fails_leaves_nothing_behind(machine: Machine) -> None:
    with pytest.raises(SystemdUnitError, match=r"is failed; it wrote last: no such option --flash \| bye"):
        machine.make(unit("broken"))
    assert not machine.unit.exists()
    assert machine.calls[-2:] == ["disable --now gpurec-llama.service", "daemon-reload"]


def test_a_program_that_ends_again_and_again_is_not_waited_for(machine: Machine) -> None:
    with pytest.raises(SystemdUnitError, match="does not stay up; it wrote last"):
        machine.make(unit("crash"))
    assert not machine.unit.exists()


def test_a_change_that_fails_brings_the_unit_of_before_back(machine: Machine) -> None:
    machine.make(unit())
    before = machine.unit.read_text()
    with pytest.raises(SystemdUnitError, match="the one before it runs again"):
        machine.make(unit("broken"))
    assert machine.unit.read_text() == before
    assert (machine.root / "active").read_text() == "active\n"


def test_a_unit_that_left_the_files_is_stopped_and_taken_away(machine: Machine) -> None:
    machine.make(unit())
    machine.forget()
    asyncio.run(machine.work(unit()).remove())
    assert machine.calls == ["disable --now gpurec-llama.service", "daemon-reload"]
    assert not machine.unit.exists()


def test_a_unit_that_gpurec_did_not_write_is_left_alone(machine: Machine) -> None:
    machine.unit.parent.mkdir(parents=True)
    machine.unit.write_text("[Service]\nExecStart=/bin/true\n")
    with pytest.raises(SystemdUnitError, match=r"gpurec-llama\.service is a unit that gpurec did not write"):
        machine.make(unit())
    asyncio.run(machine.work(unit()).remove())
    assert machine.calls == []
    assert machine.unit.read_text() == "[Service]\nExecStart=/bin/true\n"
    assert asyncio.run(machine.work(unit()).look(True)).reason is not None


def test_a_unit_of_the_same_name_elsewhere_is_not_shadowed(machine: Machine) -> None:
    machine.state("elsewhere", "")
    found = asyncio.run(machine.work(unit()).look(None))
    assert (found.exists, found.reason) == (
        False,
        "gpurec-llama.service is a unit of somebody else's (/usr/lib/systemd/system/gpurec-llama.service): "
        "name this one otherwise, or leave `exec` out",
    )


def test_without_a_program_a_unit_that_is_there_gets_a_drop_in(machine: Machine) -> None:
    spec = unit(exec_=None, kind=EngineKind.OLLAMA)
    assert asyncio.run(machine.work(spec).look(None)).reason == (
        "there is no unit gpurec-llama.service, and no `exec` to make one of: add `exec: [/PATH]`"
    )
    machine.state("elsewhere", "")
    machine.make(spec)
    assert machine.calls == ["daemon-reload", "restart gpurec-llama.service"]
    path = machine.unit.parent / "gpurec-llama.service.d/gpurec.conf"
    assert path.read_text().endswith('[Service]\nEnvironment="CUDA_VISIBLE_DEVICES=GPU-1"\nEnvironment="OLLAMA_HOST=10.0.0.1:8080"\n')
    machine.forget()
    asyncio.run(machine.work(spec).remove())
    assert machine.calls == ["daemon-reload", "try-restart gpurec-llama.service"]
    assert not path.exists()


def test_a_secret_stands_in_a_file_that_only_its_user_reads(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", 's3"cret')
    spec = unit(env={"HF_TOKEN": SecretRef("env", "TOKEN")})
    machine.make(spec)
    path = machine.secrets
    assert path.read_text() == 'HF_TOKEN="s3\\"cret"\n'
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "cret" not in machine.unit.read_text()
    asyncio.run(machine.work(spec).remove())
    assert not path.exists()


def with_secret(*args: str) -> UnitSpec:
    return unit(*args, env={"HF_TOKEN": SecretRef("env", "TOKEN")})


@pytest.mark.parametrize("after", [with_secret("broken"), unit("broken")], ids=["another secret", "no secret"])
def test_a_change_that_fails_brings_the_secrets_of_before_back(machine: Machine, monkeypatch: pytest.MonkeyPatch, after: UnitSpec) -> None:
    monkeypatch.setenv("TOKEN", "old")
    machine.make(with_secret())
    monkeypatch.setenv("TOKEN", "new")
    with pytest.raises(SystemdUnitError, match="the one before it runs again"):
        machine.make(after)
    assert machine.secrets.read_text() == 'HF_TOKEN="old"\n'
    assert stat.S_IMODE(machine.secrets.stat().st_mode) == 0o600


def test_secrets_that_the_unit_of_before_did_not_have_go_with_the_one_that_failed(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "new")
    machine.make(unit())
    with pytest.raises(SystemdUnitError, match="the one before it runs again"):
        machine.make(with_secret("broken"))
    assert not machine.secrets.exists()


def test_secrets_are_brought_back_where_only_they_could_be_written(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "old")
    machine.make(with_secret())
    monkeypatch.setenv("TOKEN", "new")
    work = machine.work(with_secret("-c", "4096"))
    monkeypatch.setattr(work, "host", FullBehindSecrets("box"))
    with pytest.raises(SystemdUnitError, match="no room"):
        asyncio.run(work.make())
    assert machine.secrets.read_text() == 'HF_TOKEN="old"\n'


def test_a_unit_that_needs_no_secrets_any_more_leaves_none_on_the_disk(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "old")
    machine.make(with_secret())
    machine.make(unit())
    assert not machine.secrets.exists()


def test_the_secrets_of_a_unit_whose_file_is_gone_are_taken_away(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "old")
    machine.make(with_secret())
    machine.unit.unlink()
    work = machine.work(with_secret())
    assert asyncio.run(work.look(None)).exists is False
    assert asyncio.run(work.look(None, leaves=True)).exists is True
    asyncio.run(work.remove())
    assert not machine.secrets.exists()
    assert asyncio.run(work.look(None, leaves=True)).exists is False


def test_the_secrets_of_a_unit_in_whose_place_is_somebody_elses_are_taken_away_and_that_one_stays(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "old")
    machine.make(with_secret())
    machine.unit.write_text("[Service]\nExecStart=/bin/true\n")
    machine.forget()
    asyncio.run(machine.work(with_secret()).remove())
    assert (machine.secrets.exists(), machine.unit.exists(), machine.calls) == (False, True, [])


def test_what_would_be_a_specifier_or_a_variable_is_itself() -> None:
    text = unit("100%", "$HOME", 'a"b\\c').text
    assert '"100%%" "$$HOME" "a\\"b\\\\c"' in text
