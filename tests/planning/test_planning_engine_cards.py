"""How an engine's container is given its cards."""

from __future__ import annotations

from reconciler.fleet import CardFacts, EngineContainer, EngineId, EngineKind, EngineSpec, NodeSpec, OwnedEngine
from reconciler.planning.kinds.engine.container import container_of


def test_a_card_of_amd_is_given_by_its_devices_without_a_group_that_its_image_may_not_have() -> None:
    engine = EngineSpec(
        EngineId("box", "ollama"),
        EngineKind.OLLAMA,
        "http://10.0.0.1:11434",
        owned=OwnedEngine(EngineContainer("ollama/ollama:rocm"), 11434),
    )
    card = CardFacts("amd0", name="Radeon RX 7800 XT", uuid="GPU-amd")
    found = container_of("lab", NodeSpec("box", "10.0.0.1"), engine, (card,))
    assert (found.devices, found.groups, found.cards) == (("/dev/kfd", "/dev/dri"), (), ())
    assert found.env == {"ROCR_VISIBLE_DEVICES": "GPU-amd"}
