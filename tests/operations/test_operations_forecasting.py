"""Who asks for a forecast again and again has each card judged once an hour; what is told is the same as for who asks once."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.fleet import HOUR, CardSample, Frame, HistoryBounds
from reconciler.operations import forecasting
from reconciler.operations.forecasting import Judgements, forecast_cards
from reconciler.state import SqliteStore

GIB = 2**30
START = 1_790_000_000 - 1_790_000_000 % HOUR


def keep(store: SqliteStore, first: int, last: int, total: int = 24 * GIB) -> None:
    """Looks every twenty minutes at a card that fills."""
    looks = [Frame(START + 1200 * at, cards={("ada", 0): CardSample(round(GIB * (2 + at / 30)), total)}) for at in range(first, last)]
    for begin in range(0, len(looks), 90):
        store.keep_looks(looks[begin : begin + 90], fleet="lab", bounds=HistoryBounds(), new_folder=True)


def test_a_card_is_judged_again_only_when_another_hour_is_over_or_it_is_another_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, known, judged = SqliteStore(tmp_path / "s.db"), Judgements(), []
    real = forecasting.judge
    monkeypatch.setattr(forecasting, "judge", lambda past, total: judged.append((len(past), total)) or real(past, total))
    keep(store, 0, 210)
    for look, total, times in ((210, 24, 1), (211, 24, 1), (212, 24, 1), (213, 24, 2), (214, 24, 2), (215, 16, 3)):
        keep(store, look, look + 1, total * GIB)
        (again,) = forecast_cards(store, None, 12, known)
        assert len(judged) == times, (look, judged)
        assert again.forecast.known
        assert again.forecast.now == round(GIB * (2 + look / 30)), "the newest look counts, also where it is not judged by"
        assert forecast_cards(store, None, 12) == [again]
        judged.pop()
