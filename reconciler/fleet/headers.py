"""Headers of model files among the facts: a fact of each installed model, and written down once for all engines that have the same file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from reconciler.fleet.facts import EngineFacts, Installed, ModelHeader, NodeFacts


def header_key(installed: Installed) -> str | None:
    """What a header is kept under: the weights' blob, else the digest of the manifest."""
    return installed.blob or installed.digest


def headers_of(nodes: Iterable[NodeFacts]) -> dict[str, ModelHeader]:
    """Every header that these nodes tell, by its key."""
    found: dict[str, ModelHeader] = {}
    for node in nodes:
        for engine in node.engines.values():
            for installed in engine.installed or ():
                key = header_key(installed) if installed.header is not None else None
                if key is not None and installed.header is not None:
                    found.setdefault(key, installed.header)
    return found


def with_headers(node: NodeFacts, headers: Mapping[str, ModelHeader]) -> NodeFacts:
    """The node's facts with the headers of what is installed put back; the same object where there is none."""
    engines = {name: _engine(engine, headers) for name, engine in node.engines.items()} if headers else node.engines
    return node if all(engines[name] is engine for name, engine in node.engines.items()) else replace(node, engines=engines)


def _engine(engine: EngineFacts, headers: Mapping[str, ModelHeader]) -> EngineFacts:
    if not any(header_key(one) in headers for one in engine.installed or ()):
        return engine
    return replace(engine, installed=tuple(_with(one, headers.get(header_key(one) or "")) for one in engine.installed or ()))


def _with(installed: Installed, header: ModelHeader | None) -> Installed:
    return installed if header is None else replace(installed, header=header)
