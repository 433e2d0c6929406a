"""Cards out of a Prometheus: one look for all nodes, joined by the labels that the inventory says, and unknown where a sample is old."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from reconciler.engines import Transport
from reconciler.fleet import MIB, NodeSpec, ProbeSpec
from reconciler.probes.prometheus import PrometheusCards
from reconciler.probes.protocol import ProbeError, Seen

NOW = 1_800_000_000.5
Series = tuple[Mapping[str, str], float]


class FakePrometheus:
    """Answers instant queries from `series` by metric; samples are `age` seconds old, those of some metrics as `ages` says."""

    def __init__(
        self, series: Mapping[str, list[Series]], age: float = 15.0, answer: bytes | None = None, ages: Mapping[str, float] | None = None
    ) -> None:
        self.series = series
        self.age = age
        self.ages = ages or {}
        self.answer = answer
        self.queries: Counter[str] = Counter()
        self.url = ""

    def result(self, query: str) -> bytes:
        self.queries[query] += 1
        if self.answer is not None:
            return self.answer
        metric = query.removeprefix("timestamp(").removesuffix(")")
        found = [
            {"metric": {**labels, **({} if metric != query else {"__name__": metric})}, "value": [NOW, repr(value)]}
            for labels, value in (
                (labels, value if metric == query else NOW - self.ages.get(metric, self.age))
                for labels, value in self.series.get(metric, [])
            )
        ]
        return json.dumps({"status": "success", "data": {"resultType": "vector", "result": found}}).encode()


@contextmanager
def playing(fake: FakePrometheus) -> Iterator[FakePrometheus]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = fake.result(parse_qs(urlsplit(self.path).query)["query"][0])
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    fake.url = f"http://127.0.0.1:{server.server_port}/prom"
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()


def dcgm(node: str, gpu: int, used: float = 400.0) -> dict[str, Series]:
    labels = {"instance": f"{node}:9400", "gpu": str(gpu), "UUID": f"GPU-{node}-{gpu}", "modelName": "NVIDIA L40S", "job": "dcgm"}
    values = {"FB_USED": used, "FB_FREE": 45000.0, "FB_RESERVED": 631.0, "GPU_TEMP": 51.0, "XID_ERRORS": 0.0}
    return {f"DCGM_FI_DEV_{name}": (labels, value) for name, value in values.items()}


def together(*cards: Mapping[str, Series]) -> dict[str, list[Series]]:
    found: dict[str, list[Series]] = {}
    for card in cards:
        for metric, series in card.items():
            found.setdefault(metric, []).append(series)
    return found


def look(fake: FakePrometheus, *nodes: str, label: str = "instance", port: str = ":9400", **probe: float) -> list[Seen | ProbeError]:
    async def asked() -> list[Seen | ProbeError]:
        async with Transport() as transport:
            source = PrometheusCards(transport)
            specs = [
                NodeSpec(node, node, probe=ProbeSpec(via="prometheus", url=fake.url, match=((label, f"{node}{port}"),), **probe))  # type: ignore[arg-type]
                for node in nodes
            ]
            return await asyncio.gather(*(source.look(spec, "now") for spec in specs), return_exceptions=True)  # type: ignore[return-value]

    with playing(fake):
        return asyncio.run(asked())


def seen(found: Seen | ProbeError) -> Seen:
    assert isinstance(found, Seen), found
    return found


def failed(found: Seen | ProbeError) -> ProbeError:
    assert isinstance(found, ProbeError), found
    return found


def test_each_node_gets_the_cards_that_have_its_labels() -> None:
    fake = FakePrometheus(together(dcgm("a", 0), dcgm("a", 1), dcgm("b", 0, used=7)))
    first, second = map(seen, look(fake, "a", "b"))
    assert [(card.index, card.uuid) for card in first.cards or ()] == [(0, "GPU-a-0"), (1, "GPU-a-1")]
    (card,) = second.cards or ()
    assert (card.used_bytes, card.total_bytes, card.temperature, card.name) == (7 * MIB, 45638 * MIB, 51.0, "NVIDIA L40S")
    assert (card.source, card.at) == ("prometheus (dcgm-exporter)", "2027-01-15T07:59:45Z")


def test_a_fleet_of_any_size_costs_one_query_a_metric() -> None:
    fake = FakePrometheus(together(*(dcgm(f"n{number}", 0) for number in range(200))))
    assert len([found for found in look(fake, *(f"n{number}" for number in range(200))) if isinstance(found, Seen)]) == 200
    assert set(fake.queries.values()) == {1}
    assert "nvidia_smi_memory_used_bytes" in fake.queries
    assert "nvidia_smi_memory_total_bytes" not in fake.queries


def test_a_card_whose_samples_are_old_is_unknown() -> None:
    error = failed(look(FakePrometheus(together(dcgm("a", 0)), age=400), "a")[0])
    assert error.code == "stale"
    assert "are 6m 40s old, more than 3m" in str(error)
    assert isinstance(look(FakePrometheus(together(dcgm("a", 0)), age=400), "a", max_age=600.0)[0], Seen)


def test_an_exporter_that_stopped_hides_none_that_goes_on() -> None:
    uuid = {"instance": "a:9400", "uuid": "8f5c-1", "index": "0"}
    both = {**together(dcgm("a", 0)), "nvidia_smi_memory_used_bytes": [(uuid, 6.0 * MIB)]}
    fake = FakePrometheus(both, ages={"DCGM_FI_DEV_FB_USED": 4000.0})
    (card,) = seen(look(fake, "a")[0]).cards or ()
    assert (card.used_bytes, card.source) == (6 * MIB, "prometheus (nvidia_gpu_exporter)")
    amd = {**together(dcgm("a", 0)), "node_drm_memory_vram_used_bytes": [({"instance": "a:9400", "card": "card0"}, 1.0)]}
    assert failed(look(FakePrometheus(amd, ages={"DCGM_FI_DEV_FB_USED": 4000.0}), "a")[0]).code == "stale", "its other cards are there"


def test_a_node_without_series_is_unknown_and_never_without_cards() -> None:
    up = [({"instance": "gone:9400", "job": "dcgm"}, 0.0), ({"instance": "bare:9400", "job": "node"}, 1.0)]
    gone, bare, nobody = map(failed, look(FakePrometheus({**together(dcgm("a", 0)), "up": up}), "gone", "bare", "nobody"))
    assert (gone.code, bare.code, nobody.code) == ("down", "no_metrics", "no_metrics")
    assert 'cannot scrape {instance="gone:9400"}: its target is down' in str(gone)
    assert "check probe.match" in str(nobody)


def test_any_label_may_tell_the_nodes() -> None:
    labels, value = dcgm("x", 0)["DCGM_FI_DEV_FB_USED"]
    fake = FakePrometheus({"DCGM_FI_DEV_FB_USED": [({**labels, "Hostname": "a"}, value)]})
    assert len(seen(look(fake, "a", label="Hostname", port="")[0]).cards or ()) == 1


def test_the_other_exporter_of_nvidia_is_read_with_its_labels() -> None:
    uuid = {"instance": "a:9400", "uuid": "8f5c-1"}
    fake = FakePrometheus(
        {
            "nvidia_smi_memory_used_bytes": [(uuid, 6.0 * MIB)],
            "nvidia_smi_memory_total_bytes": [(uuid, 16376.0 * MIB)],
            "nvidia_smi_gpu_info": [({**uuid, "name": "RTX 4080", "index": "3", "compute_cap": "8.9"}, 1.0)],
        }
    )
    (card,) = seen(look(fake, "a")[0]).cards or ()
    assert (card.index, card.uuid, card.name, card.compute_capability) == (3, "GPU-8f5c-1", "RTX 4080", (8, 9))
    assert (card.used_bytes, card.total_bytes) == (6 * MIB, 16376 * MIB)


def test_amds_exporter_counts_in_mebibytes() -> None:
    labels = {"instance": "a:9400", "gpu_id": "1", "card_series": "AMD Instinct MI300X", "driver_version": "6.10.5"}
    fake = FakePrometheus(
        {
            "gpu_used_vram": [(labels, 283.0)],
            "gpu_total_vram": [(labels, 196592.0)],
            "gpu_junction_temperature": [(labels, 44.0)],
            "gpu_gfx_activity": [(labels, 50.0)],
        }
    )
    (card,) = seen(look(fake, "a")[0]).cards or ()
    assert (card.index, card.name, card.driver) == (1, "AMD Instinct MI300X", (6, 10, 5))
    assert (card.used_bytes, card.total_bytes, card.temperature, card.utilisation) == (283 * MIB, 196592 * MIB, 44.0, 0.5)


def test_node_exporter_tells_of_amds_cards_and_of_ram() -> None:
    one, two = ({"instance": "a:9400", "card": name} for name in ("card1", "card10"))
    fake = FakePrometheus(
        {
            "node_drm_memory_vram_used_bytes": [(two, 2.0), (one, 1.0)],
            "node_drm_memory_vram_size_bytes": [(two, 2.0**33), (one, 2.0**32)],
            "node_memory_MemTotal_bytes": [({"instance": "a:9400"}, 2.0**36)],
        }
    )
    found = seen(look(fake, "a")[0])
    assert [(card.index, card.used_bytes, card.total_bytes) for card in found.cards or ()] == [(0, 1, 2**32), (1, 2, 2**33)]
    assert found.ram_bytes == 2**36


def test_cards_of_two_vendors_are_told_apart() -> None:
    amd = {"instance": "a:9400", "card": "card0"}
    fake = FakePrometheus({**together(dcgm("a", 0)), "node_drm_memory_vram_used_bytes": [(amd, 1.0)]})
    assert [card.index for card in seen(look(fake, "a")[0]).cards or ()] == ["nvidia0", "amd0"]


def test_a_label_that_tells_the_nodes_may_be_one_that_tells_the_cards() -> None:
    fake = FakePrometheus(together(dcgm("a", 0), dcgm("a", 1)))
    (card,) = seen(look(fake, "1", label="gpu", port="")[0]).cards or ()
    assert (card.index, card.uuid) == (1, "GPU-a-1")


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"<html>",
        b"[]",
        b'{"status":"success"}',
        b'{"data":{"result":[{"metric":{},"value":[1,2]}]}}',
        b'{"data":{"result":[{"metric":{"instance":3},"value":[1,"2"]}]}}',
        b'{"data":{"resultType":"scalar","result":[1,"2"]}}',
        b"\xff",
    ],
)
def test_what_is_no_answer_of_prometheus_is_the_nodes_reason(answer: bytes) -> None:
    error = failed(look(FakePrometheus({}, answer=answer), "a")[0])
    assert error.code == "malformed"
    assert "no vector of Prometheus" in str(error)


@pytest.mark.parametrize("value", ["x", "NaN", "+Inf", ""])
def test_a_value_that_is_no_number_is_unknown(value: str) -> None:
    series = {"metric": {"instance": "a:9400", "gpu": "0", "UUID": "u"}, "value": [1.0, value]}
    answer = json.dumps({"data": {"result": [series]}}).encode()
    assert failed(look(FakePrometheus({}, answer=answer), "a")[0]).code == "no_metrics"


@pytest.mark.parametrize("taken", [1e300, -5.0])
def test_a_time_that_is_none_makes_its_sample_a_stale_one(taken: float) -> None:
    fake = FakePrometheus(together(dcgm("a", 0)), age=NOW - taken)
    assert failed(look(fake, "a")[0]).code == "stale"


def test_a_prometheus_that_is_away_is_the_reason_of_every_node() -> None:
    fake = FakePrometheus({})
    with playing(fake):
        pass

    async def asked() -> list[object]:
        async with Transport() as transport:
            source = PrometheusCards(transport)
            specs = [NodeSpec(name, name, probe=ProbeSpec(via="prometheus", url=fake.url, match=(("instance", name),))) for name in "ab"]
            return list(await asyncio.gather(*(source.look(spec, "now") for spec in specs), return_exceptions=True))

    assert [error.code for error in asyncio.run(asked()) if isinstance(error, ProbeError)] == ["refused", "refused"]
