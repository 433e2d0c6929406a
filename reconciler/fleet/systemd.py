"""A systemd unit as it is wanted: its text, and whose it is."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import field
from types import MappingProxyType

from reconciler.fleet.owned import UnitScope
from reconciler.fleet.secret_refs import SecretRef
from reconciler.value_class import value_class

_NO_SECRETS: Mapping[str, SecretRef] = MappingProxyType({})
MARK = "# Written by gpurec: "


@value_class
class UnitSpec:
    """A unit of systemd, or what is laid over one."""

    name: str  #: Its name, without `.service`.
    scope: UnitScope  #: Whose systemd: the machine's or a user's.
    text: str  #: The unit file, or with `drop_in` what is laid over somebody else's unit; no secrets.
    fleet: str  #: Fleet that it belongs to.
    address: str  #: Address of its engine.
    drop_in: bool = False  #: It is laid over somebody else's unit of that name.
    #: Secrets by name, in a file of their own that only its user reads.
    secrets: Mapping[str, SecretRef] = field(default_factory=lambda: _NO_SECRETS)
    formerly: str = ""  #: Its address from before its node was renamed, where what is there was written then; empty: none.

    @property
    def digest(self) -> str:
        """`sha256:…` of the text as it is on disk."""
        return f"sha256:{hashlib.sha256(self.written.encode()).hexdigest()}"

    @property
    def written(self) -> str:
        """The text with the line that says whose it is."""
        return f"{MARK}{self.address} of fleet {self.fleet}\n{self.text}"

    @property
    def service(self) -> str:
        return f"{self.name}.service"

    def path(self, folder: str) -> str:
        """Where its text is, below the folder of units."""
        return f"{folder}/{self.service}.d/gpurec.conf" if self.drop_in else f"{folder}/{self.service}"

    def secrets_path(self, folder: str) -> str:
        return f"{folder}/{self.service}.d/gpurec.env"

    def is_ours(self, text: str) -> bool:
        """Whether a text that is there was written for this very engine."""
        marks = tuple(f"{MARK}{address} of fleet {self.fleet}\n" for address in (self.address, self.formerly) if address)
        return text.startswith(marks)
