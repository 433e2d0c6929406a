"""How a model is to be run, as the options of `gpurec check` say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from reconciler.value_class import value_class

if TYPE_CHECKING:
    from reconciler.vram import Asked, TensorType


@value_class
class CheckOptions:
    """None: not given, so of a file as llama-server chooses, of a model as its engine does."""

    context: int | None
    parallel: int | None
    cache: str | None
    flash_attention: bool | None
    batch: int | None
    build: int | None
    drafted: int | None = None
    backend: str | None = None

    def asked(self) -> Asked:
        """The same without the context. BadParameter: no such type of cache."""
        from reconciler.vram import Asked, Backend

        backend = None if self.backend is None else Backend(self.backend)
        keys, values = (None, None) if self.cache is None else cache_types(self.cache)
        return Asked(self.parallel, keys, values, self.flash_attention, self.batch, self.build, self.drafted, backend)


def cache_types(text: str) -> tuple[TensorType, TensorType]:
    """The types of keys and values of `T` or `KEYS/VALUES`. BadParameter: not such types."""
    from reconciler.vram import CACHE_TYPES

    keys, two, values = text.lower().partition("/")
    if keys not in CACHE_TYPES or (two and values not in CACHE_TYPES):
        raise click.BadParameter(f"{text!r} is not a cache type; known are {', '.join(CACHE_TYPES)}", param_hint="--kv-cache")
    return CACHE_TYPES[keys], CACHE_TYPES[values or keys]
