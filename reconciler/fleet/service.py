"""Who may ask a service for what: `policy.service`."""

from __future__ import annotations

from dataclasses import field
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network

from reconciler.fleet.payments import Payments
from reconciler.fleet.samples import HistoryBounds
from reconciler.fleet.secret_refs import SecretRef
from reconciler.value_class import value_class


class Role(StrEnum):
    """What a token lets its bearer do; each role may do what the one before it may."""

    READ = "read"
    PLAN = "plan"
    APPLY = "apply"

    def covers(self, other: Role) -> bool:
        """Whether who has this role may do what `other` may."""
        roles = list(Role)
        return roles.index(self) >= roles.index(other)


@value_class
class Token:
    """`name` is what history says of who used it."""

    name: str
    secret: SecretRef
    role: Role = Role.READ


@value_class
class ServicePolicy:
    """`hosts` are the names under which it may be asked, beside those that it listens on; `history` is how much of what it sees is kept;
    `livepeer` what is paid for work, None where nothing is; `trusted_proxies` are those whose `X-Forwarded-For` is believed."""

    tokens: tuple[Token, ...] = ()
    hosts: tuple[str, ...] = ()
    history: HistoryBounds = field(default_factory=HistoryBounds)
    livepeer: Payments | None = None
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()


NOBODY = ServicePolicy()
"""Without tokens: reading on loopback is all that there is."""
