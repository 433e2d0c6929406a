"""Images of a simulated Docker Engine: what it has, by id and by name, and what its registry has."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from reconciler.sim.docker.process import Program

NOTHING: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Image:
    """An image. `program` is what a container of it runs, whatever its command; None: its command is run as a shell would.
    `content` makes it another image under the same name."""

    name: str
    command: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    layers: tuple[int, ...] = (30_000_000,)
    content: str = ""
    program: Program | None = None

    @property
    def id(self) -> str:
        told = f"{full_name(self.name)} {self.content} {self.command} {self.entrypoint} {sorted(self.env.items())}"
        return f"sha256:{hashlib.sha256(told.encode()).hexdigest()}"

    @property
    def digest(self) -> str:
        """Of its manifest in a registry."""
        return f"sha256:{hashlib.sha256(f'manifest {self.id}'.encode()).hexdigest()}"


class Library:
    """The images that a daemon has (`here`) and those of its registry (`there`)."""

    def __init__(self, here: Iterable[Image] = (), there: Iterable[Image] = ()) -> None:
        self.there = {full_name(image.name): image for image in there}
        self._by_id: dict[str, Image] = {}
        self._names: dict[str, str] = {}
        self._digests: dict[str, set[str]] = {}
        for image in here:
            self.add(image)

    def add(self, image: Image, pulled_as: str | None = None) -> None:
        """Puts an image under its name, from which it takes the one that had it."""
        self._by_id[image.id] = image
        self._names[full_name(pulled_as or image.name)] = image.id
        if pulled_as is not None:
            repository = full_name(pulled_as).partition("@")[0].rpartition(":")[0] or full_name(pulled_as)
            self._digests.setdefault(image.id, set()).add(f"{_familiar(repository)}@{image.digest}")

    def tag(self, source: str, target: str) -> bool:
        """Gives an image a further name; False where there is no such image."""
        found = self.find(source)
        if found is None:
            return False
        self._names[full_name(target)] = found.id
        return True

    def find(self, name: str) -> Image | None:
        """The image of a name, a digest or an id (or the beginning of one, without sha256:)."""
        if name.startswith("sha256:") or (len(name) >= 12 and all(sign in "0123456789abcdef" for sign in name)):
            wanted = name.removeprefix("sha256:")
            return next((image for key, image in self._by_id.items() if key.removeprefix("sha256:").startswith(wanted)), None)
        full = full_name(name)
        if "@" in full:
            digest = f"{_familiar(full.partition('@')[0])}@{full.partition('@')[2]}"
            return next((self._by_id[key] for key, digests in self._digests.items() if digest in digests), None)
        key = self._names.get(full)
        return self._by_id[key] if key is not None else None

    def in_registry(self, name: str) -> Image | None:
        full = full_name(name)
        repository, at, digest = full.partition("@")
        if not at:
            return self.there.get(full)
        return next((one for key, one in self.there.items() if key.rpartition(":")[0] == repository and one.digest == digest), None)

    def digests_of(self, image: Image) -> list[str]:
        return sorted(self._digests.get(image.id, ()))

    def tags_of(self, image: Image) -> list[str]:
        return sorted(_familiar(name) for name, key in self._names.items() if key == image.id)

    def names(self) -> list[str]:
        return sorted(_familiar(name) for name in self._names)


def full_name(name: str) -> str:
    """A name with its registry and its tag, as distribution/reference of Docker reads it."""
    plain, _, digest = name.partition("@")
    path, colon, tag = plain.rpartition(":")
    if not colon or "/" in tag:
        path, tag = plain, ""
    first, slash, _ = path.partition("/")
    if not slash or not ("." in first or ":" in first or first == "localhost"):
        path = f"docker.io/{path}" if slash else f"docker.io/library/{path}"
    return f"{path}@{digest}" if digest else f"{path}:{tag or 'latest'}"


def _familiar(name: str) -> str:
    return name.removeprefix("docker.io/library/").removeprefix("docker.io/")
