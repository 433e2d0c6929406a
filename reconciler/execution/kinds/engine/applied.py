"""What the state keeps of a container that was applied, read back."""

from __future__ import annotations

from functools import lru_cache

from reconciler.fleet import AppliedResource, ContainerSpec


def applied_container(row: AppliedResource) -> ContainerSpec | None:
    """The container as it was applied; None where the state does not tell, or another version of gpurec wrote it."""
    return _read(row.written) if row.written is not None else None


@lru_cache(maxsize=4096)
def _read(text: str) -> ContainerSpec | None:
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(ContainerSpec).validate_json(text, strict=True)
    except ValidationError:
        return None
