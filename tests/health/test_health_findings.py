"""What `doctor` finds, each by the facts that show it, each with a command that mends it."""

from __future__ import annotations

import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "planning"))
from planning.fleets import GIB, desired, facts, fleet, loaded, model, node, plan

from reconciler.fleet import (
    MIB,
    CardFacts,
    CardProbe,
    CardProcess,
    EngineFacts,
    EngineId,
    EngineKind,
    Installed,
    MemoryPressure,
    Policy,
    ProbeSpec,
    Requirements,
    Residency,
    SecretRef,
    Thermal,
    VersionBound,
)
from reconciler.health import Level, find
from reconciler.planning.plan import Note

ONE = fleet(node("a", 16 * GIB))
CARD = CardFacts(
    0, "GPU-0", "RTX 4080", 16 * GIB, 6 * GIB, 0, (8, 9), (570, 86), "nvml", False, temperature=55.0, throttle=(), ecc_errors=0, xid=0
)


def world(residents=(), cards=(CARD,), probe=None, engine=None):
    found = facts(ONE, {"a": list(residents)}, ["m:1", "n:1"])
    one = replace(found.nodes["a"], cards=cards, card_probe=probe)
    if engine is not None:
        one = replace(one, engines={"ollama": engine})
    return replace(found, nodes={"a": one})


def findings(seen, wanted=(), of=ONE, recorded=None, only=None):
    want = desired(*wanted)
    found = find(of, want, seen, plan(of, want, seen), recorded, only)
    assert all(one.mend and one.what and not one.what.endswith(".") for one in found)
    return found


def codes(seen, *others, **more):
    return [one.code for one in findings(seen, *others, **more)]


def altered(**spec):
    """The fleet with its engine or node declared otherwise."""
    nodes = dict(ONE.nodes)
    probe = spec.pop("probe", None)
    nodes["a"] = replace(nodes["a"], engines=(replace(nodes["a"].engines[0], **spec),), probe=probe or nodes["a"].probe)
    return replace(ONE, nodes=nodes)


def test_a_fleet_in_order_has_no_finding():
    assert codes(world([loaded("m:1", 5 * GIB)]), [model("m:1", ["a"], 5 * GIB)]) == []


@pytest.mark.parametrize(
    ("code", "finding"),
    [
        ("no_driver", "no_driver"), ("no_library", "no_driver"), ("driver_mismatch", "driver_mismatch"), ("key_refused", "sshd_refuses"),
        ("host_key", "sshd_refuses"), ("refused", "sshd_refuses"), ("timeout", "cards_unread"), ("no_such_host", "no_such_host"),
    ],
)  # fmt: skip
def test_cards_that_cannot_be_asked_for_are_an_error_with_its_command(code, finding):
    of = altered(probe=ProbeSpec("ssh", "ops", 2222))
    (one,) = findings(world(probe=CardProbe("ssh", reason="it says why", code=code)), of=of)
    assert (one.level, one.code, one.address) == (Level.ERROR, finding, "node.a")
    assert "it says why" in one.what


@pytest.mark.parametrize("via", ["exporter", "dcgm", "prometheus"])
@pytest.mark.parametrize("code", ["refused", "no_metrics", "not_its_protocol", "key_refused"])
def test_what_is_asked_over_http_and_gives_no_metrics_is_not_taken_for_sshd(via, code):
    (one,) = findings(world(probe=CardProbe(via, reason="it says why", code=code)), of=altered(probe=ProbeSpec(via)))
    assert (one.code, "ssh" in one.mend) == ("key_refused" if code == "key_refused" else "no_metrics", False)


def test_a_refused_key_is_mended_by_the_command_for_that_account_and_port():
    of = altered(probe=ProbeSpec("ssh", "ops", 2222))
    (one,) = findings(world(probe=CardProbe("ssh", reason="refuses", code="key_refused")), of=of)
    assert one.mend == f"ssh-copy-id -p 2222 ops@{ONE.nodes['a'].address}"


def test_contradictions_and_clocks_are_warnings():
    found = findings(world(probe=CardProbe("ssh", notes=("card 0 has 8 GiB, declared are 16 GiB",), clock_skew=-95.0)))
    assert [(one.level, one.code) for one in found] == [(Level.WARNING, "clock_skew"), (Level.WARNING, "contradiction")]
    assert "95 s behind" in found[0].what
    assert codes(world(probe=CardProbe("ssh", clock_skew=29.0))) == []


def test_a_clock_that_no_ssh_reads_is_told_by_the_engine_that_finds_the_least_wrong():
    seen = world()
    engine = seen.nodes["a"].engines["ollama"]
    (one,) = findings(world(engine=replace(engine, clock_skew=3600.0)))
    assert (one.code, one.address) == ("clock_skew", "node.a")
    assert "3600 s ahead of" in one.what
    right = replace(seen.nodes["a"], engines={"ollama": replace(engine, clock_skew=3600.0), "other": replace(engine, clock_skew=0.0)})
    assert codes(replace(seen, nodes={"a": right})) == []
    assert codes(world(engine=replace(engine, clock_skew=3600.0), probe=CardProbe("ssh", clock_skew=0.0))) == []


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"fault": "the driver has lost it"}, "card_fault"), ({"xid": 79}, "xid"), ({"ecc_errors": 2}, "ecc"),
        ({"throttle": ("hw_thermal_slowdown",)}, "throttled"), ({"compute_capability": (3, 7)}, "capability_too_low"),
        ({"driver": (470, 82)}, "driver_too_old"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_card_is_named(changed, code):
    assert codes(world(cards=(replace(CARD, **changed),))) == [code]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"temperature": 69.0}, []),
        ({"temperature": 70.0}, [("hot", "at 70 °C it is the last choice for what is new (policy.thermal.warning)")]),
        ({"temperature": 80.0}, [("hot", "at 80 °C it takes nothing new (policy.thermal.throttling)")]),
        ({"temperature": 90.0}, [("hot", "at 90 °C nothing is loaded there (policy.thermal.critical)")]),
        ({"temperature": None, "used_bytes": None}, []),
        ({"used_bytes": 14 * GIB}, [("full", "14.0 GiB of 16.0 GiB are used: it takes nothing new (policy.memory_pressure.critical)")]),
    ],
)
def test_a_card_at_a_level_of_the_policy_is_told_with_what_follows(changed, told):
    policy = Policy(thermal=Thermal(70, 80, 90, 5), memory_pressure=MemoryPressure(critical=Fraction(85, 100)))
    seen, want = world(cards=(replace(CARD, **changed),)), replace(desired(), policy=policy)
    assert [(one.code, one.what) for one in find(ONE, want, seen, plan(ONE, want, seen))] == told


def test_power_limits_are_normal_under_load():
    assert codes(world(cards=(replace(CARD, throttle=("sw_power_cap",)),))) == []


def test_what_a_model_asks_of_a_card_and_does_not_get_is_named():
    asks = Requirements(VersionBound(">=", (9, 0)), VersionBound(">=", (580,)))
    found = findings(world(), [model("m:1", ["a"], GIB, requires=asks)])
    told = [("capability_too_low", "gpu.a/0"), ("driver_too_old", "gpu.a/0"), ("unplaced", "model.m:1")]
    assert sorted((one.code, one.address) for one in found) == told


def unreachable(code, reason="status 403"):
    return EngineFacts(EngineId("a", "ollama"), EngineKind.OLLAMA, False, reason, code)


def test_ollama_that_refuses_the_host_name_is_told_from_a_proxy_that_asks_for_a_key():
    (one,) = findings(world(engine=unreachable("host_refused")))
    assert (one.code, "OLLAMA_HOST=0.0.0.0" in one.mend) == ("wrong_host_header", True)
    (one,) = findings(world(engine=unreachable("key_refused", "status 401")))
    assert (one.code, "auth: {bearer" in one.mend, "a proxy before it" in one.what) == ("missing_key", True, True)


def test_a_key_file_that_is_missing_is_to_be_written_not_exported():
    of = altered(bearer=SecretRef("file", "/etc/gpurec/key"))
    (one,) = findings(world(engine=unreachable("missing_key")), of=of)
    assert one.mend.startswith("write the bare key into /etc/gpurec/key")


@pytest.mark.parametrize(("code", "finding"), [("key_refused", "key_refused"), ("http_5xx", "no_metrics"), ("too_large", "no_metrics")])
def test_an_exporter_that_refuses_or_fails_is_mended_there(code, finding):
    (one,) = findings(world(probe=CardProbe("exporter", reason="it says why", code=code)), of=altered(probe=ProbeSpec("exporter")))
    assert (one.code, "ssh" in one.mend, "gpurec facts" in one.mend) == (finding, False, False)


def test_a_key_that_is_missing_or_wrong_is_named_by_its_reference_only():
    of = altered(bearer=SecretRef("env", "OLLAMA_KEY"))
    assert [(one.code, one.mend) for one in findings(world(engine=unreachable("missing_key")), of=of)] == [
        ("missing_key", "export OLLAMA_KEY=…")
    ]
    assert codes(world(engine=unreachable("key_refused")), of=of) == ["key_refused"]


def test_an_engine_that_is_down_is_an_error_with_how_to_start_it():
    (one,) = findings(world(engine=unreachable("refused", "cannot be connected to")))
    assert (one.level, one.code, "systemctl start ollama" in one.mend) == (Level.ERROR, "refused", True)


def test_variables_that_the_engine_never_had_are_told_by_how_it_behaves():
    of = altered(env={"OLLAMA_CONTEXT_LENGTH": "2048", "OLLAMA_KEEP_ALIVE": "-1", "OLLAMA_MAX_LOADED_MODELS": "1"})
    seen = world([replace(loaded("m:1", GIB), context=4096, pinned=False), replace(loaded("n:1", GIB), context=2048)])
    assert codes(seen, of=of) == ["variable_not_set"] * 3
    kept = world([replace(loaded("m:1-c8192", GIB), context=8192, pinned=True)])
    assert codes(kept, of=of) == []


def on_cpu(name="m:1"):
    return replace(loaded(name, 5 * GIB), vram_bytes=0)


def test_an_engine_whose_models_are_all_on_the_cpu_is_not_on_the_gpu():
    (one,) = findings(world([on_cpu()]))
    assert (one.code, one.address) == ("not_on_gpu", "engine.a/ollama")


def test_one_that_was_on_the_card_before_has_lost_it():
    (one,) = findings(world([on_cpu()]), recorded=world([loaded("m:1", 5 * GIB)]))
    assert (one.code, "docker restart" in one.mend) == ("lost_gpu", True)


def test_on_a_node_without_a_card_the_cpu_is_where_models_are():
    assert codes(world([on_cpu()], cards=())) == []
    assert codes(world([on_cpu()], cards=None)) == []


def test_a_model_that_is_partly_on_the_card_is_told_with_its_share():
    (one,) = findings(world([replace(loaded("m:1", 4 * GIB), vram_bytes=3 * GIB)]))
    assert (one.code, one.address, "75%" in one.what) == ("partial_offload", "model.m:1@a/ollama", True)


def test_all_on_the_gpu_by_its_own_word_while_the_card_lost_nothing_is_not_on_the_gpu():
    (one,) = findings(world([loaded("m:1", 5 * GIB)], cards=(replace(CARD, used_bytes=300 * MIB),)))
    assert (one.level, one.code) == (Level.ERROR, "not_on_gpu")
    assert "300 MiB" in one.what


def test_what_a_card_lost_is_not_held_against_it_where_it_is_unknown_or_shared_with_ram():
    assert codes(world([loaded("m:1", 5 * GIB)], cards=(replace(CARD, used_bytes=None, assumed=True),))) == []
    assert codes(world([loaded("m:1", 5 * GIB)], cards=(replace(CARD, used_bytes=0, unified=True),))) == []


def test_an_engine_on_another_card_than_declared_is_told():
    other = replace(CARD, index=1, uuid="GPU-1", processes=(CardProcess(7, "ollama", 5 * GIB, engine="ollama"),))
    found = findings(world([loaded("m:1", 5 * GIB)], cards=(CARD, other)), of=altered(gpus=(0,)))
    assert [(one.code, one.mend) for one in found] == [("other_card", "start it with CUDA_VISIBLE_DEVICES=GPU-0")]


def test_a_model_that_no_card_could_hold_is_too_large():
    found = findings(world(), [model("m:1", ["a"], 40 * GIB)])
    assert [(one.code, one.address) for one in found] == [("model_too_large", "model.m:1")]


def test_a_model_that_is_asked_for_on_the_cpu_is_held_to_no_card():
    on_cpu = replace(model("m:1", ["a"], 40 * GIB), residency=Residency.CPU)
    seen = world()
    seen = replace(seen, nodes={"a": replace(seen.nodes["a"], ram_bytes=32 * GIB)})
    assert [one.model for one in plan(ONE, desired(on_cpu), seen).unplaced] == ["m:1"]
    assert codes(seen, [on_cpu]) == ["unplaced"]


@pytest.mark.parametrize(("best_effort", "level"), [(False, Level.ERROR), (True, Level.WARNING)])
def test_a_model_without_a_place_is_told_with_why(best_effort, level):
    seen = world([loaded("n:1", 10 * GIB)])
    wanted = [model("n:1", ["a"], 10 * GIB, priority=5), model("m:1", ["a"], 9 * GIB, best_effort=best_effort)]
    (one,) = findings(seen, wanted)
    assert (one.level, one.code, one.address) == (level, "unplaced", "model.m:1")
    assert one.what.startswith("1 without a place: a/ollama: needs 9216 MiB > ")
    assert one.mend.endswith("gpurec explain model.m:1")


def test_a_cloud_model_that_is_to_be_kept_loaded_is_told():
    seen = world()
    engine = seen.nodes["a"].engines["ollama"]
    cloud = replace(engine, installed=(Installed("big:1-cloud", remote="https://ollama.com:443"),))
    (one,) = findings(world(engine=cloud), [model("big:1-cloud", ["a"])])
    assert (one.level, one.code, one.address) == (Level.ERROR, "unplaced", "model.big:1-cloud")
    assert "a/ollama: a cloud model: https://ollama.com:443 runs it" in one.what
    assert "ensure: present" in one.mend


def test_what_a_plan_holds_back_is_told():
    address = "model.m:1@a/ollama"
    seen, wanted = world([loaded("m:1", 5 * GIB)]), desired(model("m:1", ["a"], 5 * GIB))
    made = plan(ONE, wanted, seen)
    held = replace(made, notes=(*made.notes, Note(address, "held", "evicted 3 times within an hour and is not loaded again")))
    (one,) = find(ONE, wanted, seen, held)
    assert (one.level, one.code, one.address) == (Level.WARNING, "held", address)
    assert one.mend.endswith(f"gpurec apply --replace {address}")
    assert find(ONE, wanted, seen, held, None, {"b"}) == ()


def test_a_model_that_two_cards_of_an_engine_could_hold_together_is_not_too_large():
    full = replace(CARD, used_bytes=12 * GIB, foreign_bytes=12 * GIB)
    pair = world(cards=(full, replace(full, index=1, uuid="GPU-1")))
    (one,) = [one for one in findings(pair, [model("m:1", ["a"], 40 * GIB)]) if one.code == "model_too_large"]
    assert "the 2 cards of the largest engine together have" in one.what
    fits = [model("m:1", ["a"], 20 * GIB)]
    assert plan(ONE, desired(*fits), pair).unplaced
    assert "model_too_large" not in codes(pair, fits)


def test_one_node_alone_can_be_looked_at():
    seen = world(cards=(replace(CARD, fault="it is lost"),))
    assert (codes(seen, only={"a"}), codes(seen, only={"b"})) == (["card_fault"], [])


def test_errors_come_first():
    found = findings(world([on_cpu()], cards=(replace(CARD, xid=79, fault="it is lost"),)))
    assert [one.level for one in found] == [Level.ERROR, Level.ERROR, Level.WARNING]


@pytest.mark.parametrize(
    ("code", "mend"),
    [
        ("redirected", "write the url that it redirects to"),
        ("no_such_host", "correct the url of this engine in the inventory; getent hosts a"),
        ("not_its_protocol", "correct its url or kind"),
        ("too_large", "correct its url or kind"),
        ("http_5xx", "look at its log (journalctl -u ollama -n 50), and restart it"),
        ("cut", "look at its log"),
        ("starting", "wait until it is ready"),
        ("refused", "start it: sudo systemctl start ollama"),
    ],
)
def test_what_keeps_an_engine_from_being_asked_comes_with_what_mends_just_that(code, mend):
    silent = EngineFacts(EngineId("a", "ollama"), EngineKind.OLLAMA, False, "it says no", code)
    (found,) = findings(world(engine=silent))
    assert (found.code, found.level) == (code, Level.ERROR)
    assert found.mend.startswith(mend)


def test_some_cards_that_could_not_be_read_are_told_apart_from_all_of_them():
    probe = CardProbe("nvml", reason="amd-smi ended with 1", code="smi_failed")
    (some,) = [one for one in findings(world(probe=probe)) if one.code == "cards_unread"]
    assert some.what == "some of its cards could not be read by nvml: amd-smi ended with 1"
    declared = replace(CARD, source="declared")
    (every,) = [one for one in findings(world(cards=(declared,), probe=probe)) if one.code == "cards_unread"]
    assert every.what.startswith("its cards could not be read")


def test_what_the_files_let_be_beside_the_card_is_no_finding_and_the_rest_is():
    half = loaded("m:1", 4 * GIB, fraction=0.5)
    assert "partial_offload" in codes(world([half]), wanted=[model("m:1", ["a"], 4 * GIB)])
    assert "partial_offload" not in codes(world([half]), wanted=[model("m:1", ["a"], 4 * GIB, min_gpu_fraction=0.4)])
    there = loaded("m:1", 4 * GIB, fraction=0.0)
    assert "not_on_gpu" in codes(world([there]), wanted=[model("m:1", ["a"], 4 * GIB)])
    assert "not_on_gpu" not in codes(world([there]), wanted=[model("m:1", ["a"], 4 * GIB, residency=Residency.CPU)])
