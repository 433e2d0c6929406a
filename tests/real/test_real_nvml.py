"""NVML through the maintained binding and a library built against the real header: cards, slices, and every way of having none."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from fake_nvml import build, environment

from reconciler.fleet import MIB, CardFacts, NodeSpec, ProbeSpec
from reconciler.probes.nvml import Nvml
from reconciler.probes.protocol import ProbeError, Seen

AT = "2026-01-01T00:00:00Z"


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("nvml"))


@pytest.fixture(scope="session")
def old_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("nvml-old"), old=True)


def look(library: Path | None, words: str, within: float = 20.0) -> Seen:
    node = NodeSpec("box", "localhost", probe=ProbeSpec("nvml", timeout=within))
    return asyncio.run(Nvml(environment(library, words)).look(node, AT))


def cards(library: Path | None, words: str) -> tuple[CardFacts, ...]:
    found = look(library, words).cards
    assert found is not None
    return found


def test_every_fact_of_a_card_has_its_unit(library: Path) -> None:
    seen = look(library, "cards=1 ecc=3 pid=1234 held=104857600 other=5242880")
    (card,) = seen.cards or ()
    assert (card.uuid, card.name, card.source, card.at) == ("GPU-00000000-1111-2222-3333-444444444444", "NVIDIA RTX 4080 SUPER", "nvml", AT)
    assert (card.total_bytes, card.used_bytes, card.reserved_bytes) == (16376 * MIB, 105 * MIB, 434 * MIB)
    assert (card.temperature, card.power, card.power_limit, card.utilisation) == (61.0, 33.12, 320.0, 0.07)
    assert (card.driver, card.cuda, card.compute_capability, card.float16, card.bfloat16) == ((570, 86, 15), (12, 8), (8, 9), True, True)
    assert (card.throttle, card.ecc_errors, card.xid, card.mig_parent, card.fault) == (("hw_thermal_slowdown",), 3, None, None, None)
    assert [(one.pid, one.name, one.used_bytes) for one in card.processes or ()] == [(1234, "/usr/bin/ollama", 100 * MIB)]
    assert not card.assumed
    assert (seen.ram_bytes or 0) > 256 * MIB


def test_several_cards_keep_their_own_indices_and_uuids(library: Path) -> None:
    found = cards(library, "cards=3")
    assert [card.index for card in found] == [0, 1, 2]
    assert len({card.uuid for card in found}) == 3


def test_a_card_in_mig_mode_is_its_slices(library: Path) -> None:
    first, second, whole = cards(library, "cards=2 mig=0")
    assert [card.index for card in (first, second, whole)] == [100, 102, 1]
    assert first.mig_parent == second.mig_parent == "GPU-00000000-1111-2222-3333-444444444444"
    assert (first.total_bytes, first.used_bytes, first.utilisation, first.temperature) == (4864 * MIB, 11 * MIB, None, 61.0)
    assert (first.uuid, first.compute_capability) == ("MIG-00000000-0000-0000-0000-000000000000", (8, 9))


def test_compute_instances_that_share_their_memory_are_one_slice(library: Path) -> None:
    (slice_,) = cards(library, "cards=1 mig=0 shared")
    assert (slice_.index, slice_.total_bytes) == (100, 4864 * MIB)


def test_mig_mode_without_slices_is_told(library: Path) -> None:
    seen = look(library, "cards=1 nomig=0")
    assert (seen.cards, seen.notes) == ((), ("card 0 is in MIG mode and has no slices, so nothing can run on it",))


def test_what_is_not_supported_is_unknown_and_never_zero(library: Path) -> None:
    _, bare = cards(library, "cards=2 bare=1")
    assert (bare.total_bytes, bare.used_bytes) == (16376 * MIB, 596 * MIB)
    unknown = (bare.temperature, bare.power, bare.power_limit, bare.utilisation, bare.throttle, bare.ecc_errors)
    assert unknown == (None,) * 6
    assert (bare.compute_capability, bare.float16, bare.bfloat16, bare.processes, bare.fault) == (None, None, None, None, None)


def test_memory_that_is_not_supported_is_shared_with_the_machine(library: Path) -> None:
    (card,) = cards(library, "cards=1 unified=0")
    assert (card.unified, card.total_bytes, card.used_bytes, card.assumed) == (True, None, None, True)


def test_memory_that_cannot_be_read_is_unknown_and_not_the_machines(library: Path) -> None:
    (card,) = cards(library, "cards=1 mute=0")
    assert (card.unified, card.total_bytes, card.used_bytes, card.assumed) == (None, None, None, True)


@pytest.mark.parametrize("word", ["lost", "sick"])
def test_a_lost_card_is_there_with_its_fault_and_the_others_are_known(library: Path, word: str) -> None:
    well, lost = cards(library, f"cards=2 {word}=1")
    assert (well.fault, well.used_bytes) == (None, 596 * MIB)
    assert (lost.index, lost.fault, lost.total_bytes, lost.used_bytes) == (1, "the driver has lost it (GPU is lost)", None, None)
    assert lost.unified is None


def test_an_old_driver_without_the_second_form_of_memory_is_read_by_the_first(old_library: Path) -> None:
    (card,) = cards(old_library, "cards=1 pid=7 held=1048576")
    assert (card.total_bytes, card.used_bytes, card.reserved_bytes) == (16376 * MIB, 435 * MIB, None)
    assert card.throttle == ("hw_thermal_slowdown",)
    assert [one.pid for one in card.processes or ()] == [7]


def refused(library: Path | None, words: str, within: float = 20.0) -> ProbeError:
    with pytest.raises(ProbeError) as caught:
        look(library, words, within)
    return caught.value


@pytest.mark.parametrize(("init", "code"), [(9, "no_driver"), (18, "driver_mismatch"), (4, "no_permission"), (999, "nvml_failed")])
def test_a_driver_that_cannot_be_asked_says_why(library: Path, init: int, code: str) -> None:
    error = refused(library, f"init={init}")
    assert error.code == code
    assert str(error).startswith("box: NVML cannot be asked")


def test_a_machine_without_the_library_is_told_as_that() -> None:
    assert refused(None, "").code == "no_library"


def test_a_driver_that_hangs_costs_the_deadline_and_no_more(library: Path) -> None:
    start = time.monotonic()
    assert refused(library, "hang", within=2.0).code == "timeout"
    assert time.monotonic() - start < 10
