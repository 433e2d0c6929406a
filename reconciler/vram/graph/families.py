"""Which function makes the graph of which architecture. One that is not here has no known compute buffer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from reconciler.vram.geometry import Geometry
from reconciler.vram.graph.decoders import PLAIN, plain_graph
from reconciler.vram.graph.tensor import Graph
from reconciler.vram.settings import RunSettings

GRAPHS: Mapping[str, Callable[[Geometry, RunSettings], Graph]] = MappingProxyType({**dict.fromkeys(PLAIN, plain_graph)})
