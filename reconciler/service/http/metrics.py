"""What Prometheus may know of a fleet: gauges of the last look, and counts of what the loop did.

Labels are names of the inventory and words of our own, so their number is that of the fleet."""

from __future__ import annotations

import time
from collections import Counter as CountOf
from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from reconciler import __version__
from reconciler.capacity import in_use
from reconciler.execution import StepDone, StepFailed, StepSkipped
from reconciler.fleet import MIB, Topic, parse_replica_address
from reconciler.operations.exit_status import unplaced
from reconciler.operations.proposal import Proposal
from reconciler.planning import Action
from reconciler.service.conditions import Conditions
from reconciler.service.events import AlertLost, Looked, WatchEvent
from reconciler.service.watch import Watch

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_STEP_SECONDS = (0.5, 1, 2, 5, 10, 30, 60, 120, 300, 900)
_LOOK_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """Listens to a loop, and shows it. One object a loop."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._heard = 0
        self._shown: tuple[Proposal | None, Conditions, int, bytes] | None = None
        self._registry = CollectorRegistry()
        self._registry.register(_OfTheLastLook(watch))
        self._steps = Counter("gpurec_apply_steps", "Steps that ended, by how.", ["action", "result"], registry=self._registry)
        self._step_seconds = Histogram(
            "gpurec_apply_step_seconds", "How long steps took.", ["action"], buckets=_STEP_SECONDS, registry=self._registry
        )
        self._looks = Histogram(
            "gpurec_look_seconds", "How long looks took, with what they led to.", buckets=_LOOK_SECONDS, registry=self._registry
        )
        self._alerts = Counter("gpurec_alerts_lost", "Alerts that could not be sent.", registry=self._registry)

    def hear(self, event: WatchEvent) -> None:
        self._heard += 1
        match event:
            case StepDone(step=step, seconds=seconds):
                self._steps.labels(step.action.value, "done").inc()
                self._step_seconds.labels(step.action.value).observe(seconds)
            case StepFailed(step=step, seconds=seconds):
                self._steps.labels(step.action.value, "failed").inc()
                self._step_seconds.labels(step.action.value).observe(seconds)
            case StepSkipped(step=step):
                self._steps.labels(step.action.value, "skipped").inc()
            case Looked(seconds=seconds):
                self._looks.observe(seconds)
            case AlertLost():
                self._alerts.inc()
            case _:
                return

    def text(self) -> bytes:
        """Made once for what the loop knows, however many ask: of 1,000 nodes it takes 70 ms, in which nobody else is answered."""
        seen, holding, shown = self._watch.last, self._watch.holding, self._shown
        if shown is None or shown[0] is not seen or shown[1] is not holding or shown[2] != self._heard:
            shown = self._shown = seen, holding, self._heard, generate_latest(self._registry)
        return shown[3]


class _OfTheLastLook(Collector):
    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def collect(self) -> Iterable[Metric]:
        yield InfoMetricFamily("gpurec", "Which gpurec this is.", {"version": __version__})
        yield _gauge("gpurec_conditions", "Things that are not as they should be.", ["topic"], self._conditions())
        seen = self._watch.last
        if seen is None or self._watch.last_at is None:
            return
        last = time.time() - (time.monotonic() - self._watch.last_at)
        yield _gauge("gpurec_last_success_timestamp_seconds", "When the fleet was last looked at.", [], [((), last)])
        yield from _of_plan(seen)
        yield from _of_engines(seen)
        yield from _of_cards(seen)

    def _conditions(self) -> list[tuple[tuple[str, ...], float]]:
        counts = CountOf(key[0] for key in self._watch.holding)
        return [((topic.value,), float(counts[topic])) for topic in Topic if topic is not Topic.RECOVERED]


Rows = Iterable[tuple[tuple[str, ...], float | None]]


def _gauge(name: str, what: str, labels: list[str], rows: Rows) -> Metric:
    """One family; what is unknown has no sample."""
    family = GaugeMetricFamily(name, what, labels=labels)
    for values, number in rows:
        if number is not None:
            family.add_metric(list(values), number)
    return family


def _of_plan(seen: Proposal) -> Iterator[Metric]:
    plan = seen.plan
    changes = [((action.value,), float(plan.count(action))) for action in Action]
    yield _gauge("gpurec_plan_changes", "Steps of the plan of the last look.", ["action"], changes)
    drift = CountOf(one.klass for one in plan.drift)
    classes = [((klass,), float(drift[klass])) for klass in ("managed", "observed", "volatile")]
    yield _gauge("gpurec_drift_fields", "Fields that are not as they were last applied.", ["class"], classes)
    yield _gauge("gpurec_unplaced_replicas", "Replicas that are not best-effort and have no place.", [], [((), float(unplaced(plan)))])
    yield _gauge("gpurec_state_serial", "The serial of the state.", [], [((), float(plan.serial))])


def _of_engines(seen: Proposal) -> Iterator[Metric]:
    engines = [engine for node in seen.facts.nodes.values() for engine in node.engines.values()]
    at = [((one.id.node, one.id.engine, one.kind.value), one) for one in engines]
    up = [(key, float(one.reachable)) for key, one in at if one.reachable or one.silent]
    yield _gauge("gpurec_engine_up", "Whether an engine answers.", ["node", "engine", "kind"], up)
    yield _gauge(
        "gpurec_probe_seconds",
        "How long the last look at an engine took.",
        ["node", "engine", "kind"],
        ((key, one.probe_seconds or None) for key, one in at),
    )
    looked = [((name,), node.card_probe.seconds or None) for name, node in sorted(seen.facts.nodes.items()) if node.card_probe is not None]
    yield _gauge("gpurec_card_probe_seconds", "How long the last look at the cards of a node took.", ["node"], looked)
    residents = {one.id: {resident.name for resident in one.residents or ()} for one in engines if one.reachable}
    rows = [
        ((row.model, row.at.node, row.at.engine), float(row.engine_name in residents[row.at]))
        for _, row in sorted(seen.applied.replicas.items())
        if row.at in residents
    ]
    labels = ["model", "node", "engine"]
    yield _gauge("gpurec_model_up", "Whether a replica that gpurec owns is resident.", labels, rows)
    there = [(parse_replica_address(address), one) for address, one in sorted(seen.plan.residents.items())]
    held = [((model, at.node, at.engine), one.vram_bytes) for (model, at), one in there]
    yield _gauge("gpurec_model_memory_bytes", "What a resident holds of its fullest card, as the plan counts.", labels, held)


def _of_cards(seen: Proposal) -> Iterator[Metric]:
    plan, labels = seen.plan, ["node", "gpu"]
    balances = [((card.node, str(card.gpu)), card) for card in plan.gpus]
    yield _gauge("gpurec_gpu_memory_total_bytes", "Memory of a card.", labels, ((key, card.total_bytes) for key, card in balances))
    yield _gauge("gpurec_gpu_memory_usable_bytes", "What may be used of it.", labels, ((key, card.usable_bytes) for key, card in balances))
    yield _gauge(
        "gpurec_gpu_memory_placed_bytes",
        "What models hold of it, as the plan counts.",
        labels,
        ((key, card.before_bytes) for key, card in balances),
    )
    yield _gauge(
        "gpurec_gpu_memory_foreign_bytes",
        "What no engine that is known holds.",
        labels,
        ((key, card.foreign_bytes) for key, card in balances),
    )
    yield _gauge("gpurec_gpu_agents", "Agents whose model, or own part, is on it.", labels, ((key, card.agents) for key, card in balances))
    cards = [((name, str(card.index)), card) for name, node in sorted(seen.facts.nodes.items()) for card in node.cards or ()]
    yield _gauge(
        "gpurec_gpu_memory_used_bytes", "What is used, where the card tells.", labels, ((key, card.used_bytes) for key, card in cards)
    )
    yield _gauge("gpurec_gpu_utilization_ratio", "Share of time at work.", labels, ((key, card.utilisation) for key, card in cards))
    yield _gauge("gpurec_gpu_temperature_celsius", "Temperature.", labels, ((key, card.temperature) for key, card in cards))
    yield _gauge("gpurec_gpu_power_watts", "Power drawn.", labels, ((key, card.power) for key, card in cards))
    yield from _in_mebibytes(seen)


def _in_mebibytes(seen: Proposal) -> Iterator[Metric]:
    """The same under names that dashboards of small fleets have, in MiB and percent, by `device_id` (NODE/CARD). A card that does not tell
    what is used has what the plan counts."""
    cards = {(name, card.index): card for name, node in seen.facts.nodes.items() for card in node.cards or ()}
    used, total, busy = [], [], []
    for one in seen.plan.gpus:
        key, card = (f"{one.node}/{one.gpu}",), cards.get((one.node, one.gpu))
        used.append((key, in_use(card.used_bytes if card is not None else None, one.before_bytes, one.foreign_bytes) / MIB))
        total.append((key, None if one.total_bytes is None else one.total_bytes / MIB))
        busy.append((key, None if card is None or card.utilisation is None else card.utilisation * 100))
    yield _gauge("gpu_memory_used_mb", "Memory of a card in use, in MiB.", ["device_id"], used)
    yield _gauge("gpu_memory_total_mb", "Memory of a card, in MiB.", ["device_id"], total)
    yield _gauge("gpu_utilization_pct", "Share of time at work, in percent.", ["device_id"], busy)
