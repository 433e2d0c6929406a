"""What a stream of progress has brought so far, in bounded memory, and whether it still gets anywhere."""

from __future__ import annotations

MOST_LAYERS = 65_536
"""Ollama keeps a tensor a layer for some formats, of which large models have tens of thousands."""
MOST_WITHOUT_BYTES = 32
"""New words and layers that count as going on before bytes have to come: there are about six words."""
CHECKED_BYTES = 3_000_000_000
"""What an engine reads again within one stall limit: when all is there it checks the digests, under one word (50 MB/s from a slow disk)."""
LONGEST_CHECK = 30
"""Stall limits that such a check may take: what is there is only what the stream claims."""
LEAST_BYTES = 64 * 1024
"""What a pull must bring within its stall limit, to count as one that goes on."""
_LONGEST_KEY = 80


class PullMeter:
    """Counts the bytes of each layer as the stream tells them. `completed` and `total` are None until a layer is told of."""

    def __init__(self) -> None:
        self.completed: int | None = None
        self.total: int | None = None
        self._layers: dict[str, tuple[int, int]] = {}
        self._words: set[str] = set()
        self._without_bytes = 0
        self._counted = 0
        self._shown: tuple[str | None, int | None, int | None] | None = None

    def take(self, status: str | None, digest: str | None, completed: int | None, total: int | None) -> float:
        """Takes one line in; how many stall limits it gives the stream from now, 0 where it gets nowhere: it does with enough bytes since
        the last line that did, and `MOST_WITHOUT_BYTES` times in between with a layer or a word that was not told of before. Raises
        OverflowError for more layers than any model has."""
        if digest is None or total is None:
            is_new = self._is_new_word(status)
        else:
            key = digest[:_LONGEST_KEY]
            before = self._layers.get(key)
            if before is None and len(self._layers) >= MOST_LAYERS:
                raise OverflowError(f"it names more than {MOST_LAYERS} layers")
            now = (min(completed or 0, total), total)
            self._layers[key] = now
            old = before or (0, 0)
            self.completed = (self.completed or 0) + now[0] - old[0]
            self.total = (self.total or 0) + now[1] - old[1]
            is_new = before is None
        brings_bytes = (self.completed or 0) >= self._counted + LEAST_BYTES
        self._without_bytes = 0 if brings_bytes else self._without_bytes + is_new
        if not brings_bytes and (not is_new or self._without_bytes > MOST_WITHOUT_BYTES):
            return 0
        self._counted = max(self._counted, self.completed or 0)
        return min(LONGEST_CHECK, 1 + (self.total or 0) / CHECKED_BYTES) if self.completed == self.total else 1

    def is_news(self, status: str | None) -> bool:
        """Whether what is known differs from what it was when this was asked last."""
        before, self._shown = self._shown, (status, self.completed, self.total)
        return before != self._shown

    def _is_new_word(self, status: str | None) -> bool:
        word = (status or "")[:_LONGEST_KEY]
        if word in self._words or len(self._words) > MOST_WITHOUT_BYTES:
            return False
        self._words.add(word)
        return True
