"""Probing up to ten thousand endpoints, three requests each, against bare aiohttp in the same run, and a hundred against ansible."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "real"))

from measure import run, slope
from provision import provision_ansible
from server import address

HERE = Path(__file__).parent
SIZES = (100, 1000, 10_000)
TURNS = 3
GOAL, BOUND_SLOPE = 2.5, 1.1
DEAD_EVERY, DEAD_TIMEOUT = 20, 5.0
ANSIBLE_NODES, ANSIBLE_GOAL = 100, 100.0


@dataclass(frozen=True)
class Turn:
    """One probing: wall and CPU seconds of the asking process, its largest memory in bytes, engines not reached."""

    seconds: float
    cpu: float
    memory: int
    lost: int


@contextmanager
def engines(count: int, dead_every: int = 0) -> Iterator[int]:
    """Serves `count` engines in a process of its own and gives their port; every so many take the connection and say nothing."""
    command = [sys.executable, str(HERE / "server.py"), str(count), str(dead_every)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        yield int(process.stdout.readline().split()[1])
        process.stdin.close()


def ask(who: str, port: int, count: int, timeout: float = 60.0) -> Turn:
    """One turn in a process of its own, so that neither inherits the other's memory."""
    command = [sys.executable, str(HERE / "prober.py"), who, str(port), str(count), str(timeout)]
    return Turn(**json.loads(subprocess.check_output(command, text=True)))


def best(turns: list[Turn]) -> Turn:
    return min(turns, key=lambda turn: turn.seconds)


def against_aiohttp() -> bool:
    """Prints both at every size; wall and CPU are the best of the turns, which alternate."""
    good, seconds = True, []
    print(f"\nprobing, 3 requests an endpoint, best of {TURNS}")
    print(f"{'endpoints':>9} {'ours s':>7} {'aiohttp s':>9} {'ratio':>6} {'CPU':>6} {'MB':>5}")
    for count in SIZES:
        with engines(count) as port:
            turns = [(ask("ours", port, count), ask("aiohttp", port, count)) for _ in range(TURNS)]
        mine, theirs = best([a for a, _ in turns]), best([b for _, b in turns])
        cpu = min(a.cpu for a, _ in turns) / min(b.cpu for _, b in turns)
        if mine.lost:
            raise SystemExit(f"{mine.lost} of {count} endpoints were not reached")
        seconds.append(mine.seconds)
        ratio = mine.seconds / theirs.seconds
        print(f"{count:>9} {mine.seconds:>7.2f} {theirs.seconds:>9.2f} {ratio:>6.2f} {cpu:>6.2f} {mine.memory / 1e6:>5.0f}")
        good = good and (count == SIZES[0] or ratio <= GOAL)
    grows = slope(SIZES, seconds)
    print(f"goal {GOAL} from {SIZES[1]} on; log-log slope {grows:.2f} (bound {BOUND_SLOPE})")
    return good and grows <= BOUND_SLOPE


def with_dead_nodes() -> bool:
    """A fleet of which a twentieth never answers takes a deadline more than one that is whole, and not the sum of the deadlines."""
    good = True
    print(f"\nevery {DEAD_EVERY}th endpoint dead, timeout {DEAD_TIMEOUT:.0f} s\n{'endpoints':>9} {'dead':>5} {'whole s':>8} {'dead s':>7}")
    for count in SIZES[1:]:
        with engines(count) as port:
            whole = ask("ours", port, count)
        with engines(count, DEAD_EVERY) as port:
            turn = ask("ours", port, count, DEAD_TIMEOUT)
        expected = count // DEAD_EVERY
        fine = turn.lost == expected and turn.seconds <= whole.seconds * 1.5 + DEAD_TIMEOUT
        good = good and fine
        print(f"{count:>9} {turn.lost:>5} {whole.seconds:>8.2f} {turn.seconds:>7.2f} {'holds' if fine else 'DOES NOT HOLD'}")
    return good


def against_ansible() -> bool:
    """Seconds a node of one request by `ansible -m uri -f 50`, against three requests by us; the best of turns that alternate."""
    command = [str(provision_ansible().ansible), "-m", "ansible", "adhoc"]
    with tempfile.TemporaryDirectory() as folder, engines(ANSIBLE_NODES) as port:
        hosts = Path(folder) / "hosts"
        python = f"ansible_connection=local ansible_python_interpreter={sys.executable}"
        hosts.write_text("".join(f"{address(number)} {python}\n" for number in range(ANSIBLE_NODES)))
        arguments = ["-i", str(hosts), "all", "-m", "uri", "-a", f"url=http://{{{{ inventory_hostname }}}}:{port}/api/version", "-f", "50"]
        turns = [(run([*command, *arguments]), ask("ours", port, ANSIBLE_NODES)) for _ in range(TURNS)]
    theirs = min((run for run, _ in turns), key=lambda run: run.wall)
    mine, cpu = best([turn for _, turn in turns]).seconds, min(turn.cpu for _, turn in turns)
    each = 1000 / ANSIBLE_NODES
    print(
        f"\n{ANSIBLE_NODES} nodes: `ansible -m uri -f 50` (one request a node) {theirs.wall * each:.0f} ms a node and "
        f"{theirs.cpu * each:.0f} ms of CPU, ours (three) {mine * each:.1f} ms and {cpu * each:.1f} ms with all imports: "
        f"{theirs.wall / mine:.0f} times as fast (goal {ANSIBLE_GOAL:.0f}), by CPU {theirs.cpu / cpu:.0f} times"
    )
    return theirs.wall / mine >= ANSIBLE_GOAL


def main() -> bool:
    """Prints all three comparisons."""
    held = [against_aiohttp(), with_dead_nodes(), against_ansible()]
    return all(held)
