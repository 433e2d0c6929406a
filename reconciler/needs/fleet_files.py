"""The file of a model that an engine does not have yet, as other engines of the fleet have it under the same name."""

from __future__ import annotations

from collections.abc import Collection

from reconciler.fleet import EngineKind, Installed, ModelSpec, weights_digest
from reconciler.needs.engine import KnownEngine


class FilesOfFleet:
    """The files on the disks of all Ollamas by name, read when one is first missed."""

    def __init__(self, slots: Collection[KnownEngine] = ()) -> None:
        self._slots = slots
        self._by_name: dict[str, dict[str | None, Installed]] | None = None

    def pulled(self, slot: KnownEngine, model: ModelSpec) -> Installed | None:
        """The file that this engine would pull for `model`; None where it cannot pull, or no other engine tells of one.

        Where others have more than one under that name, the largest; one that is pinned is none other.
        """
        if slot.kind is not EngineKind.OLLAMA or not slot.reachable:
            return None
        found = self._named(model.base_name(slot.kind))
        if model.digest is not None:
            found = {blob: one for blob, one in found.items() if blob is not None and weights_digest(blob) == model.digest}
        return max(found.values(), key=lambda one: (one.size_bytes or 0, one.header is not None, one.blob or ""), default=None)

    def _named(self, name: str) -> dict[str | None, Installed]:
        if self._by_name is None:
            self._by_name = {}
            for slot in self._slots:
                if slot.kind is EngineKind.OLLAMA and slot.facts is not None and slot.facts.reachable:
                    for one in slot.facts.installed or ():
                        known = self._by_name.setdefault(one.name, {})
                        if (before := known.get(one.blob)) is None or (before.header is None and one.header is not None):
                            known[one.blob] = one
        return self._by_name.get(name, {})
