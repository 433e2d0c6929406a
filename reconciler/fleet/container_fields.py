"""Is a container as it is wanted? One row a field, read by drift, by plans, by the look before a step and the wait after it.

What the daemon fills in by itself is no difference, nor is what could not be seen. A container that somebody made by hand under our labels
is found out: the declared fields are compared, whatever its label says.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence

from reconciler.fleet.containers import (
    ALL_CARDS,
    HOST_NETWORK,
    NO_NETWORK,
    SPEC_LABEL,
    CardCount,
    ContainerFacts,
    ContainerSpec,
    Healthcheck,
    full_image,
    is_digest,
)
from reconciler.fleet.secret_refs import Scalar, SecretRef
from reconciler.value_class import value_class

_DEFAULT_NETWORKS = frozenset({"bridge", "none"})
"""What a container is attached to that asked for no network: the bridge, or on a daemon without one nothing."""


@value_class
class ContainerField:
    """A field of a container. `wanted` is how the files have it, as a value that people read (None: they do not ask for it). `found` says
    how a container has it: the very value of `wanted` where that is no difference, None where it is not known. `restarts` says that a
    difference may be mended by starting the container again; every other needs a new container."""

    name: str
    wanted: Callable[[ContainerSpec], Scalar | None]
    found: Callable[[ContainerSpec, ContainerFacts], Scalar | None]
    restarts: bool = False


@value_class
class ContainerMismatch:
    """A field that is known and not as wanted."""

    field: str
    wanted: Scalar | None
    found: Scalar
    restarts: bool = False


def mismatches(spec: ContainerSpec, facts: ContainerFacts) -> tuple[ContainerMismatch, ...]:
    """Every field of `facts` that is known and not as `spec` wants it, in the order of the rows."""
    found = []
    for row in FIELDS:
        wanted, seen = row.wanted(spec), row.found(spec, facts)
        if seen is not None and seen != wanted:
            found.append(ContainerMismatch(row.name, wanted, seen, row.restarts))
    return tuple(found)


def wanted_fields(spec: ContainerSpec) -> Mapping[str, Scalar]:
    """The fields as the files have them, by name; without what they do not ask for."""
    return {row.name: value for row in FIELDS if (value := row.wanted(spec)) is not None}


def found_fields(spec: ContainerSpec, facts: ContainerFacts) -> Mapping[str, Scalar]:
    """The fields as a container has them, by name and in the same form: equal to the wanted one exactly where that is no difference.
    Without what is not known."""
    return {row.name: value for row in FIELDS if (value := row.found(spec, facts)) is not None}


def _words(command: Sequence[str] | None) -> str | None:
    return shlex.join(command) if command else None


def _image_found(spec: ContainerSpec, facts: ContainerFacts) -> Scalar | None:
    """Another image, or the same name that means another image by now; a digest in the name of the one that runs is what it says."""
    wanted, made_of = full_image(spec.image), full_image(facts.image)
    digest = wanted.partition("@")[2]
    if is_digest(digest) and digest in {one.partition("@")[2] for one in facts.digests}:
        return spec.image
    if wanted != made_of:
        return facts.image
    if facts.image_id is not None and facts.image_now is not None and facts.image_id != facts.image_now:
        return f"{facts.image} when it was {facts.image_id[:19]}, it is {facts.image_now[:19]} now"
    return spec.image


def _command_wanted(spec: ContainerSpec) -> str | None:
    implied = "the image's own" if spec.entrypoint is None else "none"
    own = implied if spec.command is None else _words(spec.command) or "none"
    return f"{own} {_words(spec.args)}" if spec.args else own


def _command_found(spec: ContainerSpec, facts: ContainerFacts) -> str | None:
    if facts.command is None:
        return None
    if spec.command is None and spec.entrypoint is None and facts.image_command is None:
        return None
    wanted = spec.whole_command(facts.image_command or ())
    return _command_wanted(spec) if facts.command == wanted else _words(facts.command) or "none"


def _entrypoint_wanted(spec: ContainerSpec) -> str | None:
    return "the image's own" if spec.entrypoint is None else _words(spec.entrypoint) or "none"


def _entrypoint_found(spec: ContainerSpec, facts: ContainerFacts) -> str | None:
    wanted = spec.entrypoint if spec.entrypoint is not None else facts.image_entrypoint
    if facts.entrypoint is None or wanted is None:
        return None
    return _entrypoint_wanted(spec) if facts.entrypoint == wanted else _words(facts.entrypoint) or "none"


def _variable(name: str, value: str | SecretRef) -> str:
    return f"{name} from {value}" if isinstance(value, SecretRef) else f"{name}={value}"


def _env_wanted(spec: ContainerSpec) -> str | None:
    return shlex.join(_variable(name, value) for name, value in sorted(spec.env.items()))


def _env_found(spec: ContainerSpec, facts: ContainerFacts) -> str | None:
    if facts.env is None:
        return None
    words = []
    for name, value in sorted(spec.env.items()):
        if isinstance(value, SecretRef):
            words.append(_variable(name, value) if facts.secrets.get(name) is not False else f"{name} differs from {value}")
        elif (seen := facts.env.get(name)) is not None:
            words.append(_variable(name, seen))
    return shlex.join(words)


def _listed(values: Sequence[object]) -> str:
    return ", ".join(sorted(str(value) for value in values))


def _networks_wanted(spec: ContainerSpec) -> str:
    return _listed(spec.networks) or "default"


def _networks_found(spec: ContainerSpec, facts: ContainerFacts) -> str | None:
    mode, attached = facts.network_mode, facts.networks
    if mode is None or attached is None:
        return None
    if mode in (HOST_NETWORK, NO_NETWORK):
        return mode
    if mode.startswith("container:"):
        return "that of another container"
    if mode in ("default", "bridge"):
        return _listed([one for one in attached if one not in _DEFAULT_NETWORKS or one in spec.networks]) or "default"
    return _listed(attached or (mode,))


def _healthcheck_text(check: Healthcheck) -> str:
    times = {
        "interval": check.interval,
        "timeout": check.timeout,
        "start_period": check.start_period,
        "start_interval": check.start_interval,
        "retries": check.retries,
    }
    return " ".join((shlex.join(check.test), *(f"{name}={value:g}" for name, value in times.items() if value)))


def _healthcheck_found(spec: ContainerSpec, facts: ContainerFacts) -> str | None:
    """None where the files declare none: the image's own runs then. An older daemon keeps no `start_interval`."""
    wanted, found = spec.healthcheck, facts.healthcheck
    if wanted is None or facts.env is None:
        return None
    if found is None:
        return "none"
    if found.start_interval is None and wanted.start_interval is not None:
        found = Healthcheck(found.test, found.interval, found.timeout, found.start_period, wanted.start_interval, found.retries)
    return _healthcheck_text(found)


def _labels_found(spec: ContainerSpec, facts: ContainerFacts) -> str | None:
    if facts.env is None:
        return None
    return shlex.join(f"{name}={facts.labels[name]}" for name in sorted(spec.labels) if name in facts.labels)


def _or_unknown(values: Sequence[object] | None) -> str | None:
    return _listed(values) if values is not None else None


def _cards_found(spec: ContainerSpec, facts: ContainerFacts) -> str | None:
    """All cards without a name are those of a container that was adopted so, and so are as many as it is to have, of which the cluster
    decided which; its replacement gets them by name."""
    one = facts.cards[0] if facts.cards is not None and len(facts.cards) == 1 else None
    if facts.adopted and isinstance(one, CardCount):
        as_many = bool(one.resource) and one.count == len(spec.cards)
        if as_many or (spec.all_cards and one == ALL_CARDS):
            return _listed(spec.cards)
    return _or_unknown(facts.cards)


def _nanos(cpus: float | None) -> int:
    return round((cpus or 0.0) * 1e9)


def _cpus_found(spec: ContainerSpec, facts: ContainerFacts) -> Scalar | None:
    if facts.cpus is None:
        return None
    return spec.cpus or 0.0 if _nanos(facts.cpus) == _nanos(spec.cpus) else facts.cpus


FIELDS: Sequence[ContainerField] = (
    ContainerField("image", lambda spec: spec.image, _image_found),
    ContainerField("entrypoint", _entrypoint_wanted, _entrypoint_found),
    ContainerField("command", _command_wanted, _command_found),
    ContainerField("env", _env_wanted, _env_found),
    ContainerField(
        "ports", lambda spec: _listed(spec.published), lambda spec, facts: _listed(facts.ports) if facts.env is not None else None
    ),
    ContainerField("mounts", lambda spec: _listed(spec.mounts), lambda spec, facts: _or_unknown(facts.mounts)),
    ContainerField("networks", _networks_wanted, _networks_found),
    ContainerField("restart", lambda spec: spec.restart, lambda spec, facts: facts.restart),
    ContainerField("shm_size", lambda spec: spec.shm_size, lambda spec, facts: facts.shm_size if spec.shm_size is not None else None),
    ContainerField("cpus", lambda spec: spec.cpus or 0.0, _cpus_found),
    ContainerField("memory", lambda spec: spec.memory or 0, lambda spec, facts: facts.memory),
    ContainerField("cards", lambda spec: _listed(spec.cards), _cards_found),
    ContainerField("devices", lambda spec: _listed(spec.devices), lambda spec, facts: _or_unknown(facts.devices)),
    ContainerField("groups", lambda spec: _listed(spec.groups), lambda spec, facts: _or_unknown(facts.groups)),
    ContainerField(
        "healthcheck",
        lambda spec: _healthcheck_text(spec.healthcheck) if spec.healthcheck is not None else None,
        _healthcheck_found,
    ),
    ContainerField(
        "labels",
        lambda spec: shlex.join(f"{name}={value}" for name, value in sorted(spec.labels.items())),
        _labels_found,
    ),
    ContainerField("privileges", lambda spec: "privileged" if spec.privileged else "", lambda spec, facts: _or_unknown(facts.privileges)),
    ContainerField("settings", lambda spec: "", lambda spec, facts: _or_unknown(facts.settings)),
    ContainerField("state", lambda spec: "running", lambda spec, facts: facts.condition, restarts=True),
    ContainerField("spec", lambda spec: spec.hash, lambda spec, facts: None if facts.adopted else facts.spec or f"no label {SPEC_LABEL}"),
)
