"""Real servers that are only looked at: a llama-server by OpenAI's API, and the same as a service by its health."""

from __future__ import annotations

from rigs import NEED, RAM, ROOM_FOR_TWO, Bench
from servers import Single
from workspaces import NODE, reasons, steps


def test_a_real_server_is_told_by_its_models_and_its_health_keeps_its_share_and_is_sent_nothing(bench: Bench) -> None:
    card = bench.card(ROOM_FOR_TWO)
    server = Single(bench.real, bench.folder("single"), bench.real.gemma, "gemma", [card])
    bench.started(server)
    recorder = bench.recorder(server)
    workspace = bench.workspace()
    share = {"vram": f"{NEED}B"}
    engines = {"list": {"kind": "openai", "url": recorder.url, **share}, "other": {"kind": "service", "url": recorder.url, **share}}

    workspace.declare({"list": engines["list"]}, (ROOM_FOR_TWO,), RAM)
    workspace.want({"gemma": {"engine": "openai"}, "absent": {"engine": "openai", "vram": "1MiB"}})
    plan = workspace.plan(3)
    assert steps(plan) == [("adopt", f"model.gemma@{NODE}/list")]
    assert reasons(plan, "absent") == {"engine_fixed_model"}
    assert [one["foreign_bytes"] for one in plan["gpus"]] == [NEED]
    workspace.apply(3)

    workspace.declare({"other": engines["other"]}, (ROOM_FOR_TWO,), RAM)
    workspace.want({})
    assert [one["foreign_bytes"] for one in workspace.plan(0, 2)["gpus"]] == [NEED]
    assert recorder.changes() == []
    server.stop()
    down = workspace.plan(4)
    assert [(one["node"], one["engine"]) for one in down["deferred"]] == [(NODE, "other")]
    assert [one["foreign_bytes"] for one in down["gpus"]] == [NEED]
