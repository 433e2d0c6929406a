"""Cards in software, of chosen sizes: what they are told to be, who holds what on them."""

from __future__ import annotations

import sys
from pathlib import Path
from socket import inet_aton

from processes import LOOPBACK, Process, free_port
from provision import Provisioned
from waiting import wait_until

PROXY = Path(__file__).parent / "softgpu" / "proxy.py"


class SoftCard:
    """One card of `size` bytes, lent at `endpoint` to engines that have it in their `LLAMA_ARG_RPC`: at loopback, or at `address`."""

    def __init__(self, real: Provisioned, home: Path, size: int, address: str = LOOPBACK) -> None:
        self.size = size
        self.ledger = home / "ledger"
        self.ledger.mkdir(parents=True)
        port = free_port()
        self.endpoint = f"{address}:{port}"
        command: list[str | Path] = [
            sys.executable,
            PROXY,
            str(port),
            str(size),
            self.ledger,
            real.llama_bin / "ggml-rpc-server",
            real.card_shim,
            address,
        ]
        self.process = Process("card", command, home)
        wait_until(lambda: self._listens(address, port), 20, f"the software card listens on {self.endpoint}")

    def _listens(self, address: str, port: int) -> bool:
        """Whether the proxy has the port, seen in /proc: connecting would start a server for nobody."""
        assert self.process.status is None, self.process.tail()
        listening = f" {int.from_bytes(inet_aton(address), sys.byteorder):08X}:{port:04X} 00000000:0000 0A "
        return listening in Path("/proc/net/tcp").read_text()

    @property
    def used(self) -> int:
        """Bytes that engines hold on the card now, foreign use left out."""
        return sum(self.holders().values())

    def holders(self) -> dict[int, int]:
        """Bytes by the process that holds them."""
        found = {}
        for entry in self.ledger.iterdir():
            if entry.name.isdigit():
                try:
                    found[int(entry.name)] = int(entry.read_text() or 0)
                except FileNotFoundError:
                    continue
        return found

    def foreign(self, size: int) -> None:
        """Somebody else takes `size` bytes of the card."""
        draft = self.ledger / "foreign.new"
        draft.write_text(f"{size}\n")
        draft.rename(self.ledger / "foreign")

    def refusals(self) -> int:
        """How many allocations the card has refused."""
        return self.process.said().count("softgpu: out of memory")

    def stop(self) -> None:
        self.process.stop()
