"""Tensors of a compute graph: shapes, views and sources, without data. The rules of shapes are those of ggml's operators."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

Shape = tuple[int, int, int, int]

WIDTHS = {"f32": 4, "f16": 2, "i32": 4, "i64": 8, "opaque": 1}
"""Bytes of an element. `opaque` is for weights and caches, which lie in buffers of their own."""

IN_PLACE = frozenset(
    {"scale", "add", "sub", "mul", "div", "add_id", "sqr", "sqrt", "unary", "rope", "rms_norm", "soft_max", "clamp", "fill"}
)
"""Operators that may write over an operand of the same layout (ggml-alloc's list)."""
VIEWS = frozenset({"view", "reshape", "permute", "transpose"})


MOST_NODES = 65_536
"""Of one graph. The largest graphs of real models have about 20,000; what claims more is no model and would only fill memory."""


class UnknownGraph(Exception):
    """The graph of this model cannot be told: it lacks a tensor, or has shapes that no graph of its architecture has."""


class MissingTensor(UnknownGraph):
    """The file lacks a tensor that this graph is made of, so it is another graph."""


def part(whole: int, parts: int) -> int:
    """`whole // parts`, where parts are a count that a file gives."""
    if parts <= 0:
        raise UnknownGraph(f"{whole} in {parts} parts")
    return whole // parts


class Tensor:
    """One tensor. `root` is what a view looks into. `home` is the device of one that lies in a buffer already (weights, caches)."""

    __slots__ = ("fed", "home", "kind", "nb", "ne", "op", "output", "root", "sources", "weight")

    def __init__(
        self, op: str, kind: str, ne: Shape, sources: Iterable[Tensor] = (), *, nb: Shape | None = None, root: Tensor | None = None
    ) -> None:
        if min(ne) < 0:
            raise UnknownGraph(f"{op} of the shape {ne}")
        self.op, self.kind, self.ne = op, kind, ne
        self.nb = nb or contiguous(kind, ne)
        self.sources = tuple(sources)
        self.root = root
        self.home: int | None = None
        self.weight = False
        self.fed = False
        self.output = False

    @property
    def elements(self) -> int:
        return self.ne[0] * self.ne[1] * self.ne[2] * self.ne[3]

    @property
    def bytes(self) -> int:
        """From the first to the last element; 0 for an empty tensor."""
        if not self.elements:
            return 0
        return WIDTHS[self.kind] + sum((length - 1) * step for length, step in zip(self.ne, self.nb, strict=True))

    @property
    def resident(self) -> int | None:
        """The device of the buffer that this tensor, or what it looks into, lies in already."""
        return self.home if self.root is None else self.root.home

    def same_layout(self, other: Tensor) -> bool:
        return self.kind == other.kind and self.ne == other.ne and self.nb == other.nb


def contiguous(kind: str, ne: Shape) -> Shape:
    first = WIDTHS[kind]
    second = first * ne[0]
    third = second * ne[1]
    return (first, second, third, third * ne[2])


def shape(*lengths: int) -> Shape:
    one, two, three, four = (*lengths, 1, 1, 1)[:4]
    return (one, two, three, four)


class Graph:
    """Nodes and leafs in the order in which they are run; and the operators to make them."""

    def __init__(self) -> None:
        self.nodes: list[Tensor] = []
        self.leafs: list[Tensor] = []
        self._seen: set[int] = set()

    def expand(self, tensor: Tensor) -> Tensor:
        """Adds `tensor` and all it depends on, sources first, as ggml_build_forward_expand does."""
        stack: list[tuple[Tensor, int]] = [(tensor, 0)]
        if id(tensor) in self._seen:
            return tensor
        self._seen.add(id(tensor))
        while stack:
            current, index = stack.pop()
            if index < len(current.sources):
                stack.append((current, index + 1))
                source = current.sources[index]
                if id(source) not in self._seen:
                    self._seen.add(id(source))
                    stack.append((source, 0))
            else:
                (self.leafs if current.op == "none" else self.nodes).append(current)
                if len(self.nodes) > MOST_NODES:
                    raise UnknownGraph(f"a graph of more than {MOST_NODES} nodes")
        return tensor

    @staticmethod
    def input(kind: str, *lengths: int) -> Tensor:
        """A tensor that is filled before the graph runs."""
        made = Tensor("none", kind, shape(*lengths))
        made.fed = True
        return made

    @staticmethod
    def stored(home: int, lengths: Sequence[int], *, weight: bool, kind: str = "opaque") -> Tensor:
        """A weight, or a cache, in the buffer of device `home`."""
        made = Tensor("none", kind, shape(*lengths))
        made.home, made.weight = home, weight
        return made

    @staticmethod
    def like(op: str, tensor: Tensor, *others: Tensor) -> Tensor:
        """An operator whose result has the shape of its first operand, densely packed."""
        return Tensor(op, "f32" if tensor.kind == "opaque" else tensor.kind, tensor.ne, (tensor, *others))

    def mul_mat(self, weight: Tensor, tensor: Tensor) -> Tensor:
        return Tensor("mul_mat", "f32", (weight.ne[1], tensor.ne[1], tensor.ne[2], tensor.ne[3]), (weight, tensor))

    def mul_mat_id(self, weight: Tensor, tensor: Tensor, ids: Tensor) -> Tensor:
        return Tensor("mul_mat_id", "f32", (weight.ne[1], ids.ne[0], tensor.ne[2], 1), (weight, tensor, ids))

    def get_rows(self, tensor: Tensor, ids: Tensor) -> Tensor:
        kind = "i32" if tensor.kind == "i32" else "f32"
        return Tensor("get_rows", kind, (tensor.ne[0], ids.ne[0], ids.ne[1], ids.ne[2]), (tensor, ids))

    def set_rows(self, target: Tensor, rows: Tensor, ids: Tensor) -> Tensor:
        root = target.root or target
        return Tensor("set_rows", target.kind, target.ne, (rows, ids, target), nb=target.nb, root=root)

    def glu(self, gate: Tensor, up: Tensor) -> Tensor:
        return Tensor("glu", gate.kind, gate.ne, (gate, up))

    def glu_fused(self, both: Tensor) -> Tensor:
        return Tensor("glu", both.kind, (both.ne[0] // 2, both.ne[1], both.ne[2], both.ne[3]), (both,))

    def cont(self, tensor: Tensor, *lengths: int) -> Tensor:
        return Tensor("cont", tensor.kind, shape(*lengths) if lengths else tensor.ne, (tensor,))

    def packed(self, tensor: Tensor, row: int) -> Tensor:
        """A dense copy of quantised elements; `row`: bytes of one row."""
        _, two, three, _ = tensor.ne
        return Tensor("cont", tensor.kind, tensor.ne, (tensor,), nb=(1, row, row * two, row * two * three))

    def cast(self, tensor: Tensor, kind: str) -> Tensor:
        made = Tensor("cpy", kind, tensor.ne)
        made.sources = (tensor, made)  # ggml_cast has its result as a source too
        return made

    def copy(self, tensor: Tensor, target: Tensor) -> Tensor:
        return Tensor("cpy", target.kind, target.ne, (tensor, target), nb=target.nb, root=target.root or target)

    def new(self, op: str, kind: str, lengths: Sequence[int], *sources: Tensor) -> Tensor:
        return Tensor(op, kind, shape(*lengths), sources)

    def view(self, tensor: Tensor, lengths: Sequence[int], steps: Sequence[int] = ()) -> Tensor:
        """A window of another shape; `steps` are bytes from the second axis on (dense where left out)."""
        ne = shape(*lengths)
        nb = [WIDTHS[tensor.kind], *steps]
        while len(nb) < 4:
            nb.append(nb[-1] * ne[len(nb) - 1])
        return Tensor("view", tensor.kind, ne, (tensor,), nb=(nb[0], nb[1], nb[2], nb[3]), root=tensor.root or tensor)

    def reshape(self, tensor: Tensor, *lengths: int) -> Tensor:
        ne = shape(*lengths)
        return Tensor("reshape", tensor.kind, ne, (tensor,), root=tensor.root or tensor)

    def permute(self, tensor: Tensor, *axes: int) -> Tensor:
        """Axis i of `tensor` becomes axis axes[i]."""
        ne, nb = [0] * 4, [0] * 4
        for source, target in enumerate(axes):
            ne[target], nb[target] = tensor.ne[source], tensor.nb[source]
        return Tensor(
            "permute", tensor.kind, (ne[0], ne[1], ne[2], ne[3]), (tensor,), nb=(nb[0], nb[1], nb[2], nb[3]), root=tensor.root or tensor
        )

    def transpose(self, tensor: Tensor) -> Tensor:
        one, two, three, four = tensor.ne
        first, second, third, fourth = tensor.nb
        return Tensor(
            "transpose", tensor.kind, (two, one, three, four), (tensor,), nb=(second, first, third, fourth), root=tensor.root or tensor
        )

    def top(self, tensor: Tensor, count: int) -> Tensor:
        """The places of the `count` largest of each row: a view into all of them, sorted."""
        order = Tensor("argsort", "i32", tensor.ne, (tensor,))
        return Tensor("view", "i32", (count, *tensor.ne[1:]), (order,), nb=order.nb, root=order)

    def sum_rows(self, tensor: Tensor) -> Tensor:
        return Tensor("sum_rows", tensor.kind, (1, *tensor.ne[1:]), (tensor,))

    def concat(self, first: Tensor, second: Tensor, axis: int) -> Tensor:
        ne = list(first.ne)
        ne[axis] += second.ne[axis]
        return Tensor("concat", first.kind, (ne[0], ne[1], ne[2], ne[3]), (first, second))

    def flash_attention(self, query: Tensor, keys: Tensor, values: Tensor, mask: Tensor, *sinks: Tensor) -> Tensor:
        return Tensor("flash_attn", "f32", (values.ne[0], query.ne[2], query.ne[1], query.ne[3]), (query, keys, values, mask, *sinks))
