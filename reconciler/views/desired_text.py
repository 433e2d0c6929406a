"""A running fleet as the text of a desired state, in YAML. Names are data: quoted where YAML needs it, escaped in comments."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence

from reconciler.fleet import ContextVia, Ensure, ModelSpec, Residency, Scalar, format_bytes
from reconciler.planning import FleetAsFound, Imported, SeenReplica
from reconciler.views.escape import escape

MOST_PLACES = 8
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9._/+@-]*(:[A-Za-z0-9._/+@-]+)*")
_WORDS = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})


def yaml_scalar(value: Scalar) -> str:
    """One value as YAML 1.2 and 1.1 both read it: text plain where that is safe, else in double quotes."""
    if isinstance(value, str):
        plain = _PLAIN.fullmatch(value) and value.lower() not in _WORDS
        return value if plain else json.dumps(value, ensure_ascii=False)
    return json.dumps(value)


def desired_text(found: FleetAsFound, fleet: str, at: str) -> str:
    """The desired state of a fleet as found, with what was left out as comments. `at` is when it was probed."""
    return "".join(f"{line}\n" for line in _lines(found, fleet, at))


def _lines(found: FleetAsFound, fleet: str, at: str) -> Iterator[str]:
    yield f"# What ran on the fleet {escape(fleet)} at {escape(at)}, as gpurec import found it."
    yield from (f"# Left out: {escape(one.what)}: {escape(one.why)}" for one in found.left_out)
    yield "version: 1"
    loaded = [one.spec.name for one in found.models if one.spec.ensure is Ensure.LOADED]
    if loaded:
        yield "# A fleet does not show priorities. This order is by the number of replicas, then by name: put first what matters most."
        yield "priority_models:"
        yield from (f"  - {yaml_scalar(name)}" for name in loaded)
    yield "models:" if found.models else "models: {}"
    for one in found.models:
        yield from _model(one)


def _model(one: Imported) -> Iterator[str]:
    spec = one.spec
    yield f"  {yaml_scalar(spec.name)}:"
    yield from (f"    # {escape(remark)}" for remark in one.remarks)
    yield from (f"    # {line}" for line in _places(one.seen))
    for key, value in _fields(spec).items():
        if isinstance(value, Mapping):
            yield f"    {key}:"
            yield from (f"      {yaml_scalar(name)}: {yaml_scalar(inner)}" for name, inner in sorted(value.items()))
        else:
            yield f"    {key}: {yaml_scalar(value)}"


def _fields(spec: ModelSpec) -> dict[str, Scalar | Mapping[str, Scalar]]:
    """The keys that are not at their defaults, and always where it is to be."""
    fields: dict[str, Scalar | Mapping[str, Scalar]] = {}
    if spec.engine is not None:
        fields["engine"] = spec.engine.value
    if spec.names:
        fields["names"] = {kind.value: name for kind, name in spec.names.items()}
    if spec.ensure is not Ensure.LOADED:
        fields["ensure"] = spec.ensure.value
    fields["on"] = spec.on
    if spec.each is not None:
        fields["each"] = spec.each.value
    elif spec.replicas is not None and spec.replicas != 1:
        fields["replicas"] = spec.replicas
    if spec.context is not None:
        fields["context"] = spec.context
        if spec.context_via is not ContextVia.TAG:
            fields["context_via"] = spec.context_via.value
    if spec.options:
        fields["options"] = spec.options
    if spec.residency is not Residency.GPU:
        fields["residency"] = spec.residency.value
    elif spec.min_gpu_fraction < 1.0:
        fields["min_gpu_fraction"] = spec.min_gpu_fraction
    return fields


def _places(seen: Sequence[SeenReplica]) -> Iterator[str]:
    """Where it was seen with what, a line each, bounded."""
    for one in seen[:MOST_PLACES]:
        said = [f"{format_bytes(held)} on cards" if (held := one.resident.vram_bytes) else "bytes not told"]
        if one.on_cpu:
            said = [f"{format_bytes(size)} on the CPU" if (size := one.resident.size_bytes) else "on the CPU"]
        if one.resident.context is not None:
            said.append(f"context {one.resident.context}")
        yield f"{escape(str(one.slot.id))}: {', '.join(said)}"
    if len(seen) > MOST_PLACES:
        yield f"and {len(seen) - MOST_PLACES} more places"


def lock_text(digests: Mapping[str, str]) -> str:
    """The lock file: `digests` are `sha256:HEX` by model."""
    lines = ["# Written by gpurec pin: the weights that each name stood for. Commit it; run gpurec pin to move on.", "version: 1"]
    lines.append("digests:" if digests else "digests: {}")
    lines += [f"  {yaml_scalar(name)}: {digest}" for name, digest in sorted(digests.items())]
    return "".join(f"{line}\n" for line in lines)
