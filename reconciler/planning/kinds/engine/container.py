"""The container of an engine: what its files say of it, with its cards, its port, and the arguments of its kind.

What each kind listens on, and by what it is told so, is in its own documentation: `OLLAMA_HOST` (envconfig/config.go), llama.cpp's
`--host` and `--port` (tools/server/README.md), vLLM's `--host` and `--port`, llama-swap's `--listen`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from reconciler.fleet import (
    HOST_NETWORK,
    CardFacts,
    ContainerSpec,
    EngineContainer,
    EngineKind,
    EngineSpec,
    NodeSpec,
    PublishedPort,
    SecretRef,
    host_port,
    resource_address,
)

INNER_PORTS = {EngineKind.OLLAMA: 11434, EngineKind.LLAMACPP: 8080, EngineKind.VLLM: 8000, EngineKind.LLAMASWAP: 8080}
"""Where the images of each kind listen if nobody says otherwise."""
AMD_DEVICES = ("/dev/kfd", "/dev/dri")
"""They belong to root, as whom the images of engines run; one that runs as another user is given `groups` by its files: a group that is
named has to be in the image, and the number of `render` is another on each node."""
_AMD_SOURCES = ("amd-smi", "rocm-smi")
_AMD_NAME = re.compile(r"\b(AMD|Radeon|Instinct|gfx[0-9a-f]{3,4})\b", re.IGNORECASE)
_NO_NAME = re.compile(r"[^A-Za-z0-9_.-]+")


def container_name(fleet: str, engine: str) -> str:
    """How the container of an engine is called on its daemon, which other fleets may use too."""
    return _NO_NAME.sub("-", f"{fleet}-{engine}")


def container_of(
    fleet: str, node: NodeSpec, engine: EngineSpec, cards: Sequence[CardFacts], args: Sequence[str] = (), adopts: str = ""
) -> ContainerSpec:
    """The container of an engine that gpurec owns. `cards` are those of its node that are its own; `args` come before the declared ones;
    `adopts` is a container of somebody else's that counts as this one."""
    owned = engine.owned
    assert owned is not None
    start = owned.start
    assert isinstance(start, EngineContainer)
    amd = [card for card in cards if is_amd(card)]
    nvidia = [card for card in cards if not is_amd(card)]
    env: dict[str, str | SecretRef] = dict(owned.env)
    listens: tuple[str, ...] = ()
    ports: tuple[PublishedPort, ...] = ()
    if HOST_NETWORK in start.networks:
        if engine.kind is EngineKind.OLLAMA:
            env.setdefault("OLLAMA_HOST", host_port(node.address, owned.port))
        said = {word.partition("=")[0] for word in (*(start.command or ()), *owned.args)}
        words = listen_arguments(engine.kind, node.address, owned.port)
        pairs = zip(words[::2], words[1::2], strict=True)
        listens = tuple(word for flag, value in pairs if flag not in said for word in (flag, value))
    else:
        address = start.publish or ("127.0.0.1" if node.address == "localhost" else node.address)
        ports = (PublishedPort(INNER_PORTS[engine.kind], owned.port, address),)
    if amd:
        env.setdefault("ROCR_VISIBLE_DEVICES", ",".join(card_mark(card) for card in amd))
    return ContainerSpec(
        name=container_name(fleet, engine.id.engine),
        image=start.image,
        fleet=fleet,
        address=resource_address("engine", engine.id.engine, engine.id.node),
        command=start.command,
        args=(*listens, *args, *owned.args),
        entrypoint=start.entrypoint,
        env=env,
        ports=ports,
        mounts=start.volumes,
        networks=start.networks,
        restart=start.restart,
        shm_size=start.shm_size,
        cpus=start.cpus,
        memory=start.memory,
        cards=tuple(card_mark(card) for card in nvidia),
        devices=AMD_DEVICES if amd else (),
        groups=start.groups,
        stop_timeout=start.stop_timeout,
        privileged=start.privileged,
        adopts=adopts,
        all_cards=bool(adopts) and engine.gpus is None,
    )


def listen_arguments(kind: EngineKind, address: str, port: int) -> tuple[str, ...]:
    """What tells a server of a kind where to listen; nothing for Ollama, which reads it from its environment."""
    match kind:
        case EngineKind.OLLAMA:
            return ()
        case EngineKind.LLAMASWAP:
            return ("--listen", host_port(address, port))
        case _:
            return ("--host", address, "--port", str(port))


def card_mark(card: CardFacts) -> str:
    """What names a card to a runtime: its UUID, which stays when an index moves; a declared card without one by its index."""
    return card.uuid or str(card.number if card.number is not None else card.index)


def is_amd(card: CardFacts) -> bool:
    """Whether AMD made a card, by its id, by what was asked for it, else by its name."""
    if isinstance(card.index, str) and card.index.startswith("amd"):
        return True
    return card.source in _AMD_SOURCES or (card.name is not None and _AMD_NAME.search(card.name) is not None)
