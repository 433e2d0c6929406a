"""What would give an unplaced model a place: lines for the files.

A line that makes room, or has the model ask for less, was tried on the board as it is at the end: one that would not help is not said. A
line that only makes something known (cards, RAM, foreign use) cannot be tried: what comes to light may be too little.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from reconciler.capacity import EngineState, Holding, largest, margin_for
from reconciler.fleet import GIB, MIB, Applied, EngineKind, ModelSpec, Residency, Spread, Unmanaged, fixed_otherwise, format_bytes
from reconciler.needs.run_settings import in_ram
from reconciler.placement.eligibility import refusal
from reconciler.placement.engine_admission import would_leave_less, would_take_more
from reconciler.placement.fit import Fit, fit, room_for, spills
from reconciler.placement.residents import Occupant, need_on
from reconciler.placement.result import Placement, Target

Found = TypeVar("Found", Target, Occupant)
EXAMPLE_NEED = 5 * GIB
"""The need that is written where nobody knows it, as an example; less where no engine has room for so much."""
HINT_LOOKS = 256
"""How many engines are tried for each line."""


def would_help(
    model: ModelSpec, counts: Mapping[str, int], placement: Placement, applied: Applied, unmanaged: Unmanaged
) -> tuple[str, ...]:
    """The lines that would help, as the board stands at the end of placement; `counts` has the reasons of its engines."""
    trials = _Trials(model, placement, applied)
    lines = []
    if counts.get("need_unknown"):
        lines.extend(_declared_need(model, trials))
    if counts.get("cards_unknown") or counts.get("vram_unknown"):
        lines.append("the cards are declared: `gpus: [{index: 0, vram: 24GiB}]` on the node")
    if counts.get("foreign_unknown"):
        lines.append("its cards are probed (`probe: {via: ssh, user: NAME}` on the node), or trusted: `policy: {unknown_foreign: assume}`")
    if counts.get("ram_unknown"):
        lines.append("the RAM is declared: `ram: 32GiB` on the node")
    if counts.get("not_installed") and trials.has_room():
        lines.append(f"the file of {model.name} is put where the engine looks for models")
    if counts.get("runs_elsewhere"):
        lines.append(f"its requests are only passed on: `ensure: present` under models.{model.name}")
    if counts.get("digest_differs") and trials.has_room():
        lines.append(f"the weights that are installed are accepted: `gpurec pin {model.name}`, or those that are pinned are brought back")
    if counts.get("free_vram") and model.when.free_vram is not None and (free := trials.most_free(model.when.free_vram)):
        lines.append(f"it asks for less free memory: `when: {{free_vram: {free // MIB}MiB}}` under models.{model.name}")
    if counts.get("kv_cache_fraction"):
        lines.extend(_cache_that_would_help(trials))
    if counts.get("engine_fixed_options"):
        lines.extend(_starts_that_would_help(model, trials))
    if counts.get("never_with") or counts.get("with"):
        lines.extend(_apart_or_beside(model, trials))
    if counts.get("engine_would_evict"):
        lines.extend(_engines_that_would_help(model, trials))
    if counts.get("insufficient_vram"):
        lines.extend(_strangers_that_would_go(trials, unmanaged))
        spared = trials.helps([one for one in placement.targets if one.model.priority < model.priority and one.protected])
        if spared:
            lines.append(f"{len(spared)} protected replicas of lower priority may go, {spared[0].model.name} first: `protect: false` there")
    if model.residency is Residency.GPU and counts.get("no_card"):
        on_cpu = _Trials(replace(model, residency=Residency.GPU_PREFERRED), placement, applied)
        if any(isinstance(fit(slot, on_cpu.least, applied), Fit) for slot in on_cpu.near):
            lines.append("it may run on a CPU: `residency: gpu_preferred`")
    return tuple(lines)


class _Trials:
    """Asks the finished board where `model`, in its smallest variant, would have a place if somebody left. What matters less and may leave
    is lifted too, since placement would displace it. Nothing stays changed."""

    def __init__(self, model: ModelSpec, placement: Placement, applied: Applied) -> None:
        self.model, self.placement, self.applied = model, placement, applied
        self.least = model.alternatives()[-1]
        taken = placement.slots_of(model.name)
        every = (slot for node in model.nodes for slot in placement.board.by_node.get(node, ()))
        self.near = [
            slot for slot in every if slot not in taken and refusal(slot, model) is None and not _stands_beside(model, slot, taken)
        ]
        self._lower: dict[str, list[Target]] | None = None

    def has_room(self) -> bool:
        """Whether an engine has room for it, or may have, whatever else speaks against that."""
        return any(
            isinstance(room, Fit) or room == "need_unknown"
            for room in (room_for(slot, self.least, self.applied) for slot in self.near[:HINT_LOOKS])
        )

    def most_that_fits(self, example: int) -> int | None:
        """The largest need in whole MiB, up to `example`, that would have a place on an engine that takes it; None where none has."""
        fitting = []
        for slot in self.near[:HINT_LOOKS]:
            rooms = [max(0, slot.ram.free)] if in_ram(slot, self.least) else slot.rooms(margin_for(slot, self.least))
            count = min(example, max(rooms, default=0)) // MIB * MIB
            if count and isinstance(fit(slot, replace(self.least, vram=count), self.applied), Fit):
                fitting.append(count)
        return max(fitting, default=None)

    def most_free(self, asked: int) -> int | None:
        """The most bytes below `asked` that are free, in whole MiB, on an engine that nothing else keeps it from; None where none are."""
        known = replace(self.least, when=replace(self.least.when, free_vram=None))
        alone = [slot for slot in self.near[:HINT_LOOKS] if self.company(slot) == ([], [])]
        rooms = [room for slot in alone if isinstance(room := fit(slot, known, self.applied), Fit)]
        free = [min((card.free for card, _ in room.charges if not card.is_ram), default=0) // MIB * MIB for room in rooms]
        return max((count for count in free if count < asked), default=0) or None

    def company(self, slot: EngineState) -> tuple[list[str], list[str]]:
        """The models on the cards of an engine that it is never with, and those that it is to be with and are not there."""
        there = {name for card in slot.cards or () for name in self.placement.holders.get(card, {})}
        foes = set(self.placement.foes.get(self.model.name, ()))
        return sorted(foes & there), sorted(set(self.model.with_models) - there)

    def helps(self, leaving: Iterable[Found]) -> list[Found]:
        """Those of `leaving` that sit where the model would have a place without them, on the first such engine; none where it has none."""
        by_node: dict[str, list[Found]] = defaultdict(list)
        for one in leaving:
            by_node[one.slot.id.node].append(one)
        tried = [slot for slot in self.near if slot.id.node in by_node]
        for slot in tried[:HINT_LOOKS]:
            where = slot.places(in_ram(slot, self.least))
            there: list[Found] = [one for one in by_node[slot.id.node] if one.slot is slot or any(card in where for card, _ in one.charges)]
            gone: list[Holding | None] = [_holding(one) for one in there]
            gone += [one.holding for one in self._lower_on(slot)]
            if there and self._fits_without(slot, gone):
                return there
        return []

    def _fits_without(self, slot: EngineState, leaving: Iterable[Holding | None]) -> bool:
        with self.placement.board.trial():
            for holding in leaving:
                if holding is not None and holding.there:
                    self.placement.board.remove(holding)
            answer = fit(slot, self.least, self.applied)
        return isinstance(answer, Fit)

    def _lower_on(self, slot: EngineState) -> Sequence[Target]:
        if self._lower is None:
            self._lower = defaultdict(list)
            for one in self.placement.targets:
                if one.model.priority < self.model.priority and one.slot.takes_orders and not one.stays:
                    self._lower[one.slot.id.node].append(one)
        return self._lower.get(slot.id.node, ())

    def takes_one_more(self, slot: EngineState) -> bool:
        """Whether a full engine had room for it if it took one model more: one that is there keeps its bytes and is not counted."""
        board = self.placement.board
        every = (*map(_holding, self.placement.targets), *self.placement.unwanted)
        for one in every:
            if one is not None and one.slot is slot and one.there and one.counts:
                with board.trial():
                    board.remove(one)
                    board.put(Holding(slot, one.charges, counts=False))
                    answer = fit(slot, self.least, self.applied)
                return isinstance(answer, Fit)
        return False


def _holding(one: Target | Occupant) -> Holding | None:
    return one if isinstance(one, Occupant) else one.holding


def _stands_beside(model: ModelSpec, slot: EngineState, taken: Iterable[EngineState]) -> bool:
    """Whether a replica there would stand beside another one where a written `spread` forbids it."""
    if not model.spread_hard or model.spread is Spread.NONE:
        return False
    if model.spread is Spread.NODE:
        return any(other.id.node == slot.id.node for other in taken)
    return any(card in (other.cards or ()) for other in taken for card in slot.cards or ())


def _declared_need(model: ModelSpec, trials: _Trials) -> list[str]:
    """The line that declares what it needs, with a size that has a place."""
    most = trials.most_that_fits(EXAMPLE_NEED)
    if most is None:
        return []
    at_most = "" if most == EXAMPLE_NEED else f" and is at most {format_bytes(most)}"
    size = f"{most // GIB}GiB" if most % GIB == 0 else f"{most // MIB}MiB"
    if model.variants:
        smallest = model.variants[-1].name
        return [
            f"the need of its variants is declared{at_most}: `variants: [{{name: {smallest}, vram: {size}}}]` under models.{model.name}"
        ]
    return [f"the need of {model.name} is declared{at_most}: `vram: {size}` under models.{model.name}"]


def _strangers_that_would_go(trials: _Trials, unmanaged: Unmanaged) -> list[str]:
    """What makes residents of others leave: `yield` those with a finite keep-alive, `unload` all."""
    strangers = [found for found in trials.placement.unwanted if found.model is None and found.owned is None]
    finite = [found for found in strangers if found.yields]
    lines = []
    before: list[Occupant] = []
    for may_go, policy in ((finite, Unmanaged.YIELD), (strangers, Unmanaged.UNLOAD)):
        if unmanaged in (policy, Unmanaged.UNLOAD):
            continue
        going = trials.helps(may_go)
        if going and going != before:
            held = sum(largest(found.charges) or 0 for found in going)
            ones, makes = ("1 unmanaged resident", "makes") if len(going) == 1 else (f"{len(going)} unmanaged residents", "make")
            lines.append(f"{ones} ({format_bytes(held)}) {makes} room: `policy: {{unmanaged: {policy.value}}}`")
        before = going
    return lines


def _cache_that_would_help(trials: _Trials) -> list[str]:
    """The least part of a card that caches would have to be let for it to have a place."""
    found: list[int] = []
    for slot in trials.near[:HINT_LOOKS]:
        bounds = [(card, card.most_cache) for card in slot.cards or ()]
        for card, _ in bounds:
            card.most_cache = None
        answer = room_for(slot, trials.least, trials.applied)
        for card, most in bounds:
            card.most_cache = most
        cache = trials.placement.board.slots[slot.id].knowledge.cache(slot, trials.least, trials.applied)
        if isinstance(answer, Fit) and cache is not None:
            found += [-(-100 * (card.cache + cache) // card.total) for card, _ in answer.charges if card.total]
    if not found or min(found) > 100:
        return []
    less = "or `context`, `parallel` or `kv_cache` of the model ask for less"
    return [f"caches may take more of a card: `limits: {{kv_cache_fraction: {min(found)}%}}`, {less}"]


def _starts_that_would_help(model: ModelSpec, trials: _Trials) -> list[str]:
    """What the first engine that has room would have to be started with."""
    for slot in trials.near[:HINT_LOOKS]:
        fixed = fixed_otherwise(slot.spec, model.runs)
        if fixed is not None and isinstance(room_for(slot, trials.least, trials.applied), Fit):
            how = f'`env: {{{fixed.name}: "{fixed.wanted}"}}`' if slot.kind is EngineKind.OLLAMA else f"`args` without {fixed.name}"
            return [f"{slot.id} is started so: {how} of the engine"]
    return []


def _engines_that_would_help(model: ModelSpec, trials: _Trials) -> list[str]:
    """What would keep an engine's own rules out of the way: a raised limit where it is full, less that it leaves free where that is what a
    part of the model would be on the CPU for, else a higher priority."""
    full = next((slot for slot in trials.near[:HINT_LOOKS] if slot.full and trials.takes_one_more(slot)), None)
    if full is not None:
        return [would_take_more(full)]
    for slot in trials.near:
        need = need_on(slot, trials.least, trials.applied)
        if need is not None and not slot.full and spills(slot, trials.least, need, trials.applied):
            return [*would_leave_less(slot, model, need)]
    others = [one for one in trials.placement.targets if one.slot.takes_orders and not one.stays]
    if not trials.helps([one for one in others if one.model.priority >= model.priority]):
        return []
    return [f"raise its `priority`, so that lower ones are unloaded: `priority` under models.{model.name}"]


def _apart_or_beside(model: ModelSpec, trials: _Trials) -> Iterable[str]:
    """What would have room but for who is on the card, or is not: the first whose company alone keeps it away."""
    for slot in trials.near[:HINT_LOOKS]:
        if not isinstance(fit(slot, trials.least, trials.applied), Fit):
            continue
        found, missing = trials.company(slot)
        if len(found) == 1 and not missing:
            where = model.name if found[0] in model.never_with else found[0]
            other = found[0] if where == model.name else model.name
            return [f"the two may be on one card: take {other} out of `never_with` under models.{where}"]
        if missing and not found:
            return [f"it may be without {', '.join(missing)} on its card: take that out of `with` under models.{model.name}"]
    return []
