"""The parts that the graphs of language models are made of: inputs, norms, attention over a cache, feed-forward, mixtures of experts.

Source: `src/llama-graph.cpp` of llama.cpp b11434. A part that is missing in the file (a bias, a norm) is missing in the graph, as there.
"""

from __future__ import annotations

from reconciler.vram.builds import MIXED_INPUT
from reconciler.vram.cache import layer_cells, ubatch_of
from reconciler.vram.families import FULL_ROWS
from reconciler.vram.geometry import Geometry, Layer
from reconciler.vram.graph.rotation import cache_rotation
from reconciler.vram.graph.tensor import Graph, MissingTensor, Tensor, part
from reconciler.vram.settings import N_BATCH, RunSettings
from reconciler.vram.tensors import TensorType
from reconciler.vram.weights import card_of_blocks, place_of, tied_output


class Inputs:
    """What attention needs of a cache of one kind: places to write to, a mask, rotations of a quantised cache."""

    def __init__(self, builder: ModelGraph, cells: int, values_each: int, rotate_keys: int, rotate_values: int) -> None:
        streams, settings = builder.streams, builder.settings
        graph = builder.graph
        self.cells = cells
        self.key_places = graph.input("i64", builder.tokens)
        self.value_places = graph.input("i64", builder.tokens * (1 if settings.flash_attention else values_each))
        self.mask = graph.input("f16" if settings.flash_attention else "f32", cells, builder.tokens // streams, 1, streams)
        self.rotate_keys = graph.input("f32", rotate_keys, rotate_keys) if rotate_keys else None
        self.rotate_values = graph.input("f32", rotate_values, rotate_values) if rotate_values else None


class ModelGraph:
    """A graph under construction for one model, as a server reserves it: the longest batch over the full cache."""

    def __init__(self, geometry: Geometry, settings: RunSettings) -> None:
        self.geometry, self.settings, self.graph = geometry, settings, Graph()
        self.host = len(settings.split)
        self.places = tuple(self.host if place is None else place for place in card_of_blocks(geometry, settings))
        tokens = min(ubatch_of(geometry, settings), settings.total_cells)
        rows = N_BATCH if settings.full_rows or geometry.architecture in FULL_ROWS else settings.rows
        self.outputs = min(tokens, rows)
        self.tokens = -(-tokens // settings.slots) * settings.slots
        self.streams = settings.streams
        self.width = geometry.embedding
        self._weights: dict[str, Tensor | None] = {}
        self._scale: Tensor | None = None
        self._wide: Tensor | None = None

    # weights

    def weight(self, name: str) -> Tensor | None:
        """A tensor of the file, on the device where it lies; None when the file has none."""
        if name not in self._weights:
            info = self.geometry.tensors.get(name)
            if info is None and name == "output.weight":
                info = tied_output(self.geometry)
                place: int | None = self.places[-1]
            else:
                place = self._place(name)
            self._weights[name] = None if info is None or place is None else self.graph.stored(place, info.shape, weight=True)
        return self._weights[name]

    def _place(self, name: str) -> int | None:
        places = tuple(None if place == self.host else place for place in self.places)
        found = place_of(name, self.geometry, places)
        return self.host if found is None else found

    def need(self, name: str) -> Tensor:
        found = self.weight(name)
        if found is None:
            raise MissingTensor(name)
        return found

    # small parts

    def linear(self, name: str, tensor: Tensor, bias: str | None = None) -> Tensor:
        """`NAME.weight` times `tensor`, plus `NAME.bias` where there is one (or the bias named)."""
        made = self.graph.mul_mat(self.need(f"{name}.weight"), tensor)
        return self.plus(made, bias or f"{name}.bias")

    def plus(self, tensor: Tensor, bias: str) -> Tensor:
        found = self.weight(bias)
        return tensor if found is None else self.graph.like("add", tensor, found)

    def norm(self, tensor: Tensor, name: str | None, kind: str = "rms_norm") -> Tensor:
        """`rms_norm` or `norm`, with the weight and bias that the file has. The name's weight may be missing (no scale)."""
        made = self.graph.like(kind, tensor)
        if name is None:
            return made
        weight = self.weight(f"{name}.weight") or self.weight(name)  # Falcon H1 has one without the ending
        if weight is not None:
            made = self.graph.like("mul", made, weight)
        return self.plus(made, f"{name}.bias")

    def norm_if(self, tensor: Tensor, name: str, kind: str = "rms_norm") -> Tensor:
        """The norm, only where the file has its weight."""
        return tensor if self.weight(f"{name}.weight") is None else self.norm(tensor, name, kind)

    def norm_or_none(self, tensor: Tensor, name: str, kind: str, *, missing: bool) -> Tensor:
        """The norm; without a weight in the file the bare operator where `missing`, else nothing."""
        return self.norm(tensor, name, kind) if missing or self.weight(f"{name}.weight") is not None else tensor

    def flat(self, tensor: Tensor) -> Tensor:
        """All heads as one row; a window into a fused projection is copied first."""
        if tensor.root is None:
            return tensor
        dense = tensor.nb[2] == 4 * tensor.ne[0] * tensor.ne[1]
        if dense:
            return self.graph.reshape(tensor, tensor.ne[0] * tensor.ne[1], tensor.ne[2])
        return self.graph.cont(self.graph.view(tensor, (tensor.ne[0] * tensor.ne[1], tensor.ne[2]), (tensor.nb[2],)))

    def says(self, key: str, *, minicpm: bool = False) -> bool:
        """Whether the file has this number and it is not zero. `minicpm`: that architecture has it in any case."""
        found = self.geometry.values.get(f"{self.geometry.architecture}.{key}")
        return bool(found) or (minicpm and self.geometry.architecture == "minicpm")

    def scales_experts(self) -> bool:
        found = self.geometry.values.get(f"{self.geometry.architecture}.expert_weights_scale")
        return isinstance(found, (int, float)) and found not in (0, 1)

    def add(self, first: Tensor, second: Tensor) -> Tensor:
        return self.graph.like("add", first, second)

    def scale(self, tensor: Tensor) -> Tensor:
        return self.graph.like("scale", tensor)

    def rope(self, il: int, tensor: Tensor, positions: Tensor, *, factors: bool = True) -> Tensor:
        """The rotation, with the file's factors of frequencies where it has them (a copy lies with every device's blocks)."""
        found = self._rope_factors(self.places[il]) if factors else None
        return self.graph.like("rope", tensor, positions, *(() if found is None else (found,)))

    def _rope_factors(self, place: int) -> Tensor | None:
        long_context = self.settings.cells > self.geometry.number("rope.scaling.original_context_length", self.geometry.context)
        for name in ("rope_freqs.weight", f"rope_factors_{'long' if long_context else 'short'}.weight"):
            info = self.geometry.tensors.get(name)
            if info is not None:
                key = f"{name} {place}"
                if key not in self._weights:
                    self._weights[key] = self.graph.stored(place, info.shape, weight=True)
                return self._weights[key]
        return None

    # inputs

    def embedded(self, *, scaled: bool = False, mixed: bool = True) -> Tensor:
        """The tokens' embeddings; `scaled` (Gemma). Beside them the ways for vectors and, `mixed`, for both."""
        newer = MIXED_INPUT.holds(self.settings.build)
        graph, embedding = self.graph, self.need("token_embd.weight")
        wide = self.width * (1 + self.geometry.number("n_deepstack_layers", 0))
        ids = graph.input("i32", self.tokens)
        vectors = graph.input("f32", wide, self.tokens)
        rows = self._padded(graph.get_rows(embedding, ids), wide)
        graph.expand(rows)
        graph.expand(vectors)
        if mixed and newer:
            mixed_ids = graph.input("i32", self.tokens)
            slots = graph.input("i64", self.tokens)
            mixed_vectors = graph.input("f32", wide, self.tokens)
            mixed_rows = self._padded(graph.get_rows(embedding, mixed_ids), wide)
            graph.expand(graph.set_rows(graph.like("dup", mixed_vectors), mixed_rows, slots))
        current = rows
        if wide != self.width:
            self._wide = rows
            current = graph.view(rows, (self.width, self.tokens), (rows.nb[1],))
        if scaled and newer:
            current = graph.like("mul", current, graph.input("f32", 1, self.tokens))
        current = graph.expand(current)
        return self.scale(current) if scaled and not newer else current

    def _padded(self, rows: Tensor, wide: int) -> Tensor:
        return rows if wide == rows.ne[0] else self.graph.new("pad", "f32", (wide, rows.ne[1]), rows)

    def deepened(self, il: int, current: Tensor) -> Tensor:
        """Models that see take more of the input into their first layers (deepstack)."""
        if self._wide is None or il >= self.geometry.number("n_deepstack_layers", 0):
            return current
        return self.add(current, self.graph.view(self._wide, (self.width, self.tokens), (self._wide.nb[1],)))

    def positions(self, each: int = 1) -> Tensor:
        return self.graph.input("i32", self.tokens * each)

    def attention_scale(self) -> Tensor:
        """A factor for each token's query, by how long its context is."""
        if self._scale is None:
            self._scale = self.graph.input("f32", 1, 1, self.tokens)
        return self._scale

    def output_rows(self) -> Tensor:
        return self.graph.input("i32", self.outputs)

    def cache_inputs(self) -> dict[bool, Inputs]:
        """For full layers (False) and, where the model slides, for sliding ones (True)."""
        geometry = self.geometry
        widest = max((layer.value_width for layer in geometry.layers), default=0)
        made: dict[bool, Inputs] = {}
        kinds = (False, True) if geometry.slides else (False,)
        for sliding in kinds:
            layers = [layer for layer in geometry.layers if layer.cached and bool(layer.sliding and geometry.slides) == sliding]
            cells = layer_cells(geometry, self.settings, layers[0]) if layers else self.settings.cells
            keys = cache_rotation(self.settings.key_type, {layer.key_length for layer in layers}, grow=True)
            values = (
                0 if geometry.compressed else cache_rotation(self.settings.value_type, {layer.value_length for layer in layers}, grow=False)
            )
            made[sliding] = Inputs(self, cells, widest, keys, values)
        return made

    # attention

    def projections(
        self, il: int, current: Tensor, layer: Layer, *, clamped: bool = False, flat: bool = False
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Query, keys and values with their heads apart; `flat`: query and keys of separate matrices stay one row."""
        graph, tokens = self.graph, self.tokens
        heads, shared = layer.heads, layer.kv_heads
        fused = self.weight(f"blk.{il}.attn_qkv.weight")
        if fused is not None:
            both = self.linear(f"blk.{il}.attn_qkv", current)
            if clamped:
                both = graph.like("clamp", both)
            step = both.nb[1]
            query = graph.view(both, (layer.key_length, heads, tokens), (4 * layer.key_length, step))
            keys = graph.view(both, (layer.key_length, shared, tokens), (4 * layer.key_length, step))
            values = graph.view(both, (layer.value_length, shared, tokens), (4 * layer.value_length, step))
            return query, keys, values
        query, keys, values = (self.linear(f"blk.{il}.attn_{name}", current) for name in "qkv")
        if clamped:
            query, keys, values = (graph.like("clamp", one) for one in (query, keys, values))
        return (
            query if flat else graph.reshape(query, layer.key_length, heads, tokens),
            keys if flat else graph.reshape(keys, layer.key_length, shared, tokens),
            graph.reshape(values, layer.value_length, shared, tokens),
        )

    def attend(
        self,
        il: int,
        layer: Layer,
        inputs: Inputs,
        query: Tensor,
        keys: Tensor | None,
        values: Tensor | None,
        *,
        keys_last: bool = True,
        sinks: str | None = None,
        soft_cap: bool = False,
        bias: Tensor | None = None,
        output: str | None = "attn_output",
    ) -> Tensor:
        """Keys and values into the cache, attention over all of it, and the output matrix."""
        graph = self.graph
        if inputs.rotate_keys is not None:
            query = self.rotated(query, inputs.rotate_keys)
            keys = None if keys is None else self.rotated(keys, inputs.rotate_keys)
        if inputs.rotate_values is not None and values is not None:
            values = self.rotated(values, inputs.rotate_values)
        graph.expand(query)
        for one in (values, keys) if keys_last else (keys, values):
            if one is not None:
                graph.expand(one)
        streams, cells = self.streams, inputs.cells
        cache_keys = self.cache(il, self.settings.key_type, layer.key_width, cells)
        cache_values = self.cache(il, self.settings.value_type, layer.value_width, cells)
        if keys is not None:
            self._store_keys(cache_keys, keys, inputs, layer)
        if values is not None:
            self._store_values(cache_values, values, inputs, layer)
        of_keys, of_values = self.settings.key_type, self.settings.value_type
        row = of_keys.row_bytes(layer.key_width)
        lengths = (layer.key_length, layer.kv_heads, cells, streams)
        read_keys = graph.view(cache_keys, lengths, (of_keys.row_bytes(layer.key_length), row, row * cells))
        if self.settings.flash_attention:
            row = of_values.row_bytes(layer.value_width)
            lengths = (layer.value_length, layer.kv_heads, cells, streams)
            read_values = graph.view(cache_values, lengths, (of_values.row_bytes(layer.value_length), row, row * cells))
        else:
            column = of_values.row_bytes(cells)
            lengths = (cells, layer.kv_heads, layer.value_length, streams)
            read_values = graph.view(cache_values, lengths, (column * layer.value_length, column, column * layer.value_width))
        current = self.mix(
            query, read_keys, read_values, inputs.mask,
            transposed=not self.settings.flash_attention, sinks=sinks, soft_cap=soft_cap, bias=bias,
        )  # fmt: skip
        if inputs.rotate_values is not None:
            current = self.rotated(current, inputs.rotate_values)
        if output is None:
            return current
        return self.linear(f"blk.{il}.{output}", current)

    def cache(self, il: int, kind: TensorType, width: int, cells: int) -> Tensor:
        """Keys or values of one layer, where the layer lies that keeps them."""
        name = {"f32": "f32", "f16": "f16", "bf16": "f16"}.get(kind.name, "opaque")
        return self.graph.stored(self.places[self.geometry.keeper(il)], (width, cells, self.streams), weight=False, kind=name)

    def _store_keys(self, cache: Tensor, keys: Tensor, inputs: Inputs, layer: Layer) -> None:
        graph = self.graph
        rows = graph.view(keys, (layer.key_width, self.tokens), (keys.nb[2],))
        target = graph.reshape(cache, layer.key_width, inputs.cells * self.streams) if self.streams > 1 else cache
        graph.expand(graph.set_rows(target, rows, inputs.key_places))

    def _store_values(self, cache: Tensor, values: Tensor, inputs: Inputs, layer: Layer) -> None:
        graph = self.graph
        width = layer.value_width
        if self.settings.flash_attention:
            rows = graph.view(values, (width, self.tokens), (values.nb[2],))
            target = graph.reshape(cache, width, inputs.cells * self.streams) if self.streams > 1 else cache
        else:
            rows = graph.reshape(values, width, self.tokens) if values.nb[2] == 4 * width else graph.cont(values, width, self.tokens)
            widest = part(inputs.value_places.ne[0], self.tokens)
            if width < widest:
                rows = graph.new("pad", "f32", (widest, self.tokens), rows)
            target = graph.reshape(cache, 1, cache.elements)
            rows = graph.reshape(rows, 1, rows.elements)
        graph.expand(graph.set_rows(target, rows, inputs.value_places))

    def mix(
        self,
        query: Tensor,
        keys: Tensor,
        values: Tensor,
        mask: Tensor,
        *,
        transposed: bool,
        sinks: str | None = None,
        soft_cap: bool = False,
        value_up: Tensor | None = None,
        bias: Tensor | None = None,
    ) -> Tensor:
        """Softmax of query times keys, times values; heads together again. `transposed`: values lie with cells first. A `bias` on the
        scores rules flash attention out."""
        graph, streams = self.graph, keys.ne[3]
        sink = None if sinks is None else self.weight(sinks)
        sunk = () if sink is None else (sink,)
        rows = query.ne[2] // streams
        query = graph.view(query, (query.ne[0], query.ne[1], rows, streams), (query.nb[1], query.nb[2], query.nb[2] * rows))
        query, keys, values = (graph.permute(one, 0, 2, 1, 3) for one in (query, keys, values))
        if self.settings.flash_attention and bias is None:
            if keys.kind == "f32":
                keys = graph.cast(keys, "f16")
            if values.kind == "f32":
                values = graph.cast(values, "f16")
            current = graph.flash_attention(query, keys, values, mask, *sunk)
            if value_up is not None:
                current = graph.permute(graph.mul_mat(value_up, graph.permute(current, 0, 2, 1, 3)), 0, 2, 1, 3)
                current = graph.cont(current)
            current = graph.reshape(current, current.ne[0] * current.ne[1], current.ne[2] * current.ne[3])
            return graph.expand(current)
        scores = graph.mul_mat(keys, query)
        if soft_cap:
            scores = self.scale(graph.like("unary", self.scale(scores)))
        if bias is not None:
            scores = self.add(scores, bias)
        scores = graph.like("soft_max", scores, mask, *sunk)
        if not transposed:
            values = graph.transpose(values)
            values = (
                graph.cont(values) if values.kind != "opaque" else graph.packed(values, self.settings.value_type.row_bytes(values.ne[0]))
            )
        current = graph.mul_mat(values, scores)
        if value_up is not None:
            current = graph.mul_mat(value_up, current)
        current = graph.permute(current, 0, 2, 1, 3)
        return graph.expand(graph.cont(current, current.ne[0] * current.ne[1], current.ne[2] * current.ne[3]))

    def rotated(self, tensor: Tensor, rotation: Tensor) -> Tensor:
        graph, size = self.graph, rotation.ne[0]
        dense = tensor.nb == graph.reshape(tensor, *tensor.ne).nb
        rows = graph.reshape(tensor, size, tensor.elements // size) if dense else graph.cont(tensor, size, tensor.elements // size)
        return graph.reshape(graph.mul_mat(rotation, rows), *tensor.ne)

    # the end

    def finish(
        self,
        current: Tensor,
        *,
        norm: str = "rms_norm",
        named: str = "output_norm",
        scaled: bool = False,
        capped: bool = False,
        before: bool = False,
        matrix: str = "output",
        wanted: Tensor | None = None,
    ) -> Graph:
        """The last norm and the logits. `before`: what goes into the output matrix is scaled. `wanted`: the rows are taken only now."""
        current = self.norm(current, named, norm)
        current.output = True
        if wanted is not None:
            current = self.graph.get_rows(current, wanted)
            current.output = True
        if before:
            current = self.scale(current)
        logits = self.linear(matrix, current)
        if scaled:
            logits = self.scale(logits)
        if capped:
            logits = self.scale(self.graph.like("unary", self.scale(logits)))
        logits.output = True
        self.graph.expand(logits)
        return self.graph
