"""Single values of the files, and words that stand for one that is read only where it is sent."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from reconciler.value_class import value_class

EMPTY: Mapping[str, str] = MappingProxyType({})
Scalar = str | int | float | bool


@value_class
class SecretRef:
    """A reference to a secret, `env:NAME` or `file:PATH`; the secret itself is read only where it is sent."""

    scheme: str  #: `env` or `file`.
    target: str  #: Name of the variable, or path of the file, where it is read.

    def __str__(self) -> str:
        return f"{self.scheme}:{self.target}"
