"""Whether the variables of a Deployment have the values of secrets: what they are read from in the cluster is asked for, and not kept."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from urllib.parse import quote

from reconciler.containers.cluster import Cluster
from reconciler.containers.kubernetes_shapes import HELD_ONE, Deployment


async def same_values(cluster: Cluster, secrets: str, one: Deployment, known: Mapping[str, str | None]) -> Mapping[str, bool | None]:
    """By name; None where the value that it is to have is not known. `secrets` is the path of the Secrets of its namespace."""
    held: dict[str, Mapping[str, str]] = {}
    found: dict[str, bool | None] = {}
    variables = {variable.name: variable for variable in one.container.env or ()}
    for name, value in sorted(known.items()):
        variable = variables.get(name)
        ref = variable.value_from.secret_key_ref if variable is not None and variable.value_from is not None else None
        if value is None or ref is None or ref.name is None:
            found[name] = None if value is None else variable is not None and variable.value == value
            continue
        if ref.name not in held:
            answer = await cluster.get(f"{secrets}/{quote(ref.name, safe='')}", raw=True)
            held[ref.name] = (answer.read(HELD_ONE).data or {}) if answer is not None else {}
        found[name] = _decoded(held[ref.name].get(ref.key or "")) == value.encode()
    return found


def _decoded(text: str | None) -> bytes | None:
    try:
        return base64.b64decode(text or "", validate=True) if text is not None else None
    except (binascii.Error, ValueError):
        return None
