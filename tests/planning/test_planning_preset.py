"""The preset of a llama.cpp router that gpurec starts: a section for each model that may be there and asks for something."""

from __future__ import annotations

from reconciler.fleet import EngineContainer, EngineId, EngineKind, EngineSpec, Ensure, KvCache, ModelSpec, OwnedEngine, RunOptions
from reconciler.planning.kinds.engine.preset import PRESET_PATH, preset_of

ROUTER = ("--models-dir", "/models")
Q8 = RunOptions(2, KvCache.Q8_0, True)


def router(*args: str, env: dict[str, str] | None = None, kind: EngineKind = EngineKind.LLAMACPP) -> EngineSpec:
    return EngineSpec(EngineId("a", "e"), kind, "", owned=OwnedEngine(EngineContainer("llama:1"), 8080, args=args, env=env or {}))


def wanted(name: str, **fields: object) -> ModelSpec:
    return ModelSpec(name, ("a",), **fields)  # type: ignore[arg-type]


def text(engine: EngineSpec, *models: ModelSpec) -> str | None:
    files, arguments = preset_of(engine, models)
    if not files:
        assert arguments == ()
        return None
    (file,) = files
    assert arguments == ("--models-preset", PRESET_PATH) == ("--models-preset", file.path)
    assert isinstance(file.content, str)
    return file.content


def test_each_model_that_asks_for_something_has_its_section_in_the_order_of_names() -> None:
    own = {"n_gpu_layers": 99, "cont-batching": False}
    models = [wanted("zeta", context=1024, runs=Q8), wanted("alpha", engine=EngineKind.LLAMACPP, options=own), wanted("plain")]
    assert text(router(*ROUTER), *models) == (
        "version = 1\n\n[alpha]\ncont-batching = 0\nn-gpu-layers = 99\n\n"
        "[zeta]\nctx-size = 2048\nparallel = 2\ncache-type-k = q8_0\ncache-type-v = q8_0\nflash-attn = on\n"
    )


def test_options_of_a_model_that_may_be_on_another_kind_are_not_told_to_a_router() -> None:
    assert text(router(*ROUTER), wanted("m", options={"num_batch": 256})) is None


def test_what_cannot_be_there_or_cannot_be_written_has_none() -> None:
    elsewhere = ModelSpec("m", ("b",), runs=Q8)
    others = (wanted("m", engine=EngineKind.OLLAMA, runs=Q8), wanted("m", ensure=Ensure.ABSENT, runs=Q8), wanted("a]b", runs=Q8))
    assert text(router(*ROUTER), elsewhere, *others) is None


def test_a_router_with_a_preset_of_its_own_and_what_is_no_router_get_none() -> None:
    asks = wanted("m", runs=Q8)
    assert text(router(*ROUTER), asks) is not None
    assert text(router(*ROUTER, "--models-preset=/my.ini"), asks) is None
    assert text(router(*ROUTER, env={"LLAMA_ARG_MODELS_PRESET": "/my.ini"}), asks) is None
    assert text(router(), asks) is None
    assert text(router(*ROUTER, kind=EngineKind.OLLAMA), asks) is None
