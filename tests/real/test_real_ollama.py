"""What only Ollama has: pulls from a registry, contexts in derived tags, keep-alives that others change."""

from __future__ import annotations

from rigs import ROOM_FOR_ONE, Bench
from workspaces import steps


def test_a_model_is_pulled_from_a_registry_and_then_loaded(bench: Bench) -> None:
    rig = bench.rig("ollama", ROOM_FOR_ONE)
    registry = bench.registry()
    name = registry.name("gemma:small")
    rig.ollama.post("/api/copy", {"source": "gemma:latest", "destination": name})
    rig.ollama.post("/api/push", {"model": name, "insecure": True, "stream": False})
    rig.ollama.delete(name)
    rig.ollama.delete("gemma:latest")
    assert name not in rig.ollama.installed()

    rig.workspace.want({name: rig.model()})
    plan = rig.workspace.plan(2)
    assert steps(plan) == [("pull", rig.address(name)), ("load", rig.address(name))]
    assert plan["steps"][1]["needs"] == [plan["steps"][0]["id"]]
    rig.workspace.apply(0)
    assert set(rig.ollama.residents()) == {name}
    rig.workspace.expect_nothing_to_do()


def test_a_context_lives_in_a_derived_tag_and_survives_a_plain_request(bench: Bench) -> None:
    rig = bench.rig("ollama", ROOM_FOR_ONE)
    rig.workspace.want({"gemma": rig.model(context=4096)})
    rig.workspace.apply(0)
    (name,) = rig.ollama.residents()
    assert rig.ollama.residents()[name]["context_length"] == 4096
    assert name.endswith("-c4096")
    rig.ollama.post("/api/generate", {"model": name, "prompt": "Hello", "stream": False, "options": {"num_predict": 1}})
    assert rig.ollama.residents()[name]["context_length"] == 4096
    rig.workspace.expect_nothing_to_do()


def test_a_keep_alive_that_somebody_shortened_is_pinned_again_without_a_reload(bench: Bench) -> None:
    rig = bench.rig("ollama", ROOM_FOR_ONE)
    rig.want("gemma")
    rig.workspace.apply(0)
    (card,) = rig.cards
    holders = card.holders()
    rig.ollama.post("/api/generate", {"model": "gemma:latest", "keep_alive": "10m"})
    assert steps(rig.workspace.plan(2)) == [("update", rig.address("gemma"))]
    rig.workspace.apply(0)
    assert card.holders() == holders
    rig.workspace.expect_nothing_to_do()
