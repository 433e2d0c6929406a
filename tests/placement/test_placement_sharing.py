"""Names on the same weights share one runner of an Ollama server: it is counted once, and leaves only with the last of them."""

from __future__ import annotations

from planning.fleets import GIB, actions, applied, desired, facts, fleet, loaded, model, node, owned, plan

CARD = fleet(node("a", 10 * GIB))
BLOBS = {"low:1": "sha256:w", "high:1": "sha256:w", "mid:1": "sha256:m"}
SHARED = model("low:1", ["a"], 6 * GIB), model("high:1", ["a"], 6 * GIB, priority=2)


def seen(*residents):
    return facts(CARD, {"a": list(residents)}, list(BLOBS), blobs=BLOBS)


def test_a_runner_is_as_important_as_the_most_important_of_its_names():
    carrier = loaded("low:1", 6 * GIB, blob="sha256:w")
    rows = applied(owned("low:1", "a"), owned("high:1", "a"))
    result = plan(CARD, desired(*SHARED, model("mid:1", ["a"], 6 * GIB, priority=1)), seen(carrier), rows)
    assert (actions(result), [entry.model for entry in result.unplaced]) == ([], ["mid:1"])


def test_a_runner_is_displaced_once_and_takes_all_its_names_along():
    carrier = loaded("low:1", 6 * GIB, blob="sha256:w")
    rows = applied(owned("low:1", "a"), owned("high:1", "a"))
    result = plan(CARD, desired(*SHARED, model("mid:1", ["a"], 6 * GIB, priority=3)), seen(carrier), rows)
    assert actions(result) == ["unload model.low:1@a/ollama", "load model.mid:1@a/ollama"]
    assert sorted(entry.model for entry in result.unplaced) == ["high:1", "low:1"]


def test_a_name_is_found_in_a_resident_that_another_name_loaded():
    of = fleet(node("a", 10 * GIB), node("b", 10 * GIB))
    there = facts(of, {"b": [loaded("low:1", 6 * GIB, blob="sha256:w")]}, list(BLOBS), blobs=BLOBS)
    result = plan(of, desired(model("high:1", ["a", "b"], 6 * GIB)), there)
    assert actions(result) == ["adopt model.high:1@b/ollama"]


def test_a_name_that_shares_a_runner_is_adopted_after_the_load_that_brings_it():
    result = plan(CARD, desired(*SHARED), seen())
    assert actions(result) == ["load model.high:1@a/ollama", "adopt model.low:1@a/ollama"]
    load, adopt = result.steps
    assert adopt.needs == (load.id,)


def test_a_full_card_still_takes_another_name_of_the_weights_that_it_holds():
    filler = loaded("mid:1", 4 * GIB, blob="sha256:m")
    carrier = loaded("low:1", 5 * GIB, blob="sha256:w")
    result = plan(CARD, desired(*SHARED), seen(carrier, filler), applied(owned("low:1", "a")))
    assert (actions(result), result.unplaced) == (["adopt model.high:1@a/ollama"], ())
