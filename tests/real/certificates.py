"""An authority of the tests' own, and certificates that it signs, by openssl."""

from __future__ import annotations

import itertools
import subprocess
from dataclasses import dataclass
from pathlib import Path

_NUMBERS = itertools.count()


@dataclass(frozen=True)
class Pair:
    certificate: Path
    key: Path


class Authority:
    """`ca` is the file that whoever trusts it is given."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.ca = folder / "ca.pem"
        self._key = folder / "ca-key.pem"
        extensions = ["-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign"]
        _openssl("req", "-x509", *_NEW_KEY, "-days", "2", "-subj", "/CN=tests", "-keyout", self._key, "-out", self.ca, *extensions)

    def issue(self, name: str, alternative: str | None = None) -> Pair:
        """A certificate for a server under its alternative name (`IP:127.0.0.1`), or for a client."""
        stem = self._folder / f"{name}-{next(_NUMBERS)}"
        pair, request, extensions = (
            Pair(stem.with_suffix(".pem"), stem.with_suffix(".key")),
            stem.with_suffix(".csr"),
            stem.with_suffix(".ext"),
        )
        usage = "extendedKeyUsage=serverAuth\n" if alternative else "extendedKeyUsage=clientAuth\n"
        extensions.write_text(usage + (f"subjectAltName={alternative}\n" if alternative else ""))
        _openssl("req", *_NEW_KEY, "-subj", f"/CN={name}", "-keyout", pair.key, "-out", request)
        signed = ["-CA", self.ca, "-CAkey", self._key, "-CAcreateserial", "-days", "2", "-extfile", extensions]
        _openssl("x509", "-req", "-in", request, "-out", pair.certificate, *signed)
        return pair


_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
