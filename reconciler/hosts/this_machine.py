"""This machine as a host, and whether a node is it."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Sequence
from functools import cache

from reconciler.fleet import NodeSpec
from reconciler.hosts.bounded import Clean, Ran, run_bounded
from reconciler.hosts.protocol import cannot_start, host_error
from reconciler.hosts.scripted import ScriptedHost


def is_this_machine(node: NodeSpec) -> bool:
    """Whether a node is this machine: its connection says so, or its address is `localhost`, our host name, a loopback address, or one
    of our interfaces. No name is looked up."""
    if node.probe.connection == "local":
        return True
    address = node.address.lower().strip("[]")
    if address == "localhost" or address in _own_names():
        return True
    try:
        return _is_own(str(ipaddress.ip_address(address)))
    except ValueError:
        return False


class ThisMachine(ScriptedHost):
    """Runs scripts with the sh of this machine. All that they say goes through `clean`."""

    def __init__(self, name: str, clean: Clean = bytes) -> None:
        super().__init__(name)
        self._clean = clean

    async def _sh(self, shell: Sequence[str], text: str, within: float, limit: int) -> Ran:
        try:
            ran = await run_bounded(shell, within=within, limit=limit, give=text.encode(), environ={**os.environ, "LC_ALL": "C"})
        except OSError as error:
            raise cannot_start(shell[0], "failed", self.name, error) from None
        ran = ran.cleaned(self._clean)
        if ran.cut == "timeout":
            raise host_error("timeout", self.name, f"this machine did not answer within {within:.3g} s")
        if ran.cut is not None:
            raise host_error("too_large", self.name, f"the answer has more than {limit // 2**20} MiB")
        return ran


@cache
def _own_names() -> frozenset[str]:
    name = socket.gethostname().lower()
    return frozenset((name, name.partition(".")[0]))


@cache
def _is_own(address: str) -> bool:
    """Only an address of our own can be bound to; nothing is sent."""
    ip = ipaddress.ip_address(address)
    if ip.is_loopback:
        return True
    if ip.is_unspecified or ip.is_multicast:
        return False
    family = socket.AF_INET6 if ip.version == 6 else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True
