"""What a stream of progress has brought so far, in bounded memory, and whether it still gets anywhere."""

from __future__ import annotations

MOST_LAYERS = 65_536
"""Ollama keeps a tensor a layer for some formats, of which large models have tens of thousands."""
MOST_WORDS = 1_000
"""Different words of status: there are about six, and one names each layer."""
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
        self._counted = 0
        self._shown: tuple[str | None, int | None, int | None] | None = None

    def take(self, status: str | None, digest: str | None, completed: int | None, total: int | None) -> bool:
        """Takes one line in; whether it gets anywhere: a layer or a word that was not told of before, or enough bytes since the last line
        that did. Raises OverflowError for more layers than any model has."""
        advanced = self._is_new_word(status)
        if digest is not None and total is not None:
            key = digest[:_LONGEST_KEY]
            before = self._layers.get(key)
            if before is None and len(self._layers) >= MOST_LAYERS:
                raise OverflowError(f"it names more than {MOST_LAYERS} layers")
            now = (min(completed or 0, total), total)
            self._layers[key] = now
            old = before or (0, 0)
            self.completed = (self.completed or 0) + now[0] - old[0]
            self.total = (self.total or 0) + now[1] - old[1]
            advanced = advanced or before is None or self.completed >= self._counted + LEAST_BYTES
        if advanced:
            self._counted = max(self._counted, self.completed or 0)
        return advanced

    def is_news(self, status: str | None) -> bool:
        """Whether what is known differs from what it was when this was asked last."""
        before, self._shown = self._shown, (status, self.completed, self.total)
        return before != self._shown

    def _is_new_word(self, status: str | None) -> bool:
        word = (status or "")[:_LONGEST_KEY]
        if word in self._words or len(self._words) >= MOST_WORDS:
            return False
        self._words.add(word)
        return True
