"""The first source that knows gives the need: declared, measured, computed, file size, catalogue."""

from __future__ import annotations

from dataclasses import replace

from reconciler.fleet import EngineKind, ModelSpec
from reconciler.vram import Catalogue, KnownModel, Need, Trust, every_need, known_need

KIND = EngineKind.OLLAMA
MODEL = ModelSpec("m", ("a",), vram=10)
MEASURED = Need(20, "measured")
LISTED = Catalogue({(KIND, "m:latest"): KnownModel("m:latest", KIND, 50, Trust.ROUGH)})


def test_sources_come_in_the_order_of_their_trust() -> None:
    found = every_need(MODEL, KIND, 100, MEASURED, 30, LISTED)
    assert found == (
        Need(10, "declared"), Need(20, "measured"), Need(30, "computed"), Need(120, "file_size"), Need(50, "catalogue")
    )  # fmt: skip
    assert known_need(MODEL, KIND, 100, MEASURED, 30, LISTED) == found[0]


def test_each_counts_only_where_none_before_it_knows() -> None:
    bare = replace(MODEL, vram=None)
    assert known_need(bare, KIND, 100, MEASURED, 30, LISTED) == Need(20, "measured")
    assert known_need(bare, KIND, 100, None, 30, LISTED) == Need(30, "computed")
    assert known_need(bare, KIND, 100, catalogue=LISTED) == Need(120, "file_size")
    assert known_need(bare, KIND, None, catalogue=LISTED) == Need(50, "catalogue")
    assert known_need(bare, KIND, None) is None


def test_the_catalogue_knows_names_of_one_engine_kind_only() -> None:
    assert known_need(replace(MODEL, vram=None), EngineKind.VLLM, None, catalogue=LISTED) is None
