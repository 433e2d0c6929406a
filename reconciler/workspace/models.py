"""One model of the desired state: its keys, their defaults, and which of them exclude each other."""

from __future__ import annotations

import re

from reconciler.fleet import (
    ALWAYS,
    FOREVER,
    ContextVia,
    Each,
    EngineKind,
    Ensure,
    ModelSpec,
    Prefer,
    Requirements,
    Residency,
    Spread,
    UnitError,
    Variant,
    Verify,
    parse_duration,
)
from reconciler.workspace.forms import (
    MOST_SECONDS,
    Form,
    any_scalar,
    choice,
    flag,
    integer,
    label,
    list_of,
    map_of,
    number,
    ratio,
    scalar,
    text,
    vram,
    vram_mebibytes,
)
from reconciler.workspace.lock import digest
from reconciler.workspace.problems import Problems, Refused
from reconciler.workspace.requires import requires
from reconciler.workspace.rollout import MAX_UNAVAILABLE, ORDER, UPDATE, check_rollout, rollout_of
from reconciler.workspace.run_options import RUN_FIELDS, check_runs, runs_of
from reconciler.workspace.table import Field, Table, Values
from reconciler.workspace.tree import MapNode, Node, ScalarNode
from reconciler.workspace.variants import variants
from reconciler.workspace.when import when

MOST_REPLICAS = 1_000_000
MOST_CONTEXT = 2**31 - 1


def _keep_alive(node: Node, problems: Problems, name: str) -> float:
    """-1 (and any negative number or duration, as Ollama's api/types.go has it) is for ever."""
    found = scalar(node, problems, name, "-1, a duration or a number of seconds")
    if not isinstance(found.value, bool) and re.fullmatch(r"-[0-9]+(\.[0-9]+)?(ms|s|m|h)?", found.text.strip()):
        return FOREVER
    try:
        seconds = parse_duration(found.value)
    except OverflowError:
        seconds = MOST_SECONDS + 1
    except UnitError as error:
        raise problems.refuse(f"{name}: {error.args[0]}", node, "write -1 for ever, a duration such as 24h, or seconds") from None
    if seconds > MOST_SECONDS:
        raise problems.refuse(f"{name} is too long", node, "write -1 for ever")
    return seconds


_NAMES = {kind: Field(str(kind), label, says=f"Its name on an engine of kind {kind}.") for kind in EngineKind if kind.serves_models}
NAMES_TABLE = Table("names", _NAMES.values())


def _names(node: Node, problems: Problems, name: str) -> dict[EngineKind, str]:
    values = NAMES_TABLE.read(node, problems, name)
    return {kind: found for kind, entry in _NAMES.items() if (found := values.get(entry)) is not None}


_engine_kinds = choice(EngineKind)


def _engine_kind(node: Node, problems: Problems, name: str) -> EngineKind:
    kind = _engine_kinds.read(node, problems, name)
    if not kind.serves_models:
        what = f"{name} cannot be {kind.value!r}: a service serves no model that gpurec knows"
        raise problems.refuse(what, node, "write `openai` where it lists /v1/models")
    return kind


ENGINE = Field(
    "engine",
    Form(_engine_kind, _engine_kinds.schema),
    says="The kind of engine that serves it; unset: any that can.",
    meant="backend kind type runtime server provider",
)
NAMES = Field(
    "names",
    Form(_names, NAMES_TABLE.schema()),
    says="Its name on each kind of engine; the default is its own name.",
    meant="aliases alias",
    not_with=("variants",),
)
ENSURE = Field(
    "ensure",
    choice(Ensure),
    says="`loaded` (default): resident; `present`: installed, and loaded on demand; `absent`: deleted from the disks of its hosts.",
    meant="state status desired",
)
PRIORITY = Field(
    "priority",
    integer(-1_000_000, 1_000_000),
    says="Higher goes first, and displaces lower ones; the default is 0.",
    meant="prio weight importance rank",
)
ON = Field(
    "on",
    text,
    says="Pattern of the hosts where it may be, as Ansible has them; the default is all.",
    meant="nodes node hosts host group groups where target targets placement",
)
REPLICAS = Field(
    "replicas",
    integer(0, MOST_REPLICAS),
    says="On how many engines it is; the default is 1.",
    meant="count instances copies number replica replica_count",
    not_with=("each",),
)
EACH = Field(
    "each",
    choice(Each),
    says="One replica for each node, card or engine that can have one, instead of a number.",
    meant="per for_each",
    not_with=("replicas",),
)
SPREAD = Field(
    "spread", choice(Spread), says="Whether its replicas must be on different nodes or cards; unset: different nodes where that can be."
)
CONTEXT = Field(
    "context",
    integer(1, MOST_CONTEXT),
    says="Tokens that one request may use; unset: the engine's own.",
    meant="num_ctx n_ctx ctx ctx_size context_length context_size max_context max_model_len max_tokens window",
)
CONTEXT_VIA = Field(
    "context_via",
    choice(ContextVia),
    says="Who keeps the context on an Ollama: a derived tag (default), the load request, or the server's own setting.",
)
OPTIONS = Field(
    "options",
    map_of(any_scalar),
    says="Runner options of Ollama, or arguments of a server that gpurec starts.",
    meant="args arguments params parameters settings",
)
KEEP_ALIVE = Field(
    "keep_alive",
    Form(_keep_alive, {"type": ["string", "number"], "description": "-1, 24h, or seconds"}),
    says="How long it stays after a request; -1 is for ever, and the default of `ensure: loaded`.",
    meant="keepalive",
)
RESIDENCY = Field(
    "residency", choice(Residency), says="Where it may be: on a card (default), on a card or else the CPU, or on the CPU.", meant="device"
)
FRACTION = Field(
    "min_gpu_fraction",
    ratio,
    says="The least share of it that must be on the card; less is drift `cpu_fallback`.",
    meant="gpu_fraction min_fraction",
)
REQUIRES_FIELD = Field(
    "requires",
    requires,
    says="What a card or its node must have.",
    meant="requirements constraints selector node_selector nodeselector",
)
VRAM = Field(
    "vram",
    vram,
    says="What it holds, on a card or in RAM; wins over every estimate.",
    mib_keys=("vram_mb",),
    mib_form=vram_mebibytes,
    meant="memory mem size vram_bytes gpu_memory vram_gb required_vram",
)
BEST_EFFORT = Field("best_effort", flag, says="Whether it is no failure that it has no place; the default is false.", meant="optional")
DIGEST = Field(
    "digest",
    digest,
    says="Pins the weights, as sha256:HEX.",
    meant="sha sha256 hash checksum",
    not_with=("variants",),
)
PROTECT = Field(
    "protect",
    flag,
    says="Whether no plan ever takes a replica of it away; the default is false.",
    meant="protected keep pinned",
)
VARIANTS = Field("variants", variants, says="Forms of the model, best first, of which the first that fits is placed.")
WHEN_FIELD = Field(
    "when", when, says="At which hours, and where how much room, it is wanted; unset: always.", meant="condition conditions schedule hours"
)

ALIASES = Field("aliases", list_of(label), says="Further names that gateways answer to.", meant="alias served_model_names")
FALLBACK = Field("fallback", list_of(label), says="Models of these files that stand in for it, in gateways only.", meant="fallbacks")

WITH = Field("with", list_of(label), says="Models beside which alone it is on a card.", meant="with_models affinity beside together")
NEVER_WITH = Field("never_with", list_of(label), says="Models with which it is on no card.", meant="anti_affinity not_with apart without")

_SPEED = "speed"


def _prefer(node: Node, problems: Problems, name: str) -> tuple[str, ...] | str:
    if isinstance(node, ScalarNode):
        word = text.read(node, problems, name)
        if word != _SPEED:
            raise problems.refuse(f"{name} cannot be {word!r}", node, f"write `speed`, or patterns of hosts as a list: [{word}]")
        return word
    return list_of(text).read(node, problems, name)


_prefer_schema = {"anyOf": [{"const": _SPEED}, list_of(text).schema]}
PREFER: Field[tuple[str, ...] | str] = Field(
    "prefer",
    Form(_prefer, _prefer_schema),
    says="Where it goes first if there is a choice: patterns of hosts in their order, or `speed`.",
    meant="preferred preference prefer_nodes",
)
VECTOR = Field("embedding_length", integer(1, 2**20), says="Numbers in one of its embeddings.")
SPEED = Field("min_tokens_per_second", number, says="The least tokens a second that it must write.")
VERIFY = Table("verify", (VECTOR, SPEED))


def _verify(node: Node, problems: Problems, name: str) -> Verify:
    values = VERIFY.read(node, problems, name)
    if VECTOR in values and SPEED in values:
        raise problems.refuse(f"{name}: a model either embeds or writes", node, "write embedding_length, or min_tokens_per_second")
    return Verify(values.get(VECTOR), values.get(SPEED))


VERIFY_FIELD = Field(
    "verify", Form(_verify, VERIFY.schema()), says="What is asked of it after a load, so that the step fails where it answers wrongly."
)

MODEL = Table(
    "model",
    (
        ENGINE, NAMES, ENSURE, PRIORITY, ON, REPLICAS, EACH, SPREAD, CONTEXT, CONTEXT_VIA, OPTIONS, KEEP_ALIVE, RESIDENCY, FRACTION,
        REQUIRES_FIELD, VRAM, BEST_EFFORT, DIGEST, PROTECT, VARIANTS, VERIFY_FIELD, ALIASES, FALLBACK,
        WHEN_FIELD, WITH, NEVER_WITH, PREFER, *RUN_FIELDS, MAX_UNAVAILABLE, ORDER, UPDATE,
    ),
)  # fmt: skip


class DeclaredModel:
    """A model as the files have it, before its pattern is resolved. `on` is the pattern with the node that errors about it name."""

    def __init__(self, name: str, key: ScalarNode, values: Values | None, listed: int | None) -> None:
        self.name = name
        self.key = key
        self.on = (values.get(ON) if values is not None else None) or "all"
        self.on_node: Node = values.nodes.get(ON.key, key) if values is not None else key
        self._values = values if values is not None else Values(MapNode(key.file, key.line, key.column))
        self._listed = listed

    @property
    def kinds(self) -> tuple[EngineKind, ...]:
        """The engine kinds that may serve it."""
        kind = self._values.get(ENGINE)
        return (kind,) if kind is not None else tuple(one for one in EngineKind if one.serves_models)

    @property
    def own_spelling(self) -> bool:
        """Whether its name on Ollama is its own name."""
        return not self.variants and EngineKind.OLLAMA not in (self._values.get(NAMES) or {})

    @property
    def preferred(self) -> tuple[str, ...]:
        """The patterns of its `prefer`."""
        found = self._values.get(PREFER)
        return found if isinstance(found, tuple) else ()

    def spec(self, nodes: tuple[str, ...], problems: Problems, preferred: tuple[frozenset[str], ...] = ()) -> ModelSpec:
        """The model with defaults; contradictions among its keys are reported."""
        values = self._values
        self._check(problems)
        ensure = values.get(ENSURE) or Ensure.LOADED
        residency = values.get(RESIDENCY) or Residency.GPU
        fraction = values.get(FRACTION)
        keep_alive = values.get(KEEP_ALIVE)
        each = values.get(EACH)
        replicas = values.get(REPLICAS)
        return ModelSpec(
            name=self.name,
            nodes=nodes,
            on=self.on,
            engine=values.get(ENGINE),
            names=values.get(NAMES) or {},
            ensure=ensure,
            priority=1000 - self._listed if self._listed is not None else values.get(PRIORITY) or 0,
            replicas=None if each is not None else 1 if replicas is None else replicas,
            each=each,
            spread=values.get(SPREAD) or Spread.NODE,
            spread_hard=values.get(SPREAD) is not None,
            context=values.get(CONTEXT),
            context_via=values.get(CONTEXT_VIA) or ContextVia.TAG,
            options=values.get(OPTIONS) or {},
            keep_alive=keep_alive if keep_alive is not None else FOREVER if ensure is Ensure.LOADED else None,
            residency=residency,
            min_gpu_fraction=float(fraction) if fraction is not None else 1.0 if residency is Residency.GPU else 0.0,
            requires=values.get(REQUIRES_FIELD) or Requirements(),
            vram=values.get(VRAM),
            best_effort=bool(values.get(BEST_EFFORT)),
            digest=values.get(DIGEST),
            protect=bool(values.get(PROTECT)),
            variants=values.get(VARIANTS) or (),
            verify=values.get(VERIFY_FIELD) or Verify(),
            aliases=values.get(ALIASES) or (),
            fallback=values.get(FALLBACK) or (),
            with_models=values.get(WITH) or (),
            never_with=values.get(NEVER_WITH) or (),
            prefer=Prefer(preferred, values.get(PREFER) == _SPEED),
            when=values.get(WHEN_FIELD) or ALWAYS,
            runs=runs_of(values),
            rollout=rollout_of(values),
        )

    def _check(self, problems: Problems) -> None:
        values, name = self._values, f"model {self.name!r}"
        if REPLICAS in values and EACH in values:
            problems.error(
                f"{name} has both `replicas` and `each`", values.nodes[EACH.key], "keep one: a number of replicas, or one for each place"
            )
        for field in (PROTECT, REPLICAS, EACH, VARIANTS) if values.get(ENSURE) is Ensure.ABSENT else ():
            if values.get(field):
                hint = "remove it, or the model's `ensure: absent`"
                problems.error(f"{name} is to be deleted on all its hosts and has `{field.key}`", values.nodes[field.key], hint)
        keep_alive = values.get(KEEP_ALIVE)
        if keep_alive is not None and keep_alive != FOREVER and values.get(ENSURE) in (None, Ensure.LOADED):
            problems.error(
                f"{name} must stay loaded, and its keep_alive ends",
                values.nodes[KEEP_ALIVE.key],
                "write keep_alive: -1, or ensure: present to let the engine load it on demand",
            )
        self._check_variants(problems)
        self._check_when(problems)
        self._check_company(problems)
        check_rollout(name, values, problems, loaded=values.get(ENSURE) in (None, Ensure.LOADED), verified=VERIFY_FIELD in values)
        if VERIFY_FIELD in values and values.get(ENSURE) is Ensure.PRESENT:
            problems.error(
                f"{name} is verified after a load, and is only to be present", values.nodes[VERIFY_FIELD.key], "remove one of the two"
            )
        fraction = values.get(FRACTION)
        if values.get(RESIDENCY) is Residency.CPU and fraction:
            problems.error(f"{name} belongs on the CPU and has a min_gpu_fraction", values.nodes[FRACTION.key], "remove one of the two")
        if self._listed is not None and PRIORITY in values and values.get(PRIORITY) != 1000 - self._listed:
            problems.warn(
                f"{name} is in priority_models, so its own priority does not count", values.nodes[PRIORITY.key], "remove one of the two"
            )
        kind = values.get(ENGINE)
        check_runs(
            name,
            values,
            kind,
            problems,
            present=values.get(ENSURE) is Ensure.PRESENT,
            keeps_alive=KEEP_ALIVE in values,
            on_cpu=values.get(RESIDENCY) is Residency.CPU,
        )
        if CONTEXT_VIA in values and kind is not None and kind is not EngineKind.OLLAMA:
            problems.warn(
                f"{name}: context_via matters for Ollama only, this model is on {kind}", values.nodes[CONTEXT_VIA.key], "remove it"
            )

    def _check_company(self, problems: Problems) -> None:
        values, name = self._values, f"model {self.name!r}"
        for field in (WITH, NEVER_WITH):
            if not values.get(field):
                continue
            if values.get(ENSURE) in (Ensure.PRESENT, Ensure.ABSENT):
                hint = "remove it, or write ensure: loaded"
                problems.error(f"{name} has `{field.key}`, and is not to be loaded by gpurec", values.nodes[field.key], hint)
            if values.get(RESIDENCY) is Residency.CPU:
                problems.error(f"{name} belongs on the CPU, and has `{field.key}`", values.nodes[field.key], "remove one of the two")

    def _check_when(self, problems: Problems) -> None:
        values, name = self._values, f"model {self.name!r}"
        found = values.get(WHEN_FIELD)
        if found is None:
            return
        at = values.nodes[WHEN_FIELD.key]
        if values.get(ENSURE) in (Ensure.PRESENT, Ensure.ABSENT):
            problems.error(f"{name} has `when`, and is not to be loaded by gpurec", at, "remove it, or write ensure: loaded")
        if found.hours is not None and values.get(PROTECT):
            problems.error(f"{name} is never to be taken away, and only wanted at some hours", at, "remove `protect`, or the hours")
        if found.free_vram is not None and values.get(RESIDENCY) is Residency.CPU:
            problems.error(f"{name} belongs on the CPU, and asks for free VRAM", at, "remove one of the two")

    def _check_variants(self, problems: Problems) -> None:
        values, name = self._values, f"model {self.name!r}"
        found: tuple[Variant, ...] = values.get(VARIANTS) or ()
        if not found:
            return
        for field, why in (
            (NAMES, "its variants are its names; remove `names`"),
            (DIGEST, "each variant has weights of its own; remove `digest`"),
        ):
            if field in values:
                problems.error(f"{name} has both `variants` and `{field.key}`", values.nodes[field.key], why)
        if values.get(ENSURE) is Ensure.PRESENT:
            what = f"{name} is only to be installed, and variants are chosen by the memory of cards"
            problems.error(what, values.nodes[ENSURE.key], "remove `variants` and name the one to install, or write ensure: loaded")
        if VRAM in values and len(found) > 1 and all(one.vram is None for one in found):
            problems.warn(
                f"{name} declares one `vram` for all its variants, so the first one fits wherever any does",
                values.nodes[VRAM.key],
                "declare it of each: `variants: [{name: NAME, vram: 9GiB}, …]`, or remove it",
            )

    def node_of(self, field: Field[tuple[str, ...]] | Field[tuple[str, ...] | str]) -> Node:
        """Where a key of it stands, for errors; the model itself where it has none."""
        return self._values.nodes.get(field.key, self.key)

    @property
    def variants(self) -> tuple[Variant, ...]:
        return self._values.get(VARIANTS) or ()


def read_model(key: ScalarNode, node: Node | None, listed: int | None, problems: Problems) -> DeclaredModel | None:
    """A model from its entry under `models` (None: it is only in priority_models). None where it was refused."""
    try:
        name = label.read(key, problems, "a model's name")
    except Refused:
        name = None
    try:
        values = MODEL.read(node, problems, f"model {name or key.text!r}") if node is not None else None
    except Refused:
        return None
    return DeclaredModel(name, key, values, listed) if name is not None else None
