"""Where a graph's tensors come to lie: ggml's allocator (ggml/src/ggml-alloc.c) followed step by step, for the sizes only.

A tensor takes the smallest free hole that is large enough, else the end; an operator takes over an operand of the same layout that nobody
else needs; a tensor is freed when its last user has run.
"""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.vram.graph.tensor import IN_PLACE, Tensor

ALIGNMENT = 32
ENDLESS = 1 << 60


class Region:
    """One device's buffer while it is laid out: free holes by offset, and the furthest byte that was ever used."""

    __slots__ = ("alignment", "holes", "size")

    def __init__(self, alignment: int = ALIGNMENT) -> None:
        self.alignment = alignment
        self.holes: list[list[int]] = [[0, ENDLESS]]
        self.size = 0

    def rounded(self, count: int) -> int:
        return -(-count // self.alignment) * self.alignment

    def take(self, count: int) -> int:
        """The offset of `count` bytes."""
        count = self.rounded(count)
        best, best_size = len(self.holes) - 1, ENDLESS
        for index, (_, size) in enumerate(self.holes[:-1]):
            if count <= size <= best_size:
                best, best_size = index, size
        hole = self.holes[best]
        offset = hole[0]
        hole[0] += count
        hole[1] -= count
        if not hole[1]:
            del self.holes[best]
        self.size = max(self.size, offset + count)
        return offset

    def give(self, offset: int, count: int) -> None:
        count = self.rounded(count)
        holes = self.holes
        for index, hole in enumerate(holes):
            if hole[0] + hole[1] == offset:
                hole[1] += count
                if index + 1 < len(holes) and hole[0] + hole[1] == holes[index + 1][0]:
                    hole[1] += holes[index + 1][1]
                    del holes[index + 1]
                return
            if offset + count == hole[0]:
                hole[0] = offset
                hole[1] += count
                if index and holes[index - 1][0] + holes[index - 1][1] == hole[0]:
                    holes[index - 1][1] += hole[1]
                    del holes[index]
                return
        at = 0
        while at < len(holes) and holes[at][0] < offset:
            at += 1
        holes.insert(at, [offset, count])


class _Use:
    """What is known of a tensor while the graph is laid out."""

    __slots__ = ("device", "offset", "placed", "users", "views")

    def __init__(self) -> None:
        self.users = self.views = 0
        self.placed = False
        self.device = self.offset = 0


class Layout:
    """Lays out one graph over several devices."""

    def __init__(self, devices: int) -> None:
        self.regions = [Region() for _ in range(devices)]
        self.uses: dict[int, _Use] = {}

    def use(self, tensor: Tensor) -> _Use:
        found = self.uses.get(id(tensor))
        if found is None:
            found = self.uses[id(tensor)] = _Use()
        return found

    def run(self, leafs: Sequence[tuple[Tensor, int]], nodes: Sequence[tuple[Tensor, int]]) -> tuple[int, ...]:
        """Bytes of each device's buffer. Each leaf and node comes with its device, in order."""
        for leaf, device in leafs:
            self._place(leaf, device)
        for node, device in nodes:
            if node.root is not None and node.op != "none":
                self.use(node.root).views += 1
            if node.fed:
                self._place(node, device)
            for source in node.sources:
                self.use(source).users += 1
                if source.fed:
                    self._place(source, device)
        for node, device in nodes:
            for source in node.sources:
                self._place(source, device)
            self._place(node, device)
            for source in node.sources:
                self._leave(source)
        return tuple(region.size for region in self.regions)

    def _place(self, tensor: Tensor, device: int) -> None:
        use = self.use(tensor)
        if use.placed or tensor.home is not None or tensor.root is not None:
            return
        use.placed = True
        if tensor.op in IN_PLACE and self._take_over(tensor, use):
            return
        use.device = device
        use.offset = self.regions[device].take(tensor.bytes)

    def _take_over(self, tensor: Tensor, use: _Use) -> bool:
        """A view is never taken over: ggml counts its bytes as somebody else's."""
        for source in tensor.sources:
            found = self.use(source)
            if not found.placed or source.output or found.users != 1 or found.views or not tensor.same_layout(source):
                continue
            use.device, use.offset = found.device, found.offset
            found.placed = False
            return True
        return False

    def _leave(self, source: Tensor) -> None:
        use = self.use(source)
        use.users -= 1
        if use.users or use.views:
            return
        if source.root is not None:
            owner = self.use(source.root)
            owner.views -= 1
            if not owner.views and not owner.users and owner.placed:
                self._free(source.root, owner)
        elif use.placed:
            self._free(source, use)

    def _free(self, tensor: Tensor, use: _Use) -> None:
        if not tensor.output:
            self.regions[use.device].give(use.offset, tensor.bytes)
            use.placed = False
