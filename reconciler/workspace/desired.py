"""The desired state: one or several files merged, models resolved against the inventory."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import fields

from reconciler.fleet import (
    NO_LIMITS,
    ONLY_LOAD,
    Desired,
    EngineKind,
    Ensure,
    Fleet,
    ModelSpec,
    Place,
    Policy,
    Solver,
    Strategy,
    Weights,
    WorkspaceError,
    canonical_name,
)
from reconciler.workspace.agents import AGENT_TYPES_FORM, AGENTS_FORM, SERVICES_FORM
from reconciler.workspace.company import check_company
from reconciler.workspace.file_specs import FILES_FORM
from reconciler.workspace.forms import Form, choice, label, list_of, number
from reconciler.workspace.inventory import Inventory
from reconciler.workspace.limits import limits
from reconciler.workspace.models import ALIASES, FALLBACK, MODEL, PREFER, DeclaredModel, read_model
from reconciler.workspace.policy import policy
from reconciler.workspace.problems import Problems, Refused, did_you_mean
from reconciler.workspace.sections import SectionContext, SectionForm, read_sections
from reconciler.workspace.table import Field, Table
from reconciler.workspace.tree import ListNode, MapNode, Node, ScalarNode, is_null, kind_of, what_is

VERSION_KEY = "version"
_MERGED = ("models", "agents", "services", "agent_types", "limits", "policy", "placement")


STRATEGY = Field(
    "strategy",
    choice(Strategy),
    says="Which card with room is taken: the least loaded (default), the fullest, the next in turn, the coolest, or by `weights`.",
)
SOLVER = Field(
    "solver",
    choice(Solver),
    says="`exact` goes on with HiGHS from what `builtin` (default) found, and says what it proved; needs the extra gpurec[exact].",
)
_WEIGHED = {
    "load": "How full its fullest card is.",
    "temperature": "How warm its cards are.",
    "utilisation": "How busy its cards are.",
    "speed": "How slow its cards are.",
    "cost": "What its node costs, against the dearest.",
}
WEIGHED = tuple(Field(one.name, number, says=_WEIGHED[one.name]) for one in fields(Weights))
WEIGHTS_TABLE = Table("weights", WEIGHED)


def _weights(node: Node, problems: Problems, name: str) -> Weights:
    values = WEIGHTS_TABLE.read(node, problems, name)
    given = {field.key: found for field in WEIGHED if (found := values.get(field)) is not None}
    if given and not any(given.values()):
        raise problems.refuse(f"{name}: nothing counts", node, "give one of them a weight above 0")
    return Weights(**{field.key: given.get(field.key, 0.0) for field in WEIGHED}) if given else ONLY_LOAD


WEIGHTS = Field(
    "weights",
    Form(_weights, WEIGHTS_TABLE.schema()),
    says="For `strategy: weighted`: how much each of these counts; what is not named counts 0.",
)
PLACEMENT = Table("placement", (STRATEGY, SOLVER, WEIGHTS))


def _version(node: Node, problems: Problems, name: str) -> int:
    if not isinstance(node, ScalarNode) or node.value != 1 or isinstance(node.value, bool):
        raise problems.refuse(f"{name} must be 1, this is {what_is(node)}", node, "write `version: 1`")
    return 1


def _placement(node: Node, problems: Problems, name: str) -> tuple[Strategy, Solver, Weights]:
    read = PLACEMENT.read(node, problems, name)
    strategy = read.get(STRATEGY) or Strategy.LEAST_LOADED
    if WEIGHTS in read and strategy is not Strategy.WEIGHTED:
        raise problems.refuse(f"{name} has weights, and its strategy is {strategy}", read.nodes[WEIGHTS.key], "write strategy: weighted")
    return strategy, read.get(SOLVER) or Solver.BUILTIN, read.get(WEIGHTS) or ONLY_LOAD


def _as_it_stands(node: Node, problems: Problems, name: str) -> Node:
    return node


VERSION = Field(VERSION_KEY, Form(_version, {"const": 1}), says="The form of these files; of several files at least one has it.")
LIMITS_FIELD = Field(
    "limits", limits, says="How much of each card and of each node's RAM may be used, unless a node or a card says otherwise."
)
PLACEMENT_FIELD = Field("placement", Form(_placement, PLACEMENT.schema()), says="How places are chosen.")
POLICY_FIELD = Field("policy", policy, says="What plans and applies may do to the fleet; all of it is off or harmless by default.")
_models_schema = {"type": "object", "additionalProperties": {"anyOf": [MODEL.schema(), {"type": "null"}]}}
MODELS = Field("models", Form(_as_it_stands, _models_schema), says="The models that are wanted, by name.")
PRIORITIES = Field(
    "priority_models",
    Form(_as_it_stands, list_of(label).schema),
    says="Models, the most important first: the i-th, counted from 0, has priority 1000 - i. One that is only here has all defaults.",
)

SECTIONS: tuple[SectionForm, ...] = (SERVICES_FORM, AGENTS_FORM, AGENT_TYPES_FORM, FILES_FORM)
"""The keys of other kinds of resources."""


def desired_table(sections: Sequence[SectionForm] = SECTIONS) -> Table:
    """All keys of a desired state."""
    others = [Field(one.section.key, Form(_as_it_stands, dict(one.schema)), says=one.says) for one in sections]
    return Table("desired state", (VERSION, PLACEMENT_FIELD, LIMITS_FIELD, POLICY_FIELD, PRIORITIES, MODELS, *others))


def read_desired(root: MapNode | None, context: SectionContext, sections: Sequence[SectionForm] = SECTIONS) -> Desired:
    """What `merge_layers` made of the files as a value."""
    problems = context.problems
    if root is None:
        return Desired(models=())
    values = desired_table(sections).read(root, problems, "the desired state")
    declared = list(_declared(values.get(PRIORITIES), values.get(MODELS), problems))
    resolver = _Resolver(context.inventory, context.fleet, problems)
    models = [(one, one.spec(resolver.nodes(one), problems, resolver.preferred(one))) for one in declared]
    _check_spellings(models, problems)
    _check_gateway_names(models, problems)
    check_company(models, problems)
    strategy, solver, weights = values.get(PLACEMENT_FIELD) or (Strategy.LEAST_LOADED, Solver.BUILTIN, ONLY_LOAD)
    return Desired(
        models=tuple(spec for _, spec in models),
        limits=values.get(LIMITS_FIELD) or NO_LIMITS,
        strategy=strategy,
        weights=weights,
        solver=solver,
        policy=values.get(POLICY_FIELD) or Policy(),
        sections=read_sections(values.nodes, sections, context),
    )


def _merge(roots: Iterable[tuple[str, Node | None]], problems: Problems) -> MapNode | None:
    """One mapping of the files of a layer, None where none can be read. The entries of models, agents, services, limits, policy and
    placement are put together; what is there twice is an error."""
    merged: MapNode | None = None
    for file, root in roots:
        if is_null(root):
            problems.error("this desired state is empty", Place(file), "write `version: 1` and `models:`")
            continue
        if not isinstance(root, MapNode):
            assert root is not None
            problems.error(f"a desired state is a mapping, this is {kind_of(root)}", root, "begin with `version: 1`")
            continue
        if merged is None:
            merged = MapNode(file, 1, 1)
        for word, (key, node) in root.entries.items():
            earlier = merged.entries.get(word)
            if earlier is None or is_null(earlier[1]):
                copied = MapNode(node.file, node.line, node.column, dict(node.entries)) if isinstance(node, MapNode) else node
                merged.entries[word] = (key, copied)
            elif word == VERSION_KEY:
                _check_version(node, problems)
            elif word in _MERGED and isinstance(earlier[1], MapNode) and isinstance(node, MapNode):
                _put_together(earlier[1].entries, node, str(word), problems)
            elif not is_null(node):
                problems.error(f"key {key.text!r} is defined twice, first at {earlier[0].place}", key, "keep one of the two")
    return merged


def merge_layers(layers: Iterable[Iterable[tuple[str, Node | None]]], problems: Problems) -> MapNode | None:
    """All layers of files as one mapping, each over the ones before it; None where no file can be read. What a later one says of a key
    counts, mappings are put over each other key by key, lists are replaced. A `version` that no file has is an error."""
    merged: MapNode | None = None
    for roots in layers:
        layer = _merge(roots, problems)
        if merged is None:
            merged = layer
        elif layer is not None:
            _put_over(merged, layer)
    if merged is not None and is_null(merged.get(VERSION_KEY)):
        problems.error("the desired state has no `version`", merged, "write `version: 1` as its first line")
    return merged


_INSTEAD = {"each": "replicas", "replicas": "each"}
"""Keys of which a model or an agent has one: the one of a later layer takes the place of the other."""


def _put_over(below: MapNode, above: MapNode) -> None:
    for word, (key, node) in above.entries.items():
        if word in _INSTEAD and not is_null(node) and _INSTEAD[word] not in above.entries:
            below.entries.pop(_INSTEAD[word], None)
        earlier = below.entries.get(word)
        if earlier is not None and isinstance(earlier[1], MapNode) and isinstance(node, MapNode) and earlier[1].tag is node.tag is None:
            copied = MapNode(node.file, node.line, node.column, dict(earlier[1].entries))
            _put_over(copied, node)
            below.entries[word] = (key, copied)
        elif earlier is None or not is_null(node):
            below.entries[word] = (key, node)


def _check_version(node: Node, problems: Problems) -> None:
    try:
        _version(node, problems, repr(VERSION_KEY))
    except Refused:
        return


def _put_together(into: dict[Hashable, tuple[ScalarNode, Node]], node: MapNode, section: str, problems: Problems) -> None:
    for word, (key, value) in node.entries.items():
        if word in into:
            problems.error(f"key {key.text!r} of {section} is defined twice, first at {into[word][0].place}", key, "keep one of the two")
        else:
            into[word] = (key, value)


def _declared(priorities: Node | None, models: Node | None, problems: Problems) -> Iterable[DeclaredModel]:
    """The models of priority_models in their order, then the others in file order."""
    entries: dict[str, tuple[ScalarNode, Node]] = {}
    if isinstance(models, MapNode):
        entries = {key.text if not isinstance(word, str) else word: (key, node) for word, (key, node) in models.entries.items()}
    elif not is_null(models) and models is not None:
        problems.error(f"models must be a mapping, this is {what_is(models)}", models, "write `NAME:` lines under `models:`")
    listed: dict[str, ScalarNode] = {}
    for item in _items(priorities, problems):
        try:
            name = label.read(item, problems, "an item of 'priority_models'")
        except Refused:
            continue
        if name in listed:
            problems.error(f"model {name!r} is twice in priority_models, first at {listed[name].place}", item, "keep one of the two")
            continue
        assert isinstance(item, ScalarNode)
        key, node = entries.pop(name, (item, None))
        listed[name] = item
        model = read_model(key, node, len(listed) - 1, problems)
        if model is not None:
            yield model
    for key, node in entries.values():
        model = read_model(key, node, None, problems)
        if model is not None:
            yield model


def _items(node: Node | None, problems: Problems) -> list[Node]:
    if node is None or is_null(node):
        return []
    if not isinstance(node, ListNode):
        problems.error(f"'priority_models' must be a list, this is {what_is(node)}", node, "write it as [NAME, NAME]")
        return []
    return node.items


class _Resolver:
    """Patterns to nodes, with the check that an engine of the right kind stands on one of them; both once a pattern."""

    def __init__(self, inventory: Inventory | None, fleet: Fleet | None, problems: Problems) -> None:
        self._inventory = inventory
        self._fleet = fleet
        self._problems = problems
        self._kinds: dict[str, frozenset[EngineKind]] = {}

    def nodes(self, model: DeclaredModel) -> tuple[str, ...]:
        if self._inventory is None:
            return ()
        try:
            found = self._inventory.match(model.on)
        except WorkspaceError as error:
            problem = error.problems[0]
            self._problems.error(f"model {model.name!r}: {problem.what}", model.on_node, problem.hint)
            return ()
        if not found:
            hint = "write a pattern that names at least one host"
            self._problems.error(f"model {model.name!r}: the pattern {model.on!r} leaves no host", model.on_node, hint)
        elif self._fleet is not None and not self._kinds_on(model.on, found, self._fleet) & set(model.kinds):
            kind = f"of kind {model.kinds[0]} " if len(model.kinds) == 1 else ""
            self._problems.error(
                f"model {model.name!r} has no engine {kind}on any of the {len(found)} hosts of {model.on!r}",
                model.on_node,
                "declare one under `engines:` of such a host, or change the model's `engine` or `on`",
            )
        return found

    def preferred(self, model: DeclaredModel) -> tuple[frozenset[str], ...]:
        """The nodes of each pattern of `prefer`."""
        found: list[frozenset[str]] = []
        for pattern in model.preferred if self._inventory is not None else ():
            try:
                found.append(frozenset(self._inventory.match(pattern)) if self._inventory is not None else frozenset())
            except WorkspaceError as error:
                problem = error.problems[0]
                self._problems.error(f"model {model.name!r}: {problem.what}", model.node_of(PREFER), problem.hint)
        return tuple(found)

    def _kinds_on(self, pattern: str, nodes: tuple[str, ...], fleet: Fleet) -> frozenset[EngineKind]:
        kept = self._kinds.get(pattern)
        if kept is None:
            kept = self._kinds[pattern] = frozenset(engine.kind for node in nodes for engine in fleet.nodes[node].engines)
        return kept


def _check_gateway_names(models: list[tuple[DeclaredModel, ModelSpec]], problems: Problems) -> None:
    """A gateway knows each name once, and falls back only to what is there."""
    wanted = {spec.name for _, spec in models if spec.ensure is not Ensure.ABSENT}
    named: dict[str, str] = {spec.name: spec.name for _, spec in models}
    for declared, spec in models:
        for alias in spec.aliases:
            other = named.setdefault(alias, spec.name)
            if other != spec.name or alias == spec.name:
                what = f"the alias {alias!r} of model {spec.name!r} is a name of {'itself' if other == spec.name else repr(other)} already"
                problems.error(what, declared.node_of(ALIASES), "give each model names of its own")
        for name in spec.fallback:
            if name == spec.name or name not in wanted:
                itself = name == spec.name
                what = "falls back to itself" if itself else f"falls back to {name!r}, which is no model of these files"
                hint = "take it out of `fallback`" if itself else did_you_mean(name, wanted - {spec.name})
                problems.error(f"model {spec.name!r} {what}", declared.node_of(FALLBACK), hint)
        if len(set(spec.fallback)) != len(spec.fallback) or len(set(spec.aliases)) != len(spec.aliases):
            problems.error(f"model {spec.name!r} has a name twice among its aliases or fallbacks", declared.key, "keep one of the two")


def _check_spellings(models: list[tuple[DeclaredModel, ModelSpec]], problems: Problems) -> None:
    """Two models that are one on an engine: by two spellings of a name anywhere, or by `names` where both could be on one node."""
    same: dict[tuple[EngineKind, str], list[tuple[DeclaredModel, ModelSpec]]] = defaultdict(list)
    for declared, spec in models:
        for kind in declared.kinds:
            if kind is EngineKind.OLLAMA and declared.own_spelling:
                same[kind, canonical_name(kind, spec.name)].append((declared, spec))
                continue
            for one in spec.alternatives():
                same[kind, one.engine_name(kind)].append((declared, spec))
    told: set[frozenset[str]] = set()
    for (kind, name), sharing in same.items():
        first, first_spec = sharing[0]
        for other, other_spec in sharing[1:]:
            if other is first:
                problems.error(f"two variants of model {first.name!r} are both {name!r} on {kind}", first.key, "keep one of the two")
                continue
            pair = frozenset((first.name, other.name))
            by_spelling = first.own_spelling and other.own_spelling
            if pair in told or not (by_spelling or not set(first_spec.nodes).isdisjoint(other_spec.nodes)):
                continue
            told.add(pair)
            problems.error(
                f"models {first.name!r} and {other.name!r} are both {name!r} on {kind}, the first at {first.key.place}",
                other.key,
                "keep one of the two, or give them disjoint hosts with `on`" if not by_spelling else "keep one of the two spellings",
            )
