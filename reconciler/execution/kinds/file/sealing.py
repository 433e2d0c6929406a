"""Files with secrets in them: the state keeps what was written with references, and knows it again by HMACs under a key of its own.

What is found on a machine is told apart without any secret being kept: its bytes by one HMAC, each value by another, so that a value that
changed is noticed, and a hash that leaks tells nobody who guesses.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping

from reconciler.engines.keys import Keys
from reconciler.engines.secrets import read_secret
from reconciler.fleet import AppliedResource, EngineError, Scalar, SecretRef
from reconciler.planning.kinds.file.diff import RENEWED
from reconciler.planning.kinds.file.kind import CONTENT, digest_of
from reconciler.rendering.secret import references, with_values
from reconciler.value_class import value_class

KEY, SEAL, VALUE = "_key", "_seal", "_seal of {}"
"""Fields of a row of the state: the key, the HMAC of the digest of all bytes, that of each value."""


@value_class
class Sealer:
    """Reads secrets for files; each that was read is taken out of all that comes back by `keys`."""

    keys: Keys

    def filled(self, text: str, whose: str) -> str:
        """A text with its secrets. Raises EngineError where one cannot be read."""
        return with_values(text, {ref: self._read(ref, whose) for ref in references(text)})

    def content_fields(self, digest: str, row: AppliedResource | None, text: str | None) -> Mapping[str, Scalar]:
        """What a file with the SHA-256 `digest` is called: as `text` where it is just that, as in `row` where it is what was written then,
        and which secrets have another value by now."""
        if text is not None and references(text) and self._is(digest, text):
            return {CONTENT: digest_of(text)}
        if row is None or not isinstance(key := row.fields.get(KEY), str):
            return {CONTENT: f"sha256:{digest}"}
        if _seal(key, digest) != row.fields.get(SEAL):
            return {CONTENT: f"hmac-sha256:{_seal(key, digest)}"}
        renewed = [ref for ref in references(row.written or "") if self._differs(ref, key, row)]
        if renewed:
            return {CONTENT: "another secret", RENEWED: " ".join(renewed)}
        return {CONTENT: row.fields[CONTENT]}

    def row_fields(self, text: str | None, whose: str) -> Mapping[str, Scalar]:
        """What the state keeps of the secrets of a text that was just written; nothing where it has none."""
        found = references(text or "")
        if text is None or not found:
            return {}
        key = secrets.token_hex(16)
        seals = {VALUE.format(ref): _seal(key, self._read(ref, whose)) for ref in found}
        return {KEY: key, SEAL: _seal(key, _sha(self.filled(text, whose))), **seals}

    def _is(self, digest: str, text: str) -> bool:
        try:
            return _sha(self.filled(text, "")) == digest
        except EngineError:
            return False

    def _differs(self, ref: str, key: str, row: AppliedResource) -> bool:
        """Whether a secret is known to have another value than when it was written; one that cannot be read here may have the same."""
        try:
            return _seal(key, self._read(ref, "")) != row.fields.get(VALUE.format(ref))
        except EngineError:
            return False

    def _read(self, ref: str, whose: str) -> str:
        scheme, _, target = ref.partition(":")
        value = read_secret(SecretRef(scheme, target), whose)
        self.keys.add(value)
        return value


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _seal(key: str, text: str) -> str:
    return hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest()
