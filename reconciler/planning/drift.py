"""Drift: what was last applied against what probing found, field by field of the table in `drift_fields`.

Replicas are compared with the rows of the state, what is only observed with the facts that the last apply recorded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import attrgetter

from reconciler.capacity import foreign_allowed, used_together
from reconciler.fleet import (
    Answers,
    Applied,
    AppliedReplica,
    CardFacts,
    CardId,
    Desired,
    EngineFacts,
    EngineId,
    Fleet,
    FleetFacts,
    Installed,
    NodeSpec,
    Resident,
    Unmanaged,
    replica_address,
    same_card,
)
from reconciler.placement import EngineState, Occupancy, Placement
from reconciler.planning.kinds.model.drift_fields import (
    CARD_FIELDS,
    ENGINE_FIELDS,
    REPLICA_FIELDS,
    CardPair,
    DriftField,
    EnginePair,
    FieldClass,
    Pair,
    ReplicaPair,
    RowView,
    WeightsView,
    short_of,
)
from reconciler.planning.plan import Drift, Value

_DECLARED = "declared"


def engine_address(at: EngineId) -> str:
    """`engine.NODE/ENGINE`."""
    return f"engine.{at}"


def card_address(node: str, index: CardId) -> str:
    """`gpu.NODE/INDEX`."""
    return f"gpu.{node}/{index}"


def find_drift(board: Occupancy, applied: Applied, desired: Desired, recorded: FleetFacts | None = None) -> tuple[Drift, ...]:
    """Every field of every applied replica that is not as it was, on selected engines that can be asked; in address order.

    `recorded` are the facts of the last apply; without them what is only observed cannot be compared.
    """
    least = {model.name: model.min_gpu_fraction for model in desired.models}
    known: dict[EngineState, _Engine] = {}
    found: list[Drift] = []
    compared: Answers[ReplicaPair, Sequence[_Told]] = Answers(lambda pair: _compared(REPLICA_FIELDS, pair))
    for address, row in sorted(applied.replicas.items()):
        slot = board.slots.get(row.at)
        if slot is None or not slot.reachable or not slot.selected or slot.facts is None:
            continue
        engine = known.get(slot)
        if engine is None:
            engine = known[slot] = _Engine(slot, slot.facts, recorded.engine(row.at) if recorded is not None else None)
        told = compared[engine.pair(row, least.get(row.model, 1.0))]
        if told:
            found.extend(_drift(address, told))
    return tuple(found)


def found_drift(board: Occupancy, fleet: Fleet, facts: FleetFacts, recorded: FleetFacts | None) -> tuple[Drift, ...]:
    """Every field of an engine or a card on a selected node that is not as the last apply recorded it, or over its allowance. `facts` are
    what was seen: the board has engines as they will be once they are started."""
    found: list[Drift] = []
    for slot in board:
        was, now = recorded.engine(slot.id) if recorded is not None else None, facts.engine(slot.id)
        if slot.selected and now is not None and now.reachable and was is not None:
            found.extend(_drift(engine_address(slot.id), _compared(ENGINE_FIELDS, EnginePair(was, now))))
    for name, node in fleet.nodes.items():
        seen = facts.nodes.get(name)
        before = recorded.nodes.get(name) if recorded is not None else None
        if seen is None or seen.cards is None or not _selected(board, name):
            continue
        for index, pair in _card_pairs(node, before.cards if before is not None else None, seen.cards):
            if told := _compared(CARD_FIELDS, pair):
                found.extend(_drift(card_address(name, index), told))
    return tuple(found)


def unmanaged_drift(placement: Placement, desired: Desired) -> tuple[Drift, ...]:
    """Residents that nobody here asked for, where the policy calls that drift."""
    if desired.policy.unmanaged not in (Unmanaged.DRIFT, Unmanaged.UNLOAD):
        return ()
    return tuple(
        Drift(replica_address(found.resident.name, found.slot.id), "unmanaged", "resident", None, True)
        for found in placement.unwanted
        if found.owned is None and found.model is None and found.slot.selected
    )


def repairable(drift: Sequence[Drift]) -> frozenset[str]:
    """The addresses with a managed field that drifted: a step at one of them has drift for its cause."""
    return frozenset(entry.address for entry in drift if entry.klass == FieldClass.MANAGED)


_Told = tuple[str, str, Value, Value, str]
"""A field that is not as it was: the kind of drift, the field, what it was, what it is, and its class."""


def _compared(fields: Sequence[DriftField[Pair]], pair: Pair) -> list[_Told]:
    return [
        (field.kind, field.name, *change, field.klass.value)
        for field in fields
        if field.compare is not None and (change := field.compare(pair)) is not None and field.kind is not None
    ]


def _drift(address: str, told: Iterable[_Told]) -> Iterator[Drift]:
    return (Drift(address, *one) for one in told)


_of_row = attrgetter("ensure", "residency", "observed_gpu_fraction", "observed_context", "observed_pinned")


class _Engine:
    """What an engine showed and shows, by name."""

    def __init__(self, slot: EngineState, now: EngineFacts, was: EngineFacts | None) -> None:
        self._slot, self._now = slot, now
        self._were = _by_name(was.residents if was is not None else None)
        self._were_installed: Mapping[str, Installed] = {one.name: one for one in (was.installed if was is not None else None) or ()}
        self._cards_used = used_together([card.facts for card in slot.cards or ()])

    def pair(self, row: AppliedReplica, least: float) -> ReplicaPair:
        name = row.engine_name
        resident, was = self._slot.identity.resident(name), self._were.get(name)
        return ReplicaPair(
            RowView._make(_of_row(row)),
            resident.view if resident is not None else None,
            self._now.residents is not None,
            _weights(self._slot.installed(name)),
            self._now.installed is not None,
            was.options if was is not None else None,
            _weights(self._were_installed.get(name)),
            least,
            short_of(resident, self._cards_used),
        )


def _weights(installed: Installed | None) -> WeightsView | None:
    return (installed.digest, installed.blob) if installed is not None else None


def _by_name(residents: Sequence[Resident] | None) -> Mapping[str, Resident]:
    return {resident.name: resident for resident in residents or ()}


def _selected(board: Occupancy, node: str) -> bool:
    return all(slot.selected for slot in board.by_node.get(node, ()))


def _card_pairs(node: NodeSpec, before: Sequence[CardFacts] | None, now: Sequence[CardFacts]) -> Iterator[tuple[CardId, CardPair]]:
    """Cards by index. Only what was probed both times is compared with what it was: a declaration that changed is no drift."""
    probed = any(card.source != _DECLARED for card in now) or (not now and node.gpus != ())
    were = [card for card in before or () if card.source != _DECLARED] if probed else []
    sharing = [engine for engine in node.engines if engine.share]
    for card in now:
        was = next((one for one in were if same_card(one, card)), None) if were and card.source != _DECLARED else None
        spec = card.declared_in(node.gpus or ())
        allowed = foreign_allowed(spec.foreign if spec is not None else 0, [one.share for one in sharing if card.is_named_in(one.gpus)])
        yield card.index, CardPair(spec, was, card, allowed)
    for one in were:
        if not any(same_card(one, card) for card in now):
            yield one.index, CardPair(None, one, None)
