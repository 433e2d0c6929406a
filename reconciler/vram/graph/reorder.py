"""The order in which a Vulkan device runs the nodes of a graph: what does not depend on one another side by side.

Source: `ggml_vk_graph_optimize` in ggml/src/ggml-vulkan/ggml-vulkan.cpp of llama.cpp b9851, but for the fusions of mixtures of experts,
which move no large tensor. Other backends run a graph as it was made (CUDA, ROCm, SYCL, RPC), or in an order of their own that is not
followed here (Metal).
"""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.vram.graph.tensor import VIEWS, Tensor

LOOKS_AHEAD = 20
ROPE_WITHIN, STORE_WITHIN = 15, 10
FUSED = frozenset({("rms_norm", "mul"), ("mul_mat", "add"), ("add", "add"), ("ssm_conv", "add"), ("ssm_conv", "unary")})


def in_vulkan_order(nodes: Sequence[Tensor]) -> list[Tensor]:
    """The nodes of one split, reordered."""
    order: list[int] = []
    done = [False] * len(nodes)
    first = 0
    while first < len(nodes):
        chosen = _next(nodes, done, first)
        for at in chosen:
            done[at] = True
        order += chosen
        while first < len(nodes) and done[first]:
            first += 1
    return [nodes[at] for at in order]


def _next(nodes: Sequence[Tensor], done: list[bool], first: int) -> list[int]:
    """The next nodes to run together. A rotation that is pulled forward, and the write of its result, are marked as done at once."""
    chosen = [first]
    end = min(first + LOOKS_AHEAD, len(nodes))
    for at in range(first + 1, end):
        if done[at] or _is_view(nodes[at]) or not _free(nodes, done, first, at, chosen[-1]):
            continue
        chosen.append(at)
        last = at
        if nodes[at].op == "mul" and nodes[at - 1].op == "rms_norm":
            rope = _find(nodes, at, ROPE_WITHIN, {"rope"})
            if rope is not None:
                chosen.append(rope)
                done[rope] = True
                last = rope
        if nodes[last].op == "rope":
            view = _find(nodes, last, STORE_WITHIN, {"view", "reshape"})
            store = None if view is None else _find(nodes, view, STORE_WITHIN, {"set_rows"})
            if view is not None and store is not None:
                chosen += [view, store]
                done[view] = done[store] = True
    if nodes[chosen[-1]].op != "add":
        here = set(chosen)
        for at in range(first + 1, end):
            if not done[at] and _is_view(nodes[at]):
                waits = (c for c in range(first, at) if not done[c] and c not in here)
                if not any(_feeds(nodes[c], nodes[at]) for c in waits):
                    chosen.append(at)
                    here.add(at)
    return chosen


def _free(nodes: Sequence[Tensor], done: Sequence[bool], first: int, at: int, last: int) -> bool:
    """Whether the node needs nothing that has not run, but for the one right before it that it is fused with."""
    for other in range(first, at):
        if not done[other] and _feeds(nodes[other], nodes[at]):
            fused = other == at - 1 == last and (nodes[other].op, nodes[at].op) in FUSED
            if not fused:
                return False
    return True


def _find(nodes: Sequence[Tensor], at: int, within: int, ops: set[str]) -> int | None:
    """The first node after `at` that is one of `ops` and reads it."""
    for other in range(at + 1, min(at + within, len(nodes))):
        if nodes[other].op in ops and any(source is nodes[at] for source in nodes[other].sources):
            return other
    return None


def _is_view(node: Tensor) -> bool:
    return node.op in VIEWS or node.op == "none"


def _feeds(source: Tensor, node: Tensor) -> bool:
    """Whether `node` reads `source`, or both look into the same tensor."""
    return any(one is source for one in node.sources) or (node.root or node) is (source.root or source)
