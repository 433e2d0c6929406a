"""The unit of an engine: whatever its values hold, it has the settings that gpurec writes and no more."""

from __future__ import annotations

import pytest

from reconciler.fleet import EngineId, EngineKind, EngineSpec, EngineUnit, NodeSpec, OwnedEngine
from reconciler.planning.kinds.engine.unit import unit_of

LINES = (
    "x\nExecStartPre=+/bin/sh",
    "x\r\nUser=root",
    "x\n[Install]\nAlias=ssh.service",
    'x"\nExecStop=/bin/a',
    "x\\\nUser=root",
    "\x00\x1b",
)


@pytest.mark.parametrize("value", LINES)
@pytest.mark.parametrize("drop_in", [False, True])
def test_a_value_of_several_lines_adds_no_setting_to_a_unit(value: str, drop_in: bool) -> None:
    def text(one: str) -> list[str]:
        start = EngineUnit("gpurec-llama", exec=None if drop_in else ("/bin/llama-server", one))
        owned = OwnedEngine(start, 8080, args=(one,), env={"VALUE": one})
        engine = EngineSpec(EngineId("box", "llama"), EngineKind.LLAMACPP, "http://10.0.0.1:8080", owned=owned)
        return unit_of("lab", NodeSpec("box", "10.0.0.1"), engine, (), (one,)).written.splitlines()

    def settings(lines: list[str]) -> list[str]:
        return [line.partition("=")[0] for line in lines]

    assert settings(text(value)) == settings(text("plain"))
