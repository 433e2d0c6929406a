"""Hosts as addresses."""

from __future__ import annotations

from ipaddress import ip_address


def is_loopback(host: str) -> bool:
    """Whether a host (a name, or an address without brackets) is this machine alone. No name but `localhost` is looked up."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
