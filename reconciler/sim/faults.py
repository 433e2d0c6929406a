"""Faults that a simulated engine can be told to have.

| kind | what happens | its own keys |
|---|---|---|
| `slow` | the answer waits; without `paths`, only GET requests (probes) | `seconds`, real ones |
| `status` | an error status instead of an answer | `status` (500), `text` |
| `cut` | the connection closes in the middle of the answer | |
| `garbage` | 200 and a page of HTML | |
| `down` | the port is closed (residents stay); with `paths` or `count`: the connection is dropped without an answer | |
| `huge` | 200 and JSON that goes on for `size` bytes, made as it is read | `size` (10 GB) |
| `redirect` | 302 to `location` | `location` |
| `hang_load` | a load never ends | `models` |
| `fail_load` | the model's process ends with status 1 | `models`, `text` |
| `oom` | the same, out of memory | `models` |
| `fail_pull` | a pull breaks in the middle, told as an `error` line in its stream of status 200 | `models`, `text` |

`paths` are exact, or end in `*`; `count` is for how many requests (or loads) it lasts.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from reconciler.sim.spec import FaultSpec

HTTP_KINDS = frozenset({"slow", "status", "cut", "garbage", "down", "huge", "redirect"})
LOAD_KINDS = frozenset({"hang_load", "fail_load", "oom"})
PULL_KINDS = frozenset({"fail_pull"})
KINDS = HTTP_KINDS | LOAD_KINDS | PULL_KINDS


@dataclass(slots=True, eq=False)
class Fault:
    """A fault in force; `left` is how often it still strikes, None for ever."""

    spec: FaultSpec
    left: int | None

    @property
    def kind(self) -> str:
        return self.spec.kind

    @property
    def closes_port(self) -> bool:
        return self.kind == "down" and not self.spec.paths and self.spec.count is None


class Faults:
    """The faults of one engine, asked in the order in which they were set."""

    def __init__(self, specs: Iterable[FaultSpec] = ()) -> None:
        self._faults = [Fault(spec, spec.count) for spec in specs]

    @property
    def close_port(self) -> bool:
        return any(fault.closes_port for fault in self._faults)

    def add(self, spec: FaultSpec) -> None:
        self._faults.append(Fault(spec, spec.count))

    def clear(self, kind: str | None = None) -> None:
        self._faults = [fault for fault in self._faults if kind is not None and fault.kind != kind]

    def strike_request(self, method: str, path: str) -> FaultSpec | None:
        """The fault that this request meets, spent by one."""
        return self._strike(
            fault
            for fault in self._faults
            if fault.kind in HTTP_KINDS and _on_path(fault.spec, path) and (fault.kind != "slow" or fault.spec.paths or method == "GET")
        )

    def strike_model(self, kinds: Iterable[str], names: Collection[str]) -> FaultSpec | None:
        """The fault that a load or pull of the model with these names meets, spent by one."""
        wanted = frozenset(kinds)
        return self._strike(
            fault
            for fault in self._faults
            if fault.kind in wanted and (not fault.spec.models or not set(names).isdisjoint(fault.spec.models))
        )

    def _strike(self, candidates: Iterable[Fault]) -> FaultSpec | None:
        fault = next((fault for fault in candidates if fault.left is None or fault.left > 0), None)
        if fault is None:
            return None
        if fault.left is not None:
            fault.left -= 1
        return fault.spec


def _on_path(spec: FaultSpec, path: str) -> bool:
    if not spec.paths:
        return True
    return any(path.startswith(wanted[:-1]) if wanted.endswith("*") else path == wanted for wanted in spec.paths)
