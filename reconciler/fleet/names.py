"""Names: engine kinds, addresses, and the canonical form in which two model names are the same model."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache


class EngineKind(StrEnum):
    """The kinds of model server this program knows; `openai` is whatever lists `/v1/models`, `service` another program on a card."""

    OLLAMA = "ollama"
    LLAMACPP = "llamacpp"
    VLLM = "vllm"
    LLAMASWAP = "llamaswap"
    OPENAI = "openai"
    SERVICE = "service"

    @property
    def is_looked_at(self) -> bool:
        """Whether somebody else's server is only looked at, whatever it is: it has a share of its cards, and no model is placed there."""
        return self in (EngineKind.OPENAI, EngineKind.SERVICE)

    @property
    def serves_models(self) -> bool:
        """Whether it can tell of models."""
        return self is not EngineKind.SERVICE

    __hash__ = str.__hash__  # that of an Enum is a function in Python, and keys of many dictionaries are these


CardId = int | str
"""What a card of a node is called: the index that its tool gives it; `nvidia0`, `amd0` on a node where two vendors give one index."""


@dataclass(frozen=True, slots=True, order=True)
class EngineId:
    """One engine of one node; printed as `NODE/ENGINE`."""

    node: str
    engine: str

    def __str__(self) -> str:
        return f"{self.node}/{self.engine}"

    def __hash__(self) -> int:
        """Half as long as that of both: nodes have few engines."""
        return hash(self.node)

    @classmethod
    def parse(cls, text: str) -> EngineId:
        node, _, engine = text.partition("/")
        return cls(node, engine)


def replica_address(model: str, at: EngineId) -> str:
    """`model.NAME@NODE/ENGINE`."""
    return f"model.{model}@{at.node}/{at.engine}"


def parse_replica_address(address: str) -> tuple[str, EngineId]:
    """(model, engine) of `model.NAME@NODE/ENGINE`: split at the last `@`, then at the first `/` after it.

    Raises ValueError when the text has not that form.
    """
    kind, dot, rest = address.partition(".")
    name, at, place = rest.rpartition("@")
    node, slash, engine = place.partition("/")
    if kind != "model" or not (dot and at and slash and name and node and engine):
        raise ValueError(f"{address!r} is not an address of the form model.NAME@NODE/ENGINE")
    return name, EngineId(node, engine)


def weights_digest(blob: str) -> str:
    """What an engine calls its weights, as `sha256:HEX`."""
    return blob if blob.startswith("sha256:") else f"sha256:{blob}"


_OLLAMA_HOST = "registry.ollama.ai"
_OLLAMA_NAMESPACE = "library"


@lru_cache(maxsize=65536)
def canonical_name(kind: EngineKind, name: str) -> str:
    """The form in which two names of one model are equal; never a substring match.

    Ollama (types/model/name.go): `host/namespace/model:tag` with defaults `registry.ollama.ai`, `library`, `latest`, matched without
    regard to case; the scheme of an url, the default host and namespace are dropped, the tag is always there. Other engines: the name as it
    stands.
    """
    return spelled_name(kind, name).lower() if kind is EngineKind.OLLAMA else name


def spelled_name(kind: EngineKind, name: str) -> str:
    """The canonical form in the case in which the name is written: for people, and for registries, which heed case."""
    if kind is not EngineKind.OLLAMA:
        return name
    name = name.partition("://")[2] if "://" in name else name
    path, tag = name, "latest"
    slash, colon = name.rfind("/"), name.rfind(":")
    if colon > slash:
        path, tag = name[:colon], name[colon + 1 :]
    parts = path.split("/")
    if len(parts) == 3 and parts[0].lower() == _OLLAMA_HOST:
        parts = parts[1:]
    if len(parts) == 2 and parts[0].lower() == _OLLAMA_NAMESPACE:
        parts = parts[1:]
    return f"{'/'.join(parts)}:{tag}"


def context_tag(name: str, context: int) -> str:
    """The derived Ollama tag that holds a context: `NAME:TAG-c8192`."""
    return f"{canonical_name(EngineKind.OLLAMA, name)}-c{context}"
