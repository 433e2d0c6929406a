"""`limits`: how much of a card or of a node's memory may be used; the same keys at a card, a host, a group and a whole fleet."""

from __future__ import annotations

from reconciler.fleet import Limits
from reconciler.workspace.forms import Form, integer, ratio, size
from reconciler.workspace.problems import Problems
from reconciler.workspace.table import Field, Table
from reconciler.workspace.tree import Node

UTILIZATION = Field(
    "max_vram_utilization",
    ratio,
    says="The share of a card that may be used; the default is 90%.",
    meant="utilization max_utilization gpu_memory_utilization",
)
MARGIN = Field(
    "vram_safety_margin",
    ratio,
    says="The same under the name that other tools use; the smaller of the two counts.",
    meant="margin safety_margin",
)
RESERVE = Field(
    "reserve",
    size,
    says="Memory of a card that stays free; the default is 512 MiB.",
    mib_keys=("reserve_mb", "gpu_memory_reserve_mb"),
    meant="reserved headroom",
)
RAM_RESERVE = Field(
    "ram_reserve",
    size,
    says="RAM of a node that stays free; the default is 0.",
    mib_keys=("ram_reserve_mb",),
    meant="ram_reserved memory_reserve",
)

AGENTS = Field(
    "max_agents_per_gpu",
    integer(0, 1_000_000),
    says="How many agents may use one card, by their model or as a card of their own; unset: no bound.",
    meant="max_agents agents_per_gpu max_containers_per_gpu",
)

KV_CACHE = Field(
    "kv_cache_fraction",
    ratio,
    says="The share of a card that the KV caches of all models on it may have together; unset: no bound.",
    meant="max_kv_cache kv_cache_limit max_kv_fraction kv_cache",
)

LIMITS = Table("limits", (UTILIZATION, MARGIN, RESERVE, RAM_RESERVE, AGENTS, KV_CACHE))


def _read(node: Node, problems: Problems, name: str) -> Limits:
    values = LIMITS.read(node, problems, name)
    return Limits(
        values.get(UTILIZATION),
        values.get(MARGIN),
        values.get(RESERVE),
        values.get(RAM_RESERVE),
        values.get(AGENTS),
        values.get(KV_CACHE),
    )


limits = Form(_read, LIMITS.schema())
