"""What changed from one build of llama.cpp to another, as far as memory depends on it: one row a change.

Each border was read in the sources of the builds themselves. Between the two builds of a row nobody looked; there the way that takes
more counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from reconciler.value_class import value_class

REFERENCE_BUILD = 11434
"""llama.cpp's build whose graphs are followed and whose numbers the formulas were checked against."""


@value_class
class BuildChange:
    """`last_without` is the newest build known not to have it, `first_with` the oldest known to have it. `saves` says whether builds
    with it take less, so that the change counts from its later end."""

    what: str
    last_without: int
    first_with: int
    saves: bool
    source: str

    def holds(self, build: int) -> bool:
        return build >= self.first_with if self.saves else build > self.last_without


class Backend(StrEnum):
    """What drives the cards. It decides in which order a graph is run, and what a process takes beside it."""

    CUDA = "cuda"
    ROCM = "rocm"
    VULKAN = "vulkan"
    METAL = "metal"
    SYCL = "sycl"


LOGGED_ON: Mapping[int, Backend] = MappingProxyType({9849: Backend.VULKAN})
"""Builds of which all that anybody logged is of one backend: without a word about the backend it is that one. (The buffers logged of b9849,
384.04 and 396.04 MiB for Qwen 3 8B and Granite 4.1 8B, are those of Vulkan's order; the order of the graph itself would make them 416.04
and 428.04, as b10760 prints over RPC.)"""

SLOT_ROWS = BuildChange(
    "a server reserves one row of output a slot, and one for each token that it drafts; before, a full batch of them",
    9453, 9464, True, "server_n_outputs_max in tools/server/server-context.cpp",
)  # fmt: skip
MIXED_INPUT = BuildChange(
    "a batch may hold tokens and vectors: the embeddings are laid out once more",
    11393, 11401, False, "build_inp_embd in src/llama-graph.cpp",
)  # fmt: skip
HEADS_ON_DEMAND = BuildChange(
    "the head that predicts more than one token (MTP) is loaded only where it drafts",
    10204, 10235, True, "load_mtp in include/llama.h",
)  # fmt: skip

HEADS_LOADED: Mapping[str, int] = MappingProxyType(
    {"qwen35": 0, "qwen35moe": 0, "step35": 9265, "cohere2moe": 9265, "glm-dsa": 9851, "hy_v3": 9851, "mimo2": 9851}
)
"""Architectures whose head was always loaded until HEADS_ON_DEMAND, and the newest build that still passed over it (`src/models/`)."""

HEADS_NEVER = frozenset({"bailingmoe2", "exaone-moe", "exaone4", "glm4"})
"""Architectures that have a head in the file which no build loads."""

ROLLS_BACK: Mapping[str, int] = MappingProxyType(
    {
        "qwen35": 0, "qwen35moe": 0, "nemotron_h": 10261, "nemotron_h_moe": 10261,
        "lfm2": 10524, "lfm2moe": 10524, "bailingmoe3": 10524,
    }
)  # fmt: skip
"""Architectures that keep one state more for each token drafted, and the newest build that did not (`llm_arch_supports_rs_rollback`)."""


def loads_head(architecture: str, build: int, drafted: int) -> bool:
    """Whether the draft head of a file is loaded."""
    if architecture in HEADS_NEVER:
        return False
    if HEADS_ON_DEMAND.holds(build) or drafted:
        return drafted > 0
    return architecture in HEADS_LOADED and build > HEADS_LOADED[architecture]


def states_kept(architecture: str, build: int, drafted: int) -> int:
    """Recurrent states of one sequence: one, and where it drafts one for each token that may be taken back."""
    return 1 + drafted if architecture in ROLLS_BACK and build > ROLLS_BACK[architecture] else 1
