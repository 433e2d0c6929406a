"""Which model a resident is: by its weights and names, never by a name alone."""

from __future__ import annotations

from dataclasses import replace

from reconciler.fleet import EngineFacts, EngineId, EngineKind, Identity, Installed, ModelSpec, OwnedRows, Resident, WantedNames
from reconciler.fleet.applied import AppliedReplica

AT = EngineId("a", "ollama")


def engine(installed, residents):
    return EngineFacts(AT, EngineKind.OLLAMA, True, installed=tuple(installed), residents=tuple(residents))


def row(name: str, engine_name: str) -> AppliedReplica:
    return AppliedReplica(f"model.{name}@a/ollama", name, AT, engine_name)


def wanted(*names: str) -> WantedNames:
    return WantedNames([ModelSpec(name, ("a",)) for name in names])


def test_of_two_residents_with_one_name_the_one_with_the_digest_of_the_tag_is_it():
    old, new = Resident("m:1", digest="old"), Resident("m:1", digest="new")
    for order in ([old, new], [new, old]):
        identity = Identity(engine([Installed("m:1", digest="new", blob="sha256:w")], order))
        assert identity.resident("m:1") is new
        assert identity.is_left_over(old)
        assert not identity.is_left_over(new)
        assert identity.names(old) == []


def test_of_two_residents_with_one_name_of_which_nothing_is_told_one_is_it():
    first, second = Resident("m:1"), Resident("m:1", context=8192)
    identity = Identity(engine([Installed("m:1")], [first, second]))
    assert identity.resident("m:1") is first
    assert [identity.is_left_over(one) for one in (first, second)] == [False, True]


def test_a_resident_alone_under_its_name_is_that_model_though_the_next_load_would_bring_other_weights():
    old = Resident("m:1", blob="sha256:old")
    identity = Identity(engine([Installed("m:1", blob="sha256:new"), Installed("copy:1", blob="sha256:old")], [old]))
    assert identity.resident("m:1") is old
    assert identity.resident("copy:1") is old
    assert identity.names(old) == ["m:1", "copy:1"]


def test_of_two_residents_with_one_name_a_left_over_is_still_what_another_name_of_its_weights_means():
    old, new = Resident("m:1", blob="sha256:old"), Resident("m:1", blob="sha256:new")
    identity = Identity(engine([Installed("m:1", blob="sha256:new"), Installed("copy:1", blob="sha256:old")], [old, new]))
    assert identity.resident("m:1") is new
    assert identity.resident("copy:1") is old
    assert [one.name for one in wanted("m:1", "copy:1").of(identity.names(old), EngineKind.OLLAMA, "a")] == ["copy:1"]


def test_a_model_that_was_made_anew_from_the_same_weights_is_still_served_by_its_runner():
    runs = Resident("m:1", digest="before", blob="sha256:w")
    assert Identity(engine([Installed("m:1", digest="after", blob="sha256:w")], [runs])).resident("m:1") is runs
    unknown = replace(runs, blob=None)
    assert Identity(engine([Installed("m:1", digest="after", blob="sha256:w")], [unknown])).resident("m:1") is unknown


def test_a_derived_tag_satisfies_the_plain_name_of_its_weights():
    runs = Resident("m:1-c8192", blob="sha256:w")
    identity = Identity(engine([Installed("m:1", blob="sha256:w"), Installed("m:1-c8192", blob="sha256:w")], [runs]))
    assert identity.resident("m:1") is runs
    assert identity.names(runs) == ["m:1-c8192", "m:1"]
    assert OwnedRows([row("m", "m:1")]).of(identity.names(runs)) == (row("m", "m:1"),)


def test_a_resident_with_two_names_is_both_models_and_its_own_name_comes_first():
    runs = Resident("b:1", blob="sha256:w")
    identity = Identity(engine([Installed("a:1", blob="sha256:w"), Installed("b:1", blob="sha256:w")], [runs]))
    assert [one.name for one in wanted("a:1", "b:1").of(identity.names(runs), EngineKind.OLLAMA, "a")] == ["b:1", "a:1"]
    rows = OwnedRows([row("a", "a:1"), row("b", "b:1")])
    assert rows.of(identity.names(runs)) == (row("b", "b:1"), row("a", "a:1"))
    assert identity.runner(ModelSpec("a:1", ("a",)), EngineKind.OLLAMA) == identity.runner(ModelSpec("b:1", ("a",)), EngineKind.OLLAMA)
