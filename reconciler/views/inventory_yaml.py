"""An inventory of what was found, as YAML with comments, to be read and corrected by people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reconciler.views.desired_text import yaml_scalar
from reconciler.views.escape import escape

_HEAD = """\
# The machines with GPUs, as gpurec init found them. The form is Ansible's YAML inventory, so playbooks can share it.
all:
  children:
    gpu:
      hosts:
"""
_CARDS = """\
          # Cards are read by NVML on this machine. Where that cannot be: by ssh (probe: {via: ssh, user: ops}), or as declared here.
          # gpus:
          #   - {index: 0, name: NVIDIA GeForce RTX 4090, vram: 24GiB}
          # A machine without a card: gpus: []
"""
CARDS_LINE = "          # gpus:"
"""The line of the comment that becomes a key where cards are declared by hand."""


def inventory_yaml(
    hosts: Mapping[str, tuple[str, Sequence[tuple[str, str, str]]]],
    silent: Sequence[tuple[str, str]] = (),
    cards: Mapping[str, Sequence[str]] | None = None,
) -> str:
    """Each host by the name it gets: its address, and its engines as (name, kind, url). Those on which nothing answered (name, address)
    become comments. `cards` are the sizes of the cards that are declared, by host."""
    lines = [_HEAD]
    for name, (address, engines) in hosts.items():
        lines.append(f"        {yaml_scalar(name)}:\n          address: {yaml_scalar(address)}\n          engines:\n")
        lines += [f"            {engine}: {{kind: {kind}, url: {yaml_scalar(url)}}}\n" for engine, kind, url in engines]
        sizes = (cards or {}).get(name, ())
        declared = [f"            - {{index: {index}, vram: {size}}}\n" for index, size in enumerate(sizes)]
        lines += ["          gpus:\n", *declared] if declared else [_CARDS]
    lines += [f"        # {escape(name)} ({escape(address)}): no engine answers there\n" for name, address in silent]
    return "".join(lines)
