"""Cards as people read them, and how a fleet stands."""

from __future__ import annotations

from reconciler.fleet import GIB, MIB, CardFacts, CardProbe, CardProcess, EngineFacts, EngineId, EngineKind, FleetFacts, NodeFacts, Resident
from reconciler.health import Finding, Holder, Level, ReplicaStatus
from reconciler.planning.plan import CardBalance
from reconciler.views import doctor_text, facts_text, status_document, status_text
from reconciler.views.cards import cards_text
from reconciler.views.style import Style, beside

AT = "2026-01-01T00:00:00Z"
OURS = CardProcess(2020, "/usr/local/bin/ollama", 6 * GIB, engine="ollama")
BUSY = CardFacts(
    0, "GPU-0", "NVIDIA RTX 4080 SUPER", 16 * GIB, 7 * GIB, GIB, (8, 9), (570, 86), "ssh", False, temperature=87.0, power=310.4,
    power_limit=320.0, utilisation=0.93, throttle=("sw_power_cap", "hw_thermal_slowdown"), xid=0, ecc_errors=0,
    processes=(CardProcess(1860, "/usr/lib/xorg/Xorg", 96 * MIB), OURS), at=AT,
)  # fmt: skip
LOST = CardFacts(1, "GPU-1", None, None, None, source="ssh", fault="the driver has lost it (GPU is lost)", at=AT)
HOSTILE = CardFacts(0, "GPU-2", "RTX\x1b[31m", 8 * GIB, 0, 0, source="dcgm", assumed=False, processes=())
RESIDENT = Resident("llama3.1:8b", size_bytes=5 * GIB, vram_bytes=5 * GIB, context=8192, pinned=True)
FACTS = FleetFacts(
    AT,
    {
        "a": NodeFacts(
            "a", (BUSY, LOST), 64 * GIB,
            {"ollama": EngineFacts(EngineId("a", "ollama"), EngineKind.OLLAMA, True, build="0.34.0", installed=(), residents=(RESIDENT,))},
            CardProbe("ssh", AT, notes=("card 0 has 16.0 GiB, declared are 24.0 GiB",)),
        ),
        "b": NodeFacts("b", (HOSTILE,), card_probe=CardProbe("dcgm", AT)),
        "c": NodeFacts("c", None, card_probe=CardProbe("ssh", AT, "ssh ops@c refuses our key; run ssh-copy-id", "key_refused")),
        "d": NodeFacts("d", (CardFacts(0, name="RTX 3060", total_bytes=12 * GIB, foreign_bytes=0),)),
    },
)  # fmt: skip
FINDINGS = (
    Finding(Level.ERROR, "card_fault", "gpu.a/1", "the driver has lost it (GPU is lost)", "sudo nvidia-smi --gpu-reset, or reboot"),
    Finding(Level.WARNING, "clock_skew", "node.a", "its clock is 95 s behind this machine's", "ssh ops@a sudo timedatectl set-ntp true"),
)  # fmt: skip
REPLICAS = (
    ReplicaStatus("model.llama3.1:8b@a/ollama", "running", "", 5 * GIB, 8192, True, True),
    ReplicaStatus("model.mistral:7b@a/ollama", "changing", "load: is wanted and not loaded", owned=True),
    ReplicaStatus("model.phi3:mini@c/ollama", "unknown", "its engine cannot be asked", owned=True),
    ReplicaStatus("model.tiny:1@a/ollama", "unmanaged", "nobody here asked for it", GIB),
    ReplicaStatus("model.huge:405b", "unplaced", "1 without a place: no_room on 2"),
)


def test_cards_are_shown_with_bars_heat_holders_and_what_could_not_be_asked(snapshot):
    assert facts_text(FACTS, width=120) == snapshot


def test_how_a_fleet_stands_is_shown_on_one_page(snapshot, full_plan):
    assert status_text(full_plan, FACTS, REPLICAS, FINDINGS, width=120) == snapshot


def test_how_a_fleet_stands_for_programs(snapshot, full_plan):
    assert status_document(full_plan, FACTS, REPLICAS, FINDINGS) == snapshot


def test_findings_are_shown_with_what_mends_them(snapshot):
    assert doctor_text(FINDINGS, "4 nodes and 1 engine", width=80) == snapshot


def test_text_of_a_node_cannot_forge_the_terminal(full_plan):
    for text in (facts_text(FACTS), status_text(full_plan, FACTS, REPLICAS, FINDINGS)):
        assert "\x1b" not in text


def test_the_models_of_a_card_are_named_and_those_that_may_be_on_another_told_as_such(full_plan):
    holders = {
        ("d", 0): (Holder("ollama", "sure:1", GIB, True), Holder("ollama", "maybe:1", None, False)),
        ("b", 0): tuple(Holder("ollama", f"m{number}:1", GIB, True) for number in range(6)),
    }
    text = status_text(full_plan, FACTS, REPLICAS, FINDINGS, holders, width=160)
    assert "  d/0  sure:1 (ollama) 1024 MiB; could be on: maybe:1 (ollama) of unknown size" in text
    assert "m3:1 (ollama) 1024 MiB, 2 more" in text


def test_a_card_with_a_model_of_unknown_size_is_never_summed_as_full():
    def card(index, held, unsized):
        return CardBalance("a", index, 16 * GIB, 14 * GIB, 0, True, held, held, held, unsized=unsized)

    style = Style(False, 120)
    both = "\n".join(cards_text([card(0, 2 * GIB, False), card(1, 14 * GIB, True)], style))
    assert "at least 2048 MiB of 28.0 GiB usable in use, 1 card holds a model of unknown size" in both
    alone = "\n".join(cards_text([card(1, 14 * GIB, True)], style))
    assert "use unknown of 14.0 GiB usable, 1 card holds a model of unknown size" in alone


def test_an_engine_is_not_named_twice_beside_its_own_address():
    assert beside("a/ollama", "a/ollama: no key") == beside("model.m:1@a/ollama", "no key") == "no key"
    assert beside("a/ollama", "a/ollama2: no key") == "a/ollama2: no key"
    silent = EngineFacts(EngineId("a", "ollama"), EngineKind.OLLAMA, False, "a/ollama: the variable K is not set", "missing_key")
    text = facts_text(FleetFacts(AT, {"a": NodeFacts("a", None, engines={"ollama": silent})}))
    assert "unknown  the variable K is not set" in text
