"""Which model a resident is: its weights, its names, and which of what is wanted or owned that makes it. Asked once for each engine.

A name alone identifies nothing. A tag that was pulled anew means other weights than those that still run under it; an engine shows a runner
only by the name that loaded it first, though it answers to every name of its weights.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from reconciler.fleet.applied import AppliedReplica
from reconciler.fleet.desired import Ensure, ModelSpec
from reconciler.fleet.facts import EngineFacts, Installed, Resident
from reconciler.fleet.names import EngineKind, weights_digest


class Disk:
    """The models that an engine lists as installed, by name and by weights. Engines that list the same share one."""

    __slots__ = ("_names", "_shared", "by_name")

    def __init__(self, installed: Sequence[Installed]) -> None:
        self.by_name: Mapping[str, Installed] = {one.name: one for one in installed}
        self._names: dict[str, list[str]] | None = None
        self._shared: Sequence[Sequence[str]] | None = None

    @property
    def names(self) -> Mapping[str, Sequence[str]]:
        """The names by weights."""
        if self._names is None:
            self._names = {}
            for one in self.by_name.values():
                if one.blob is not None:
                    self._names.setdefault(one.blob, []).append(one.name)
        return self._names

    @property
    def shared(self) -> Sequence[Sequence[str]]:
        """The names of weights that have several."""
        if self._shared is None:
            self._shared = [names for names in self.names.values() if len(names) > 1]
        return self._shared


class FleetWeights:
    """The weights that names stand for on the Ollamas of a fleet: what an engine that does not have a name yet would pull under it. Of a
    name that stands for several nobody knows which. Read when it is first asked."""

    __slots__ = ("_by_name", "_disks", "_engines", "_names")

    def __init__(self, engines: Iterable[EngineFacts]) -> None:
        self._engines = engines
        self._disks: dict[int, tuple[Sequence[Installed], Disk]] = {}
        self._by_name: dict[str, str | None] | None = None
        self._names: dict[str, list[str]] = {}

    def disk(self, installed: Sequence[Installed]) -> Disk:
        """What an engine of the fleet lists, read once for all that list the very same."""
        known = self._disks.get(id(installed))
        if known is None:
            known = self._disks[id(installed)] = installed, Disk(installed)
        return known[1]

    def of(self, name: str) -> str | None:
        """The weights of this name; None where no engine tells them, or not all the same."""
        return self._read().get(name)

    def names(self, weights: str) -> Sequence[str]:
        """The names that stand for these weights."""
        self._read()
        return self._names.get(weights, ())

    def shared(self) -> Iterable[Sequence[str]]:
        """The names of weights that have several."""
        self._read()
        return (names for names in self._names.values() if len(names) > 1)

    def _read(self) -> Mapping[str, str | None]:
        if self._by_name is None:
            self._by_name = {}
            lists = {id(one.installed): one.installed or () for one in self._engines if one.kind is EngineKind.OLLAMA}
            for one in (one for some in lists.values() for one in self.disk(some).by_name.values() if one.blob is not None):
                if self._by_name.setdefault(one.name, one.blob) != one.blob:
                    self._by_name[one.name] = None
            for name, weights in self._by_name.items():
                if weights is not None:
                    self._names.setdefault(weights, []).append(name)
        return self._by_name


class Identity:
    """The residents of one engine and what is installed there, told apart. `elsewhere` tells of names that it does not have."""

    __slots__ = ("_by_blob", "_by_name", "_disk", "_elsewhere", "_installed", "_left_over", "_residents")

    def __init__(self, facts: EngineFacts | None, elsewhere: FleetWeights | None = None) -> None:
        lists = facts is not None and facts.kind is EngineKind.OLLAMA and facts.installed is not None
        self._elsewhere = elsewhere if lists else None
        known = facts.installed if facts is not None and facts.installed is not None else ()
        self._disk = elsewhere.disk(known) if elsewhere is not None else Disk(known)
        self._installed = self._disk.by_name
        self._residents: Sequence[Resident] = (facts.residents if facts is not None else None) or ()
        self._by_blob: dict[str, Resident] | None = None
        self._by_name: dict[str, Resident] | None = None
        self._left_over: list[Resident] | None = None

    def installed(self, name: str) -> Installed | None:
        """The model of that canonical name on the engine's disk, if the engine told us of one."""
        return self._installed.get(name)

    def weights(self, name: str) -> str | None:
        """The weights that a name stands for, as far as the engine tells them; of one that it does not have those of the fleet."""
        found = self._installed.get(name)
        if found is None:
            return self._elsewhere.of(name) if self._elsewhere is not None else None
        return found.blob

    def same_weights(self, one: str, other: str) -> bool:
        """Whether two names are known to stand for the same weights."""
        weights = self.weights(one)
        return one == other or (weights is not None and weights == self.weights(other))

    def weights_differ(self, model: ModelSpec, kind: EngineKind) -> bool:
        """Whether what is installed as this model is known to be other weights than its `digest`."""
        if model.digest is None:
            return False
        found = self.installed(model.engine_name(kind)) or self.installed(model.base_name(kind))
        return found is not None and found.blob is not None and weights_digest(found.blob) != model.digest

    def names_of_weights(self, blob: str) -> Sequence[str]:
        """The installed names that stand for these weights."""
        return self._disk.names.get(blob, ())

    @property
    def shared_names(self) -> Iterable[Sequence[str]]:
        """The installed names, by weights that have several."""
        return self._disk.shared

    def is_left_over(self, resident: Resident) -> bool:
        """Whether another resident is what its name means by now, so that no request reaches it under that name. One that is alone under
        its name is what that means: whether with other weights than the next load would bring is a question of its own."""
        if self._left_over is None:
            self._left_over = self._find_left_over()
        return any(one is resident for one in self._left_over) if self._left_over else False

    def _find_left_over(self) -> list[Resident]:
        by_name: dict[str, list[Resident]] = {}
        for resident in self._residents:
            by_name.setdefault(resident.name, []).append(resident)
        found: list[Resident] = []
        for some in by_name.values() if len(by_name) < len(self._residents) else ():
            right = next(filter(self._is_just, some), some[0])
            found += [one for one in some if one is not right]
        return found

    def _is_just(self, resident: Resident) -> bool:
        """Whether it is known to be what its name stands for. Another digest alone says nothing: a model that was made anew from the same
        weights has one, and its runner serves it."""
        installed = self._installed.get(resident.name)
        if installed is None:
            return False
        if resident.blob is not None and installed.blob is not None:
            return resident.blob == installed.blob
        return resident.digest is not None and resident.digest == installed.digest

    def names(self, resident: Resident) -> list[str]:
        """All names that a resident answers to: its own first, then the others of its weights, last those that its engine has to pull."""
        names = [] if self.is_left_over(resident) else [resident.name]
        if resident.blob is not None:
            names += (name for name in self._disk.names.get(resident.blob, ()) if name != resident.name)
            if self._elsewhere is not None and len(every := self._elsewhere.names(resident.blob)) > 1:
                names += (name for name in every if name not in self._installed and name != resident.name)
        return names

    def resident(self, name: str) -> Resident | None:
        """The resident that a request under this name reaches: the one of that name, else the one that runs the same weights, since Ollama
        shows only the name that loaded them first."""
        if self._by_name is None:
            self._by_name = {one.name: one for one in reversed(self._residents) if not self.is_left_over(one)}
        found = self._by_name.get(name)
        if found is not None:
            return found
        blob = self.weights(name)
        if blob is None:
            return None
        if self._by_blob is None:
            self._by_blob = {}
            for one in self._residents:
                if one.blob is not None:
                    self._by_blob.setdefault(one.blob, one)
        return self._by_blob.get(blob)

    def runner(self, model: ModelSpec, kind: EngineKind) -> str:
        """What identifies a runner: on an Ollama the weights blob (server/sched.go keys runners by the blob's path), as far as that is
        known; else the name, which may be that of several wanted models."""
        base, name = model.names_on(kind)
        if kind is EngineKind.OLLAMA:
            blob = self.weights(name) or (self.weights(base) if base != name else None)
            if blob is not None:
                return blob
        return base


class WantedNames:
    """Wanted models by the names that engines know them by, per kind; and by node."""

    def __init__(self, models: Sequence[ModelSpec]) -> None:
        self._every = [one for wanted in models for one in wanted.alternatives()]
        self._by_name: dict[EngineKind, Mapping[str, Sequence[ModelSpec]]] = {}
        self._nodes: dict[int, frozenset[str]] = {}
        for model in models:
            self._nodes.setdefault(id(model.nodes), frozenset(model.nodes))

    def _of_kind(self, kind: EngineKind) -> Mapping[str, Sequence[ModelSpec]]:
        """The models that may be on engines of a kind by their names there; most fleets have one kind or two."""
        known = self._by_name.get(kind)
        if known is None:
            names: dict[str, list[ModelSpec]] = defaultdict(list)
            here = [model for model in self._every if model.engine in (None, kind)]
            called = [(model.engine_name(kind), model) for model in here]
            called += [(model.base_name(kind), model) for model in here if kind is EngineKind.OLLAMA and model.context is not None]
            for name, model in called:
                if name not in names or model not in names[name]:
                    names[name].append(model)
            known = self._by_name[kind] = names
        return known

    def on(self, model: ModelSpec, node: str) -> bool:
        return node in self._nodes[id(model.nodes)]

    def called(self, kind: EngineKind, name: str) -> Sequence[ModelSpec]:
        """The wanted models that `name` is on engines of this kind, wherever they are wanted: several where it is a variant of one and
        another by itself."""
        return self._of_kind(kind).get(name, ())

    def of(self, names: Iterable[str], kind: EngineKind, node: str) -> list[ModelSpec]:
        """The wanted models that a resident with these names is on this node, each once: those by its name first, then those by its
        weights; what is only to be on demand comes last."""
        models: dict[str, ModelSpec] = {}
        called, nodes = self._of_kind(kind), self._nodes
        for name in names:
            for model in called.get(name, ()):
                if node in nodes[id(model.nodes)]:
                    models.setdefault(model.name, model)
        return sorted(models.values(), key=lambda model: model.ensure is Ensure.PRESENT) if len(models) > 1 else [*models.values()]


class OwnedRows:
    """Rows of the state on one engine, by the names of a resident; the first one counts."""

    __slots__ = ("_by_name", "_protected")

    def __init__(self, rows: Sequence[AppliedReplica]) -> None:
        self._protected = [row for row in rows if row.protect]
        self._by_name: dict[str, list[AppliedReplica]] = {}
        for row in rows:
            self._by_name.setdefault(row.engine_name, []).append(row)

    def of(self, names: Sequence[str]) -> tuple[AppliedReplica, ...]:
        """The rows of what answers to these names: those of its own name first."""
        if not self._by_name:
            return ()
        if len(names) == 1:
            return tuple(self._by_name.get(names[0], ()))
        own = names[:1]
        others = [name for name in self._by_name if name in names and name not in own]
        return tuple(row for name in (*own, *others) for row in self._by_name.get(name, ()))

    @property
    def protects(self) -> bool:
        """Whether there is a row of a protected model at all."""
        return bool(self._protected)

    def protected(self, names: Sequence[str]) -> list[AppliedReplica]:
        """All rows of protected models that it is: names on the same weights share one runner, which is there for each of them."""
        return [row for row in self._protected if row.engine_name in names]
