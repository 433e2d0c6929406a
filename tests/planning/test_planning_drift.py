"""Drift, field by field: every field of the table is found when it differs, and none when its fact is unknown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from itertools import combinations
from pathlib import Path

import pytest
from fleets import GIB, NOW, applied, desired, facts, fleet, loaded, model, node, owned
from hypothesis import given
from hypothesis import strategies as st

from reconciler.fleet import (
    Applied,
    CardFacts,
    CardSpec,
    Desired,
    EngineFacts,
    EngineKind,
    Ensure,
    Fleet,
    FleetFacts,
    Installed,
    NodeFacts,
    Policy,
    Resident,
    ResidentStatus,
    Unmanaged,
)
from reconciler.planning import Drift, Plan, make_plan
from reconciler.planning.kinds.model.drift_fields import (
    CARD_FIELDS,
    CONTAINERS,
    ENGINE_FIELDS,
    FOREIGN_TOLERANCE,
    KEYS,
    REPLICA_FIELDS,
    FieldClass,
)

EVERY = (*REPLICA_FIELDS, *ENGINE_FIELDS, *CARD_FIELDS)
TOLD = {(field.subject.value, field.kind, field.name) for field in EVERY if field.kind is not None}
M, PRESENT = "model.m:1@a/ollama", "model.p:1@a/ollama"
CARDS = (
    CardFacts(0, "GPU-0", "RTX 4070", 24 * GIB, 6 * GIB, 0, (8, 9), (550, 90), "nvml", False, cuda=(12, 8)),
    CardFacts(1, "GPU-1", "RTX 4070", 24 * GIB, 0, 0, (8, 9), (550, 90), "nvml", False, cuda=(12, 8)),
)


@dataclass(frozen=True)
class World:
    """A fleet of one node in perfect order, with what the last apply recorded of it; each part can be bent by itself."""

    fleet: Fleet
    desired: Desired
    applied: Applied
    recorded: FleetFacts
    now: FleetFacts

    def plan(self, recorded: FleetFacts | None = None) -> Plan:
        return make_plan(
            self.fleet,
            self.desired,
            self.now,
            self.applied,
            config_digest="sha256:c",
            created_at=NOW,
            recorded=recorded if recorded is not None else self.recorded,
        )

    @property
    def node(self) -> NodeFacts:
        return self.now.nodes["a"]

    @property
    def engine(self) -> EngineFacts:
        return self.node.engines["ollama"]

    def engine_with(self, **changes: object) -> World:
        return self.node_with(engines={"ollama": replace(self.engine, **changes)})

    def node_with(self, **changes: object) -> World:
        return replace(self, now=FleetFacts(NOW, {"a": replace(self.node, **changes)}))

    def resident_with(self, **changes: object) -> World:
        return self.engine_with(residents=(replace(self.engine.residents[0], **changes), *self.engine.residents[1:]))

    def installed_with(self, **changes: object) -> World:
        return self.engine_with(installed=(replace(self.engine.installed[0], **changes), *self.engine.installed[1:]))

    def card_with(self, **changes: object) -> World:
        return self.node_with(cards=(replace(CARDS[0], **changes), CARDS[1]))


def world(unmanaged: Unmanaged = Unmanaged.LEAVE) -> World:
    declared = tuple(CardSpec(card.index, card.uuid, vram=card.total_bytes) for card in CARDS)
    of = fleet(replace(node("a"), gpus=declared))
    want = desired(
        model("m:1", ["a"], 5 * GIB), model("p:1", ["a"], GIB, ensure=Ensure.PRESENT, keep_alive=None), policy=Policy(unmanaged=unmanaged)
    )
    present = owned("p:1", "a", ensure="present", keep_alive=None, observed_context=None, observed_gpu_fraction=None, observed_pinned=None)
    seen = facts(of, {"a": [replace(loaded("m:1", 5 * GIB, blob="w"), options=("--mlock",))]})
    there = (Installed("m:1", 5 * GIB, "sha256:1", "w"), Installed("p:1", GIB, "sha256:2", "v"))
    engine = replace(seen.nodes["a"].engines["ollama"], installed=there, mode="router", max_residents=4)
    was = FleetFacts(NOW, {"a": replace(seen.nodes["a"], cards=CARDS, engines={"ollama": engine})})
    return World(of, want, applied(owned("m:1", "a"), present), was, was)


def fixed_world() -> World:
    of = fleet(node("a", 24 * GIB, kind=EngineKind.LLAMACPP))
    row = owned("m", "a", kind=EngineKind.LLAMACPP, context=8192)
    seen = facts(of, {"a": [loaded("m", 5 * GIB)]}, ["m"])
    return World(of, desired(model("m", ["a"], 5 * GIB, context=8192)), applied(row), seen, seen)


STRANGER = loaded("x:1", GIB)


def restarted_world() -> World:
    """Two residents that nobody owns were there at the last apply; a replica that went with them is told by itself, too."""
    was = world().engine_with(residents=(STRANGER, loaded("y:1", GIB)))
    rows = {PRESENT: was.applied.replicas[PRESENT]}
    alone = replace(was, recorded=was.now, applied=replace(was.applied, replicas=rows), desired=desired(*was.desired.models[1:]))
    return alone.engine_with(residents=())


BENT: dict[tuple[str, str, str], Callable[[], World]] = {
    ("replica", "missing", "resident"): lambda: world().engine_with(residents=()),
    ("replica", "missing", "installed"): lambda: world().engine_with(installed=world().engine.installed[:1]),
    ("replica", "cpu_fallback", "gpu_fraction"): lambda: world().resident_with(vram_bytes=GIB),
    ("replica", "cpu_fallback", "card_bytes"): lambda: world().card_with(used_bytes=GIB),
    ("replica", "context", "context"): lambda: world().resident_with(context=2048),
    ("replica", "keep_alive", "pinned"): lambda: world().resident_with(pinned=False),
    ("replica", "options", "options"): lambda: world().resident_with(options=("--no-mmap",)),
    ("replica", "digest", "digest"): lambda: world().installed_with(digest="sha256:9"),
    ("replica", "unmanaged", "resident"): lambda: world(Unmanaged.DRIFT).engine_with(residents=(*world().engine.residents, STRANGER)),
    ("replica", "engine_fixed_options", "context"): fixed_world,
    ("engine", "restarted", "residents"): restarted_world,
    ("engine", "version", "build"): lambda: world().engine_with(build="0.99.0"),
    ("engine", "environment", "mode"): lambda: world().engine_with(mode="other"),
    ("engine", "environment", "max_residents"): lambda: world().engine_with(max_residents=1),
    ("card", "card_lost", "card"): lambda: world().node_with(cards=CARDS[:1]),
    ("card", "foreign_vram", "foreign_bytes"): lambda: world().card_with(foreign_bytes=FOREIGN_TOLERANCE + 1),
    ("card", "version", "driver"): lambda: world().card_with(driver=(570, 1)),
    ("card", "version", "cuda"): lambda: world().card_with(cuda=(13, 0)),
    ("card", "card_fault", "fault"): lambda: world().card_with(fault="it is lost"),
    ("card", "card_changed", "total_bytes"): lambda: world().card_with(total_bytes=16 * GIB),
    ("card", "card_changed", "name"): lambda: world().card_with(name="RTX 3060"),
    ("card", "card_changed", "compute_capability"): lambda: world().card_with(compute_capability=(8, 6)),
}


def told(of: Plan) -> list[tuple[str, str]]:
    return [(entry.kind, entry.field) for entry in of.drift]


def test_a_fleet_in_order_has_no_drift() -> None:
    result = world().plan()
    assert (result.drift, result.pending, result.empty) == ((), 0, True)


def test_every_field_that_can_be_told_is_bent_here() -> None:
    assert set(BENT) | {("engine", "unreachable", "reachable")} == TOLD


@pytest.mark.parametrize("bent", BENT, ids=" ".join)
def test_a_field_that_differs_is_the_one_drift(bent: tuple[str, str, str]) -> None:
    subject, kind, name = bent
    (entry,) = BENT[bent]().plan().drift
    assert (entry.kind, entry.field) == (kind, name)
    assert entry.address.startswith({"replica": "model.", "engine": "engine.a/", "card": "gpu.a/"}[subject])
    assert entry.klass == next(f.klass for f in EVERY if (f.subject, f.kind, f.name) == bent)
    assert entry.applied != entry.found


def test_every_field_without_a_comparison_is_volatile_or_found_while_planning() -> None:
    without = {(field.kind, field.klass) for field in EVERY if field.compare is None}
    assert without == {
        (None, FieldClass.VOLATILE),
        ("unmanaged", FieldClass.MANAGED),
        ("engine_fixed_options", FieldClass.MANAGED),
        ("unreachable", FieldClass.OBSERVED),
    }


def test_every_field_of_the_facts_has_a_class() -> None:
    named = {name for field in EVERY for name in field.facts}
    there = {f"{kind.__name__}.{one.name}" for kind in (Resident, Installed, EngineFacts, CardFacts, NodeFacts) for one in fields(kind)}
    assert named | KEYS | CONTAINERS == there
    assert not named & KEYS


UNKNOWN = [
    *(("resident_with", name) for name in ("size_bytes", "vram_bytes", "context", "pinned", "options", "blob", "expires_in")),
    *(("installed_with", name) for name in ("digest", "blob", "size_bytes", "embedding")),
    *(("engine_with", name) for name in ("build", "mode", "max_residents", "installed", "residents")),
    *(
        ("card_with", name)
        for name in ("uuid", "name", "total_bytes", "used_bytes", "foreign_bytes", "compute_capability", "driver", "cuda")
    ),
    ("node_with", "cards"),
    ("node_with", "ram_bytes"),
]


@pytest.mark.parametrize(("where", "name"), UNKNOWN, ids=".".join)
def test_what_is_not_known_now_or_was_not_then_is_no_drift(where: str, name: str) -> None:
    blind = getattr(world(), where)(**{name: None})
    assert blind.plan().drift == ()
    assert world().plan(recorded=blind.now).drift == ()


@given(st.lists(st.sampled_from(sorted(UNKNOWN)), max_size=6))
def test_no_mixture_of_unknown_facts_is_drift(lost: list[tuple[str, str]]) -> None:
    blind = world()
    for where, name in lost:
        parts = {"resident_with": blind.engine.residents, "installed_with": blind.engine.installed}
        if (where == "card_with" and blind.node.cards is None) or not parts.get(where, True):
            continue
        blind = getattr(blind, where)(**{name: None})
    assert blind.plan().drift == ()


OBSERVED = [bent for bent in BENT if next(f for f in EVERY if (f.subject, f.kind, f.name) == bent).klass is FieldClass.OBSERVED]


@pytest.mark.parametrize("bent", OBSERVED, ids=" ".join)
def test_what_is_only_observed_is_no_drift_once_it_is_recorded_and_never_a_step(bent: tuple[str, str, str]) -> None:
    changed = BENT[bent]()
    assert changed.plan(recorded=changed.now).drift == ()
    with_drift, without = changed.plan(), changed.plan(recorded=changed.now)
    assert (with_drift.digest, with_drift.steps) == (without.digest, without.steps)


@pytest.mark.parametrize(("one", "other"), list(combinations(OBSERVED, 2)), ids=str)
def test_the_digest_of_a_plan_does_not_hang_on_what_is_recorded(one: tuple[str, str, str], other: tuple[str, str, str]) -> None:
    now = BENT[("replica", "missing", "resident")]()
    assert now.plan(recorded=BENT[one]().now).digest == now.plan(recorded=BENT[other]().now).digest == now.plan().digest


def test_a_model_that_was_only_to_be_installed_and_is_gone_is_pulled_for_drift() -> None:
    result = BENT[("replica", "missing", "installed")]().plan()
    assert [(step.address, step.action, step.cause) for step in result.steps] == [(PRESENT, "pull", "drift")]


def test_a_loading_resident_is_neither_missing_nor_compared() -> None:
    assert world().resident_with(status=ResidentStatus.LOADING, context=1, pinned=False, vram_bytes=0).plan().drift == ()


def test_foreign_use_within_its_tolerance_and_use_that_was_not_read_are_no_drift() -> None:
    assert world().card_with(foreign_bytes=FOREIGN_TOLERANCE).plan().drift == ()
    assert world().card_with(foreign_bytes=9 * GIB, assumed=True).plan().drift == ()


def test_a_card_is_known_by_its_uuid_at_another_index() -> None:
    swapped = tuple(replace(card, index=1 - card.index) for card in CARDS)
    assert world().node_with(cards=swapped).plan().drift == ()


def test_a_card_that_was_exchanged_is_lost_by_its_old_uuid() -> None:
    entries = world().card_with(uuid="GPU-9").plan().drift
    assert entries == (Drift("gpu.a/0", "card_lost", "card", True, False, "observed"),)


def test_a_declaration_that_changed_is_no_card_lost() -> None:
    declared = tuple(replace(card, source="declared", assumed=True) for card in CARDS)
    before = world().node_with(cards=declared)
    assert before.node_with(cards=declared[:1]).plan(recorded=before.now).drift == ()
    assert world().node_with(cards=declared[:1]).plan().drift == ()


def test_all_cards_gone_where_they_were_probed_are_all_lost() -> None:
    assert told(world().node_with(cards=()).plan()) == [("card_lost", "card")] * 2


def test_an_engine_that_cannot_be_asked_is_unreachable_and_nothing_else() -> None:
    down = world().engine_with(reachable=False, reason="refused", residents=None, installed=None, build=None, mode=None, max_residents=None)
    result = down.plan()
    assert told(result) == []
    assert [(one.node, one.engine, one.reason) for one in result.deferred] == [("a", "ollama", "refused")]


def test_the_documentation_has_the_table_as_it_is() -> None:
    text = (Path(__file__).parents[2] / "docs" / "drift.md").read_text()
    documented = [line for line in text.splitlines() if line.startswith(("| replica |", "| engine |", "| card |"))]
    assert documented == [
        f"| {field.subject} | {f'`{field.kind}`' if field.kind else 'never told'} | `{field.name}` | {field.klass} | {field.meaning} |"
        for field in EVERY
    ]


def test_a_model_that_was_deleted_from_disk_while_it_runs_is_drift_until_it_is_pulled_again() -> None:
    gone = world().engine_with(installed=world().engine.installed[1:])
    for recorded in (None, gone.now):
        result = gone.plan(recorded)
        assert [(entry.kind, entry.field, entry.klass) for entry in result.drift] == [("missing", "installed", "managed")]
        assert [(step.action, step.reason.code, step.cause) for step in result.steps] == [("pull", "deleted", "drift")]


def test_one_resident_that_is_gone_alone_is_no_restart_and_neither_are_several_of_which_one_stayed() -> None:
    assert told(world().engine_with(residents=()).plan()) == [("missing", "resident")]
    two = world().engine_with(residents=(*world().engine.residents, STRANGER))
    left = replace(two, recorded=two.now).engine_with(residents=(STRANGER,))
    assert told(left.plan()) == [("missing", "resident")]
