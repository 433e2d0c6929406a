"""Killed at any commit, at any request, or at any time, an apply leaves nothing that the next one does not put right."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from kills import STORIES, Story, Victims, check_aftermath, told

KILLS = int(os.environ.get("KILLS", "100"))
LONGEST_APPLY = 0.5
"""Seconds; about what a victim takes when it is left alone."""


def _cases() -> list[tuple[Story, str, int]]:
    """`KILLS` ends: every fourth at a random time (in ms), the others at commits and requests, each place once before any time is added."""
    chance = random.Random(os.environ["SEED"])
    places = [(story, f"{side} commit", n) for story in STORIES for n in range(1, story.writes + 1) for side in ("before", "after")]
    places += [(story, f"{side} request", n) for story in STORIES for n in range(1, story.requests + 1) for side in ("before", "after")]
    chance.shuffle(places)
    cases = []
    for number in range(KILLS):
        if number % 4 == 3 or not places:
            cases.append((chance.choice(STORIES), "time", chance.randrange(1, int(1000 * LONGEST_APPLY))))
        else:
            cases.append(places.pop())
    return cases


@pytest.mark.parametrize(("story", "when", "number"), _cases(), ids=lambda value: value.name if isinstance(value, Story) else str(value))
def test_the_apply_after_a_kill_converges_and_repeats_nothing(
    tmp_path: Path, victims: Victims, story: Story, when: str, number: int
) -> None:
    with told(story, tmp_path / "w") as lab:
        end = victims.run(lab, story, when, number, number / 1000)
        assert end.killed or end.status == 0, end.said
        check_aftermath(lab, story)
