"""Secrets are references until the moment they are sent: this reads one, and no sentence made here ever holds its value."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from reconciler.fleet import EngineError, Place, Problem, SecretRef

_MOST_BYTES = 64 * 1024


def read_secret(ref: SecretRef, where: str, environ: Mapping[str, str] | None = None) -> str:
    """The secret behind `env:NAME` or `file:PATH`, without surrounding blanks.

    `where` names who needs it. Raises EngineError `missing_key` when it is absent, empty, or cannot stand in a header.
    """
    value = read_whole_secret(ref, where, environ).strip()
    if not (value.isascii() and value.isprintable()):
        raise _missing(where, f"the key {ref} holds characters that no header can carry", "put the bare key there, in one line")
    return value


def read_whole_secret(ref: SecretRef, where: str, environ: Mapping[str, str] | None = None) -> str:
    """The same as it is written, of as many lines as it has (a certificate's key). Raises EngineError `missing_key` when it is absent or
    blank."""
    if ref.scheme == "env":
        value = (os.environ if environ is None else environ).get(ref.target)
        if value is None:
            raise _missing(where, f"the environment variable {ref.target} is not set", f"set {ref.target} before the run")
    elif ref.scheme == "file":
        value = _content(ref, where)
    else:
        raise _missing(where, f"the key {ref} has the unknown form {ref.scheme!r}", "write env:NAME or file:PATH")
    if not value.strip():
        raise _missing(where, f"the key {ref} is empty", "put the key there")
    return value


def _content(ref: SecretRef, where: str) -> str:
    try:
        with Path(ref.target).expanduser().open("rb") as file:
            raw = file.read(_MOST_BYTES + 1)
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise _missing(where, f"the key file {ref.target} cannot be read: {why}", "check its path and its rights") from None
    if len(raw) > _MOST_BYTES:
        raise _missing(where, f"the key file {ref.target} is larger than {_MOST_BYTES // 1024} KiB", "name a file that holds only the key")
    return raw.decode("utf-8", "replace")


def _missing(where: str, what: str, hint: str) -> EngineError:
    return EngineError(Problem(what, Place(where), hint), "missing_key")
