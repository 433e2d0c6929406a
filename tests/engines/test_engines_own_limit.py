"""What this machine lacks is told as this machine's, and never as a fault of the engine that could not be asked."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

PROGRAM = """
import asyncio, os, resource, socket
from reconciler.engines import Transport, open_engine
from reconciler.fleet import EngineId, EngineKind, EngineSpec

listening = socket.create_server(("127.0.0.1", 0))
url = f"http://{HOST}:{{listening.getsockname()[1]}}"

async def look():
    async with Transport() as transport:
        engine = open_engine(EngineSpec(EngineId("n", "e"), EngineKind.OLLAMA, url), transport)
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        held = []
        try:
            while True:
                held.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            pass
        return await engine.observe()

facts = asyncio.run(look())
print(facts.reason_code, facts.reason)
"""


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_limit_of_open_files_is_told_as_ours(host: str) -> None:
    program = textwrap.dedent(PROGRAM).replace("{HOST}", host)
    program = program.replace("{{", "{").replace("}}", "}")
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert ran.stdout.startswith("own_limit "), ran.stdout + ran.stderr[-2000:]
    assert "64 open files (ulimit -n)" in ran.stdout
