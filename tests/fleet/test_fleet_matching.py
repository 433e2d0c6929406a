"""One comparison of a resident with what is wanted, whoever asks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.fleet import ContextVia, EngineKind, ModelSpec, Residency, Resident, ResidentStatus
from reconciler.fleet.matching import CONTEXT, FRACTION, KEEP_ALIVE, ROWS, FieldRow, is_wrong, mismatch, settable, wanted_resident

MODEL = ModelSpec(name="m:1", nodes=("a",), on="a", context=8192)
RIGHT = Resident("m:1", size_bytes=100, vram_bytes=100, context=8192, pinned=True)
EVERY = (FRACTION, CONTEXT, KEEP_ALIVE)


@pytest.mark.parametrize(
    ("change", "field", "code"),
    [
        ({"vram_bytes": 50}, FRACTION, "cpu_fallback"),
        ({"context": 4096}, CONTEXT, "context_differs"),
        ({"pinned": False}, KEEP_ALIVE, "keep_alive_differs"),
    ],
)
def test_each_field_that_differs_has_its_code_and_no_other_is_wrong(change: dict[str, object], field: str, code: str) -> None:
    found = replace(RIGHT, **change)  # type: ignore[arg-type]
    assert mismatch(MODEL, RIGHT, True, *EVERY) is None
    wrong = mismatch(MODEL, found, True, *EVERY)
    assert wrong is not None
    assert wrong.code == code
    assert [name for name in EVERY if is_wrong(name, MODEL, found, True)] == [field]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.code)
def test_a_field_is_wrong_where_any_row_of_the_table_for_it_says_so(row: FieldRow) -> None:
    for model in (MODEL, replace(MODEL, residency=Residency.CPU)):
        for found in (RIGHT, replace(RIGHT, vram_bytes=0), replace(RIGHT, context=1), replace(RIGHT, pinned=False)):
            told = [one.wrong(model, found, True) for one in ROWS if one.field == row.field]
            assert is_wrong(row.field, model, found, True) == any(told)


@pytest.mark.parametrize("unknown", ["vram_bytes", "size_bytes", "context", "pinned"])
def test_what_is_unknown_speaks_against_nothing(unknown: str) -> None:
    assert mismatch(MODEL, replace(RIGHT, **{unknown: None}), True, *EVERY) is None  # type: ignore[arg-type]


def test_where_cards_are_unknown_no_part_of_a_model_is_on_the_wrong_device() -> None:
    on_cpu = replace(RIGHT, vram_bytes=0)
    assert is_wrong(FRACTION, MODEL, on_cpu, True)
    assert not is_wrong(FRACTION, MODEL, on_cpu, False)
    cpu = replace(MODEL, residency=Residency.CPU)
    assert is_wrong(FRACTION, cpu, RIGHT, True)
    assert not is_wrong(FRACTION, cpu, RIGHT, False)


def test_nothing_is_wrong_with_what_is_still_being_loaded() -> None:
    coming = Resident("m:1", size_bytes=100, vram_bytes=0, context=1, pinned=False, status=ResidentStatus.LOADING)
    assert mismatch(MODEL, coming, True, *EVERY) is None
    assert not any(is_wrong(row.field, MODEL, coming, True) for row in ROWS)


@pytest.mark.parametrize(
    ("kind", "via", "fields"),
    [
        (EngineKind.OLLAMA, ContextVia.TAG, EVERY),
        (EngineKind.OLLAMA, ContextVia.ENGINE, (FRACTION, KEEP_ALIVE)),
        (EngineKind.LLAMACPP, ContextVia.TAG, (FRACTION, KEEP_ALIVE)),
    ],
)
def test_a_load_is_held_only_to_what_it_can_bring_about(kind: EngineKind, via: ContextVia, fields: tuple[str, ...]) -> None:
    model = replace(MODEL, context_via=via)
    assert tuple(settable(model, kind)) == fields
    other = replace(RIGHT, context=1)
    assert (wanted_resident(model, kind, "m:1", True).mismatch(other) is not None) == (CONTEXT in fields)
