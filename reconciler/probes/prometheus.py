"""Cards of a whole fleet out of a Prometheus (Thanos, Mimir) that scrapes their exporters: one instant query a metric for all nodes.

Source: prometheus.io "HTTP API" (`/api/v1/query`). A target that is down leaves no series, and no error: so
`up` is asked too, and what is not there is unknown. A sample's own time is told only by the function `timestamp`.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec

from reconciler.engines import Transport
from reconciler.engines.metrics import Sample
from reconciler.engines.transport import Channel
from reconciler.fleet import MIB, CardFacts, EngineError, EngineId, EngineKind, EngineSpec, NodeSpec, ProbeSpec, Problem, format_duration
from reconciler.probes import amd_metrics, dcgm, exporter
from reconciler.probes.protocol import Seen, probe_error
from reconciler.probes.vendors import told_apart
from reconciler.value_class import value_class

LARGEST = 128 * MIB
"""Of one answer: 80,000 cards with a dozen labels are 30 MB."""
_MEMORY = "node_memory_MemTotal_bytes"
_UP = "up"
_LAST_SECOND = 253402300800
"""Of the year 9999: what is later is no time."""
_Read = tuple[tuple[CardFacts, ...], tuple[str, ...]]
_Join = tuple[str, ...]


@value_class
class _Family:
    """The metrics of one exporter: the first is there for every card, the others are asked for where that is found."""

    name: str
    vendor: str
    metrics: tuple[str, ...]
    labels: tuple[str, ...]
    read: Callable[[Iterable[Sample], str, str], _Read]


_FAMILIES = (
    _Family("dcgm-exporter", "nvidia", dcgm.METRICS, dcgm.LABELS, lambda *seen: (dcgm.cards_of_samples(*seen), ())),
    _Family("nvidia_gpu_exporter", "nvidia", exporter.METRICS, exporter.LABELS, exporter.cards_of_samples),
    _Family("device-metrics-exporter", "amd", amd_metrics.METRICS, amd_metrics.LABELS, lambda *seen: (amd_metrics.cards_of_amd(*seen), ())),
    _Family("node_exporter", "amd", amd_metrics.DRM_METRICS, amd_metrics.DRM_LABELS, lambda *seen: (amd_metrics.cards_of_drm(*seen), ())),
)


@dataclass(slots=True)
class _Node:
    """What Prometheus has of one node: samples by family, the oldest of each in seconds since 1970 and by how many seconds it is old."""

    samples: dict[str, list[Sample]] = field(default_factory=dict)
    taken: dict[str, tuple[float, float]] = field(default_factory=dict)
    ram: float | None = None
    up: bool | None = None


_NOTHING = _Node()


class PrometheusCards:
    """One look at a Prometheus for all nodes that name it, however many they are."""

    name = "prometheus"

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._looks: dict[tuple[object, ...], asyncio.Task[Mapping[_Join, _Node]]] = {}

    async def look(self, node: NodeSpec, at: str) -> Seen:
        """The cards of a node: those whose series have its labels."""
        probe = node.probe
        labels = tuple(label for label, _ in probe.match)
        key = (probe.url, probe.bearer, probe.tls, probe.timeout, labels)
        look = self._looks.get(key)
        if look is None:
            look = self._looks[key] = asyncio.ensure_future(self._ask(probe, labels))
        try:
            every = await asyncio.shield(look)
        except EngineError as error:
            what = f"{probe.url} {error.problems[0].what}"
            raise probe_error(error.code, node.name, what, "check probe.url, and that Prometheus runs") from None
        except TimeoutError:
            hint = "raise probe.timeout, which is for all queries together"
            raise probe_error(
                "timeout", node.name, f"{probe.url} did not answer everything within {format_duration(probe.timeout)}", hint
            ) from None
        return _seen(node, every.get(tuple(value for _, value in probe.match), _NOTHING))

    async def _ask(self, probe: ProbeSpec, labels: Sequence[str]) -> Mapping[_Join, _Node]:
        parts = urlsplit(probe.url or "")
        spec = EngineSpec(
            EngineId(parts.netloc, self.name),
            EngineKind.VLLM,  # any that keys are for: a Prometheus has no kind of its own
            f"{parts.scheme}://{parts.netloc}",
            bearer=probe.bearer,
            tls=probe.tls,
            timeout=probe.timeout,
        )
        nodes: dict[_Join, _Node] = {}
        async with asyncio.timeout(probe.timeout):
            channel = self._transport.channel(spec)
            try:
                asked = _Queries(channel, parts.path.rstrip("/"), probe.timeout, tuple(labels), nodes)
                for family in _FAMILIES:
                    if await asked.samples(family, family.metrics[0]):
                        await asked.ages(family)
                        for metric in family.metrics[1:]:
                            await asked.samples(family, metric)
                await asked.others()
            finally:
                await channel.aclose()
        return nodes


class _Queries:
    """The queries of one look, and what their answers add to the nodes."""

    def __init__(self, channel: Channel, path: str, within: float, join: tuple[str, ...], nodes: dict[_Join, _Node]) -> None:
        self._channel = channel
        self._path = path
        self._within = within
        self._join = join
        self._nodes = nodes
        self._shared: dict[tuple[str | None, ...], Mapping[str, str]] = {}
        self._decoders: dict[tuple[str, ...], msgspec.json.Decoder[Any]] = {}

    async def samples(self, family: _Family, metric: str) -> int:
        """Adds the samples of a metric to their nodes; how many there were."""
        found = 0
        for key, labels, _, value in await self._query(metric, family.labels):
            found += 1
            self._node(key).samples.setdefault(family.name, []).append(Sample(metric, labels, value))
        return found

    async def ages(self, family: _Family) -> None:
        """When the samples of the first metric were taken; of a node the oldest."""
        for key, _, now, taken in await self._query(f"timestamp({family.metrics[0]})", family.labels):
            known = self._node(key).taken
            if not 0 <= taken < _LAST_SECOND:
                continue
            if family.name not in known or taken < known[family.name][0]:
                known[family.name] = (taken, now - taken)

    async def others(self) -> None:
        """How much RAM nodes have, and whether their targets are up: where these have the labels too."""
        for key, _, _, value in await self._query(_MEMORY, ()):
            self._node(key).ram = value
        for key, _, _, value in await self._query(_UP, ()):
            node = self._node(key)
            node.up = bool(value) and node.up is not False

    def _node(self, key: _Join) -> _Node:
        found = self._nodes.get(key)
        if found is None:
            found = self._nodes[key] = _Node()
        return found

    async def _query(self, query: str, wanted: tuple[str, ...]) -> list[tuple[_Join, Mapping[str, str], float, float]]:
        """The series of an instant query that have the labels of the join: those labels, the wanted ones, the time of the query and the
        value. Equal labels are one mapping."""
        path = f"{self._path}/api/v1/query?query={quote(query, safe='')}"
        answer = await self._channel.get(path, within=self._within, limit=LARGEST)
        try:
            decoded = self._decoder(wanted).decode(answer.body)
        except msgspec.MsgspecError as error:
            raise EngineError(Problem(f"answered {query} with no vector of Prometheus: {error}"), "malformed") from None
        width, names, found = len(self._join), self._names(wanted), []
        for series in decoded.data.result:
            labels = msgspec.structs.astuple(series.metric)
            if None in labels[:width]:
                continue
            shared = self._shared.get(labels)
            if shared is None:
                named = {name: value for name, value in zip(names, labels, strict=True) if value is not None and name in wanted}
                shared = self._shared[labels] = MappingProxyType(named)
            now, value = series.value
            if (number := _number(value)) is not None:
                found.append((labels[:width], shared, now, number))
        return found

    def _names(self, wanted: tuple[str, ...]) -> tuple[str, ...]:
        """The labels that are read, those of the join first: one may be among the wanted ones, too."""
        return tuple(dict.fromkeys((*self._join, *wanted)))

    def _decoder(self, wanted: tuple[str, ...]) -> msgspec.json.Decoder[Any]:
        """Reads just the labels that are asked for: an answer of 80,000 series is not kept as 80,000 mappings."""
        kept = self._decoders.get(wanted)
        if kept is None:
            names = self._names(wanted)
            fields = [(f"label_{number}", str | None, None) for number in range(len(names))]
            renamed = {f"label_{number}": name for number, name in enumerate(names)}
            metric = msgspec.defstruct("Metric", fields, rename=renamed, gc=False)
            series = msgspec.defstruct("Series", [("metric", metric), ("value", tuple[float, str])], gc=False)
            data = msgspec.defstruct("Data", [("result", list[series])])  # type: ignore[valid-type]  # made as the program runs
            kept = self._decoders[wanted] = msgspec.json.Decoder(msgspec.defstruct("Answer", [("data", data)]))
        return kept


def _seen(node: NodeSpec, found: _Node) -> Seen:
    """A node's cards, where there are any and they are young enough."""
    probe = node.probe
    asked = ", ".join(f'{label}="{value}"' for label, value in probe.match)
    by_vendor: dict[str, tuple[CardFacts, ...]] = {}
    notes: list[str] = []
    stale: str | None = None
    for family in _FAMILIES:
        samples = found.samples.get(family.name)
        if samples is None or by_vendor.get(family.vendor):
            continue
        taken, age = found.taken.get(family.name, (0.0, None))
        if age is None or age > probe.max_age:
            old = "have no time" if age is None else f"are {format_duration(round(age))} old"
            stale = f"the samples of {{{asked}}} in {probe.url} {old}, more than {format_duration(probe.max_age)}"
            continue
        cards, said = family.read(samples, f"prometheus ({family.name})", _iso(taken))
        by_vendor[family.vendor] = cards
        notes += said
    if stale is not None and not all(by_vendor.get(one.vendor) for one in _FAMILIES if one.name in found.samples):
        raise probe_error("stale", node.name, stale, "check that Prometheus scrapes its exporter, or raise probe.max_age")
    cards = told_apart(by_vendor)
    if cards:
        return Seen(cards, tuple(notes), int(found.ram) if found.ram is not None else None)
    if notes:
        raise probe_error("mig_unseen", node.name, "; ".join(notes))
    if found.up is False:
        raise probe_error(
            "down", node.name, f"{probe.url} cannot scrape {{{asked}}}: its target is down", "look at the exporter on the node"
        )
    what = f"{probe.url} has no metrics of cards with {{{asked}}}"
    raise probe_error("no_metrics", node.name, what, "check probe.match, and that Prometheus scrapes the exporter of this node")


def _number(text: str) -> float | None:
    try:
        found = float(text)
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
