"""What always holds, over generated fleets. Failing examples print their seed and shrink."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

from fleets import GIB, NOW, Applied, applied, desired, facts, fleet, loaded, model, node, owned, plan
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pretend import carry_out, do, some_order

from reconciler.fleet import Each, Incident, Policy, Unmanaged
from reconciler.planning import FETCHES, Action, asked_digest, first_stale_step

MODELS = [f"m{n}:1" for n in range(6)]
NODES = ["a", "b", "c", "d"]


BLOBS = {"m4:1": "sha256:twins", "m5:1": "sha256:twins"}
"""Two names on one blob; the others have their own."""


@st.composite
def situations(draw, cards=2, missing=True):
    """A fleet with residents, some of them ours, some wanted, some neither; cards may be fuller than they should be, names may share
    weights, and what was loaded on a node may be wanted on others only."""
    nodes = [
        node(name, *draw(st.lists(st.sampled_from([4, 8, 12, 24]).map(lambda n: n * GIB), min_size=1, max_size=cards)))
        for name in NODES[: draw(st.integers(1, 4))]
    ]
    of = fleet(*nodes)
    names = sorted(of.nodes)
    sizes = {name: draw(st.integers(1, 12)) * GIB for name in MODELS}
    sizes["m5:1"] = sizes["m4:1"]
    blobs = {name: BLOBS.get(name, name) for name in MODELS}
    residents = {}
    for name in names:
        there = {blobs[m]: m for m in sorted(draw(st.sets(st.sampled_from(MODELS), max_size=3)))}
        residents[name] = [loaded(m, sizes[m], pinned=draw(st.booleans()), blob=blob) for blob, m in there.items()]
    protected = draw(st.sets(st.sampled_from(MODELS), max_size=2)) if draw(st.booleans()) else set()
    rows = [owned(r.name, name, protect=r.name in protected) for name, there in residents.items() for r in there if draw(st.booleans())]
    rows += [owned(m, draw(st.sampled_from(names))) for m in draw(st.sets(st.sampled_from(MODELS), max_size=2))]
    models = []
    for m in sorted(draw(st.sets(st.sampled_from(MODELS), max_size=5))):
        how = draw(st.sampled_from([{"replicas": 1}, {"replicas": 2}, {"each": Each.NODE}]))
        on = sorted(draw(st.sets(st.sampled_from(names), min_size=1))) if draw(st.booleans()) else names
        models.append(model(m, on, sizes[m], priority=draw(st.integers(0, 2)), protect=m in protected, **how))
    want = desired(*models, policy=Policy(draw(st.sampled_from(list(Unmanaged)))))
    installed = (draw(st.sets(st.sampled_from(MODELS))) if missing else set(MODELS)) | {
        r.name for there in residents.values() for r in there
    }
    installed |= set(BLOBS)  # what a name that is yet to be pulled shares, nobody can know
    seen = facts(of, residents, sorted(installed), blobs=blobs)
    return of, want, seen, applied(*{row.address: row for row in rows}.values()), blobs


ROUNDS = settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@ROUNDS
@given(situations())
def test_after_a_complete_apply_the_plan_is_empty(situation):
    of, want, seen, before, blobs = situation
    first = plan(of, want, seen, before)
    assume(not first.refusals)  # a plan that is refused is not carried out
    facts_after, state_after = carry_out(first, seen, before, blobs)
    second = plan(of, want, facts_after, state_after)
    assert [step.id for step in second.steps] == []


@ROUNDS
@given(situations(), st.integers(0, 2**32))
def test_no_card_is_ever_over_its_usable_bytes_or_what_it_held_before_in_any_order_that_needs_allow(situation, seed):
    of, want, seen, before, _ = situation
    result = plan(of, want, seen, before)
    balance = {(card.node, card.gpu): card for card in result.gpus}
    held = {key: card.before_bytes for key, card in balance.items()}
    by_resident = charged_before(of, want, seen, before, result)
    for step in some_order(result, seed):
        cards = step.gpus or step.gpu_candidates or ()
        key = (step.node, step.engine_name)
        if step.action in (Action.UNLOAD, Action.RELOAD):
            for gpu, count in by_resident.get(key, {}).items():
                held[step.node, gpu] -= count
        if step.action in (Action.LOAD, Action.RELOAD):
            for gpu in cards:
                held[step.node, gpu] += step.vram_bytes or 0
        for (where, gpu), count in held.items():
            card = balance[where, gpu]
            assert count <= max(card.usable_bytes - card.foreign_bytes, card.before_bytes), (step.id, where, gpu)


def charged_before(of, want, seen, before, result):
    """Bytes that each resident is charged with, by (node, name) and card: on one card, or on each that could hold it."""
    charged = defaultdict(dict)
    for name, facts_of in seen.nodes.items():
        for resident in next(iter(facts_of.engines.values())).residents:
            could = [card for card in facts_of.cards if card.total_bytes >= resident.vram_bytes]
            for card in could or facts_of.cards:
                part = resident.vram_bytes if could or len(facts_of.cards) == 1 else -(-resident.vram_bytes // len(facts_of.cards))
                charged[name, resident.name][card.index] = part
    return charged


@ROUNDS
@given(situations(), st.randoms(use_true_random=False))
def test_the_order_of_the_input_changes_nothing(situation, chance):
    of, want, seen, before, _ = situation
    models = list(want.models)
    chance.shuffle(models)
    rows = list(before.replicas.values())
    chance.shuffle(rows)
    other = plan(of, desired(*models, policy=want.policy), seen, applied(*rows))
    assert other == plan(of, want, seen, before)


@ROUNDS
@given(situations())
def test_a_pull_ends_before_any_unload_that_makes_room_for_its_load(situation):
    of, want, seen, before, _ = situation
    result = plan(of, want, seen, before)
    by_id = {step.id: step for step in result.steps}
    for step in result.steps:
        pulls = {need for need in step.needs if by_id[need].action in FETCHES}
        for need in step.needs:
            if by_id[need].action is Action.UNLOAD:
                assert pulls <= set(by_id[need].needs)


@ROUNDS
@given(situations())
def test_every_wanted_replica_is_placed_deferred_or_explained(situation):
    of, want, seen, before, _ = situation
    result = plan(of, want, seen, before)
    for wanted in want.models:
        count = wanted.replicas if wanted.replicas is not None else len(wanted.nodes)
        placed = sum(1 for address in result.placed if address.startswith(f"model.{wanted.name}@"))
        lacking = sum(entry.count for entry in result.unplaced if entry.model == wanted.name)
        assert placed + lacking >= count
        assert all(entry.candidate_counts or not of.nodes or placed for entry in result.unplaced if entry.model == wanted.name)


@ROUNDS
@given(situations())
def test_a_protected_replica_is_in_no_unload_and_no_reload(situation):
    of, want, seen, before, _ = situation
    result = plan(of, want, seen, before)
    named = {one.name: one for one in want.models}
    protected = {address for address, row in before.replicas.items() if row.model not in named and row.protect}
    for step in result.steps:
        if step.action in (Action.UNLOAD, Action.RELOAD):
            assert step.address not in protected
            stranger = step.reason.code in ("unmanaged", "eviction")  # of that name on a node where it is not wanted
            assert stranger or step.model not in named or not named[step.model].protect


@ROUNDS
@given(situations(), st.data())
def test_what_is_held_has_no_load_and_the_plan_after_an_apply_is_still_empty(situation, data):
    of, want, seen, before, blobs = situation
    named = {one.name: one for one in want.models}
    wanted = [row for row in before.replicas.values() if row.model in named]
    codes = [data.draw(st.sampled_from([None, "held", "context_differs", "cpu_fallback"])) for _ in wanted]
    incidents = tuple(
        Incident(row.address, code, NOW, asked_digest(named[row.model]))
        for row, code in zip(wanted, codes, strict=True)
        if code is not None
    )
    state = replace(before, incidents=incidents)
    first = plan(of, want, seen, state)
    assume(not first.refusals)
    held = {note.address for note in first.held}
    assert held <= {incident.address for incident in incidents}
    assert not held & {step.address for step in first.steps if step.action in (Action.LOAD, Action.RELOAD)}
    facts_after, state_after = carry_out(first, seen, state, blobs)
    second = plan(of, want, facts_after, replace(state_after, incidents=incidents))
    assert [step.id for step in second.steps] == []


def test_nothing_wanted_and_nothing_there_is_an_empty_plan():
    of = fleet(node("a", 8 * GIB))
    assert plan(of, desired(), facts(of), Applied()).empty


@ROUNDS
@given(situations(), st.integers(0, 2**32))
def test_a_plan_still_stands_after_any_part_of_it_was_carried_out(situation, seed):
    of, want, seen, before, blobs = situation
    result = plan(of, want, seen, before)
    now = seen
    for step in [None, *some_order(result, seed)]:
        now = now if step is None else do(step, now, blobs)
        moved = first_stale_step(result, of, want, now, before)
        assert moved is None, (step and step.id, moved.step.id, moved.why)
