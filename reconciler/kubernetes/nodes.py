"""Nodes of a cluster as the hosts of an inventory, in the form that Ansible's inventory programs print. Pure.

Sources: NVIDIA/k8s-device-plugin, docs/gpu-feature-discovery (labels `nvidia.com/gpu.*`, `nvidia.com/mig-PROFILE.*`, in MiB) and its README
(time-slicing: `nvidia.com/gpu` has the count of shares, `nvidia.com/gpu.replicas` the shares of a card); ROCm/k8s-device-plugin, node
labeller (`amd.com/gpu.vram`, `amd.com/gpu.product-name`).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from reconciler.engines.foreign_text import clean_name

GROUP = "kubernetes"
_NVIDIA, _AMD = "nvidia.com/", "amd.com/"
_MIG = re.compile(r"nvidia\.com/(mig-[0-9a-z.+]+)")
_QUANTITY = re.compile(r"([0-9]{1,18})(Ki|Mi|Gi|Ti|k|M|G|T)?")
_UNITS = {None: 1, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_MOST_BYTES = 1 << 60
_MOST_CARDS = 256
"""Of one node: what is more is no count of cards."""
Card = dict[str, object]


def inventory_of(nodes: Iterable[Mapping[str, Any]]) -> dict[str, object]:
    """Groups and host variables. Each node has `address`, `gpus`, `ram` and `kubernetes_labels`; what changes from minute to minute, such
    as whether it is ready, is left out, since a plan that was saved is of one inventory.

    Groups: `kubernetes` has all, `kubernetes_gpu` those with a card, `kubernetes_PRODUCT` those with such a card, and `kubernetes_mig` and
    `kubernetes_shared` those whose cards are cut or shared.
    """
    groups: dict[str, list[str]] = defaultdict(list)
    hosts: dict[str, dict[str, object]] = {}
    for node in sorted(nodes, key=_name):
        name = _name(node)
        if not name:
            continue
        labels = {clean_name(str(key)): clean_name(str(value)) for key, value in _of(_of(node, "metadata"), "labels").items()}
        capacity = {clean_name(str(key)): _count(value) for key, value in _of(_of(node, "status"), "capacity").items()}
        cards = cards_of(labels, capacity)
        hosts[name] = _variables(node, name, labels, cards)
        groups[GROUP].append(name)
        if cards:
            groups[f"{GROUP}_gpu"].append(name)
        for product in sorted({_word(str(card["name"])) for card in cards if "name" in card}):
            groups[f"{GROUP}_{product}"].append(name)
        if any(_MIG.fullmatch(key) for key in capacity) or "-MIG-" in labels.get("nvidia.com/gpu.product", ""):
            groups[f"{GROUP}_mig"].append(name)
        if shares_of(labels) > 1:
            groups[f"{GROUP}_shared"].append(name)
    return {"_meta": {"hostvars": hosts}, **{group: {"hosts": names} for group, names in sorted(groups.items())}}


def _variables(node: Mapping[str, Any], name: str, labels: Mapping[str, str], cards: list[Card]) -> dict[str, object]:
    found: dict[str, object] = {"address": _address(node) or name, "gpus": cards, "kubernetes_labels": dict(sorted(labels.items()))}
    if memory := quantity(str(_of(_of(node, "status"), "allocatable").get("memory") or "")):
        found["ram"] = f"{memory // 2**20}MiB"
    if (shares := shares_of(labels)) > 1:
        found["kubernetes_shares"] = {"strategy": labels.get("nvidia.com/gpu.sharing-strategy", "time-slicing"), "of_each_card": shares}
    return found


def cards_of(labels: Mapping[str, str], capacity: Mapping[str, int]) -> list[Card]:
    """The cards that the cluster can give of a node: whole ones by the count of the device plugin, MIG slices each by itself. A node whose
    plugin counts none has none. `vram` is missing where nobody labels the node with it."""
    shares = shares_of(labels)
    shared: Card = {"shares": shares} if shares > 1 else {}
    found: list[Card] = []
    for key, renamed in ((f"{_NVIDIA}gpu", {}), (f"{_NVIDIA}gpu.shared", {"resource": f"{_NVIDIA}gpu.shared"})):
        found += [{**_nvidia(labels, "gpu"), **shared, **renamed}] * min(capacity.get(key, 0) // shares, _MOST_CARDS)
    for key in sorted(capacity):
        if profile := _MIG.fullmatch(key):
            found += [{**_nvidia(labels, profile[1]), "resource": key}] * min(capacity[key], _MOST_CARDS)
    found += [{**_amd(labels), "resource": f"{_AMD}gpu"}] * min(capacity.get(f"{_AMD}gpu", 0), _MOST_CARDS)
    return [{"index": index, **card} for index, card in enumerate(found)]


def shares_of(labels: Mapping[str, str]) -> int:
    """How many pods are given one card at once: 1 where it is given as a whole."""
    return max(1, _count(labels.get("nvidia.com/gpu.replicas", "1")))


def _nvidia(labels: Mapping[str, str], resource: str) -> Card:
    found: Card = {}
    product = labels.get(f"{_NVIDIA}{resource}.product") or labels.get(f"{_NVIDIA}gpu.product")
    if product:
        found["name"] = product.removesuffix("-SHARED").replace("-", " ")
    if resource != "gpu" and product and "MIG" not in product:
        found["name"] = f"{found['name']} {resource.upper().replace('MIG-', 'MIG ').lower().replace('mig', 'MIG')}"
    if mebibytes := _count(labels.get(f"{_NVIDIA}{resource}.memory", "")):
        found["vram"] = f"{mebibytes}MiB"
    major, minor = labels.get("nvidia.com/gpu.compute.major"), labels.get("nvidia.com/gpu.compute.minor")
    if major and minor and major.isdecimal() and minor.isdecimal():
        found["compute_capability"] = f"{major}.{minor}"
    return found


def _amd(labels: Mapping[str, str]) -> Card:
    found: Card = {}
    if product := labels.get("amd.com/gpu.product-name"):
        found["name"] = product.replace("_", " ").replace("-", " ")
    if size := re.fullmatch(r"([0-9]{1,5})G", labels.get("amd.com/gpu.vram", "")):
        found["vram"] = f"{size[1]}GiB"
    return found


def quantity(text: str) -> int:
    """Bytes of a resource quantity (kubernetes.io, "Quantity"); 0 for what is none, or more than any machine has."""
    found = _QUANTITY.fullmatch(text)
    value = int(found[1]) * _UNITS[found[2]] if found else 0
    return value if value < _MOST_BYTES else 0


def _name(node: Mapping[str, Any]) -> str:
    return clean_name(str(_of(node, "metadata").get("name") or ""))


def _count(value: object) -> int:
    text = str(value)
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else 0


def _address(node: Mapping[str, Any]) -> str | None:
    """Its address inside the cluster, else any that it has."""
    told = _of(node, "status").get("addresses")
    addresses = [one for one in told if isinstance(one, dict)] if isinstance(told, list) else []
    by_type = {str(one.get("type")): clean_name(str(one.get("address") or "")) for one in addresses}
    return by_type.get("InternalIP") or by_type.get("Hostname") or by_type.get("ExternalIP")


def _of(value: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = value.get(key)
    return found if isinstance(found, dict) else {}


def _word(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
