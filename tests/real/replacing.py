"""How long it takes from a changed file to a healthy container in the place of the old one: `gpurec apply` beside
`docker compose up -d --wait`, in turns on one real daemon.

`PYTHONPATH=tests/conformance python tests/real/replacing.py [TURNS]`; needs root, and what `provision.py` made.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from building import cache_folder
from dockerd import Dockerd

GPUREC = Path(sys.executable).parent / "gpurec"
CHECK = {"test": ["CMD", "wget", "-q", "-O", "/dev/null", "http://127.0.0.1:8080/marker"], "interval": "0.5s", "retries": 20}
COMMAND = ["httpd", "-f", "-p", "8080", "-h", "/etc"]


def gpurec_files(root: Path, daemon: Dockerd, turn: int) -> None:
    for folder in ("inventories", "desired"):
        (root / folder).mkdir(exist_ok=True)
    host = f'{{address: 127.0.0.1, gpus: [], docker: "unix://{daemon.socket}"}}'
    (root / "inventories" / "lab.yaml").write_text(f"all: {{hosts: {{box: {host}}}}}\n")
    container = {"image": daemon.image, "command": COMMAND, "env": {"TURN": str(turn)}, "healthcheck": CHECK, "stop_timeout": "1s"}
    (root / "desired" / "lab.yaml").write_text(f"version: 1\nservices: {{web: {{container: {container}}}}}\n")


def compose_files(root: Path, daemon: Dockerd, turn: int) -> None:
    service = {
        "image": daemon.image,
        "command": COMMAND,
        "environment": {"TURN": str(turn)},
        "healthcheck": CHECK,
        "stop_grace_period": "1s",
    }
    (root / "compose.yaml").write_text(f"name: web\nservices: {{web: {service | {'network_mode': 'bridge'}}}}\n")


def seconds(command: list[str], root: Path, daemon: Dockerd) -> float:
    env = {**os.environ, "DOCKER_HOST": f"unix://{daemon.socket}"}
    env.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed gpurec is compiled once, not at every start
    start = time.monotonic()
    done = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return time.monotonic() - start


def main(turns: int) -> None:
    compose = next(cache_folder().glob("docker-compose-*")) / "docker-compose"
    daemon = Dockerd(cards=False)
    ours, theirs = [], []
    try:
        with tempfile.TemporaryDirectory(prefix="gpurec-replacing-") as folder:
            root = Path(folder)
            for turn in range(turns + 1):
                gpurec_files(root, daemon, turn)
                compose_files(root, daemon, turn)
                ours.append(seconds([str(GPUREC), "-C", str(root), "apply", "--auto-approve"], root, daemon))
                theirs.append(seconds([str(compose), "up", "-d", "--wait"], root, daemon))
                print(f"turn {turn}: gpurec {ours[-1]:.2f} s, compose {theirs[-1]:.2f} s", flush=True)
    finally:
        daemon.stop()
    one, other = statistics.median(ours[1:]), statistics.median(theirs[1:])  # the first turn makes what there was not
    print(f"replaced and healthy, median of {turns}: gpurec {one:.2f} s, compose {other:.2f} s: {one / other:.2f} times")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
