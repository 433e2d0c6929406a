"""A disk that takes no more, from any commit on: what was done is kept in a rescue journal, and taken in it is as if nothing had been."""

from __future__ import annotations

import json
import os
import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from kills import STORIES, Story, Victims, check_aftermath, check_whole, ran, told

DISKS = max(1, int(os.environ.get("KILLS", "100")) // 5)


def _cases(*whens: str) -> list[tuple[Story, str, int]]:
    chance = random.Random(os.environ["SEED"])
    places = [(story, when, number) for story in STORIES for when in whens for number in range(1, story.writes + 1)]
    return chance.sample(places, min(DISKS, len(places)))


def _name(value: object) -> str:
    return value.name if isinstance(value, Story) else str(value)


@pytest.mark.parametrize(("story", "when", "number"), _cases("full disk", "read-only disk"), ids=_name)
def test_nothing_is_lost_on_a_disk_that_takes_no_more(tmp_path: Path, victims: Victims, story: Story, when: str, number: int) -> None:
    with told(story, tmp_path / "w") as lab:
        end = victims.run(lab, story, when, number)
        assert end.status in (0, 1), end.said
        rescues = sorted(path for path in lab.root.glob("state/*.rescue-*.jsonl"))
        assert end.status == 1 or not rescues
        assert "Traceback" not in end.said
        check_whole(lab)
        if lab.state.exists() and end.status == 1:
            assert "cannot be written" in end.said or "disk of the state fails" in end.said
            assert len(rescues) <= 1
            assert all(str(path) in end.said for path in rescues)
            ran(lab, "state", "recover")
            with closing(sqlite3.connect(lab.state)) as state:
                made = state.execute("SELECT count(*) FROM sqlite_master WHERE name = 'journal'").fetchone() != (0,)
                done = "SELECT address FROM journal WHERE status = 'done'"
                begun = {address for (address,) in state.execute(done)} if made else set()
            plan = json.loads(ran(lab, "plan", "--format", "json"))
            assert [step["address"] for step in plan["steps"] if step["action"] == "adopt" and step["address"] in begun] == []
        check_aftermath(lab, story)


@pytest.mark.parametrize(("story", "when", "number"), _cases("no room at all"), ids=_name)
def test_where_not_even_a_rescue_journal_can_be_written_the_next_apply_finds_out(
    tmp_path: Path, victims: Victims, story: Story, when: str, number: int
) -> None:
    with told(story, tmp_path / "w") as lab:
        end = victims.run(lab, story, when, number)
        assert end.status in (0, 1), end.said
        assert "Traceback" not in end.said
        check_aftermath(lab, story)
