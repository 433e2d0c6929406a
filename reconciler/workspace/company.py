"""`with` and `never_with` of all models together: whom they name, and what cannot be both."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.fleet import Ensure, ModelSpec
from reconciler.workspace.models import NEVER_WITH, WITH, DeclaredModel
from reconciler.workspace.problems import Problems, did_you_mean


def check_company(models: Sequence[tuple[DeclaredModel, ModelSpec]], problems: Problems) -> None:
    """Every name is a model that is to be loaded, no pair is to be together and apart, and what must be beside another goes in no ring."""
    loaded = {spec.name: spec for _, spec in models if spec.ensure is Ensure.LOADED}
    for declared, spec in models:
        for field, names in ((WITH, spec.with_models), (NEVER_WITH, spec.never_with)):
            for name in names:
                where = declared.node_of(field)
                if name == spec.name:
                    hint = "`spread: gpu` keeps its own replicas apart"
                    problems.error(f"model {spec.name!r} names itself in `{field.key}`", where, hint)
                elif name not in loaded:
                    what = f"model {spec.name!r}: `{field.key}` names {name!r}, which is no model of these files that is to be loaded"
                    problems.error(what, where, did_you_mean(name, loaded.keys() - {spec.name}))
        apart = {*spec.never_with, *(other.name for other in loaded.values() if spec.name in other.never_with)}
        for name in sorted(apart & set(spec.with_models)):
            what = f"model {spec.name!r} is to be on a card with {name!r}, and never on one with it"
            problems.error(what, declared.node_of(WITH), "keep one of the two")
        if spec.name not in spec.with_models and spec.name in _reached(spec, loaded):
            what = f"model {spec.name!r} is to be beside others that are to be beside it"
            problems.error(what, declared.node_of(WITH), "take `with` out of one of them: whatever is beside the other is beside it too")


def _reached(model: ModelSpec, by_name: dict[str, ModelSpec]) -> set[str]:
    found: set[str] = set()
    left = [*model.with_models]
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left += by_name[name].with_models if name in by_name else ()
    return found
