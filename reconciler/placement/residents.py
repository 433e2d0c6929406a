"""What is resident now, matched with what is wanted and with what the state owns; and its bytes charged to the cards."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from reconciler.capacity import EngineState, Holding, Occupancy, largest
from reconciler.capacity.processes import held_by_processes, share_of_cards, shares_of
from reconciler.fleet import (
    Applied,
    AppliedReplica,
    Desired,
    EngineId,
    EngineKind,
    Ensure,
    ModelSpec,
    OwnedRows,
    Resident,
    WantedNames,
)
from reconciler.vram import FILE_SIZE_FACTOR, Need


@dataclass(slots=True, eq=False)
class Occupant(Holding):
    """A resident on a slot.

    `model` is the wanted model that it is (None: not wanted here), `also` are others on the same weights. `rows` are those of the state
    that loaded it or share it (one that was only to be installed owns no resident), `owned` is the first of them, `moving` the model of
    that row where it is still wanted, but elsewhere. `charges` is what it is charged with now; `remembered`: the cards are those of the
    state; `sized` False says that its bytes are unknown, so its cards are blocked. `protected`: no plan takes it away, for the files or for
    a row of the state that says so, by whichever name of its weights (`protecting` are those rows of models that left the files);
    `absent`: it is to be deleted, so it leaves, whoever loaded it. `left_over`: its name means other weights by now, so that nobody can
    send it away.
    """

    resident: Resident
    model: ModelSpec | None
    rows: tuple[AppliedReplica, ...]
    sized: bool = True
    also: tuple[ModelSpec, ...] = ()
    moving: ModelSpec | None = None
    protected: bool = False
    absent: bool = False
    remembered: bool = False
    protecting: tuple[AppliedReplica, ...] = ()
    left_over: bool = False

    @property
    def owned(self) -> AppliedReplica | None:
        """The row of the state that it is by its own name, else by another one of its weights; None where it is not ours."""
        return self.rows[0] if self.rows else None

    def loaded_as(self, model: ModelSpec) -> AppliedReplica | None:
        """What we asked for when it was loaded for `model`, else for whatever it is in the state; None where it is not ours."""
        for row in self.rows:
            if row.model == model.name:
                return row
        return self.owned

    def as_model(self, model: ModelSpec) -> ModelSpec:
        """The variant of `model` that this resident is."""
        if self.model is not None and self.model.name == model.name:
            return self.model
        return next((one for one in self.also if one.name == model.name), model)

    @property
    def held_by_us(self) -> bool:
        """Whether it is resident since gpurec was to keep it so, and not by a request of a client."""
        return self.owned is not None and self.resident.pinned is not False

    @property
    def yields(self) -> bool:
        """Whether it is there by a request of a client and goes by itself some day: what may be evicted where the policy says `yield`."""
        on_demand = self.model is not None and self.model.ensure is Ensure.PRESENT
        may_go = not self.protected and not self.left_over
        return (self.owned is None or on_demand) and self.resident.pinned is False and may_go


def applied_by_engine(applied: Applied) -> Mapping[EngineId, Sequence[AppliedReplica]]:
    """The rows of the state by engine."""
    rows: dict[EngineId, list[AppliedReplica]] = defaultdict(list)
    for row in applied.replicas.values():
        rows[row.at].append(row)
    return rows


def need_on(slot: EngineState, model: ModelSpec, applied: Applied) -> Need | None:
    """What `model` needs on this engine, from the first source that knows."""
    return slot.knowledge.need(slot, model, applied)


SIZES_LOOKED_AT = 64
"""On how many engines the need of a model that declares none is asked for, to know how large it is."""


def most_needed(slots: Sequence[EngineState], model: ModelSpec, applied: Applied) -> int:
    """The bytes that one replica of `model` needs: as declared, else the most on one of these engines; 0 where nobody knows."""
    if model.vram is not None:
        return model.vram
    needs = (need_on(slot, model, applied) for slot in slots[:SIZES_LOOKED_AT])
    return max((need.bytes for need in needs if need is not None), default=0)


def charge_found(
    board: Occupancy,
    desired: Desired,
    applied: Applied,
    names: WantedNames,
    rows: Mapping[EngineId, Sequence[AppliedReplica]] | None = None,
) -> list[Occupant]:
    """Charges every resident to its cards and says what it is. `rows` are those of `applied` by engine, where they
    are known already.

    What the state owns is charged to the cards to which its load was charged, what nobody remembers to those that could hold it. On an
    engine that cannot be asked, what the state last put there is still charged: its cards hold it as far as anybody knows.
    """
    rows = applied_by_engine(applied) if rows is None else rows
    models = {model.name: model for model in desired.models}
    absent = _names_to_delete(desired)
    may_protect = any(model.protect for model in desired.models)
    every: list[Occupant] = []
    unsized: list[Occupant] = []
    for slot in board:
        own = rows.get(slot.id, ())
        if not slot.reachable:
            for row in own:
                if row.ensure == Ensure.LOADED and slot.cards:
                    model = models.get(row.model)
                    variant = model.called(slot.kind, row.engine_name, row.context) if model is not None else None
                    declared = variant or model
                    held = row.vram_bytes if row.vram_bytes is not None else (declared.vram if declared is not None else None)
                    charges = slot.charges_kept(row.charges, held) or slot.charges_found(held or 0)
                    board.put(Holding(slot, charges, counts=False))
            continue
        here: list[Occupant] = []
        identity = slot.identity
        asked = OwnedRows(own)
        resident_rows = [row for row in own if row.ensure == Ensure.LOADED]
        loaded = asked if len(resident_rows) == len(own) else OwnedRows(resident_rows)
        for resident in slot.facts.residents or () if slot.facts is not None else ():
            called = identity.names(resident)
            wanted = names.of(called, slot.kind, slot.id.node)
            model = wanted[0] if wanted else None
            owners = loaded.of(called)
            if resident.pinned is False:
                owners = tuple([row for row in owners if not _is_on_demand_again(resident, models.get(row.model))])
            owned = owners[0] if owners else None
            named = owned if owned is not None else next(iter(asked.of(called)), None)
            found = Occupant(slot, (), resident, model, owners, also=tuple(wanted[1:]), left_over=identity.is_left_over(resident))
            if model is None and not found.left_over:
                to_delete = named is not None and named.model in models and models[named.model].ensure is Ensure.ABSENT
                found.absent = to_delete or (slot.id.node, slot.kind, resident.name) in absent
            if model is None and owned is not None:
                found.moving = _wanted_elsewhere(models.get(owned.model))
            if asked.protects:
                found.protecting = tuple([row for row in asked.protected(called) if row.model not in models])
            found.protected = bool(found.protecting) or (may_protect and _is_protected(wanted, named, models))
            share = share_of_cards(slot, resident) if model is None or model.vram is None else None
            held = _held_bytes(slot, resident, model, owned, applied) if share is None else None
            on_cards = slot.cards if slot.cards else ()
            if share is not None:
                found.charges = share
            elif held == 0 and on_cards and resident.size_bytes:
                found.charges = ((slot.ram, resident.size_bytes),)
            elif (kept := slot.charges_kept(owned.charges_of(resident), held) if owned is not None else None) is not None:
                found.charges, found.remembered = kept, True
            elif held is None:
                found.sized = False
                unsized.append(found)
            elif on_cards:
                found.charges = slot.charges_found(held, on_all=model is not None and model.is_split)
            else:
                found.charges = ((slot.ram, held),)
            here.append(found)
        _charge_by_processes(board, slot, here)
        if slot.bounds_cache:
            for found in here:
                found.cache = _cache_of(slot, found, applied)
        for found in here:
            if found.sized:
                board.put(found)
        every.extend(here)
    for found in unsized:
        found.charges = found.slot.all_of_it()
        board.put(found)
    board.as_found()
    return every


def _is_on_demand_again(resident: Resident, model: ModelSpec | None) -> bool:
    """Whether it is there by a request of a client, for a model that the files want on demand by now, whatever it was loaded for once."""
    return model is not None and model.ensure is Ensure.PRESENT and resident.pinned is False


def _cache_of(slot: EngineState, found: Occupant, applied: Applied) -> int:
    """The bytes of cache of a resident on each of its cards, as it runs; 0 where nobody can tell: nobody here wants it, or its header is
    not known."""
    model = found.model
    if model is None or any(card.is_ram for card, _ in found.charges):
        return 0
    if found.resident.context is not None:
        model = replace(model, context=found.resident.context)
    return slot.knowledge.cache(slot, model, applied) or 0


def _wanted_elsewhere(model: ModelSpec | None) -> ModelSpec | None:
    """A model that is still to be loaded, though not here: it moves."""
    return model if model is not None and model.ensure is Ensure.LOADED else None


def _names_to_delete(desired: Desired) -> frozenset[tuple[str, EngineKind, str]]:
    """(node, kind, name) of all that is to be on no disk."""
    return frozenset(
        (node, kind, model.base_name(kind))
        for model in desired.absent
        for kind in ((model.engine,) if model.engine is not None else EngineKind)
        for node in model.nodes
    )


def _is_protected(wanted: Sequence[ModelSpec], row: AppliedReplica | None, models: Mapping[str, ModelSpec]) -> bool:
    """Whether the files protect what this resident is, wanted here or loaded as (`row`)."""
    named = models.get(row.model) if row is not None else None
    if named is not None and named.protect:
        return True
    return any(model.protect for model in wanted)


def _charge_by_processes(board: Occupancy, slot: EngineState, residents: Sequence[Occupant]) -> None:
    """Where the processes of an engine are seen on its cards, they say what it holds, and its residents share that. What an engine holds
    without a resident of known size is its own, and nobody's to take away."""
    held = held_by_processes(slot)
    if held is None or any(not found.sized for found in residents):
        return
    weights = [largest(found.charges) or 0 for found in residents]
    if not any(weights):
        board.put(Holding(slot, tuple(held.items()), counts=False))
        return
    for found, charges in zip(residents, shares_of(held, weights), strict=True):
        found.charges, found.remembered = charges, False


def _held_bytes(
    slot: EngineState, resident: Resident, model: ModelSpec | None, owned: AppliedReplica | None, applied: Applied
) -> int | None:
    """Bytes of a resident on its cards (in RAM on an engine without cards), as far as anybody can tell; None when nobody can."""
    on_cards = slot.cards is None or len(slot.cards) > 0
    seen = resident.vram_bytes if on_cards else resident.size_bytes
    if seen is not None:
        return seen
    if model is not None:
        need = need_on(slot, model, applied)
        if need is not None:
            return need.bytes
    if owned is not None:
        known = owned.vram_bytes
        if known is not None:
            return known
    size = resident.size_bytes
    if size is None:
        installed = slot.installed(resident.name)
        size = installed.size_bytes if installed is not None else None
    return None if size is None else -(-size * FILE_SIZE_FACTOR.numerator // FILE_SIZE_FACTOR.denominator)
