"""How the engine is asked to run a model: the part of a load that memory depends on."""

from __future__ import annotations

from dataclasses import dataclass

from reconciler.vram.tensors import CACHE_TYPES, TensorType

REFERENCE_BUILD = 11434
"""llama.cpp's build whose numbers the formulas were checked against."""
SLOT_ROWS_SINCE = 10_700
"""About the first build whose server reserves one output row a slot; older ones, and Ollama's old runners, reserve a full batch of them."""
N_BATCH = 2048
N_UBATCH = 512
AUTOMATIC_SLOTS = 4
"""llama-server without `--parallel`: four slots that share one stream."""
CELLS = 256
"""Contexts and caches are whole multiples of so many cells."""
WHOLE = 10**6


def padded(cells: int) -> int:
    return -(-cells // CELLS) * CELLS


@dataclass(frozen=True, slots=True)
class RunSettings:
    """`context` is what one request may use. With `parallel` N the engine gets `-c context × N`, in N separate streams; without it, it
    runs four slots over one stream of `context` (llama-server's automatic choice). `offloaded` counts layers on cards from the end, the
    output layer first; `split` weighs the cards (1,) for one. `reserve_batch` reserves a full batch of output rows, as `llama-fit-params`
    does and a server does not.
    """

    context: int
    parallel: int | None = None
    key_type: TensorType = CACHE_TYPES["f16"]
    value_type: TensorType = CACHE_TYPES["f16"]
    flash_attention: bool = True
    ubatch: int = N_UBATCH
    build: int = REFERENCE_BUILD
    offloaded: int = WHOLE
    split: tuple[int, ...] = (1,)
    unified: bool = False
    reserve_batch: bool = False

    @property
    def full_rows(self) -> bool:
        """Whether a full batch of output rows is reserved."""
        return self.reserve_batch or self.build < SLOT_ROWS_SINCE

    @property
    def slots(self) -> int:
        return AUTOMATIC_SLOTS if self.parallel is None else self.parallel

    @property
    def one_stream(self) -> bool:
        return self.unified or self.parallel is None

    @property
    def streams(self) -> int:
        return 1 if self.one_stream else self.slots

    @property
    def requested(self) -> int:
        """llama.cpp's `-c`."""
        return self.context if self.parallel is None else self.context * self.parallel

    @property
    def cells(self) -> int:
        """Cells of one stream."""
        return padded(self.requested) if self.one_stream else padded(padded(self.requested) // self.slots)

    @property
    def total_cells(self) -> int:
        return self.cells * self.streams
