"""A container that somebody started, as an engine of gpurec's own: the inventory entry by which nothing is done about it. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from urllib.parse import urlsplit

from reconciler.fleet import (
    HOST_NETWORK,
    CardFacts,
    ContainerFacts,
    ContainerSpec,
    Desired,
    EngineContainer,
    EngineKind,
    EngineSpec,
    NodeSpec,
    OwnedEngine,
    Owner,
    PublishedPort,
    SecretRef,
    mismatches,
    url_of,
)
from reconciler.planning.containers_guard import container_refusals
from reconciler.planning.kinds.engine.container import INNER_PORTS, container_of
from reconciler.planning.kinds.engine.preset import preset_of, preset_sections
from reconciler.planning.kinds.engine.single import takes_one_model
from reconciler.value_class import value_class

_DEFAULT_SHM = 64 << 20
_PLAIN = frozenset({"TZ", "LANG", "LC_ALL", "PATH", "HSA_OVERRIDE_GFX_VERSION", "GGML_CUDA_ENABLE_UNIFIED_MEMORY"})
_PLAIN_BEGINNINGS = ("OLLAMA_", "LLAMA_ARG_", "VLLM_", "NVIDIA_", "CUDA_", "ROCR_", "HIP_", "GGML_", "NCCL_")
_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASS|CREDENTIAL|AUTH", re.IGNORECASE)
_SECRET_ARGUMENT = re.compile(r"(?<![\w-])(--?(?:[a-z0-9]+[-_])*(?:key|token|secret|password|hft))(?=[=\s]|\Z)", re.IGNORECASE)
"""An option whose value is a secret, as a word of its own or inside the script of a shell; `--api-key-file` names a file."""


@value_class
class Adoptable:
    """`engine` is to be declared so, `container` is what that comes to, `found` whose it is now. `hidden` are variables whose values were
    not read: references stand for them."""

    engine: EngineSpec
    container: ContainerSpec
    found: ContainerFacts
    hidden: tuple[str, ...] = ()


def is_plain(name: str) -> bool:
    """Whether the value of a variable may be read and written to a file: those that engines and their runtimes have, but no secrets."""
    return (name in _PLAIN or name.startswith(_PLAIN_BEGINNINGS)) and _SECRET.search(name) is None


def serves(one: ContainerFacts, engine: EngineSpec) -> bool:
    """Whether a container is behind the URL of an engine of its node: by the port that it publishes, else, in the network of its node, by
    the port that it is told to listen at."""
    port = urlsplit(engine.url).port
    if one.network_mode != HOST_NETWORK:
        return any(bound.host == port and bound.protocol == "tcp" for bound in one.ports)
    told = (*(one.command or ()), *(f"{name}={value}" for name, value in (one.env or {}).items()))
    by_word = any(word.rpartition("=")[2].rpartition(":")[2] == str(port) for word in told)
    return by_word or (port == INNER_PORTS[engine.kind] and engine.kind.value in one.image.lower())


def as_owned(
    fleet: str, node: NodeSpec, engine: EngineSpec, found: ContainerFacts, cards: Sequence[CardFacts], desired: Desired
) -> Adoptable | str:
    """The engine as it is to be declared so that its container is as wanted, else why there is no such declaration, as a sentence without
    its subject. `cards` are those of the engine; `desired` says what the policy lets containers have, and how models are to be run."""
    port = urlsplit(engine.url).port or 80
    if engine.url != url_of(node.address, port):
        return f"its url, {engine.url}, is not that of its host's address ({url_of(node.address, port)}): set `address` of the host"
    words = (*(found.entrypoint or ()), *(found.command or ()))
    if secret := next((match.group(1) for word in words if (match := _SECRET_ARGUMENT.search(word)) is not None), None):
        return f"its command line has {secret}, whose value would be written to a file: give it in a variable, or in a file of its own"
    networks = _networks(found)
    published = _published(found, engine.kind, port) if HOST_NETWORK not in networks else None
    if isinstance(published, str):
        return published
    start = EngineContainer(
        image=found.image,
        volumes=found.mounts or (),
        networks=networks,
        restart=found.restart or "no",
        shm_size=found.shm_size if found.shm_size not in (None, 0, _DEFAULT_SHM) else None,
        cpus=found.cpus or None,
        memory=found.memory or None,
        entrypoint=found.entrypoint if found.entrypoint != found.image_entrypoint else None,
        privileged="privileged" in (found.privileges or ()),
        publish=published.address if published is not None and published.address != node.address else None,
        adopt=found.name,
        groups=found.groups or (),
    )
    command, args = _command(found, start.entrypoint is not None)
    owned = OwnedEngine(replace(start, command=command), port, None, args, _variables(found))
    declared = replace(engine, url=url_of(node.address, port), owned=owned, env={})
    if takes_one_model(declared):
        return "it serves the one model of its start, and gpurec writes the arguments of such a server itself: declare it by hand"
    if preset := preset_of(declared, desired.models)[0]:
        asking = ", ".join(preset_sections(preset[0]))
        what = f"the desired state says how {asking} are to be run, which a router is told by a preset at its start: it would be replaced"
        return f"{what}. Take that out until the engine is adopted, or declare it by hand"
    container = container_of(fleet, node, declared, cards, (), found.name)
    known = replace(found, owner=Owner.OURS, address=container.address, adopted=found.id)
    if refused := container_refusals(container, desired.policy.allowed_containers, node.docker):
        return refused[0].message
    if wrong := mismatches(container, known):
        told = "; ".join(f"{one.field} would be {one.wanted!r} and is {one.found!r}" for one in wrong)
        return f"a plan would replace it: {told}"
    return Adoptable(declared, container, found, tuple(name for name, value in owned.env.items() if isinstance(value, SecretRef)))


def _networks(found: ContainerFacts) -> tuple[str, ...]:
    if found.network_mode == HOST_NETWORK:
        return (HOST_NETWORK,)
    return tuple(one for one in found.networks or () if one not in ("bridge", "none"))


def _published(found: ContainerFacts, kind: EngineKind, port: int) -> PublishedPort | str:
    if len(found.ports) != 1:
        listed = ", ".join(map(str, found.ports)) or "none"
        return f"an engine of gpurec's publishes just its own port, this container {listed}"
    (one,) = found.ports
    if one.container != INNER_PORTS[kind] or one.host != port:
        return f"an engine of gpurec's listens at {INNER_PORTS[kind]} in its container, this one at {one.container}"
    return one


def _command(found: ContainerFacts, own_entrypoint: bool) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
    """Its command where it is another than the image's, else what comes after that one."""
    whole, usual = found.command or (), found.image_command or ()
    if not own_entrypoint and found.image_command is not None and whole[: len(usual)] == usual:
        return None, whole[len(usual) :]
    return whole, ()


def _variables(found: ContainerFacts) -> Mapping[str, str | SecretRef]:
    """What its image does not set: by value where that was read, else by a reference to gpurec's own environment."""
    env = found.env or {}
    return {name: env[name] if name in env else SecretRef("env", name) for name in found.variables}
