"""What Ansible takes for a host's address, with ranges and a port: it decides where a port is split off and what a colon separates."""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv6Address

_RANGE = r"\[(?:[a-z]:[a-z]|[0-9]+:[0-9]+)(?::[0-9]+)?\]"
_LABEL = rf"(?:\w|{_RANGE})(?:[\w-]|{_RANGE})*(?<![_-])"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*", re.IGNORECASE)
_HEX_RANGE = re.compile(r"(?<![^:.])\[[0-9a-f]+:[0-9a-f]+(?::[0-9]+)?\](?![^:.])", re.IGNORECASE)
_IN_BRACKETS = re.compile(r"\A\[(.+)\]:([0-9]{1,9})\Z")
_WITH_PORT = re.compile(r"\A((?:[^:\[\]]|\[[^\]]*+\])*+):([0-9]{1,9})\Z")
MOST_ADDRESS = 1000


def parse_address(text: str) -> tuple[str, int | None] | None:
    """The host and the port of `host`, `host:22`, `[::1]:22`, where host is a name, an IPv4 or an IPv6 address, with ranges or without;
    None where it is none of these. The grammar is that of Ansible's `parsing/utils/addresses.py`."""
    if len(text) > MOST_ADDRESS:
        return None
    host, port = text, None
    for form in (_IN_BRACKETS, _WITH_PORT):
        match = form.fullmatch(host)
        if match is not None:
            host, port = match.group(1), int(match.group(2))
    return (host, port) if _HOST.fullmatch(host) or _is_ipv6(host) else None


def split_port(pattern: str) -> tuple[str, int | None]:
    """The host pattern of an inventory without its port. What is no address keeps all of its text: `a+b:22` is a name."""
    return parse_address(pattern) or (pattern, None)


def _is_ipv6(text: str) -> bool:
    plain = _HEX_RANGE.sub("0", text)
    if ":" not in plain or "%" in plain:
        return False
    try:
        IPv6Address(plain)
    except AddressValueError:
        return False
    return True
