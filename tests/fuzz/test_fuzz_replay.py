"""What the fuzzer begins with, and what it found once: a value or an error of ours comes of each. `make fuzz` looks for more."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from oracle import Fault, Surface, hold, keep
from surfaces import SURFACES

from reconciler.conversion import FORMATS
from reconciler.fleet import GpurecError
from reconciler.workspace.parse import parse
from reconciler.workspace.problems import Problems
from reconciler.workspace.scalars import YamlVersion
from reconciler.workspace.tree import MapNode

FOUND = Path(__file__).parent / "found"


@pytest.mark.parametrize("name", SURFACES)
def test_fuzz_what_a_surface_begins_with_and_what_was_found_there_ends_well(name: str) -> None:
    surface = SURFACES[name]
    inputs = [*surface.seeds(), *(path.read_bytes() for path in sorted((FOUND / name).glob("*")))]
    assert inputs
    for data in inputs:
        hold(surface, data)


def test_fuzz_every_folder_of_found_inputs_is_of_a_surface() -> None:
    assert {path.name for path in FOUND.iterdir()} <= set(SURFACES)


def test_fuzz_every_format_of_other_tools_has_an_input_to_begin_with() -> None:
    seeds = [parse(seed.decode(), "f", YamlVersion.V1_2, Problems()) for seed in SURFACES["foreign"].seeds()]
    assert [form for form, one in FORMATS.items() if not any(isinstance(seed, MapNode) and one.is_this(seed) for seed in seeds)] == []


def raising(error: Exception) -> Surface:
    def take(data: bytes) -> object:
        raise error

    return Surface("x", take, lambda: iter(()))


def test_fuzz_only_errors_of_ours_may_come_out() -> None:
    hold(raising(GpurecError.of("no")), b"")
    with pytest.raises(OverflowError):
        hold(raising(OverflowError()), b"")


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, float("nan"), float("inf"), "\ud800", {"a": [(2**64,)]}, {"\udfff": 1}])
def test_fuzz_a_value_that_cannot_be_kept_is_a_fault(value: object) -> None:
    with pytest.raises(Fault, match="believed"):
        keep(value)


def test_fuzz_work_without_bound_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks: Iterator[float] = iter([0.0, 9.0])
    monkeypatch.setattr("oracle.time.process_time", lambda: next(ticks))
    with pytest.raises(Fault, match=r"took 9\.0 s"):
        hold(Surface("x", lambda data: None, lambda: iter(())), b"")
