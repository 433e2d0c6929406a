"""What would give an unplaced model a place: lines for the files.

A line that makes room, or has the model ask for less, was tried on the board as it is at the end: one that would not help is not said. A
line that only makes something known (cards, RAM, foreign use) cannot be tried: what comes to light may be too little.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from reconciler.fleet import GIB, MIB, Applied, Desired, EngineKind, ModelSpec, Residency, fixed_otherwise, format_bytes
from reconciler.placement.engine_admission import would_leave_less, would_take_more
from reconciler.placement.fit import Fit, fit, room_for, spills
from reconciler.placement.others_that_leave import one_replica_less, protected_that_would_go, raised_priority, strangers_that_would_go
from reconciler.placement.residents import need_on
from reconciler.placement.result import MissingReplicas, Placement
from reconciler.placement.smaller_needs import asking_for_less, larger_card
from reconciler.placement.trials import HINT_LOOKS, Line, Trials

EXAMPLE_NEED = 5 * GIB
"""The need that is written where nobody knows it, as an example; less where no engine has room for so much."""
OF_OTHERS = frozenset({"insufficient_vram", "memory_limit"})
OF_ROOM = OF_OTHERS | {"too_large"}
"""Reasons that are about room for it alone; those of the first set only since others have it."""


def would_help(
    lacking: MissingReplicas, counts: Mapping[str, int], placement: Placement, applied: Applied, desired: Desired
) -> tuple[str, ...]:
    """The lines that would help, as the board stands at the end of placement; `counts` has the reasons of its engines."""
    model = lacking.model
    trials = Trials(model, placement, applied, lacking.asked)
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
        lines.extend(line.text for line in _engines_that_would_help(model, trials) if _is_confirmed(line, lacking, placement, desired))
    lines.extend(line.text for line in _lines_of_room(model, counts, trials, desired) if _is_confirmed(line, lacking, placement, desired))
    if model.residency is Residency.GPU and counts.get("no_card"):
        on_cpu = Trials(replace(model, residency=Residency.GPU_PREFERRED), placement, applied, lacking.asked)
        if any(isinstance(fit(slot, on_cpu.least, applied), Fit) for slot in on_cpu.near):
            lines.append("it may run on a CPU: `residency: gpu_preferred`")
    return tuple(lines)


def _lines_of_room(model: ModelSpec, counts: Mapping[str, int], trials: Trials, desired: Desired) -> list[Line]:
    """What would give it room where that is all that is missing, the smallest change first."""
    lines: list[Line] = []
    if not OF_ROOM & counts.keys() or not trials.may_look():
        return lines
    lines.extend(asking_for_less(model, trials))
    if OF_OTHERS & counts.keys():
        lines.extend(one_replica_less(model, trials))
        lines.extend(raised_priority(model, trials))
        lines.extend(strangers_that_would_go(trials, desired.policy.unmanaged))
        lines.extend(protected_that_would_go(model, trials))
    lines.extend(larger_card(model, trials, desired.limits))
    return lines


def _is_confirmed(line: Line, lacking: MissingReplicas, placement: Placement, desired: Desired) -> bool:
    """Whether a replica more has a place where all is placed anew with the change: in a large fleet by a brief search, which finds less. A
    line for which no work is left is not said."""
    if line.change is None or placement.again is None:
        return True
    slots = len(placement.board.slots)
    brief = placement.confirmations_left < slots
    if brief and placement.brief_confirmations_left < slots:
        return False
    if brief:
        placement.brief_confirmations_left -= slots
    else:
        placement.confirmations_left -= slots
    then = placement.again(line.change(desired), brief)
    return sum(entry.count for entry in then.lacking if entry.model.name == lacking.model.name) < lacking.count


def _declared_need(model: ModelSpec, trials: Trials) -> list[str]:
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


def _cache_that_would_help(trials: Trials) -> list[str]:
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
            found += [percent for card, _ in answer.charges if (percent := card.cache_percent(cache)) is not None]
    if not found or min(found) > 100:
        return []
    less = "or `context`, `parallel` or `kv_cache` of the model ask for less"
    return [f"caches may take more of a card: `limits: {{kv_cache_fraction: {min(found)}%}}`, {less}"]


def _starts_that_would_help(model: ModelSpec, trials: Trials) -> list[str]:
    """What the first engine that has room would have to be started with."""
    for slot in trials.near[:HINT_LOOKS]:
        fixed = fixed_otherwise(slot.spec, model.runs)
        if fixed is not None and isinstance(room_for(slot, trials.least, trials.applied), Fit):
            how = f'`env: {{{fixed.name}: "{fixed.wanted}"}}`' if slot.kind is EngineKind.OLLAMA else f"`args` without {fixed.name}"
            return [f"{slot.id} is started so: {how} of the engine"]
    return []


def _engines_that_would_help(model: ModelSpec, trials: Trials) -> list[Line]:
    """What would keep an engine's own rules out of the way: a raised limit where it is full, less that it leaves free where that is what a
    part of the model would be on the CPU for, else a higher priority."""
    full = next((slot for slot in trials.near[:HINT_LOOKS] if slot.full and trials.takes_one_more(slot)), None)
    if full is not None:
        return [Line(would_take_more(full))]
    for slot in trials.near:
        need = need_on(slot, trials.least, trials.applied)
        if need is not None and not slot.full and spills(slot, trials.least, need, trials.applied):
            return [Line(text) for text in would_leave_less(slot, model, need)]
    return raised_priority(model, trials)


def _apart_or_beside(model: ModelSpec, trials: Trials) -> Iterable[str]:
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
