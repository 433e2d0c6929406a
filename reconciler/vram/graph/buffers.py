"""Which device runs which node, what is copied between them, how large each device's buffer becomes: ggml's scheduler, for sizes only.

Source: `ggml_backend_sched_split_graph` in ggml/src/ggml-backend.cpp. Devices are numbered cards first; the host is the last. Every card is
taken to be able to run every operator.
"""

from __future__ import annotations

from reconciler.vram.graph.allocator import Layout
from reconciler.vram.graph.reorder import in_vulkan_order
from reconciler.vram.graph.tensor import VIEWS, Graph, Tensor


def buffer_sizes(graph: Graph, cards: int, copies: int = 1, *, reordered: bool = False) -> tuple[int, ...]:
    """Bytes of the compute buffer of each card and, last, of the host. `copies` of every input where several cards work in a pipeline.
    `reordered`: the cards run the graph in an order of their own (Vulkan)."""
    host = cards
    device = _devices(graph, host)
    leafs = [(leaf, device.get(id(leaf), host)) for leaf in graph.leafs]
    splits = _splits(graph, device, host, copies)
    order: list[tuple[Tensor, int]] = []
    first: list[tuple[Tensor, int]] = []
    if copies > 1:
        for leaf, place in leafs:
            if leaf.fed:
                first.append((leaf, place))
                leaf.output = True
                first += [(_twin(leaf, kept=True), place) for _ in range(copies - 1)]
    for place, inputs, nodes in splits:
        for source, twins in inputs:
            kept = Tensor("none", source.kind, source.ne, (source,), nb=source.nb, root=source.root or source)
            order.append((kept, device[id(source)]))
            order.append((twins[0], place))
            if copies > 1:
                first += [(twin, place) for twin in twins]
        order += [(node, device[id(node)]) for node in (in_vulkan_order(nodes) if reordered and place != host else nodes)]
    return Layout(cards + 1).run(first + leafs, order)


def _twin(tensor: Tensor, *, kept: bool) -> Tensor:
    made = Tensor("none", tensor.kind, tensor.ne, nb=tensor.nb)
    made.fed = made.output = kept
    return made


def _devices(graph: Graph, host: int) -> dict[int, int]:
    """The device of every tensor of the graph."""
    device: dict[int, int] = {}
    for tensor in (*graph.leafs, *graph.nodes):
        found = _own_device(tensor, host)
        if found is not None:
            device[id(tensor)] = found
    working = [node for node in graph.nodes if node.op not in VIEWS]
    for nodes, cards_only in ((working, True), (working[::-1], True), (working, False), (working[::-1], False)):
        current: int | None = None
        for node in nodes:
            found = device.get(id(node))
            if found is not None:
                current = None if cards_only and found == host else found
            elif current is not None:
                device[id(node)] = current
    for node in graph.nodes:
        if node.root is not None and id(node) not in device:
            device[id(node)] = device.get(id(node.root), host)
        for source in node.sources:
            if id(source) not in device:
                device[id(source)] = device.get(id(source.root), host) if source.root is not None else device.get(id(node), host)
        device.setdefault(id(node), host)
    return device


def _own_device(tensor: Tensor, host: int) -> int | None:
    """Where a tensor must be: with its buffer, with its weights, on the host if it is an input; None: anywhere."""
    if tensor.resident is not None:
        return tensor.resident
    if tensor.fed:
        return host
    if tensor.op not in {"rope", "flash_attn"}:
        for source in tensor.sources:
            if source.weight:
                return source.home
    return None


Split = tuple[int, list[tuple[Tensor, list[Tensor]]], list[Tensor]]


def _splits(graph: Graph, device: dict[int, int], host: int, copies: int) -> list[Split]:
    """Runs of nodes on one device, with what must be copied to it first. Sources are replaced by their copies."""
    splits: list[Split] = []
    twins: dict[tuple[int, int], list[Tensor]] = {}
    pending: list[Tensor] = []
    for node in graph.nodes:
        if node.op in VIEWS:
            (splits[-1][2] if splits else pending).append(node)
            continue
        place = device[id(node)]
        foreign_weight = any(source.weight and device[id(source)] != place for source in node.sources)
        if not splits or splits[-1][0] != place or (foreign_weight and splits[-1][1]):
            splits.append((place, [], pending))
            pending = []
        inputs = splits[-1][1]
        replaced = []
        for source in node.sources:
            if device[id(source)] == place or source is node:
                replaced.append(source)
                continue
            key = (id(source), place)
            if key not in twins:
                twins[key] = [_twin(source, kept=copies > 1) for _ in range(copies)]
                for twin in twins[key]:
                    device[id(twin)] = place
                inputs.append((source, twins[key]))
            replaced.append(twins[key][0])
        node.sources = tuple(replaced)
        splits[-1][2].append(node)
    return splits
