"""What is asked of the daemons about agents, before anybody knows which of them will be where."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from reconciler.fleet import EMPTY, AgentSpec, ContainersLookedFor, ContainerSpec, SecretRef, WatchedEnv, mounted, parse_agent_address
from reconciler.planning.kinds.agent.container import SECRET_VARIABLES, VARIABLES, container_name


class WatchedAgents(Mapping[str, WatchedEnv]):
    """Of which container of ours which variables are looked at: those that its agent declares, that gpurec sets, and that it was made with.
    By address, of which any may turn up, so they are told when they are asked for."""

    def __init__(self, specs: Mapping[str, AgentSpec], before: Mapping[str, ContainerSpec]) -> None:
        self._specs, self._before = specs, before

    def __getitem__(self, address: str) -> WatchedEnv:
        try:
            name, _, _ = parse_agent_address(address)
        except ValueError:
            raise KeyError(address) from None
        declared = [one for one in (self._specs.get(name), self._before.get(address)) if one is not None]
        if not declared:
            raise KeyError(address)
        env: dict[str, str | SecretRef] = {}
        for one in reversed(declared):
            env |= one.container.env if isinstance(one, AgentSpec) else one.env
        secrets = {name: value for name, value in env.items() if isinstance(value, SecretRef)}
        return WatchedEnv((frozenset(env) | VARIABLES) - secrets.keys() - SECRET_VARIABLES, secrets)

    def __iter__(self) -> Iterator[str]:
        return iter(self._before)

    def __len__(self) -> int:
        return len(self._before)


def looked_for_on(
    fleet: str,
    nodes: Sequence[str],
    specs: Sequence[AgentSpec],
    before: Mapping[str, ContainerSpec],
    adopted: Mapping[str, str] = EMPTY,
) -> Mapping[str, ContainersLookedFor]:
    """What each daemon is asked: nodes for which the same agents are meant are asked the same. `adopted` says by what else than its labels
    a container is an agent's, by the agent's address."""
    watched = WatchedAgents({spec.name: spec for spec in specs}, before)
    meant: dict[str, list[AgentSpec]] = {node: [] for node in nodes}
    for spec in specs:
        for node in spec.nodes:
            if node in meant:
                meant[node].append(spec)
    asked: dict[tuple[str, ...], ContainersLookedFor] = {}
    found = {}
    for node, some in meant.items():
        key = tuple(spec.name for spec in some)
        if key not in asked:
            names = frozenset(container_name(fleet, spec.name, number) for spec in some for number in range(1, (spec.replicas or 1) + 1))
            ports = frozenset(port.host for spec in some for port in spec.container.published)
            asked[key] = ContainersLookedFor(fleet, watched, names, ports, sources=mounted(spec.container for spec in some))
        found[node] = asked[key]
    for address, by in adopted.items():
        node = parse_agent_address(address)[2]
        found[node] = replace(found[node], adopted={**found[node].adopted, by: address})
    return found
