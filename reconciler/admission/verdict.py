"""The words of admission: a load, who sits there already, the cards as the engine sees them, and its answer. Bytes and seconds."""

from __future__ import annotations

from reconciler.value_class import value_class


@value_class
class ModelToLoad:
    """What an engine can know of a model before it loads it.

    `file_bytes` is the GGUF file, `cache_per_token` the f16 cache of one token by the engine's own sum, `context` what one request may use.
    `need` is what the model really takes on cards, as far as we know. `batch` is a batch size that the request or the model names; without
    one the engine picks it so that it costs nothing here. `cpu` says that no layer is to go on a card. None is unknown.
    """

    file_bytes: int | None = None
    cache_per_token: int | None = None
    context: int | None = None
    parallel: int = 1
    batch: int | None = None
    embedding: bool = False
    need: int | None = None
    cpu: bool = False


@value_class
class EngineResident:
    """A resident as the engine's scheduler sees it.

    `bytes` is its part on each card by index (a resident on the CPU has none). `keep_alive` is in seconds, infinite for ever, None unknown.
    `path` is what ties go by: on Ollama the blob of its weights. `used` orders a router's models by their last request, larger is later.
    """

    name: str
    bytes: tuple[tuple[int, int], ...] = ()
    keep_alive: float | None = None
    path: str = ""
    idle: bool = True
    used: int = 0


@value_class
class CardSeen:
    """A card as the engine sees it: `free` bytes as if it held nothing there itself (its total less what others hold), and what is really
    free as if it held nothing there, where that is known to differ."""

    index: int
    free: int
    really_free: int | None = None


@value_class
class Verdict:
    """An engine's answer. `cards` is where the load goes (empty: the CPU; None: not known), `evicts` who leaves for it, in that order.

    `spills` says that a part of it will sit on the CPU, None that this is not known. `unknown` names what was not known and would decide.
    """

    cards: tuple[int, ...] | None
    evicts: tuple[str, ...] = ()
    spills: bool | None = False
    unknown: tuple[str, ...] = ()

    @property
    def admitted(self) -> bool:
        """Whether it is known that the load is taken whole and that nobody leaves for it."""
        return not self.evicts and self.spills is False and not self.unknown
