"""An engine as a unit of a real systemd: a user's manager in namespaces of its own, with a real Ollama under it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from processes import free_port
from provision import Provisioned

from reconciler.fleet import CardFacts, EngineId, EngineKind, EngineSpec, EngineUnit, NodeSpec, OwnedEngine
from reconciler.planning.kinds.engine.unit import unit_of

BEGINS = """
mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/system /run/u && chmod 700 /run/u
export XDG_RUNTIME_DIR=/run/u HOME={root}/home
unset DBUS_SESSION_BUS_ADDRESS
/lib/systemd/systemd --user > {root}/systemd.log 2>&1 &
for _ in $(seq 100); do systemctl --user show-environment > /dev/null 2>&1 && break; sleep 0.1; done
cd {root}
gpurec() {{ echo "== $1"; {python} -m reconciler.cli.main "$@" 2>&1; echo "rc $?"; }}
is() {{ systemctl --user show gpurec-ollama --property ActiveState --value; }}
"""
INSIDE = (
    BEGINS
    + """killed() {{
  {python} -m reconciler.cli.main apply --auto-approve > /dev/null 2>&1 &
  until grep -q "$1" {root}/home/.config/systemd/user/gpurec-ollama.service 2> /dev/null; do sleep 0.02; done
  kill -9 $!; wait $! 2> /dev/null
}}
killed ExecStart
gpurec apply --auto-approve; is
gpurec plan
systemctl --user stop gpurec-ollama
gpurec drift
gpurec apply --auto-approve; is
sed -i 's/OLLAMA_NO_CLOUD: 1/OLLAMA_NO_CLOUD: 1, OLLAMA_DEBUG: 1/' inventories/lab.yaml
killed OLLAMA_DEBUG
gpurec apply --auto-approve; is
gpurec plan
sed -i 's/, serve]/, serve, --nonsense]/' inventories/lab.yaml
gpurec apply --auto-approve; is
sed -i '/^        ollama:/,$d; s/      engines:/      engines: {{}}/' inventories/lab.yaml
gpurec apply --auto-approve; is
ls {root}/home/.config/systemd/user
systemctl --user exit
"""
)
EACH = (
    BEGINS
    + """
mkdir {root}/bin
cat > {root}/bin/systemctl <<'END'
#!/bin/sh
/usr/bin/systemctl "$@"
status=$?
case " $* " in *" show "*) exit $status;; esac
echo "$*" >> {root}/asked
test "$(wc -l < {root}/asked)" != "$(cat {root}/last)" || kill -9 "$(cat {root}/pid)"
exit $status
END
chmod +x {root}/bin/systemctl
alive() {{ # whether an apply that is killed after so many commands has fewer
  echo $1 > {root}/last; : > {root}/asked
  PATH={root}/bin:$PATH sh -c 'echo $$ > {root}/pid; exec "$@"' sh {python} -m reconciler.cli.main apply --auto-approve > /dev/null 2>&1
}}
last=0
until test $last -gt 12; do
  last=$((last + 1))
  sed -i "s/OLLAMA_NO_CLOUD: 1.*, OLLAMA_MODELS/OLLAMA_NO_CLOUD: 1, OLLAMA_DEBUG: $((last % 2)), OLLAMA_MODELS/" inventories/lab.yaml
  alive $last && break
  gpurec apply --auto-approve; is
  gpurec plan
done
echo "== moments"; echo "rc 0"; echo $last
systemctl --user exit
"""
)
INVENTORY = """all:
  hosts:
    box:
      address: 127.0.0.1
      probe: {{via: declared}}
      gpus: []
      engines:
        ollama:
          runtime: systemd
          port: {port}
          env: {{OLLAMA_NO_CLOUD: 1, OLLAMA_MODELS: {root}/models, HOME: {root}/home}}
          systemd: {{unit: gpurec-ollama, scope: user, exec: [{ollama}, serve]}}
"""


def test_a_unit_is_started_kept_changed_brought_back_and_taken_away_by_a_real_systemd(real: Provisioned, tmp_path: Path) -> None:
    """The first start and the change are begun by an apply that is killed once it has written the unit, and put right by the next."""
    with_it = run_inside(INSIDE, real, tmp_path, 110)
    said = "\n".join(line for lines in with_it for line in lines)
    ends = [(lines[0], next(line for line in lines if line.startswith("rc ")), lines[-1]) for lines in with_it]
    assert ends == [
        ("apply", "rc 0", "active"),
        ("plan", "rc 0", "rc 0"),
        ("drift", "rc 2", "rc 2"),
        ("apply", "rc 0", "active"),
        ("apply", "rc 0", "active"),
        ("plan", "rc 0", "rc 0"),
        ("apply", "rc 3", "active"),
        ("apply", "rc 0", "inactive"),
    ], said
    assert "state: running → inactive" in said
    assert "the one before it runs again" in said
    assert sum(line.startswith("No changes.") for line in said.splitlines()) == 2


@pytest.mark.timeout(400)
def test_an_apply_that_is_killed_after_any_command_to_systemd_is_put_right_by_the_next(real: Provisioned, tmp_path: Path) -> None:
    """The first start, and then changes, each killed one command later, until one comes to its end alive."""
    parts = run_inside(EACH, real, tmp_path, 380)
    moments = int(parts.pop()[-1])
    assert 3 <= moments < 13, parts
    assert [(lines[0], lines[-1]) for lines in parts] == [("apply", "active"), ("plan", "rc 0")] * (moments - 1), parts
    assert all(lines[1].startswith("No changes.") for lines in parts if lines[0] == "plan"), parts


@pytest.mark.parametrize("args", [(), ("-m", "/models/a b.gguf", "100%", "$HOME")])
def test_systemd_finds_nothing_wrong_with_a_unit(tmp_path: Path, args: tuple[str, ...], real: Provisioned) -> None:
    """systemd-analyze ends with 0 for keys that it does not know, so anything that it says is a fault."""
    owned = OwnedEngine(EngineUnit("gpurec-llama", exec=("/bin/true",)), 8080)
    engine = EngineSpec(EngineId("box", "llama"), EngineKind.LLAMACPP, "http://10.0.0.1:8080", owned=owned)
    path = tmp_path / "gpurec-llama.service"
    path.write_text(unit_of("lab", NodeSpec("box", "10.0.0.1"), engine, (CardFacts(0, uuid="GPU-1"),), args).written)
    assert analyzed(path) == ""
    path.write_text(path.read_text().replace("RestartSec", "RestartSecs"))
    assert "RestartSecs" in analyzed(path)


def run_inside(what: str, real: Provisioned, root: Path, seconds: float) -> list[list[str]]:
    """Runs a script under a user's manager, in a workspace; what each command of gpurec wrote, in lines, and what follows it."""
    for folder in ("inventories", "desired", "home"):
        (root / folder).mkdir()
    (root / "inventories" / "lab.yaml").write_text(INVENTORY.format(port=free_port(), root=root, ollama=real.ollama))
    (root / "desired" / "lab.yaml").write_text("version: 1\n")
    script = root / "inside.sh"
    script.write_text(what.format(root=root, python=sys.executable))
    command = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "bash", script]
    said = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds).stdout
    return [part.strip().splitlines() for part in said.split("== ")[1:]]


def analyzed(unit: Path) -> str:
    ran = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False, timeout=30)
    return ran.stdout + ran.stderr
