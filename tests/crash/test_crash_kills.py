"""Killed at any write of its state, or at any time, an apply leaves nothing that the next one does not put right."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from kills import STORIES, Story, check_aftermath, killed, told

KILLS = int(os.environ.get("KILLS", "100"))
WRITES = 20
"""An apply of these stories writes about so often."""
SEED = 2026


def _cases() -> list[tuple[Story, str, int]]:
    """`KILLS` kills, spread over stories, writes, and before and after each; every round beyond the first is one at random times."""
    places = [(story, when, number) for number in range(1, WRITES + 1) for story in STORIES for when in ("before", "after")]
    chance = random.Random(SEED)
    chance.shuffle(places)
    return [(*places[n],) if n < len(places) else (chance.choice(STORIES), "time", chance.randrange(100, 1500)) for n in range(KILLS)]


@pytest.mark.parametrize(("story", "when", "number"), _cases(), ids=lambda value: value.name if isinstance(value, Story) else str(value))
def test_the_apply_after_a_kill_converges_and_repeats_nothing(tmp_path: Path, story: Story, when: str, number: int) -> None:
    with told(story, tmp_path / "w") as lab:
        if when == "time":
            killed(lab, story, "never", 0, seconds=number / 1000)
        else:
            killed(lab, story, when, number)
        check_aftermath(lab, story)
