"""Asks an exporter for its metrics, over the same bounded HTTP as engines."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from urllib.parse import urlsplit

from reconciler.engines import Transport
from reconciler.fleet import MIB, CardFacts, EngineError, EngineId, EngineKind, EngineSpec, NodeSpec
from reconciler.probes.dcgm import cards_of_dcgm
from reconciler.probes.exporter import cards_of_exporter
from reconciler.probes.protocol import Seen, probe_error

LARGEST = 16 * MIB
PORTS = {"dcgm": 9400, "exporter": 9835}
"""The ports that the exporters take by default."""
_Read = tuple[tuple[CardFacts, ...], tuple[str, ...]]
_READERS: dict[str, Callable[[str, str, str], _Read]] = {"dcgm": lambda *body: (cards_of_dcgm(*body), ()), "exporter": cards_of_exporter}


def _index(card: CardFacts) -> int:
    assert isinstance(card.index, int)
    return card.index


class Scrape:
    """One kind of exporter: `dcgm` (dcgm-exporter) or `exporter` (nvidia_gpu_exporter)."""

    def __init__(self, kind: str, transport: Transport) -> None:
        self._kind = kind
        self._transport = transport

    @property
    def name(self) -> str:
        return self._kind

    async def look(self, node: NodeSpec, at: str) -> Seen:
        """The cards of one scrape."""
        base, path = self.where(node)
        spec = EngineSpec(
            EngineId(node.name, self._kind),
            EngineKind.VLLM,  # any that keys are for: a scrape has no kind of its own
            base,
            bearer=node.probe.bearer,
            tls=node.probe.tls,
            timeout=node.probe.timeout,
        )
        try:
            channel = self._transport.channel(spec)
            try:
                answer = await channel.get(path, within=node.probe.timeout, limit=LARGEST)
            finally:
                await channel.aclose()
        except EngineError as error:
            problem = error.problems[0]
            raise probe_error(
                error.code, node.name, f"{base}{path} {problem.what}", "check probe.url, and that the exporter runs"
            ) from None
        cards, notes = _READERS[self._kind](answer.body.decode("utf-8", "replace"), self._kind, at)
        if not cards and notes:
            raise probe_error("mig_unseen", node.name, "; ".join(notes))
        if not cards:
            what = f"{base}{path} has no metrics of cards"
            raise probe_error("no_metrics", node.name, what, "check probe.via and probe.url, and the exporter's own log")
        twice = next((one.index for one, other in pairwise(sorted(cards, key=_index)) if one.index == other.index), None)
        if twice is not None:
            what = f"{base}{path} tells of several cards {twice}: it is not of this node alone"
            raise probe_error("no_metrics", node.name, what, "write the url of the exporter on this node as probe.url")
        return Seen(cards, notes)

    def where(self, node: NodeSpec) -> tuple[str, str]:
        """The address and the path of the metrics: `probe.url`, `/metrics` where it names none, else the exporter's own port."""
        if node.probe.url is None:
            host = f"[{node.address}]" if ":" in node.address and not node.address.startswith("[") else node.address
            return f"http://{host}:{PORTS[self._kind]}", "/metrics"
        parts = urlsplit(node.probe.url)
        return f"{parts.scheme}://{parts.netloc}", parts.path or "/metrics"
