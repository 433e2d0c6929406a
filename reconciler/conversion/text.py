"""What was found, as the text of an inventory and of a desired state."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from reconciler.conversion.found import Found, Value
from reconciler.views import escape
from reconciler.views.desired_text import yaml_scalar

_CARDS = """\
          # Cards are read by NVML on this machine. Where that cannot be: by ssh (probe: {via: ssh, user: ops}), or as declared here.
          # gpus:
          #   - {index: 0, name: NVIDIA GeForce RTX 4090, vram: 24GiB}
          # A machine without a card: gpus: []
"""


def inventory_text(found: Found) -> str:
    """The hosts with their engines, in the order in which the file names them."""
    return "".join(_inventory(found))


def desired_text(found: Found) -> str:
    """The models, in the order in which the file names them."""
    return "".join(f"{line}\n" for line in _desired(found))


def _inventory(found: Found) -> Iterator[str]:
    yield f"# The engines that a file of {found.tool} names, as gpurec import wrote them down; nobody was asked.\n"
    yield "all:\n  hosts:\n"
    for host, (address, engines) in found.hosts.items():
        yield f"    {yaml_scalar(host)}:\n      address: {yaml_scalar(address)}\n      engines:\n"
        yield from (f"        {yaml_scalar(name)}: {_flow(keys)}\n" for name, keys in engines.items())
        yield from (f"      # {escape(remark)}\n" for remark in found.remarks_of_hosts.get(host, ()))
        cards = found.cards.get(host)
        yield _CARDS.replace("          #", "      #") if cards is None else f"      gpus: [{', '.join(map(_flow, cards))}]\n"


def _desired(found: Found) -> Iterator[str]:
    yield f"# The models that a file of {found.tool} names, as gpurec import wrote them down."
    yield "# `ensure: present` leaves it to the engine when a model is loaded; write `loaded` for what is to stay on its card."
    yield "version: 1"
    yield from (f"{key}: {_flow(value)}" for key, value in found.top.items())
    yield "models:" if found.models else "models: {}"
    for name, keys in found.models.items():
        yield f"  {yaml_scalar(name)}:"
        yield from (f"    # {escape(remark)}" for remark in found.remarks.get(name, ()))
        yield from (f"    {key}: {_flow(value)}" for key, value in keys.items())


def _flow(value: Value | Mapping[str, Value]) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{yaml_scalar(key)}: {_flow(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_in_flow(item) for item in value) + "]"
    return _in_flow(value)


def _in_flow(value: str | int | float | bool | None) -> str:
    return yaml_scalar(value) if value is not None else "null"
