"""What `gpurec watch` and `gpurec serve` cost, beside a bare sleep loop, deployment A's own daemon, and uvicorn's hello in the same run."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from measure import gpurec
from probing import engines
from watcher import workspace

HERE = Path(__file__).parent
THEIRS = "deployment A's daemon: under 0.1% CPU, about 50 MB, about 1 KB a node and check"
SLEEP = "import time, pathlib\nprint(pathlib.Path('/proc/self/statm').read_text().split()[1], flush=True)\ntime.sleep(0)"
DAY_LOOKS, MANY_LOOKS = 288, 15
READERS, TIMES = 500, 3
HELLO = """
async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})
import sys, uvicorn
uvicorn.run(app, port=int(sys.argv[1]), log_level="critical", lifespan="off")
"""


def child(*arguments: str) -> dict[str, float]:
    found = json.loads(subprocess.check_output([sys.executable, str(HERE / "watcher.py"), *arguments], text=True))
    assert isinstance(found, dict)
    return found


def main() -> bool:
    """Prints every figure beside its goal."""
    subprocess.check_call([sys.executable, "-m", "compileall", "-q", str(HERE.parent / "reconciler")])  # as what is installed is
    print(f"\nwatching, pauses played without waiting ({THEIRS})")
    bare = int(subprocess.check_output([sys.executable, "-c", SLEEP], text=True)) * 4096
    print(f"{'':>24} {'MB':>6} {'after a day':>11} {'MB a day':>8} {'ms CPU a look':>13} {'% of a core':>11}")
    print(f"{'a bare sleep loop':>24} {bare / 1e6:>6.1f}")
    good = True
    for hosts, looks, interval, most_mb, most_cpu in ((3, DAY_LOOKS, 300.0, 40, 0.05), (1000, MANY_LOOKS, 60.0, 250, 10)):
        with engines(hosts) as port:
            one = child(str(hosts), str(port), str(looks), str(interval))
        share = one["cpu"] / interval * 100
        print(
            f"{f'{hosts:,} nodes every {interval:g} s':>24} {one['memory'] / 1e6:>6.1f} {one['last'] / 1e6:>11.1f} "
            f"{one['slope'] / 1e6 if looks == DAY_LOOKS else 0:>8.2f} {one['cpu'] * 1000:>13.1f} {share:>11.4f}"
            f"  goals {most_mb} MB, {most_cpu}%"
        )
        good = good and one["last"] < most_mb * 1e6 and share < most_cpu
    wire = child("--wire")["wire_bytes"]
    print(f"on the wire beyond the bodies of the answers: {wire:,.0f} bytes a node and look (goal 1,000)")
    return serving() and good and wire < 1000


def serving() -> bool:
    """What a page more costs, and how long 500 readers at once wait for it."""
    with tempfile.TemporaryDirectory() as folder, engines(3) as port:
        root = Path(folder)
        workspace(root, 3, port)
        with process(gpurec("-C", str(root), "watch", "--log", "json", "-v")) as (watch, _):
            alone = resident(watch.pid)
        with process(gpurec("-C", str(root), "serve", "--log", "json", "-v", "--listen", "127.0.0.1:0")) as (serve, url):
            ours = asyncio.run(readers(int(url.rpartition(":")[2])))
            more = resident(serve.pid) - alone
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        free = one.getsockname()[1]
    with subprocess.Popen([sys.executable, "-c", HELLO, str(free)]) as hello:
        while socket.socket().connect_ex(("127.0.0.1", free)):
            time.sleep(0.05)
        theirs = asyncio.run(readers(free))
        hello.terminate()
    print(f"serve adds {more / 1e6:.1f} MB to the {alone / 1e6:.1f} of watch (goal 40), after {READERS * TIMES:,} pages")
    print(f"{READERS} readers at once: p99 of the page {ours * 1000:.0f} ms (goal 250), of uvicorn's hello {theirs * 1000:.0f} ms")
    return more < 40e6 and ours < 0.25


@contextmanager
def process(command: list[str]) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """One that has looked once, and where it listens."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as one:
        assert one.stdout is not None
        url, line = "", ""
        while '"looked"' not in line or (not url and "serve" in command):
            line = one.stdout.readline()
            url = (re.search(r'"url": ?"([^"]+)"', line) or [url, url])[1]
        try:
            yield one, url
        finally:
            one.send_signal(signal.SIGTERM)
            one.communicate(timeout=60)


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


async def readers(port: int) -> float:
    """The 99th percentile of the seconds that a page takes, for readers that come at once and each keep their connection."""
    took: list[float] = []

    async def one() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(TIMES):
            start = time.perf_counter()
            writer.write(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head)
            assert head.startswith(b"HTTP/1.1 200"), head
            assert length is not None
            await reader.readexactly(int(length[1]))
            took.append(time.perf_counter() - start)
        writer.close()

    await asyncio.gather(*(one() for _ in range(READERS)))
    return sorted(took)[int(len(took) * 0.99)]
