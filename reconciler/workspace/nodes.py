"""Hosts to nodes: gpurec's keys among a host's variables, read once for all hosts that share them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from itertools import chain
from typing import TypeVar, cast

from reconciler.fleet import (
    EMPTY,
    HOST_NETWORK,
    NO_LIMITS,
    CardSpec,
    EngineContainer,
    EngineSpec,
    EngineUnit,
    Fleet,
    NodeSpec,
    ProbeSpec,
    url_of,
)
from reconciler.workspace.cards import cards, is_vendor_id
from reconciler.workspace.docker import docker
from reconciler.workspace.engines import EngineParts, engines
from reconciler.workspace.forms import Form, integer, label, map_of, number, scalar, shortened, size, text, what_is_wrong_with_url
from reconciler.workspace.inventory import Inventory, InventoryHost
from reconciler.workspace.limits import limits
from reconciler.workspace.probe import probe
from reconciler.workspace.problems import Problems, Refused
from reconciler.workspace.reaching import ADDRESS as ADDRESS_OF_ANSIBLE
from reconciler.workspace.reaching import (
    ARGUMENTS,
    AS_GPUREC_DOES,
    BECOME,
    CONNECTION,
    HONOURED,
    HOST_KEY_CHECKING,
    IGNORED,
    KEY_FILE,
    OF_SUDO,
    OF_WINDOWS,
    OWN_KEYS,
    PORT,
    PROXY_COMMANDS,
    SHELL,
    UNCHECKED,
    USER,
    SshArguments,
    is_read,
    names_by,
    plugin,
    proxy_argument,
    ssh_arguments,
    way_by_ssh,
)
from reconciler.workspace.table import Field, Table, Values
from reconciler.workspace.templating import Templates
from reconciler.workspace.tree import MapNode, Node, ScalarNode, is_null, what_is
from reconciler.workspace.variables import Profile

T = TypeVar("T")


ADDRESS = Field(
    "address",
    text,
    says="The host's name or address on the network; the default is `ansible_host`, else its name here.",
    meant="host ip hostname addr",
)
ENGINES = Field(
    "engines",
    engines,
    says="The model servers that run here, by a name of your choice.",
    meant="engine servers backends",
)
GPUS = Field(
    "gpus",
    cards,
    says="The host's cards, where they are not probed: [] says that it has none, left out that it is not known.",
    meant="cards gpu devices",
)
PROBE = Field("probe", probe, says="How the host's cards are asked for.")
RAM = Field(
    "ram",
    size,
    says="The host's RAM, where it is not probed; models on the CPU are counted against it.",
    mib_keys=("ram_mb",),
    meant="memory mem",
)
DISK = Field("disk", size, says="Size of the disk that its engines keep models on.", mib_keys=("disk_mb",), meant="storage")
LABELS = Field("labels", map_of(label), says="Names to text, for `requires: {labels: …}` of models.", meant="tags")
LIMITS = Field("limits", limits, says="How much of its cards and of its RAM may be used.")
COST = Field(
    "cost",
    number,
    says="What the node costs, in any unit; for `placement: {weights: {cost: …}}`.",
    meant="price weight",
)
DOCKER = Field(
    "docker", docker, says="Where containers of this host run: the address of a Docker Engine, or a mapping for TLS, a swarm or a cluster."
)

HOST = Table("host", (ADDRESS, ENGINES, GPUS, PROBE, RAM, DISK, LABELS, LIMITS, COST, DOCKER))
OWN = "gpurec"


@dataclass(slots=True)
class _Keys:
    """gpurec's keys of one profile: what is the same for all its hosts, and what must be rendered for each."""

    shared: Values
    templated: list[tuple[ScalarNode, Node]] = field(default_factory=list)
    whole: Node | None = None


class NodeReader:
    """Reads nodes; a value that several hosts share, and that holds no template, is read once."""

    def __init__(self, problems: Problems, encrypted: Sequence[str] = ()) -> None:
        """`encrypted` are files of variables that could not be read."""
        self._problems = problems
        self._templates = Templates(problems, encrypted)
        self._aside = Problems()
        self._aside_templates = Templates(self._aside)
        self._keys: dict[int, tuple[Profile, _Keys]] = {}
        self._known: dict[tuple[str, int], tuple[Node, object]] = {}
        self._reach: dict[int, tuple[Profile, frozenset[str]]] = {}
        self._checked: dict[tuple[int, int], tuple[object, object]] = {}
        self._checked_owned: dict[tuple[int, bool], object] = {}

    def fleet(self, name: str, inventory: Inventory) -> Fleet:
        """Every host of the inventory as a node."""
        return Fleet(name, {host.name: self._node(host) for host in inventory.hosts.values()})

    def _node(self, host: InventoryHost) -> NodeSpec:
        kept = self._keys.get(id(host.profile))
        if kept is None:
            kept = self._keys[id(host.profile)] = (host.profile, self._keys_of(host.profile))
        keys = kept[1]
        values = self._rendered(keys, host) if keys.templated or keys.whole is not None else keys.shared
        declared = values.get(GPUS)
        asked = values.get(PROBE) or ProbeSpec()
        parts = values.get(ENGINES) or ()
        if parts and (GPUS not in values or declared is not None):
            self._check_cards(parts, declared)
        present = self._reaching(host)
        by = self._ansible(host, CONNECTION, label) if present & _OF_ONE_PLUGIN else None
        address = values.get(ADDRESS) or self._ansible(host, names_by(by, ADDRESS_OF_ANSIBLE), text)
        at = address or host.name
        if any(engine.owned is not None for engine in parts):
            self._check_owned(parts, DOCKER in values)
            self._check_address(parts, host, at)
        return NodeSpec(
            name=host.name,
            address=at,
            engines=tuple(engine for one in parts if (engine := self._engine(one, host, at)) is not None),
            gpus=declared,
            ram=values.get(RAM),
            disk=values.get(DISK),
            labels=values.get(LABELS) or EMPTY,
            limits=values.get(LIMITS) or NO_LIMITS,
            cost=values.get(COST) or 0.0,
            probe=self._reached(host, asked, present, by, known=address is not None),
            docker=values.get(DOCKER),
        )

    def _reaching(self, host: InventoryHost) -> frozenset[str]:
        """Which variables of Ansible a host has that say how it is reached."""
        present = self._reach.get(id(host.profile))
        if present is None:
            there = frozenset(name for name in (*HONOURED, *IGNORED) if not is_null(_variable(host, name)))
            present = self._reach[id(host.profile)] = (host.profile, there)
        return present[1]

    def _reached(self, host: InventoryHost, asked: ProbeSpec, present: frozenset[str], by: str | None, *, known: bool) -> ProbeSpec:
        """How the host is reached, by gpurec's own keys and what Ansible's variables say beside them. `by`: its connection, where
        variables depend on that; `known`: its address is."""
        if not present:
            return asked
        if present & _OF_ONE_PLUGIN:
            present = frozenset(name for name in present if is_read(name, by))
        users, ports = names_by(by, USER), names_by(by, PORT)
        user = asked.user or self._ansible(host, users, label)
        port = asked.port or self._ansible(host, ports, _port)
        become = bool(present & {*BECOME}) and bool(self._ansible(host, BECOME, _yes))
        self._warn_of_ignored(host, (name for name in present if become and name.startswith(OF_SUDO)))
        spec = replace(asked, user=user, port=port, become=become)
        if asked.via not in _MAY_BE_SSH or (asked.via == "auto" and user is None and not present & {*CONNECTION, *USER}):
            return spec
        connection = by or self._ansible(host, CONNECTION, label)
        if connection is not None and plugin(connection) == "local":
            return replace(spec, connection="local")
        if asked.via == "auto" and connection is not None and not way_by_ssh(connection):
            what = f"a host is reached by {connection}, so ssh is not tried: its cards are those that are declared"
            self._problems.warn(what, _variable(host, *CONNECTION), "write `probe: {via: ssh}` where ssh is meant all the same")
            return replace(spec, connection=connection)
        shell = self._ansible(host, SHELL, label)
        if asked.via == "auto" and shell in OF_WINDOWS:
            what = f"the shell of a host is {shell}, so ssh is not tried: its cards are those that are declared"
            self._problems.warn(what, _variable(host, *SHELL), "write `probe: {via: ssh}` where ssh ends in a POSIX shell all the same")
            return replace(spec, connection=f"a shell that is not one of POSIX ({shell})")
        for names, own in ((names_by(by, ADDRESS_OF_ANSIBLE), known), (ports, port), (users, user)):
            if not own and present & {*names}:
                return replace(spec, connection=f"a variable that gpurec cannot read ({names[-1]})")
        return self._with_ssh_arguments(host, spec, present, by)

    def _with_ssh_arguments(self, host: InventoryHost, spec: ProbeSpec, present: frozenset[str], by: str | None) -> ProbeSpec:
        self._warn_of_ignored(host, (name for name in present if not name.startswith(OF_SUDO)))
        arguments = (*ARGUMENTS, *PROXY_COMMANDS)
        taken: dict[str, Sequence[str]] = dict.fromkeys(arguments, ())
        connection = None
        for name in (one for one in arguments if one in present):
            said = self._ansible(host, (name,), text)
            said = proxy_argument(said) if said is not None and name in PROXY_COMMANDS else said
            found = ssh_arguments(said) if said is not None else SshArguments(proxied=True)
            taken[name] = found.taken
            for argument in found.refused:
                what = f"{argument!r} of {name!r} is not honoured: gpurec takes jump hosts, keys, ports and checks, and runs no program"
                self._problems.warn(what, _variable(host, name), "write it for this host in ~/.ssh/config")
            if found.proxied:
                connection = f"a proxy that gpurec does not take ({name})"
        first, *others = taken.values()
        options = (*first, *(UNCHECKED if self._ansible(host, names_by(by, HOST_KEY_CHECKING), _yes) is False else ()), *chain(*others))
        return replace(spec, key_file=self._ansible(host, names_by(by, KEY_FILE), text), ssh_options=options, connection=connection)

    def _warn_of_ignored(self, host: InventoryHost, names: Iterable[str]) -> None:
        for name in sorted({*names} & IGNORED.keys()):
            node = _variable(host, name)
            if not isinstance(node, ScalarNode) or node.text not in AS_GPUREC_DOES.get(name, ()):
                self._problems.warn(f"{name!r} is not honoured by gpurec", node, IGNORED[name])

    def _keys_of(self, profile: Profile) -> _Keys:
        own = profile.variables.get(OWN)
        if own is None:
            keys = _Keys(Values(_NOWHERE))
            for word in HOST.words:
                entry = profile.variables.get(word)
                if entry is not None:
                    self._take(keys, *entry)
            self._warn_of_misspelling(profile)
            return keys
        if isinstance(own[1], ScalarNode) and self._templates.has(own[1]):
            return _Keys(Values(_NOWHERE), whole=own[1])
        return self._own_keys(own[1])

    def _own_keys(self, node: Node) -> _Keys:
        keys = _Keys(Values(_NOWHERE))
        if is_null(node):
            return keys
        if not isinstance(node, MapNode) or node.tag is not None:
            self._problems.error(f"{OWN!r} must be a mapping, this is {what_is(node)}", node, "write gpurec's keys under it")
            return keys
        for word, (key, value) in node.entries.items():
            if isinstance(word, str) and HOST.find(word) is not None:
                self._take(keys, key, value)
            else:
                self._problems.error(f"unknown key {key.text!r} of {OWN}", key, HOST.suggestion(key.text, node))
        return keys

    def _take(self, keys: _Keys, key: ScalarNode, node: Node) -> None:
        if is_null(node):
            return
        if self._templates.has(node) and not _only_urls(key, node, self._templates):
            keys.templated.append((key, node))
            return
        self._put(keys.shared, key, node, remember=True)

    def _put(self, values: Values, key: ScalarNode, node: Node, *, remember: bool) -> None:
        found = HOST.find(key.text)
        if found is None:
            return
        entry, form = found
        if entry in values:
            self._problems.error(f"{entry.key!r} stands here in two spellings, first at {values.nodes[entry.key].place}", key, "keep one")
            return
        at = (key.text, id(node))
        if remember and at in self._known:
            value = self._known[at][1]
        else:
            try:
                value = form.read(node, self._problems, repr(key.text))
            except Refused:
                value = None
            if remember:
                self._known[at] = (node, value)
        values.put(entry, value, node)

    def _rendered(self, keys: _Keys, host: InventoryHost) -> Values:
        if keys.whole is not None:
            try:
                keys = self._own_keys(self._templates.render(keys.whole, host))
            except Refused:
                return keys.shared
        values = keys.shared.copy()
        for key, node in keys.templated:
            try:
                self._put(values, key, self._templates.render(node, host), remember=False)
            except Refused:
                continue
        return values

    def _engine(self, parts: EngineParts, host: InventoryHost, address: str) -> EngineSpec | None:
        if parts.owned is not None:
            return parts.on(host.name, url_of(address, parts.owned.port))
        if isinstance(parts.url, str):
            return parts.on(host.name, parts.url)
        try:
            url = self._templates.text(parts.url, host)
        except Refused:
            return None
        wrong = what_is_wrong_with_url(url)
        if wrong is not None:
            self._problems.error(f"engine {parts.name!r} of host {host.name!r}: {wrong}", parts.url, "render it to http://HOST:PORT")
            return None
        return parts.on(host.name, url.rstrip("/"))

    def _ansible(self, host: InventoryHost, names: Sequence[str], form: Form[T]) -> T | None:
        """What the first of these variables, which Ansible itself reads, says; None, with a warning, where gpurec cannot read it."""
        name = next((one for one in names if not is_null(_variable(host, one))), None)
        node = _variable(host, name) if name is not None else None
        if name is None or node is None:
            return None
        at = (name, id(node))
        if at in self._known:
            return cast("T | None", self._known[at][1])
        templated = self._templates.has(node)
        try:
            read = self._aside_templates.render(node, host) if templated else node
            if isinstance(read, ScalarNode) and read.tag == "!unsafe":
                read = replace(read, tag=None)  # a text in which braces are no template
            value = form.read(read, self._aside, repr(name))
        except Refused:
            value = None
            why = "is encrypted" if node.tag is not None else "is not something that gpurec can read"
            self._problems.warn(f"{name!r} {why}, so it is not honoured here", node, OWN_KEYS[name])
        if not templated:
            self._known[at] = (node, value)
        return value

    def _check_cards(self, parts: tuple[EngineParts, ...], declared: tuple[CardSpec, ...] | None) -> None:
        """Engines may only be bound to declared cards, where cards are declared."""
        if declared is None or (id(parts), id(declared)) in self._checked:
            return
        self._checked[id(parts), id(declared)] = (parts, declared)
        indices = {card.index for card in declared}
        uuids = {card.uuid for card in declared}
        for engine in parts:
            for mark in engine.gpus or ():
                known = mark in indices or is_vendor_id(mark) or (isinstance(mark, str) and (mark in uuids or None in uuids))
                if not known:
                    listed = ", ".join(str(card.index) for card in declared) or "none"
                    self._problems.error(
                        f"engine {engine.name!r} is bound to card {mark!r}, which is not declared",
                        engine.gpus_node,
                        f"declared here: {listed}",
                    )

    def _check_owned(self, parts: tuple[EngineParts, ...], docker: bool) -> None:
        """What gpurec starts as a container needs a daemon, and a name and a port of its own. Of several instances only the first port is
        known here: the rest is checked when their cards are."""
        if (id(parts), docker) in self._checked_owned:
            return
        self._checked_owned[id(parts), docker] = parts
        ports: dict[int, EngineParts] = {}
        units: dict[tuple[str, str], EngineParts] = {}
        for engine in parts:
            if engine.owned is None:
                continue
            start = engine.owned.start
            if isinstance(start, EngineContainer) and not docker:
                what = f"engine {engine.name!r} has `runtime: container`, and its host has no `docker`"
                self._problems.error(what, engine.key, "add `docker: unix:///var/run/docker.sock` or ssh://USER@HOST to the host")
            if (first := ports.setdefault(engine.owned.port, engine)) is not engine:
                what = f"engines {first.name!r} and {engine.name!r} of one host have the same port, {engine.owned.port}"
                self._problems.error(what, engine.key, "write another `port:` for one of them")
            if isinstance(start, EngineUnit) and (first := units.setdefault((start.scope, start.unit), engine)) is not engine:
                what = f"engines {first.name!r} and {engine.name!r} of one host have the same unit, {start.unit!r}"
                self._problems.error(what, engine.key, "write another `unit:` for one of them")

    def _check_address(self, parts: tuple[EngineParts, ...], host: InventoryHost, address: str) -> None:
        """A daemon publishes ports at IP addresses, and only at the one of its host."""
        for engine in parts:
            start = engine.owned.start if engine.owned is not None else None
            if isinstance(start, EngineContainer) and HOST_NETWORK not in start.networks and not (start.publish or _is_ip(address)):
                what = f"engine {engine.name!r} of host {host.name!r} is published at its host's address, and {address!r} is no IP address"
                self._problems.error(what, engine.key, "add `address: 10.0.0.1` to the host, or `publish: 10.0.0.1` to the container")

    def _warn_of_misspelling(self, profile: Profile) -> None:
        if ENGINES.key in profile.variables:
            return
        names = [name for name in profile.variables if isinstance(name, str)]
        for name in difflib.get_close_matches(ENGINES.key, names, n=1, cutoff=0.8):
            key = profile.variables[name][0]
            self._problems.warn(
                f"the variable {name!r} is not one of gpurec's keys, and its hosts have no engines", key, "write `engines:`"
            )


def _is_ip(address: str) -> bool:
    try:
        return bool(ip_address(address))
    except ValueError:
        return address == "localhost"


def _port_number(node: Node, problems: Problems, name: str) -> int:
    """A port as a number, or as text of digits, which Ansible takes too and which a template gives."""
    if isinstance(node, ScalarNode) and node.text.isascii() and node.text.isdigit() and len(node.text) < 6:
        node = ScalarNode(node.file, node.line, node.column, int(node.text), node.text)
    return integer(1, 65535).read(node, problems, name)


def _yes_or_no(node: Node, problems: Problems, name: str) -> bool:
    """A truth value, or the text of one, as Ansible takes it."""
    said = scalar(node, problems, name, "true or false").text.strip().lower()
    if said not in _YES | _NO:
        raise problems.refuse(f"{name} must be true or false, this is {shortened(said)}", node, "write true or false")
    return said in _YES


_YES, _NO = frozenset(("true", "yes", "on", "1", "y", "t")), frozenset(("false", "no", "off", "0", "n", "f"))
_yes = Form(_yes_or_no, {"type": ["boolean", "string"]})
_port = Form(_port_number, {"type": "integer"})
_NOWHERE = MapNode("", 0, 0)
_OF_ONE_PLUGIN = frozenset(name for name in (*HONOURED, *IGNORED) if not is_read(name, None))
_MAY_BE_SSH = ("auto", "ssh")


def _variable(host: InventoryHost, *names: str) -> Node | None:
    """The first of these variables that a host has."""
    return next((entry[1] for name in names if (entry := host.profile.variables.get(name)) is not None), None)


def _only_urls(key: ScalarNode, node: Node, templates: Templates) -> bool:
    """Whether all templates below an `engines` mapping are the URLs of its engines, which are rendered without reading the rest again."""
    if key.text != ENGINES.key or not isinstance(node, MapNode):
        return False
    return all(
        isinstance(engine, MapNode) and not any(templates.has(value) for word, (_, value) in engine.entries.items() if word != "url")
        for _, engine in node.entries.values()
    )
