"""How the engine is asked to run a model: the part of a load that memory depends on."""

from __future__ import annotations

from dataclasses import replace

from reconciler.value_class import value_class
from reconciler.vram.builds import LOGGED_ON, REFERENCE_BUILD, SLOT_ROWS, Backend
from reconciler.vram.tensors import CACHE_TYPES, TensorType

N_BATCH = 2048
N_UBATCH = 512
AUTOMATIC_SLOTS = 4
"""llama-server without `--parallel`: four slots that share one stream."""
CELLS = 256
"""Contexts and caches are whole multiples of so many cells."""
WHOLE = 10**6


def padded(cells: int) -> int:
    return -(-cells // CELLS) * CELLS


@value_class
class RunSettings:
    """`context` is what one request may use. With `parallel` N the engine gets `-c context × N`, in N separate streams; without it, it
    runs four slots over one stream of `context` (llama-server's automatic choice). `offloaded` counts layers on cards from the end, the
    output layer first; `split` weighs the cards (1,) for one. `reserve_batch` reserves a full batch of output rows, as `llama-fit-params`
    does and a server does not. `drafted` tokens at a time come from the head of the file itself (MTP); 0: it does not draft.
    `backend` is what drives the cards; None: not known.
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
    drafted: int = 0
    backend: Backend | None = None

    @property
    def full_rows(self) -> bool:
        """Whether a full batch of output rows is reserved."""
        return self.reserve_batch or not SLOT_ROWS.holds(self.build)

    @property
    def on(self) -> Backend | None:
        """The backend, as far as it is known or may be taken from what was logged of this build."""
        return self.backend or LOGGED_ON.get(self.build)

    @property
    def rows(self) -> int:
        """Rows of output that a server reserves for its slots."""
        return self.slots * (1 + self.drafted)

    @property
    def of_head(self) -> RunSettings:
        """How the head that drafts runs beside the model: as long a context, a cache of its own type."""
        return replace(self, drafted=0, key_type=CACHE_TYPES["f16"], value_type=CACHE_TYPES["f16"])

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
