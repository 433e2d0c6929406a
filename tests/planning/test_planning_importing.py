"""A running fleet expressed as desired state: whatever runs, the plan for it only adopts, and the text reads back as what was meant."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from fleets import GIB, applied, facts, fleet, loaded, node, owned, plan
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pretend import carry_out

from reconciler.fleet import (
    Applied,
    CardSpec,
    ContextVia,
    Each,
    EngineKind,
    EngineSpec,
    Ensure,
    FleetFacts,
    Installed,
    Residency,
    Resident,
    ResidentStatus,
    canonical_name,
    context_tag,
)
from reconciler.fleet.names import EngineId
from reconciler.planning import Action, FleetAsFound, import_fleet
from reconciler.views import desired_text
from reconciler.workspace import load_fleet, load_workspace

NAMES = ["llama3.1:8b", "no", "1e5", "embed: x", "a/b:q4", "'quoted'", "# hash", "déjà:vu", "llama3.1:8b-c8192", "m-c4096"]

WEIGHTS = {"llama3.1:8b-c8192": "llama3.1:8b", "m-c4096": "a/b:q4"}
"""Names that stand for the weights of another; the rest have their own."""


def listed(nodes: frozenset[str]) -> str:
    return ",".join(sorted(nodes))


def of(seen: FleetFacts, on, before: Applied | None = None) -> FleetAsFound:
    return import_fleet(on, seen, before or Applied(), listed)


def two_ollamas(name: str):
    """A node with two cards, each with an engine of its own."""
    one = node(name, 24 * GIB, 24 * GIB)
    engines = tuple(
        EngineSpec(EngineId(name, f"gpu{index}"), EngineKind.OLLAMA, f"http://{name}:{index + 1}", gpus=(index,)) for index in (0, 1)
    )
    return replace(one, engines=engines)


residents_of = st.lists(
    st.builds(
        Resident,
        name=st.sampled_from(NAMES),
        status=st.sampled_from([ResidentStatus.LOADED] * 6 + [ResidentStatus.LOADING, ResidentStatus.SLEEPING]),
        size_bytes=st.just(4 * GIB),
        vram_bytes=st.sampled_from([4 * GIB, 4 * GIB, 4 * GIB, 2 * GIB, 0, None]),
        context=st.sampled_from([4096, 8192, None]),
        pinned=st.sampled_from([True, True, False, None]),
        blob=st.none(),
    ),
    max_size=4,
    unique_by=lambda resident: resident.name,
)


@st.composite
def running(draw):
    """A fleet with engines of both kinds, some down, some without a card or with unknown ones; and a state that owns a part of it."""
    nodes = []
    for name in ["a", "b", "c", "d"][: draw(st.integers(1, 4))]:
        kind = draw(st.sampled_from([EngineKind.OLLAMA, EngineKind.OLLAMA, EngineKind.LLAMACPP]))
        shape = draw(st.sampled_from(["card", "card", "cards", "none", "unknown", "size unknown", "two engines"]))
        one = two_ollamas(name) if shape == "two engines" else node(name, *[24 * GIB] * (2 if shape == "cards" else 1), kind=kind)
        if shape in ("none", "unknown", "size unknown"):
            one = replace(one, gpus={"none": (), "unknown": None, "size unknown": (CardSpec(0),)}[shape])
        nodes.append(one)
    on = fleet(*nodes)
    seen = facts(on, installed=sorted(NAMES), down=sorted(draw(st.sets(st.sampled_from(sorted(on.nodes)), max_size=1))))
    rows = []
    for name, at_node in seen.nodes.items():
        for engine in at_node.engines.values():
            if not engine.reachable:
                continue
            known = {canonical_name(engine.kind, one): WEIGHTS.get(one, one) for one in NAMES}
            if engine.kind is not EngineKind.OLLAMA or draw(st.booleans()):
                known = dict.fromkeys(known)  # weights that no engine tells
            drawn = {canonical_name(engine.kind, one.name): one for one in draw(residents_of)}
            by_runner = {known[name] or name: replace(one, name=name, blob=known[name]) for name, one in drawn.items()}
            there = tuple(by_runner.values())
            engine = replace(engine, residents=there, installed=tuple(Installed(name, 4 * GIB, blob=blob) for name, blob in known.items()))
            at_node.engines[engine.id.engine] = engine
            for resident in there:
                if draw(st.integers(0, 3)) == 0:
                    options = draw(st.sampled_from([{}, {"num_batch": 256}, {"stop": "yes", "temperature": 0.5}]))
                    rows.append(replace(owned(resident.name, name), at=engine.id, options=options, engine_name=resident.name))
    rows = [replace(row, address=f"model.{row.model}@{row.at}") for row in rows]
    return on, seen, applied(*rows) if rows else Applied()


MANY = settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@MANY
@given(running())
def test_a_plan_for_what_was_imported_only_adopts_and_after_an_apply_is_empty(situation):
    on, seen, _ = situation
    found = of(seen, on)
    first = plan(on, found.desired, seen)
    assert {step.action for step in first.steps} <= {Action.ADOPT}
    assert first.unplaced == ()
    facts_after, state_after = carry_out(first, seen, Applied())
    assert [step.id for step in plan(on, found.desired, facts_after, state_after).steps] == []


@MANY
@given(running())
def test_what_an_engine_holds_is_asked_for_or_said_to_be_left_out(situation):
    on, seen, before = situation
    found = of(seen, on, before)
    asked = {(one.slot.id, one.resident.name) for imported in found.models for one in imported.seen}
    said = " ".join(one.what for one in found.left_out)
    for at_node in seen.nodes.values():
        for engine in at_node.engines.values():
            assert engine.reachable or str(engine.id) in said
            for resident in engine.residents or ():
                assert (engine.id, resident.name) in asked or resident.name in said


@MANY
@given(running())
def test_with_a_state_that_owns_a_part_no_imported_model_gets_a_step_but_to_adopt(situation):
    on, seen, before = situation
    found = of(seen, on, before)
    result = plan(on, found.desired, seen, before)
    assert {step.id for step in result.steps if step.action is not Action.ADOPT} == {step.id for step in found.left}
    assert {step.model for step in found.left}.isdisjoint(one.spec.name for one in found.models)


def workspace(root: Path, on, text: str):
    """A workspace of these nodes with `text` as its desired state."""
    lines = ["all:", "  hosts:"]
    for one in on.nodes.values():
        engines = ", ".join(f'{e.id.engine}: {{kind: {e.kind.value}, url: "{e.url}"}}' for e in one.engines)
        lines.append(f"    {one.name}: {{engines: {{{engines}}}}}")
    for folder, content in (("inventories", "\n".join(lines)), ("desired", text)):
        (root / folder).mkdir()
        (root / folder / "test.yaml").write_text(content, encoding="utf-8")
    return root


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(running())
def test_the_text_reads_back_as_just_what_was_found(situation):
    on, seen, before = situation
    with tempfile.TemporaryDirectory() as folder:
        root = workspace(Path(folder), on, "")
        _, inventory = load_fleet(root)
        found = import_fleet(on, seen, before, inventory.pattern_of)
        (root / "desired" / "test.yaml").write_text(desired_text(found, "test", seen.at), encoding="utf-8")
        read = load_workspace(root)
    assert {spec.name: spec for spec in read.desired.models} == {one.spec.name: one.spec for one in found.models}


def test_a_model_on_every_node_of_a_pattern_is_wanted_on_each_and_another_as_often_as_it_is_there():
    on = fleet(*(node(name, 24 * GIB) for name in "abc"))
    both = {"a": [loaded("x:1", GIB), loaded("y:1", GIB)], "b": [loaded("x:1", GIB), loaded("y:1", GIB)], "c": [loaded("x:1", GIB)]}
    seen = facts(on, both, installed=["x:1", "y:1"])
    found = import_fleet(on, seen, Applied(), lambda nodes: "all" if len(nodes) == 3 else listed(nodes))
    assert [(one.spec.name, one.spec.on, one.spec.each, one.spec.replicas, one.spec.priority) for one in found.models] == [
        ("x:1", "all", Each.NODE, None, 1000),
        ("y:1", "a,b", None, 2, 999),
    ]


def test_a_tag_that_holds_its_context_is_told_as_context_of_its_base_and_any_other_as_it_stands():
    on = fleet(node("a", 24 * GIB))
    tag = context_tag("llama3.1:8b", 8192)
    made = of(facts(on, {"a": [loaded(tag, GIB, context=8192)]}, installed=[tag, "llama3.1:8b"]), on).models[0].spec
    assert (made.name, made.context, made.context_via, made.names) == ("llama3.1:8b", 8192, ContextVia.TAG, {})
    other = of(facts(on, {"a": [loaded(tag, GIB, context=4096)]}, installed=[tag, "llama3.1:8b"]), on).models[0].spec
    alone = of(facts(on, {"a": [loaded(tag, GIB, context=8192)]}, installed=[tag]), on).models[0].spec
    assert [(one.name, one.context) for one in (other, alone)] == [(tag, 4096), (tag, 8192)]
    assert {one.context_via for one in (other, alone)} == {ContextVia.REQUEST}


def test_a_finite_keep_alive_is_on_demand_and_what_sits_on_the_cpu_stays_there():
    on = fleet(node("a", 24 * GIB))
    there = [loaded("soon:1", GIB, pinned=False), loaded("cpu:1", GIB, fraction=0.0), loaded("half:1", GIB, fraction=0.376)]
    specs = {one.spec.name: one.spec for one in of(facts(on, {"a": there}, installed=[r.name for r in there]), on).models}
    assert (specs["soon:1"].ensure, specs["soon:1"].keep_alive) == (Ensure.PRESENT, None)
    assert specs["cpu:1"].residency is Residency.CPU
    assert (specs["half:1"].residency, specs["half:1"].min_gpu_fraction) == (Residency.GPU, 0.37)


def test_options_context_and_name_of_what_the_state_owns_are_those_that_were_asked():
    on = fleet(node("a", 24 * GIB))
    row = owned("chat", "a", engine_name="llama3.1:8b", context=4096, options={"num_batch": 256})
    found = of(facts(on, {"a": [loaded("llama3.1:8b", GIB)]}, installed=["llama3.1:8b"]), on, applied(row))
    spec = found.models[0].spec
    assert (spec.name, spec.names, spec.context, spec.context_via) == (
        "chat",
        {EngineKind.OLLAMA: "llama3.1:8b"},
        4096,
        ContextVia.REQUEST,
    )
    assert spec.options == {"num_batch": 256}
    assert plan(on, found.desired, facts(on, {"a": [loaded("llama3.1:8b", GIB)]}, installed=["llama3.1:8b"]), applied(row)).empty


def test_text_from_a_node_cannot_forge_a_line_of_the_file(snapshot):
    on = fleet(node("a", 24 * GIB), node("b", 8 * GIB))
    there = [loaded("evil\nmodels: {}", GIB), loaded("no", GIB), loaded("half:1", GIB, fraction=0.5), loaded("x: 'y'", GIB, pinned=False)]
    seen = facts(on, {"a": there}, installed=[r.name for r in there], down=["b"])
    assert desired_text(of(seen, on), "test", seen.at) == snapshot
