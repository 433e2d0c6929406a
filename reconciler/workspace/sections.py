"""Keys of the desired state that belong to kinds of resources beside models, each read by a form of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import field, replace
from pathlib import Path
from typing import Any

from reconciler.fleet import Fleet, Section
from reconciler.rendering import Template
from reconciler.rendering.library import PREFIX, built_in, built_in_names
from reconciler.value_class import value_class
from reconciler.workspace.files import Sources
from reconciler.workspace.inventory import Inventory
from reconciler.workspace.problems import Problems, Refused, did_you_mean
from reconciler.workspace.tree import Node, is_null


@value_class
class SectionContext:
    """What reading a section may need beside its node. Without an inventory or a fleet (because it is wrong) names are not checked.
    `siblings` are the nodes of all keys of the desired state."""

    sources: Sources
    problems: Problems
    inventory: Inventory | None = None
    fleet: Fleet | None = None
    siblings: Mapping[str, Node] = field(default_factory=dict)

    def template(self, name: str, node: Node) -> Template:
        """A file of `templates/`, which counts for the config digest, or one that comes with gpurec. Refuses one that is not there."""
        if name.startswith(PREFIX):
            plain = name.removeprefix(PREFIX)
            found = built_in(plain)
            if found is None:
                raise self.problems.refuse(f"there is no built-in template {plain!r}", node, did_you_mean(plain, built_in_names()))
            return found
        path = Path("templates") / name
        if path.is_absolute() or ".." in path.parts:
            raise self.problems.refuse(f"{name!r} is no file of templates/", node, "write its path below templates/")
        text = self.sources.text(path, node)
        if text is None:
            raise Refused
        return Template(self.sources.name(path), text)


@value_class
class SectionForm:
    """A section, how its node is read, its JSON Schema, and a sentence for whoever writes it in an editor. `read` reports to the context's
    problems, and raises Refused."""

    section: Section[Any]
    read: Callable[[Node, SectionContext], object]
    schema: Mapping[str, object]
    says: str = ""


def read_sections(nodes: Mapping[str, Node], forms: Iterable[SectionForm], context: SectionContext) -> dict[str, object]:
    """What the files say of each section that they have."""
    context = replace(context, siblings=nodes)
    found: dict[str, object] = {}
    for form in forms:
        node = nodes.get(form.section.key)
        if node is None or is_null(node):
            continue
        try:
            found[form.section.key] = form.read(node, context)
        except Refused:
            continue
    return found
