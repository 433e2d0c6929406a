"""llama-server with one model: nobody but its operator loads or unloads it, so gpurec looks and says what it sees."""

from __future__ import annotations

from rigs import NEED, RAM, ROOM_FOR_TWO, Bench
from servers import Single
from workspaces import NODE, reasons, steps

WANTED = {"engine": "llamacpp", "vram": f"{NEED}B"}


def test_its_own_model_is_adopted_and_another_is_unplaced(bench: Bench) -> None:
    card = bench.card(ROOM_FOR_TWO)
    server = Single(bench.real, bench.folder("single"), bench.real.gemma, "gemma", [card])
    bench.started(server)
    recorder = bench.recorder(server)
    workspace = bench.workspace()
    workspace.declare({"llamacpp": {"url": recorder.url}}, (ROOM_FOR_TWO,), RAM)

    workspace.want({"gemma": WANTED})
    assert steps(workspace.plan(0, 2)) in ([], [("adopt", f"model.gemma@{NODE}/llamacpp")])
    workspace.apply(0)
    workspace.expect_nothing_to_do()

    workspace.want({"gemma": WANTED, "twin": WANTED})
    assert reasons(workspace.plan(3), "twin") == {"engine_fixed_model"}
    workspace.apply(3)
    assert recorder.changes() == []
