"""The largest that fits is searched once for engines that are alike and have the same room."""

from __future__ import annotations

from typing import Any

import pytest
from planning.fleets import GIB, desired, facts, fleet, node

import reconciler.needs.run_settings as ways
from reconciler.fleet import Applied, EngineKind, ModelSpec
from reconciler.placement import ContextSearch, Question, candidates
from reconciler.vram import AS_THE_ENGINE, Catalogue, Family, KnownModel, RunSettings, Shape, Trust, predict

SHAPE = Shape("s", Family.LLAMA, 16, 2048, 32, 8, 64, 8192, 128256, 131072, tied=True)
CATALOGUE = Catalogue({(EngineKind.OLLAMA, "m:1"): KnownModel("m:1", EngineKind.OLLAMA, None, Trust.ROUGH, "s")}, {}, {"s": SHAPE})


def test_engines_of_the_same_room_share_a_search_and_those_with_less_have_less(monkeypatch: pytest.MonkeyPatch) -> None:
    of = fleet(*(node(f"n{number:03}", 4 * GIB if number < 150 else 3 * GIB) for number in range(300)))
    asked: list[RunSettings] = []

    def counted(geometry: Any, settings: RunSettings, *more: Any) -> Any:
        asked.append(settings)
        return predict(geometry, settings, *more)

    monkeypatch.setattr(ways, "predict", counted)
    question = Question(ModelSpec("m:1", tuple(of.nodes)), None, AS_THE_ENGINE, ContextSearch())
    found = candidates(of, desired(), facts(of), Applied(), question, CATALOGUE)
    contexts = [one.fitted.found.settings.context for one in found if one.fitted is not None and one.fitted.found is not None]
    assert len(contexts) == 300
    assert len(set(contexts[:150])) == len(set(contexts[150:])) == 1
    assert contexts[0] > contexts[150]
    assert len(asked) < 100
