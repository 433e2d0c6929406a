"""What the history of facts says of each model: how fast it answers, how many wait, how often it failed."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from reconciler.fleet import HOUR, Frame, ModelKey, ModelSample, moving_average
from reconciler.health.routes import TOKENS

DAY = 86400


@dataclass(slots=True)
class ModelRecord:
    """`latency` (seconds of a request) and `tokens_per_second` are moving averages, 0.7 of what they were and 0.3 of what is new; `queue`
    is of the last look; `failed` has time and number, and `seen` for each hour its number, how often it was resident, and how often
    that was known: of the last day."""

    latency: float | None = None
    tokens_per_second: float | None = None
    queue: float | None = None
    failed: deque[tuple[int, int]] = field(default_factory=deque)
    seen: deque[tuple[int, float, int]] = field(default_factory=deque)

    @property
    def failures(self) -> int:
        """Of the last day."""
        return sum(count for _, count in self.failed)

    @property
    def request_seconds(self) -> float | None:
        """What a request takes: as the engine counts them, else what 512 tokens take at the speed that it tells."""
        if self.latency is not None:
            return self.latency
        return TOKENS / self.tokens_per_second if self.tokens_per_second else None

    @property
    def reliability(self) -> float | None:
        """The share of the last day's looks in which it was resident and did not fail. None where it was not looked at."""
        looks = sum(count for _, _, count in self.seen)
        whole = sum(share for _, share, _ in self.seen)
        return max(0.0, whole - len(self.failed)) / looks if looks else None

    def add(self, at: int, one: ModelSample) -> None:
        """Takes a sample in that is newer than all before."""
        self.latency = moving_average(self.latency, one.latency)
        self.tokens_per_second = moving_average(self.tokens_per_second, one.tokens_per_second)
        self.queue = one.queue
        if one.failures:
            self.failed.append((at, one.failures))
        if one.resident is not None:
            hour = at // HOUR
            _, share, count = self.seen.pop() if self.seen and self.seen[-1][0] == hour else (hour, 0.0, 0)
            self.seen.append((hour, share + one.resident, count + 1))
        while self.failed and self.failed[0][0] < at - DAY:
            self.failed.popleft()
        while self.seen and self.seen[0][0] < (at - DAY) // HOUR:
            self.seen.popleft()


class Records:
    """Of all models, from frames that come in order."""

    def __init__(self, frames: Iterable[Frame] = ()) -> None:
        self.of: dict[ModelKey, ModelRecord] = {}
        for frame in frames:
            self.add(frame)

    def add(self, frame: Frame) -> None:
        for address, one in frame.models.items():
            self.of.setdefault(address, ModelRecord()).add(frame.at, one)
        for address in [address for address, one in self.of.items() if not one.seen or one.seen[-1][0] < (frame.at - DAY) // HOUR]:
            del self.of[address]  # nobody has seen it for a day
