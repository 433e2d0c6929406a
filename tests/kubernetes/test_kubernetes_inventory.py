"""`-i kubernetes:CONTEXT`: the nodes of a cluster with their cards, asked as the kubeconfig says; no message has a credential."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import pytest
from api_server import TOKEN, ApiServer, serving, status
from click.testing import CliRunner, Result

from reconciler.cli.main import cli
from reconciler.fleet import GpurecError
from reconciler.kubernetes import KubernetesError, access_of, inventory_of
from reconciler.kubernetes.nodes import cards_of, quantity

GIB = 1024
PRODUCT = "NVIDIA-A100-SXM4-80GB"


def labelled(product: str = PRODUCT, memory: int = 80 * GIB, **more: str) -> dict[str, str]:
    nvidia = {"gpu.product": product, "gpu.memory": str(memory), "gpu.compute.major": "8", "gpu.compute.minor": "0"}
    return {
        f"nvidia.com/{key}": value for key, value in {**nvidia, **{one.replace("__", "."): value for one, value in more.items()}}.items()
    }


def node(name: str, labels: dict[str, str] | None = None, **capacity: str) -> dict[str, Any]:
    counted = {key.replace("__", "/").replace("_", "-"): value for key, value in capacity.items()}
    return {
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **(labels or {})}},
        "status": {
            "addresses": [{"type": "Hostname", "address": name}, {"type": "InternalIP", "address": f"10.0.0.{len(name)}"}],
            "capacity": {
                "cpu": "8",
                "memory": "65861516Ki",
                **{key.replace("nvidia", "nvidia.com"): value for key, value in counted.items()},
            },
            "allocatable": {"memory": "65759116Ki"},
        },
    }


NODES = [
    node("whole", labelled(), nvidia__gpu="2"),
    node("plain"),
    node("shared", labelled(f"{PRODUCT}-SHARED", gpu__replicas="4"), nvidia__gpu="4"),
    node("cut", labelled(**{"mig-1g.10gb.memory": "9728"}), nvidia__gpu="1", **{"nvidia__mig-1g.10gb": "3"}),
]


@pytest.mark.parametrize(
    ("labels", "capacity", "cards"),
    [
        ({}, {}, []),
        ({}, {"nvidia.com/gpu": 1}, [{"index": 0}]),
        (
            labelled(),
            {"nvidia.com/gpu": 2},
            [{"index": n, "name": "NVIDIA A100 SXM4 80GB", "vram": "81920MiB", "compute_capability": "8.0"} for n in (0, 1)],
        ),
        (
            labelled(f"{PRODUCT}-SHARED", gpu__replicas="4"),
            {"nvidia.com/gpu": 8},
            [{"index": n, "name": "NVIDIA A100 SXM4 80GB", "vram": "81920MiB", "compute_capability": "8.0", "shares": 4} for n in (0, 1)],
        ),
        (
            labelled(f"{PRODUCT}-SHARED", gpu__replicas="4"),
            {"nvidia.com/gpu.shared": 4},
            [
                {
                    "index": 0,
                    "name": "NVIDIA A100 SXM4 80GB",
                    "vram": "81920MiB",
                    "compute_capability": "8.0",
                    "shares": 4,
                    "resource": "nvidia.com/gpu.shared",
                }
            ],
        ),
        (
            labelled(f"{PRODUCT}-MIG-1g.10gb", 9728),
            {"nvidia.com/gpu": 1},
            [{"index": 0, "name": "NVIDIA A100 SXM4 80GB MIG 1g.10gb", "vram": "9728MiB", "compute_capability": "8.0"}],
        ),
        (
            {"amd.com/gpu.vram": "64G", "amd.com/gpu.product-name": "AMD_Instinct_MI210"},
            {"amd.com/gpu": 1},
            [{"index": 0, "name": "AMD Instinct MI210", "vram": "64GiB", "resource": "amd.com/gpu"}],
        ),
    ],
)
def test_the_cards_of_a_node_are_what_its_device_plugin_counts_and_its_labels_name(
    labels: dict[str, str], capacity: dict[str, int], cards: list[dict[str, object]]
) -> None:
    assert cards_of(labels, capacity) == cards


def test_slices_are_cards_of_their_own_beside_whole_ones() -> None:
    labels = labelled(**{"mig-1g.10gb.memory": "9728", "mig-3g.40gb.memory": "40192"})
    found = cards_of(labels, {"nvidia.com/gpu": 1, "nvidia.com/mig-1g.10gb": 2, "nvidia.com/mig-3g.40gb": 1})
    assert [(one["index"], one["name"], one["vram"]) for one in found] == [
        (0, "NVIDIA A100 SXM4 80GB", "81920MiB"),
        (1, "NVIDIA A100 SXM4 80GB MIG 1g.10gb", "9728MiB"),
        (2, "NVIDIA A100 SXM4 80GB MIG 1g.10gb", "9728MiB"),
        (3, "NVIDIA A100 SXM4 80GB MIG 3g.40gb", "40192MiB"),
    ]


@pytest.mark.parametrize("value", ["-1", "x", "99999999999999", None, {}, "1e9", "²"])
def test_a_count_that_is_none_is_no_card(value: Any) -> None:
    (host,) = dict(
        inventory_of([{"metadata": {"name": "n"}, "status": {"capacity": {"nvidia.com/gpu": value}}}])["_meta"]["hostvars"]
    ).values()  # type: ignore[index]
    assert host["gpus"] == []
    assert quantity("3Ki") == 3072


def kubeconfig(folder: Path, server: ApiServer, user: dict[str, Any]) -> Path:
    path = folder / "config"
    path.write_text(
        json.dumps(
            {
                "current-context": "lab",
                "clusters": [{"name": "c", "cluster": {"server": server.url}}],
                "users": [{"name": "u", "user": user}],
                "contexts": [{"name": name, "context": {"cluster": "c", "user": "u"}} for name in ("lab", "arn:aws:eks:x:1:cluster/lab")],
            }
        )
    )
    return path


def run(folder: Path, config: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["-C", str(folder), *arguments], env={"KUBECONFIG": str(config)})


def test_a_cluster_is_an_inventory_with_groups_and_a_file_beside_it_says_the_rest(tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").write_text('all: {hosts: {plain: {engines: {ollama: {url: "http://127.0.0.1:9"}}}}}\n')
    (tmp_path / "wanted.yaml").write_text("version: 1\nmodels: {}\n")
    with serving(NODES) as server:
        config = kubeconfig(tmp_path, server, {"token": TOKEN})
        listed = json.loads(run(tmp_path, config, "-i", "kubernetes:lab", "inventory", "--format", "json").stdout)
        both = run(tmp_path, config, "-i", "kubernetes:arn:aws:eks:x:1:cluster/lab", "-i", "lab.yaml", "-f", "wanted.yaml", "validate")
        planned = run(tmp_path, config, "-i", "kubernetes:lab", "-f", "wanted.yaml", "plan")
    hosts = listed["_meta"]["hostvars"]
    assert (hosts["whole"]["address"], hosts["whole"]["ram"], hosts["plain"]["gpus"]) == ("10.0.0.5", "64217MiB", [])
    assert hosts["shared"]["kubernetes_shares"] == {"strategy": "time-slicing", "of_each_card": 4}
    assert listed["kubernetes_gpu"]["hosts"] == ["cut", "shared", "whole"]
    assert listed["kubernetes_mig"]["hosts"] == ["cut"]
    assert listed["kubernetes_nvidia_a100_sxm4_80gb"]["hosts"] == ["cut", "shared", "whole"]
    assert (both.exit_code, "4 nodes" in both.stdout) == (0, True), both.output
    assert planned.exit_code == 0, planned.output


def test_the_desired_state_of_a_cluster_is_found_by_the_name_of_its_context(tmp_path: Path) -> None:
    for folder in ("inventories", "desired"):
        (tmp_path / folder).mkdir()
    (tmp_path / "inventories" / "lab.yaml").write_text("all: {hosts: {plain: {}}}\n")
    (tmp_path / "desired" / "lab.yaml").write_text("version: 1\nmodels: {}\n")
    with serving(NODES) as server:
        config = kubeconfig(tmp_path, server, {"token": TOKEN})
        for more in ((), ("-i", "inventories/lab.yaml")):
            planned = run(tmp_path, config, "-i", "kubernetes:lab", *more, "plan")
            assert (planned.exit_code, "Fleet lab" in planned.stdout) == (0, True), planned.output


def test_a_large_cluster_is_read_page_by_page(tmp_path: Path) -> None:
    with serving([node(f"n{number:04}") for number in range(1201)]) as server:
        config = kubeconfig(tmp_path, server, {"token": TOKEN})
        listed = json.loads(run(tmp_path, config, "-i", "kubernetes:lab", "inventory", "--format", "json").stdout)
    assert len(listed["_meta"]["hostvars"]) == 1201
    assert [one.get("continue") for one in server.asked] == [None, "500", "1000"]


def test_a_cluster_that_answers_for_ever_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def forever(access: Any) -> Any:
        await asyncio.Event().wait()

    monkeypatch.setattr("reconciler.kubernetes.list_nodes", forever)
    monkeypatch.setattr("reconciler.operations.inventory_program.CLUSTER_WITHIN", 0.05)
    with serving(NODES) as server:
        result = run(tmp_path, kubeconfig(tmp_path, server, {"token": TOKEN}), "-i", "kubernetes:lab", "inventory")
    assert (result.exit_code, "did not give its nodes within" in " ".join(result.stderr.split())) == (1, True), result.stderr


def plugin(folder: Path, text: str) -> dict[str, Any]:
    path = folder / "plugin"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    given = {"apiVersion": "client.authentication.k8s.io/v1", "command": "./plugin", "env": [{"name": "GIVEN", "value": TOKEN}]}
    return {"exec": given}


def test_a_program_of_the_kubeconfig_gives_the_token(tmp_path: Path) -> None:
    says = 'case "$KUBERNETES_EXEC_INFO" in *ExecCredential*) echo "{\\"status\\": {\\"token\\": \\"$GIVEN\\"}}";; esac'
    with serving(NODES) as server:
        config = kubeconfig(tmp_path, server, plugin(tmp_path, says))
        assert run(tmp_path, config, "-i", "kubernetes:lab", "inventory").exit_code == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("echo hush >&2; exit 3", "ended with 3"),
        ("echo '{}'", "printed none"),
        ("echo hush", "printed none"),
        ("echo '{\"status\": []}'", "none"),
    ],
)
def test_a_program_that_gives_none_is_one_sentence_without_what_it_printed(tmp_path: Path, text: str, said: str) -> None:
    with serving(NODES) as server:
        result = run(tmp_path, kubeconfig(tmp_path, server, plugin(tmp_path, text)), "-i", "kubernetes:lab", "inventory")
    assert (result.exit_code, said in result.stderr, "hush" in result.stderr) == (1, True, False), result.stderr


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ((403, status("nodes is forbidden: User x cannot list")), "answered 403: nodes is forbidden"),
        ((200, b"<html>"), "is no Kubernetes API server"),
        ((200, b'{"items": 3}'), "is no Kubernetes API server"),
        ((200, b'{"items": [3]}'), "is no Kubernetes API server"),
        ((500, b"\xff"), "answered 500"),
        ((302, b""), "answered 302"),
    ],
)
def test_what_an_api_server_refuses_is_said_in_its_words_and_with_what_to_do(tmp_path: Path, wrong: tuple[int, bytes], said: str) -> None:
    with serving(NODES) as server:
        server.wrong = wrong
        result = run(tmp_path, kubeconfig(tmp_path, server, {"token": TOKEN}), "-i", "kubernetes:lab", "inventory")
    assert (result.exit_code, said in " ".join(result.stderr.split()), TOKEN in result.output) == (1, True, False), result.stderr


def test_a_wrong_context_or_token_and_a_server_that_is_away_say_what_to_mend(tmp_path: Path) -> None:
    with serving(NODES) as server:
        config = kubeconfig(tmp_path, server, {"token": "hush"})
        refused = run(tmp_path, config, "-i", "kubernetes:lab", "inventory")
        unknown = run(tmp_path, config, "-i", "kubernetes:labb", "inventory")
    away = run(tmp_path, config, "-i", "kubernetes:lab", "inventory")
    assert "not, or no longer, valid" in refused.stderr
    assert "has no context 'labb'" in unknown.stderr
    assert "arn:aws:eks:x:1:cluster/lab, lab" in " ".join(unknown.stderr.split())
    assert "cannot be asked" in away.stderr
    assert "hush" not in refused.output + unknown.output + away.output


@pytest.mark.parametrize(
    ("cluster", "user", "said"),
    [
        ({"server": "https://x", "insecure-skip-tls-verify": True}, {"token": "hush"}, "not to verify"),
        ({"server": "http://example.com"}, {"token": "hush"}, "without TLS"),
        ({"server": "ftp://x"}, {}, "names no server"),
        ({"server": "https://["}, {}, "names no server"),
        ({"server": "https://x:99999999"}, {}, "names no server"),
        ({"server": "https://x", "proxy-url": "http://p"}, {"token": "hush"}, "the cluster of this context has `proxy-url`"),
        ({"server": "https://x", "tls-server-name": "y"}, {"token": "hush"}, "`tls-server-name`, which gpurec does not do"),
        ({"server": "https://x"}, {"token": "hush", "as": "ann"}, "the user of this context has `as`"),
        ({"server": "https://x"}, {"username": "ann", "password": "hush"}, "the user of this context has `username`"),
        ({"server": "https://x"}, {"token": "hush\nhush"}, "the token is none"),
        ({"server": "https://x"}, {"token": "hush\u2026"}, "the token is none"),
        ({"server": "https://x", "certificate-authority-data": "!"}, {}, "is not base64"),
        ({"server": "https://x", "certificate-authority-data": base64.b64encode(b"hush").decode()}, {}, "cannot be used"),
        ({"server": "https://x"}, {"client-certificate-data": base64.b64encode(b"hush").decode()}, "cannot be used"),
        ({"server": "https://x"}, {"exec": {"apiVersion": "v9", "command": "true"}}, "speaks 'v9'"),
        ({"server": "https://x"}, {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "/no/such"}}, "cannot be run"),
        (
            {"server": "https://x"},
            {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "false", "args": ["--secret=hush"]}},
            "ended with 1",
        ),
        (
            {"server": "https://x"},
            {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "false", "args": 1, "env": 1}},
            "ended with 1",
        ),
    ],
)
def test_a_kubeconfig_that_cannot_be_gone_by_is_refused(tmp_path: Path, cluster: dict[str, Any], user: dict[str, Any], said: str) -> None:
    document = {"clusters": [{"name": "c", "cluster": cluster}], "users": [{"name": "u", "user": user}]}
    document["contexts"] = [{"name": "lab", "context": {"cluster": "c", "user": "u"}}]
    path = tmp_path / "config"
    path.write_text(json.dumps(document))
    with pytest.raises(KubernetesError) as error:
        asyncio.run(access_of("lab", {"KUBECONFIG": str(path)}))
    sentence = error.value.problems[0].sentence()
    assert said in sentence
    assert "hush" not in sentence


def test_a_token_that_ends_with_a_line_is_sent_without_it(tmp_path: Path) -> None:
    with serving(NODES) as server:
        config = kubeconfig(tmp_path, server, {"token": f"{TOKEN}\n"})
        assert run(tmp_path, config, "-i", "kubernetes:lab", "inventory").exit_code == 0


def test_a_kubeconfig_whose_lists_are_none_has_no_entry(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("contexts: 5\nusers: x\n")
    with pytest.raises(KubernetesError, match="no context 'lab'"):
        asyncio.run(access_of("lab", {"KUBECONFIG": str(tmp_path / "config")}))


@pytest.mark.parametrize("text", ["a: [", "- 1", "\x00", "!!python/object:os.system {}"])
def test_what_is_no_kubeconfig_is_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "config").write_text(text)
    with pytest.raises(GpurecError, match=r"no kubeconfig|no YAML"):
        asyncio.run(access_of("lab", {"KUBECONFIG": str(tmp_path / "config")}))


def test_of_several_kubeconfigs_the_first_entry_of_a_name_counts(tmp_path: Path) -> None:
    for name, server in (("a", "http://127.0.0.1:1"), ("b", "http://127.0.0.1:2")):
        document = {"clusters": [{"name": "c", "cluster": {"server": server}}], "contexts": [{"name": name, "context": {"cluster": "c"}}]}
        (tmp_path / name).write_text(json.dumps(document))
    found = asyncio.run(access_of("b", {"KUBECONFIG": f"{tmp_path}/a:{tmp_path}/b"}))
    assert found.server == "http://127.0.0.1:1"


def test_inside_a_pod_its_service_account_is_taken_and_outside_it_is_said(tmp_path: Path) -> None:
    with pytest.raises(KubernetesError, match="this is no pod"):
        asyncio.run(access_of("in-cluster", {}, tmp_path))
    with pytest.raises(GpurecError, match="no such file"):
        asyncio.run(access_of("in-cluster", {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, tmp_path))


def test_what_a_node_says_that_is_no_address_no_amount_and_no_text_is_not_taken() -> None:
    node = {
        "metadata": {"name": "n\ud800", "labels": {"a\x1b": "\udfff"}},
        "status": {"addresses": True, "allocatable": {"memory": "9" * 5000}},
    }
    hosts = inventory_of([node, {"metadata": {"name": "m"}, "status": {"allocatable": {"memory": "9" * 18 + "Ti"}}}])["_meta"]["hostvars"]
    assert hosts["n\ufffd"] == {"address": "n\ufffd", "gpus": [], "kubernetes_labels": {"a\ufffd": "\ufffd"}}
    assert "ram" not in hosts["m"]
