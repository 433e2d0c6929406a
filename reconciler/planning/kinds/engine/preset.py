"""The preset of a llama.cpp router that gpurec starts in a container: how each model that may be there is to be run, as a file of its own.

Its form is that of `--models-preset` (llama.cpp, tools/server/README.md): a section a model, by the name that the router gives it; the
options are those of its command line without their dashes. What the router's own command line says goes before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from reconciler.fleet import ContainerFile, EngineKind, EngineSpec, Ensure, ModelSpec, Scalar, gets_preset

PRESET_PATH = "/etc/gpurec/models.ini"


def preset_of(engine: EngineSpec, models: Iterable[ModelSpec]) -> tuple[Sequence[ContainerFile], tuple[str, ...]]:
    """The file and the arguments that name it; neither where the engine has a preset of its own, or no model asks for anything."""
    if not gets_preset(engine):
        return (), ()
    sections = {name: lines for model in models if (name := _name(engine, model)) is not None and (lines := dict(_lines(model)))}
    if not sections:
        return (), ()
    parts = [f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in lines.items()) for name, lines in sorted(sections.items())]
    return (ContainerFile(PRESET_PATH, "\n".join(["version = 1\n", *parts])),), ("--models-preset", PRESET_PATH)


def preset_sections(file: ContainerFile) -> Sequence[str]:
    """The models that a preset names."""
    return [line[1:-1] for line in str(file.content).splitlines() if line.startswith("[")]


def _name(engine: EngineSpec, model: ModelSpec) -> str | None:
    """The model's name there, where it may be there and the form of the file can hold it."""
    if model.engine not in (None, EngineKind.LLAMACPP) or engine.id.node not in model.nodes or model.ensure is Ensure.ABSENT:
        return None
    name = model.base_name(EngineKind.LLAMACPP)
    return name if name.isprintable() and not set(name) & set("[]=;#") else None


def _lines(model: ModelSpec) -> Iterator[tuple[str, Scalar]]:
    if model.wanted_context is not None:
        yield "ctx-size", model.wanted_context * (model.runs.parallel or 1)
    for name, *_, value in model.runs.arguments(EngineKind.LLAMACPP):
        yield name.removeprefix("--"), value
    own: Mapping[str, Scalar] = model.options if model.engine is EngineKind.LLAMACPP else {}
    for key, option in sorted(own.items()):
        yield key.lstrip("-").replace("_", "-"), int(option) if isinstance(option, bool) else option
