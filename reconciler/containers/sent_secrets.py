"""The secrets that are sent to a daemon: read when they are needed, and known from then on, so that nothing brings one back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from reconciler.containers.protocol import ContainerError
from reconciler.containers.wire import DaemonAnswer
from reconciler.engines.keys import Keys
from reconciler.engines.secrets import read_whole_secret
from reconciler.fleet import ContainerFile, ContainerSpec, EngineError, SecretRef


class SentSecrets:
    """`environ` is where `env:` secrets are read (the process's by default); `keys` learns every secret that is read."""

    def __init__(self, keys: Keys, environ: Mapping[str, str] | None = None) -> None:
        self._keys = keys
        self._environ = environ

    def of(self, ref: SecretRef, whose: str, *, whole: bool = False) -> str:
        """The secret behind a reference; a variable gets it without the end of its last line. Raises ContainerError `missing_key`."""
        try:
            value = read_whole_secret(ref, whose, self._environ)
        except EngineError as error:
            raise ContainerError(error.problems[0], error.code) from None
        self._keys.add(value.strip())
        return value if whole else value.strip()

    def known(self, refs: Mapping[str, SecretRef], whose: str) -> Mapping[str, str | None]:
        """The secrets that can be read; None for one that cannot."""
        found: dict[str, str | None] = {}
        for name, ref in refs.items():
            found[name] = None
            with suppress(ContainerError):
                found[name] = self.of(ref, whose)
        return found

    def env(self, spec: ContainerSpec) -> Mapping[str, str]:
        """The variables of a container, its secrets read. Raises ContainerError `missing_key`."""
        return {name: self.of(value, spec.address) if isinstance(value, SecretRef) else value for name, value in spec.env.items()}

    def contents(self, files: Sequence[ContainerFile], whose: str) -> Mapping[str, tuple[bytes, int]]:
        """What is to be in each file, by its path, and its mode. Raises ContainerError `missing_key`."""
        found = {}
        for one in files:
            text = self.of(one.content, whose, whole=True) if isinstance(one.content, SecretRef) else one.content
            found[one.path] = (text.encode(), one.mode)
        return found

    def cleaned(self, answer: DaemonAnswer) -> DaemonAnswer:
        """The same without the secrets that are known."""
        return replace(answer, body=self._keys.without(answer.body))
