"""A mixed-integer program as values, and HiGHS that solves it: values in, values out, and the same values for the same program.

HiGHS is the optional extra `exact`, imported only here and only when something is to be solved. It runs in one thread with a fixed seed. Of
bounds of work it has only nodes, and most is done before the first one. So what is counted is how often it asks whether to go on
(`kCallbackMipInterrupt`): that comes with its steps and not with time, and is the same on every machine. Wall time is a second bound for a
machine that is far too slow: what ends by it is told as such, since another machine may get further.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from math import inf

from reconciler.fleet import GpurecError
from reconciler.placement.result import SolverEnd
from reconciler.value_class import value_class

EXTRA = "exact"
CLOSE = 1e-6
"""How near the bound a cost must be to count as the least: costs are whole bytes in MiB."""


class SolverMissing(GpurecError):
    """The extra that has the exact solver is not installed."""


def require_highs() -> None:
    """SolverMissing where the exact solver is not installed."""
    if find_spec("highspy") is None:
        raise SolverMissing.of(
            "placement by the solver `exact` needs HiGHS, which is not installed here",
            hint=f"in a clone of gpurec: pip install '.[{EXTRA}]'; or use `solver: builtin`",
        )


@dataclass(slots=True)
class Program:
    """Minimise the cost of whole numbers 0…`upper[n]` under rows `lower ≤ Σ coefficient × number ≤ upper`. Filled row by row."""

    upper: list[int] = field(default_factory=list)
    rows: list[tuple[float, float, Mapping[int, float]]] = field(default_factory=list)

    def number(self, upper: int = 1) -> int:
        """A new whole number from 0 to `upper`, by its index."""
        self.upper.append(upper)
        return len(self.upper) - 1

    def row(self, terms: Mapping[int, float], lower: float = -inf, upper: float = inf) -> None:
        self.rows.append((lower, upper, terms))


class RowSums:
    """What the rows of a program add up to, while single numbers change."""

    def __init__(self, program: Program, numbers: Sequence[int]) -> None:
        self._rows = program.rows
        self._sums = [sum(value * numbers[number] for number, value in terms.items()) for _, _, terms in program.rows]
        self._rows_of: dict[int, list[int]] = defaultdict(list)
        for row, (_, _, terms) in enumerate(program.rows):
            for number in terms:
                self._rows_of[number].append(row)

    def moves(self, numbers: list[int], one: int, other: int) -> bool:
        """Takes one from a number and adds it to another where all rows still hold; whether they do."""
        after: dict[int, float] = {}
        for number, by in ((one, -1), (other, 1)):
            for row in self._rows_of[number]:
                after[row] = after.get(row, self._sums[row]) + by * self._rows[row][2][number]
        if any(not self._rows[row][0] - CLOSE <= total <= self._rows[row][1] + CLOSE for row, total in after.items()):
            return False
        numbers[one] -= 1
        numbers[other] += 1
        for row, total in after.items():
            self._sums[row] = total
        return True


STEP, LARGE = 4_000, 16_000
"""What one step of HiGHS costs in a small program, and by what the square of the coefficients is divided for a large one: measured on
programs of 1,600 (5 ms a step), 8,400 (5 to 11 ms) and 65,000 coefficients (1 s)."""


@dataclass(slots=True)
class SolverBudget:
    """What is left to spend: `work` is how often HiGHS may ask whether to go on, times what a step costs (some microseconds, more for each
    coefficient of the program); `seconds` is wall time."""

    work: int
    seconds: float


@value_class
class Solution:
    """The best numbers that were found, their cost, and what no numbers go below."""

    numbers: Sequence[int]
    cost: float
    bound: float
    ended: SolverEnd


def solve(program: Program, cost: Mapping[int, float], start: Sequence[int], budget: SolverBudget, share: float = 1.0) -> Solution:
    """The cheapest numbers that HiGHS finds, beginning with `start`, which must hold all rows. It may spend a share of the budget, from
    which that is taken.

    SolverMissing: it is not installed.
    """
    require_highs()
    import highspy
    import numpy as np

    count = len(program.upper)
    model = highspy.HighsLp()
    model.num_col_, model.num_row_ = count, len(program.rows)
    model.col_cost_ = np.array([cost.get(number, 0.0) for number in range(count)])
    model.col_lower_, model.col_upper_ = np.zeros(count), np.array(program.upper, dtype=float)
    model.row_lower_ = np.array([lower for lower, _, _ in program.rows])
    model.row_upper_ = np.array([upper for _, upper, _ in program.rows])
    starts = np.cumsum([0, *(len(terms) for _, _, terms in program.rows)])
    model.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    model.a_matrix_.num_col_, model.a_matrix_.num_row_ = count, len(program.rows)
    model.a_matrix_.start_ = starts.astype(np.int32)
    model.a_matrix_.index_ = np.array([number for _, _, terms in program.rows for number in terms], dtype=np.int32)
    model.a_matrix_.value_ = np.array([value for _, _, terms in program.rows for value in terms.values()], dtype=float)
    model.integrality_ = [highspy.HighsVarType.kInteger] * count

    class Quiet(highspy.Highs):
        """Its constructor turns callbacks on, and that writes a line to the standard output unless output is off by then."""

        def enableCallbacks(self) -> None:  # noqa: N802 - the library's own name
            self.silent()
            super().enableCallbacks()  # type: ignore[no-untyped-call]

    highs = Quiet()  # type: ignore[no-untyped-call]
    highs.silent()
    options = {"threads": 1, "random_seed": 0, "time_limit": max(0.0, budget.seconds * share), "mip_rel_gap": 0.0, "mip_abs_gap": CLOSE}
    for name, value in options.items():
        highs.setOptionValue(name, value)
    highs.passModel(model)
    first = highspy.HighsSolution()
    first.col_value = [float(number) for number in start]
    highs.setSolution(first)

    price, end = STEP + sum(len(terms) for _, _, terms in program.rows) ** 2 // LARGE, budget.work * (1 - share)

    def stop(event: highspy.highs.HighsCallbackEvent) -> None:
        budget.work -= price
        if budget.work <= end and event.data_in is not None:
            event.data_in.user_interrupt = True

    highs.cbMipInterrupt += stop
    highs.run()
    budget.seconds -= highs.getRunTime()
    status, info = highs.getModelStatus(), highs.getInfo()
    ended = SolverEnd.PROVED if status == highspy.HighsModelStatus.kOptimal else SolverEnd.WORK
    if status == highspy.HighsModelStatus.kTimeLimit:
        ended = SolverEnd.TIME
    numbers = [round(value) for value in highs.getSolution().col_value]
    worth = sum(cost.get(number, 0.0) * value for number, value in enumerate(numbers))
    least = sum(min(0.0, cost.get(number, 0.0) * most) for number, most in enumerate(program.upper))
    return Solution(numbers, worth, min(max(info.mip_dual_bound, least), worth), ended)
