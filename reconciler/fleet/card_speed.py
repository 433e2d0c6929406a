"""How fast cards are against each other: what they read from their memory in a second, which bounds how fast a model writes.

From the vendors' data sheets, in GB/s. A name that holds several of these words means the longest.
"""

from __future__ import annotations

from collections.abc import Iterable

_BANDWIDTH = {
    "b200": 8000, "h200": 4800, "gh200": 4000, "h100 nvl": 3900, "h100 pcie": 2000, "h100": 3350, "a100 80gb pcie": 1935,
    "a100-sxm4-80gb": 2039, "a100": 1555, "a30": 933, "a40": 696, "a10": 600, "a2": 200, "l40s": 864, "l40": 864, "l4": 300, "t4": 320,
    "v100": 900, "p100": 732, "p40": 346, "rtx pro 6000": 1792, "rtx 6000 ada": 960, "rtx a6000": 768, "rtx a5000": 768, "rtx a4000": 448,
    "rtx 5090": 1792, "rtx 5080": 960, "rtx 5070 ti": 896, "rtx 5070": 672, "rtx 5060 ti": 448, "rtx 5060": 448,
    "rtx 4090": 1008, "rtx 4080 super": 736, "rtx 4080": 717, "rtx 4070 ti super": 672, "rtx 4070": 504, "rtx 4060 ti": 288,
    "rtx 4060": 272,
    "rtx 3090 ti": 1008, "rtx 3090": 936, "rtx 3080 ti": 912, "rtx 3080": 760, "rtx 3070 ti": 608, "rtx 3070": 448, "rtx 3060 ti": 448,
    "rtx 3060": 360, "rtx 2080 ti": 616, "rtx 2080": 448, "rtx 2070": 448, "rtx 2060": 336, "gtx 1080 ti": 484, "gtx 1080": 320,
    "gtx 1070": 256, "mi300x": 5300, "mi250x": 3277, "mi210": 1638, "rx 7900 xtx": 960, "rx 7900 xt": 800,
}  # fmt: skip
_LONGEST_FIRST = sorted(_BANDWIDTH, key=lambda word: (-len(word), word))


def card_speed(name: str | None, capability: tuple[int, int] | None) -> float:
    """A number that is larger for a faster card: its bandwidth. A card that the table does not know is slower than all that it does, one
    of a newer compute capability before an older one; of which that is not known either, the slowest (0)."""
    told = f" {(name or '').lower().replace('-', ' ')} "
    for word in _LONGEST_FIRST:
        if f" {word.replace('-', ' ')} " in told:
            return float(_BANDWIDTH[word])
    return capability[0] + capability[1] / 10 if capability is not None else 0.0


def slowest(speeds: Iterable[float]) -> float:
    """Of several cards that one model may be on, that of the slowest; 0 of none."""
    return min(speeds, default=0.0)
