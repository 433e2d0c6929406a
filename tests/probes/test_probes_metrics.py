"""Cards out of exporters' metrics: units, labels, marks for nothing, and what a scrape that fails leaves."""

from __future__ import annotations

import asyncio
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from reconciler.engines import Transport
from reconciler.engines.metrics import samples
from reconciler.fleet import MIB, NodeSpec, ProbeSpec, SecretRef
from reconciler.probes.dcgm import cards_of_dcgm
from reconciler.probes.exporter import cards_of_exporter
from reconciler.probes.protocol import ProbeError
from reconciler.probes.scrape import Scrape

AT = "2026-01-01T00:00:00Z"
LABELS = 'gpu="1",UUID="GPU-abc",device="nvidia1",modelName="NVIDIA L40S",Hostname="a",DCGM_FI_DRIVER_VERSION="550.54.15"'
DCGM = f"""# HELP DCGM_FI_DEV_FB_FREE Framebuffer memory free (in MiB).
# TYPE DCGM_FI_DEV_FB_FREE gauge
DCGM_FI_DEV_FB_FREE{{{LABELS}}} 45000
DCGM_FI_DEV_FB_USED{{{LABELS}}} 437
DCGM_FI_DEV_FB_RESERVED{{{LABELS}}} 631
DCGM_FI_DEV_GPU_TEMP{{{LABELS}}} 51
DCGM_FI_DEV_POWER_USAGE{{{LABELS}}} 87.125
DCGM_FI_DEV_GPU_UTIL{{{LABELS}}} 40
DCGM_FI_DEV_MEMORY_TEMP{{{LABELS}}} 9223372036854775794
DCGM_FI_DEV_XID_ERRORS{{{LABELS},err_code="79",err_msg="GPU has fallen off the bus"}} 79 1755856800000
"""
INFO = 'uuid="8f5c-1",name="RTX 4080 SUPER",driver_version="595.71.05",compute_cap="8.9",index="0",cuda_version="13.2"'
EXPORTER = (
    f"nvidia_smi_gpu_info{{{INFO}}} 1\n"
    + """\
nvidia_smi_memory_total_bytes{uuid="8f5c-1"} 1.7171480576e+10
nvidia_smi_memory_used_bytes{uuid="8f5c-1"} 6.24951296e+08
nvidia_smi_utilization_gpu_ratio{uuid="8f5c-1"} 0.07
nvidia_smi_temperature_gpu{uuid="8f5c-1"} 55
nvidia_smi_power_draw_watts{uuid="8f5c-1"} 33.12
"""
)


def test_dcgm_counts_memory_in_mebibytes_and_use_in_percent():
    (card,) = cards_of_dcgm(DCGM, "dcgm", AT)
    assert (card.index, card.uuid, card.name, card.driver, card.at) == (1, "GPU-abc", "NVIDIA L40S", (550, 54, 15), AT)
    assert (card.total_bytes, card.used_bytes, card.reserved_bytes) == (46068 * MIB, 437 * MIB, 631 * MIB)
    assert (card.temperature, card.power, card.utilisation, card.xid) == (51.0, 87.125, 0.4, 79)
    assert (card.compute_capability, card.throttle, card.ecc_errors, card.processes) == (None, None, None, None)


def test_without_the_reserved_part_the_total_of_dcgm_is_unknown_and_its_use_is_not():
    (card,) = cards_of_dcgm("\n".join(line for line in DCGM.splitlines() if "RESERVED" not in line), "dcgm", AT)
    assert (card.total_bytes, card.used_bytes) == (None, 437 * MIB)


@pytest.mark.parametrize("blank", ["2147483632", "9223372036854775794", "9.223372036854776e+18", "NaN", "+Inf", "-1"])
def test_marks_for_nothing_are_unknown(blank):
    (card,) = cards_of_dcgm(DCGM.replace(" 437\n", f" {blank}\n").replace(" 51\n", f" {blank}\n"), "dcgm", AT)
    assert (card.used_bytes, card.total_bytes, card.temperature, card.assumed) == (None, None, None, True)


def test_a_card_of_which_dcgm_tells_nothing_is_unknown_and_not_absent():
    blank = "9223372036854775794"
    body = f"DCGM_FI_DEV_FB_USED{{{LABELS}}} {blank}\nDCGM_FI_DEV_FB_FREE{{{LABELS}}} {blank}\n"
    (card,) = cards_of_dcgm(body, "dcgm", AT)
    assert (card.index, card.uuid, card.name) == (1, "GPU-abc", "NVIDIA L40S")
    assert (card.total_bytes, card.used_bytes, card.xid, card.assumed) == (None, None, None, True)


def test_slices_of_dcgm_stand_for_their_card():
    part = LABELS + ',GPU_I_PROFILE="1g.12gb",GPU_I_ID="7"'
    body = f"DCGM_FI_DEV_FB_FREE{{{part}}} 11000\nDCGM_FI_DEV_FB_USED{{{part}}} 100\nDCGM_FI_DEV_FB_RESERVED{{{part}}} 1\n"
    (card,) = cards_of_dcgm(body + f"DCGM_FI_DEV_GPU_TEMP{{{LABELS}}} 51\n", "dcgm", AT)
    assert (card.index, card.name, card.mig_parent, card.uuid) == (200, "NVIDIA L40S MIG 1g.12gb", "GPU-abc", None)
    assert (card.total_bytes, card.used_bytes, card.temperature) == (11101 * MIB, 100 * MIB, 51.0)


def test_the_exporter_counts_in_bytes_and_ratios_and_its_uuids_are_written_as_everybody_writes_them():
    ((card,), notes) = cards_of_exporter(EXPORTER, "exporter", AT)
    assert notes == ()
    assert (card.index, card.uuid, card.name, card.cuda, card.bfloat16) == (0, "GPU-8f5c-1", "RTX 4080 SUPER", (13, 2), True)
    assert (card.total_bytes, card.used_bytes, card.utilisation) == (16376 * MIB, 596 * MIB, 0.07)
    assert (card.temperature, card.power, card.power_limit, card.throttle) == (55.0, 33.12, None, None)


def test_an_exporter_whose_last_collection_failed_knows_nothing():
    assert cards_of_exporter(EXPORTER + "nvidia_smi_last_collect_success 0\n", "exporter", AT) == ((), ())


def test_labels_may_hold_quotes_braces_and_commas():
    (sample,) = samples('m{a="x\\"},{y\\\\",b="1"} 2\n')
    assert (dict(sample.labels), sample.value) == ({"a": 'x"},{y\\', "b": "1"}, 2.0)


@pytest.mark.parametrize("line", ['m{a="1} 2', "m", "m{} x", "{} 1", 'm{a="1" b="2"} 1', "<html>", "m{a=1} 1"])
def test_what_is_no_sample_is_left_out(line):
    assert list(samples(line)) == []


class Serving:
    def __init__(self, status=200, body=DCGM, key=None):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                allowed = key is None or self.headers.get("Authorization") == f"Bearer {key}"
                self.send_response(status if allowed and self.path == "/metrics" else 401 if not allowed else 404)
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self.url

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


def look(kind, url, **probe):
    async def ask():
        async with Transport(environ={"KEY": "a-secret-key"}) as transport:
            node = NodeSpec("a", "127.0.0.1", probe=ProbeSpec(kind, url=url, timeout=5, **probe))
            return await Scrape(kind, transport).look(node, AT)

    return asyncio.run(ask())


def test_a_scrape_gives_cards_and_carries_its_key():
    with Serving(key="a-secret-key") as url:
        assert len(look("dcgm", url, bearer=SecretRef("env", "KEY")).cards) == 1
        with pytest.raises(ProbeError) as caught:
            look("dcgm", url)
    assert caught.value.code == "key_refused"


def test_metrics_of_several_nodes_are_of_none():
    with Serving(body=DCGM + DCGM.replace("GPU-abc", "GPU-of-another")) as url, pytest.raises(ProbeError) as caught:
        look("dcgm", url)
    assert caught.value.code == "no_metrics"
    assert "several cards 1" in str(caught.value)


def test_a_use_above_the_size_of_its_card_is_unknown():
    with Serving(body=EXPORTER.replace("6.24951296e+08", "6.24951296e+10")) as url:
        (card,) = look("exporter", url).cards
    assert (card.total_bytes, card.used_bytes, card.assumed) == (16376 * MIB, None, True)


@pytest.mark.parametrize(
    ("status", "body", "kind", "code"),
    [(200, EXPORTER, "dcgm", "no_metrics"), (200, "<html>", "exporter", "no_metrics"), (404, "", "dcgm", "not_its_protocol")],
)
def test_what_is_no_such_exporter_is_told(status, body, kind, code):
    with Serving(status, body) as url, pytest.raises(ProbeError) as caught:
        look(kind, url)
    assert caught.value.code == code


def test_an_exporter_that_sees_only_cards_in_mig_mode_is_told_as_that():
    with Serving(body=EXPORTER + 'nvidia_smi_mig_mode_current{uuid="8f5c-1"} 1\n') as url, pytest.raises(ProbeError) as caught:
        look("exporter", url)
    assert caught.value.code == "mig_unseen"
    assert "card 0 is in MIG mode" in str(caught.value)


def test_an_exporter_that_is_not_there_is_refused():
    with pytest.raises(ProbeError) as caught:
        look("dcgm", "http://127.0.0.1:9")
    assert caught.value.code == "refused"


def test_without_a_url_the_exporters_own_port_of_the_node_is_asked():
    scrape = Scrape("dcgm", None)
    assert scrape.where(NodeSpec("a", "gpu-a")) == ("http://gpu-a:9400", "/metrics")
    assert scrape.where(NodeSpec("a", "::1")) == ("http://[::1]:9400", "/metrics")
    assert scrape.where(NodeSpec("a", "x", probe=ProbeSpec(url="https://m.example:8443/gpu"))) == ("https://m.example:8443", "/gpu")
