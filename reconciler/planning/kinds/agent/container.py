"""The container of an agent: what the files say, with where its model is.

It finds what it needs in variables and in two files: `/etc/gpurec/agent.json` is its `config`, `/etc/gpurec/llm.json` its `llm` with the
model's name on its engine and the engine's address. `api_base` is the engine's OpenAI-compatible API, which Ollama, llama.cpp, vLLM and
llama-swap have below `/v1` (docs/openai.md of Ollama, tools/server/README.md of llama.cpp, docs of vLLM and llama-swap).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import urlsplit

from reconciler.fleet import (
    HOST_NETWORK,
    AgentSpec,
    ContainerFile,
    ContainerSpec,
    EngineKind,
    EngineSpec,
    SecretRef,
)
from reconciler.placement.agents import AgentPlace

CONFIG_PATH, LLM_PATH = "/etc/gpurec/agent.json", "/etc/gpurec/llm.json"
_OF_EVERY_AGENT = ("GPUREC_AGENT", "GPUREC_AGENT_TYPE", "GPUREC_NODE", "GPUREC_CONFIG", "GPUREC_LLM_CONFIG")
_OF_A_MODEL = ("GPUREC_MODEL", "GPUREC_ENGINE", "GPUREC_API_BASE", "GPUREC_API_TYPE", "GPUREC_API_KEY")
VARIABLES = frozenset((*_OF_EVERY_AGENT, *_OF_A_MODEL))
"""What gpurec itself sets in the environment of an agent."""
SECRET_VARIABLES = frozenset({"GPUREC_API_KEY"})
"""Those of them that are given by reference."""


def container_name(fleet: str, name: str, number: int) -> str:
    """How the container of an agent is called on its daemon, which other fleets may use too."""
    return f"{fleet}-{name}" if number == 1 else f"{fleet}-{name}-{number}"


def container_of(fleet: str, place: AgentPlace) -> ContainerSpec:
    """The container of an agent at its place."""
    spec, engine = place.spec, place.offer.slot.spec if place.offer is not None and place.offer.slot is not None else None
    model = place.offer.name if place.offer is not None else None
    files = list(spec.container.files)
    env: dict[str, str | SecretRef] = {**spec.container.env, "GPUREC_AGENT": spec.name, "GPUREC_NODE": place.node}
    if spec.type is not None:
        env["GPUREC_AGENT_TYPE"] = spec.type
    if spec.config is not None:
        env["GPUREC_CONFIG"] = CONFIG_PATH
        files.append(ContainerFile(CONFIG_PATH, f"{spec.config}\n"))
    if engine is not None and model is not None:
        env |= {
            "GPUREC_MODEL": model,
            "GPUREC_ENGINE": str(engine.id),
            "GPUREC_API_BASE": api_base(engine),
            "GPUREC_API_TYPE": api_type(engine),
        }
        if engine.bearer is not None:
            env["GPUREC_API_KEY"] = engine.bearer
    llm = llm_config(spec, engine, model)
    if llm is not None:
        env["GPUREC_LLM_CONFIG"] = LLM_PATH
        files.append(ContainerFile(LLM_PATH, f"{llm}\n"))
    card = place.card.facts.uuid if place.card is not None and place.card.facts is not None else None
    return replace(
        spec.container,
        name=container_name(fleet, spec.name, place.number),
        fleet=fleet,
        address=place.address,
        env=env,
        cards=(card,) if card is not None else (),
        files=tuple(files),
    )


def llm_config(spec: AgentSpec, engine: EngineSpec | None, model: str | None) -> str | None:
    """`llm.json`: what the files say, with the model and the engine that it is on; None where there is neither."""
    if spec.llm is None and engine is None:
        return None
    declared: Mapping[str, object] = json.loads(spec.llm) if spec.llm is not None else {}
    found = dict(declared)
    if engine is not None:
        found = {"api_type": api_type(engine), **found, "model": model, "api_base": api_base(engine)}
    return json.dumps(found, sort_keys=True, indent=2, ensure_ascii=False)


def api_base(engine: EngineSpec) -> str:
    """The engine's OpenAI-compatible API."""
    return f"{engine.url}/v1"


def api_type(engine: EngineSpec) -> str:
    """What clients call the API: `ollama`, else `openai`."""
    return "ollama" if engine.kind is EngineKind.OLLAMA else "openai"


def cannot_reach(spec: ContainerSpec, engine: EngineSpec) -> bool:
    """Whether the engine's address is the node's own loopback, which a container with a network of its own does not reach."""
    host = urlsplit(engine.url).hostname or ""
    return HOST_NETWORK not in spec.networks and (host == "localhost" or host == "::1" or host.startswith("127."))
