"""Nodes that cannot be asked for their cards, and what their answers contradict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from reconciler.fleet import NodeFacts, NodeSpec
from reconciler.health.finding import Finding, error, warning

MOST_SKEW = 30.0
"""Seconds by which a node's clock may differ: leases, expiries and logs are compared across machines."""


def asking_findings(node: NodeSpec, facts: NodeFacts) -> Iterator[Finding]:
    """What became of asking `node` for its cards."""
    address = f"node.{node.name}"
    yield from _clock(node, facts)
    probe = facts.card_probe
    if probe is None:
        return
    if probe.reason is not None:
        code, mend = _mends(node).get(probe.code or "", ("cards_unread", "gpurec facts shows it again; probe.timeout bounds it"))
        some = "some of its cards" if any(card.source == probe.via for card in facts.cards or ()) else "its cards"
        yield error(code, address, f"{some} could not be read by {probe.via}: {probe.reason}", mend)
    for note in probe.notes:
        yield warning("contradiction", address, note, f"correct `gpus:` of {node.name} in the inventory")


def _clock(node: NodeSpec, facts: NodeFacts) -> Iterator[Finding]:
    """The clock by what was read over ssh, else by the engine whose answers say the least that is wrong."""
    told = [one.clock_skew for one in facts.engines.values() if one.clock_skew is not None]
    skew = facts.card_probe.clock_skew if facts.card_probe is not None else None
    if skew is None:
        skew = min(told, key=abs, default=None)
    if skew is not None and abs(skew) > MOST_SKEW:
        side = "ahead of" if skew > 0 else "behind"
        what = f"its clock is {abs(skew):.0f} s {side} this machine's"
        yield warning("clock_skew", f"node.{node.name}", what, f"{_ssh(node)} sudo timedatectl set-ntp true")


def _ssh(node: NodeSpec) -> str:
    port = f" -p {node.probe.port}" if node.probe.port is not None else ""
    return f"ssh{port} {_login(node)}"


def _login(node: NodeSpec) -> str:
    return f"{node.probe.user}@{node.address}" if node.probe.user is not None else node.address


def _mends(node: NodeSpec) -> Mapping[str, tuple[str, str]]:
    """By the probe's code: the code of the finding, and what mends it."""
    port = f" -p {node.probe.port}" if node.probe.port is not None else ""
    scraped = node.probe.via in ("exporter", "dcgm", "prometheus")
    server = "the Prometheus" if node.probe.via == "prometheus" else "the exporter"
    there = f"{_ssh(node)} " if node.probe.via in ("ssh", "auto") and node.probe.user is not None else ""
    return {
        "no_driver": ("no_driver", f"{there}sudo modprobe nvidia, or install the driver ({there}sudo ubuntu-drivers install)"),
        "no_library": ("no_driver", "install the NVIDIA driver of this machine, or write `probe: {via: declared}`"),
        "driver_mismatch": ("driver_mismatch", f"{there}sudo reboot"),
        "no_permission": ("no_permission", f"{there}sudo usermod -aG video,render $USER"),
        "lost": ("card_fault", f"{there}sudo nvidia-smi --gpu-reset, or reboot"),
        "no_tool": ("no_tool", "install nvidia-smi, amd-smi or rocm-smi there, or write `probe: {via: declared}`"),
        "smi_failed": ("cards_unread", f"{there}nvidia-smi (amd-smi or rocm-smi with AMD's cards) says why"),
        "key_refused": ("key_refused", "correct what probe.auth refers to, or write `probe.auth: {bearer: env:NAME}`")
        if scraped
        else ("sshd_refuses", f"ssh-copy-id{port} {_login(node)}"),
        "host_key": ("sshd_refuses", f"ssh-keyscan{port} {node.address} >> ~/.ssh/known_hosts, after comparing the key"),
        "refused": ("no_metrics", f"start {server} there, or correct probe.url")
        if scraped
        else ("sshd_refuses", f"start it (sudo systemctl start ssh on {node.address}), or correct probe.port"),
        "too_large": ("no_metrics", "correct probe.url: so much is no answer about cards"),
        "http_5xx": ("no_metrics", f"its own log says why; restart {server}"),
        "redirected": ("no_metrics", "write the url that it redirects to as probe.url"),
        "tls": ("tls", "write probe.tls.ca, or probe.url with http:// where it speaks no TLS"),
        "not_its_protocol": ("no_metrics", "correct probe.via or probe.url"),
        "no_such_host": ("no_such_host", f"correct `address:` of {node.name} in the inventory"),
        "missing_key": ("missing_key", "set the variable or the file that probe.auth names"),
        "mig_unseen": ("cards_unread", "write `probe: {via: ssh}` (or nvml, dcgm), which tell slices, or declare them under `gpus:`"),
        "no_metrics": ("no_metrics", "correct probe.via or probe.url"),
    }
