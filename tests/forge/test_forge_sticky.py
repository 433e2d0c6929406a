"""One comment a fleet on every forge: found by its mark, written over, never twice, and the token seen by nobody."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_forge import TOKEN, FakeForge, Written, serving

from reconciler.fleet import SecretRef
from reconciler.forge import CommentOutcome, Forge, ForgeError, find_place, keep_comment, keep_issue
from reconciler.forge.sticky import LONGEST_PAUSE, TRIES, marker

MARK = marker("lab", "plan")
EVENT = json.dumps({"action": "synchronize", "number": 7, "pull_request": {"number": 7}})
WITH_ISSUES = [Forge.GITHUB, Forge.GITEA, Forge.GITLAB]


@pytest.fixture(params=list(Forge))
def fake(request: pytest.FixtureRequest) -> Iterator[FakeForge]:
    with serving(request.param) as fake:
        yield fake


@pytest.fixture
def event(tmp_path: Path) -> str:
    path = tmp_path / "event.json"
    path.write_text(EVENT)
    return str(path)


class Pauses(list[float]):
    """Pauses that take no time."""

    async def __call__(self, seconds: float) -> None:
        self.append(seconds)


def keep(fake: FakeForge, event: str, text: str, *, only_if_there: bool = False, pauses: Pauses | None = None) -> CommentOutcome:
    environ = fake.environ(event)
    place = find_place(environ)
    sleep = Pauses() if pauses is None else pauses
    return asyncio.run(keep_comment(place, environ, MARK, text, only_if_there=only_if_there, sleep=sleep))


def test_the_first_run_makes_a_comment_and_every_later_one_writes_it_anew(fake: FakeForge, event: str) -> None:
    fake.comments = [Written(1, "ann", "please rebase")]
    assert keep(fake, event, "one\n") is CommentOutcome.CREATED
    assert keep(fake, event, "two\n") is CommentOutcome.UPDATED
    assert keep(fake, event, "two\n") is CommentOutcome.SAME
    assert [one.text for one in fake.comments] == ["please rebase", f"{MARK}\n\ntwo\n"]


def test_what_needs_no_comment_makes_none_but_corrects_the_one_that_is_there(fake: FakeForge, event: str) -> None:
    assert keep(fake, event, "no changes", only_if_there=True) is CommentOutcome.NOT_NEEDED
    assert fake.comments == []
    keep(fake, event, "a load")
    assert keep(fake, event, "no changes", only_if_there=True) is CommentOutcome.UPDATED
    assert [one.text for one in fake.comments] == [f"{MARK}\n\nno changes"]


def test_fleets_and_kinds_have_comments_of_their_own(fake: FakeForge, event: str) -> None:
    keep(fake, event, "lab")
    environ = fake.environ(event)
    for mark in (marker("lab2", "plan"), marker("lab", "drift"), marker("a) [x](y)", "plan")):
        asyncio.run(keep_comment(find_place(environ), environ, mark, "other"))
    assert len(fake.comments) == 4
    assert keep(fake, event, "lab") is CommentOutcome.SAME


def test_it_is_found_behind_many_others(fake: FakeForge, event: str) -> None:
    fake.comments = [Written(at, "ann", f"remark {at}") for at in range(1, 96)]
    keep(fake, event, "one")
    assert keep(fake, event, "two") is CommentOutcome.UPDATED
    fake.most_a_page = 20
    assert keep(fake, event, "three") is CommentOutcome.UPDATED
    assert len(fake.comments) == 96


@pytest.mark.parametrize("forge", WITH_ISSUES)
def test_an_issue_is_found_also_where_pages_are_shorter_than_was_asked(forge: Forge) -> None:
    with serving(forge) as fake:
        fake.most_a_page = 20
        fake.issues = [Written(at, "ann", f"issue {at}") for at in range(1, 31)]
        environ = fake.environ()
        for text, kept in (("one", CommentOutcome.CREATED), ("two", CommentOutcome.UPDATED)):
            assert asyncio.run(keep_issue(find_place(environ), environ, MARK, "t", text, needed=True)) is kept


def test_a_comment_that_was_deleted_is_not_written_to(event: str) -> None:
    with serving(Forge.BITBUCKET) as fake:
        fake.comments = [Written(1, fake.me, f"{MARK}\n\nonce", deleted=True)]
        assert keep(fake, event, "one") is CommentOutcome.CREATED
        assert keep(fake, event, "two") is CommentOutcome.UPDATED
        assert [one.text for one in fake.comments] == [f"{MARK}\n\nonce", f"{MARK}\n\ntwo"]


def test_a_next_page_elsewhere_is_never_sent_the_token(fake: FakeForge, event: str) -> None:
    with serving(fake.forge) as elsewhere:
        elsewhere.comments = [Written(at, "ann", f"remark {at}") for at in range(1, 96)]
        fake.next_from = elsewhere.url
        fake.comments = [Written(at, "ann", f"remark {at}") for at in range(1, 96)]
        keep(fake, event, "one")
        assert elsewhere.asked == []


def test_a_pull_request_that_quotes_our_mark_is_no_issue_of_ours() -> None:
    with serving(Forge.GITHUB) as fake:
        fake.issues = [Written(1, fake.me, f"{MARK}\n\nwhat the issue says", pull=True)]
        environ = fake.environ()
        assert asyncio.run(keep_issue(find_place(environ), environ, MARK, "t", "none", needed=False)) is CommentOutcome.NOT_NEEDED
        assert fake.issues[0].open


def test_a_strangers_comment_with_our_mark_is_left_alone(fake: FakeForge, event: str) -> None:
    fake.comments = [Written(1, "mallory", f"{MARK}\n\nno changes at all")]
    assert keep(fake, event, "ours") is CommentOutcome.CREATED
    assert fake.comments[0].text.endswith("no changes at all")
    assert keep(fake, event, "ours again") is CommentOutcome.UPDATED


def test_a_github_job_may_not_ask_who_it_is_and_takes_no_persons_comment_for_its_own(event: str) -> None:
    with serving(Forge.GITHUB) as fake:
        fake.may_ask_who = False
        fake.comments = [Written(1, "mallory", f"{MARK}\n\nforged")]
        assert keep(fake, event, "one") is CommentOutcome.CREATED
        assert keep(fake, event, "two") is CommentOutcome.UPDATED
        assert [one.text for one in fake.comments] == [f"{MARK}\n\nforged", f"{MARK}\n\ntwo"]


@pytest.mark.parametrize("forge", [Forge.GITEA, Forge.GITLAB, Forge.BITBUCKET])
def test_elsewhere_a_job_that_may_not_ask_who_it_is_takes_the_newest_with_its_mark(forge: Forge, event: str) -> None:
    with serving(forge) as fake:
        fake.may_ask_who = False
        fake.comments = [Written(1, "mallory", f"{MARK}\n\nforged")]
        assert keep(fake, event, "one") is CommentOutcome.UPDATED
        assert [one.text for one in fake.comments] == [f"{MARK}\n\none"]


@pytest.mark.parametrize("forge", [Forge.GITEA, Forge.GITLAB, Forge.BITBUCKET])
@pytest.mark.parametrize("only_if_there", [False, True])
def test_there_what_may_not_be_written_over_is_somebody_elses(forge: Forge, only_if_there: bool, event: str) -> None:
    with serving(forge) as fake:
        fake.may_ask_who = fake.may_write_over_others = False
        fake.comments = [Written(1, "mallory", f"{MARK}\n\nforged")]
        assert keep(fake, event, "one", only_if_there=only_if_there) is CommentOutcome.CREATED
        fake.comments.append(Written(3, "mallory", f"{MARK}\n\nforged"))
        assert keep(fake, event, "two") is CommentOutcome.UPDATED
        assert [one.text for one in fake.comments] == [f"{MARK}\n\nforged", f"{MARK}\n\ntwo", f"{MARK}\n\nforged"]


def test_an_issue_that_may_not_be_closed_is_an_error_and_makes_no_other(event: str) -> None:
    with serving(Forge.GITEA) as fake:
        fake.may_ask_who = fake.may_write_over_others = False
        fake.issues = [Written(1, "mallory", f"{MARK}\n\nforged")]
        environ = fake.environ()
        with pytest.raises(ForgeError, match="answered 403"):
            asyncio.run(keep_issue(find_place(environ), environ, MARK, "t", "no drift", needed=False))
        assert len(fake.issues) == 1


def test_of_two_runs_at_once_the_older_comment_points_to_the_newer(fake: FakeForge, event: str) -> None:
    fake.comments = [Written(1, fake.me if fake.forge is not Forge.BITBUCKET else "gpurec-bot", f"{MARK}\n\n{at}") for at in (1, 2)]
    fake.comments[1].id = 2
    assert keep(fake, event, "three") is CommentOutcome.UPDATED
    assert [one.text for one in fake.comments] == [f"{MARK}\n\nThere is a newer one of these below.", f"{MARK}\n\nthree"]


SECONDARY = '{"message": "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."}'
AT = {"Date": "Mon, 30 Nov 2026 12:00:00 GMT"}
"""The forge's clock: 1796040000 seconds of the epoch."""


@pytest.mark.parametrize(
    ("status", "headers", "body", "pauses"),
    [
        (500, {}, "{}", [1.0, 2.0]),
        (502, {}, "<html>", [1.0, 2.0]),
        (429, {"Retry-After": "7"}, "{}", [7.0, 7.0]),
        (429, {"Retry-After": "7"}, "Retry later\n", [7.0, 7.0]),
        (429, {}, "{}", [1.0, 2.0]),
        (403, {"Retry-After": "7"}, "{}", [7.0, 7.0]),
        (403, {}, SECONDARY, [60.0, 60.0]),
        (403, {**AT, "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1796040042"}, "{}", [42.0, 42.0]),
        (403, {**AT, "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1796039999"}, "{}", [1.0, 1.0]),
        (429, {**AT, "RateLimit-Remaining": "0", "RateLimit-Reset": "1796040042"}, "Retry later\n", [42.0, 42.0]),
    ],
)
def test_a_failure_that_passes_is_tried_again_after_the_pause_that_it_asks_for(
    fake: FakeForge, event: str, status: int, headers: dict[str, str], body: str, pauses: list[float]
) -> None:
    fake.faults = [(status, headers, body, False)] * 2
    waited = Pauses()
    assert keep(fake, event, "one", pauses=waited) is CommentOutcome.CREATED
    assert waited == pauses


def test_a_limit_that_lasts_is_not_waited_for_and_says_how_long(fake: FakeForge, event: str) -> None:
    fake.faults = [(403, {**AT, "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1796042400"}, '{"message": "API rate limit"}', False)]
    waited = Pauses()
    with pytest.raises(ForgeError, match="answered 403: API rate limit; try again in 40m"):
        keep(fake, event, "one", pauses=waited)
    assert waited == []


def test_a_job_of_a_fork_is_told_why_it_may_not_write(event: str) -> None:
    with serving(Forge.GITHUB) as fake:
        fake.faults = [(200, {}, "[]", False), (403, {}, '{"message": "Resource not accessible by integration"}', False)]
        with pytest.raises(ForgeError, match=r"not accessible by integration; the token may not .* \(a job of a fork may only read\)"):
            keep(fake, event, "one")


def test_a_comment_that_was_made_though_the_forge_said_502_comes_not_twice(fake: FakeForge, event: str) -> None:
    fake.faults = [(200, {}, json.dumps({"values": []} if fake.forge is Forge.BITBUCKET else []), False), (502, {}, "<html>", True)]
    assert keep(fake, event, "one") is CommentOutcome.SAME
    assert len(fake.comments) == 1


def test_tries_are_bounded(fake: FakeForge, event: str) -> None:
    fake.faults = [(503, {}, "{}", False)] * 100
    pauses = Pauses()
    with pytest.raises(ForgeError, match=f"{fake.forge} answered 503"):
        keep(fake, event, "one", pauses=pauses)
    assert len(pauses) == TRIES - 1
    fake.faults = [(429, {"Retry-After": str(int(LONGEST_PAUSE) + 1)}, "{}", False)]
    pauses.clear()
    with pytest.raises(ForgeError, match="answered 429"):
        keep(fake, event, "one", pauses=pauses)
    assert pauses == []


@pytest.mark.parametrize(
    "body", [f"bad token {TOKEN}", json.dumps({"message": f"Bearer {TOKEN}"}), json.dumps({"error": {"message": TOKEN}})]
)
def test_no_sentence_holds_the_token_though_the_forge_says_it(fake: FakeForge, event: str, body: str) -> None:
    fake.faults = [(422, {}, body, False)]
    with pytest.raises(ForgeError) as caught:
        keep(fake, event, "one")
    assert TOKEN not in str(caught.value)
    assert "422" in str(caught.value)


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_no_is_no_and_says_what_to_do(fake: FakeForge, event: str, status: int) -> None:
    fake.faults = [(status, {}, '{"message": "no"}', False)]
    with pytest.raises(ForgeError, match=f"answered {status}: no; ") as caught:
        keep(fake, event, "one")
    assert caught.value.problems[0].where is not None
    assert fake.comments == []


@pytest.mark.parametrize("body", ["<html>", "7", '{"values": 7}', "[" * 100_000])
def test_what_is_no_list_is_no_api(fake: FakeForge, event: str, body: str) -> None:
    fake.faults = [(200, {}, body, False)]
    with pytest.raises(ForgeError, match="is this the API of a forge"):
        keep(fake, event, "one")


def test_a_redirect_is_not_followed_with_the_token(fake: FakeForge, event: str) -> None:
    fake.faults = [(302, {"Location": fake.url + "/elsewhere"}, "{}", False)]
    with pytest.raises(ForgeError, match="answered 302"):
        keep(fake, event, "one")
    assert not [one for one in fake.asked if "elsewhere" in one]


def test_nobody_there_is_told_with_its_url(event: str) -> None:
    with serving(Forge.GITHUB) as fake:
        environ = fake.environ(event)
    with pytest.raises(ForgeError, match="GitHub cannot be reached: connection refused"):
        asyncio.run(keep_comment(find_place(environ), environ, MARK, "x", sleep=Pauses()))


@pytest.mark.parametrize("forge", WITH_ISSUES)
def test_the_issue_of_a_nightly_run_is_opened_written_anew_and_closed(forge: Forge) -> None:
    with serving(forge) as fake:
        environ = fake.environ()
        place = find_place(environ)

        def run(text: str, needed: bool) -> CommentOutcome:
            return asyncio.run(keep_issue(place, environ, MARK, "lab drifted", text, needed=needed, sleep=Pauses()))

        assert run("no drift", needed=False) is CommentOutcome.NOT_NEEDED
        assert run("two fields", needed=True) is CommentOutcome.CREATED
        assert run("three fields", needed=True) is CommentOutcome.UPDATED
        assert run("no drift", needed=False) is CommentOutcome.CLOSED
        assert [(one.open, one.title, one.text) for one in fake.issues] == [(False, "lab drifted", f"{MARK}\n\nno drift")]
        assert run("four fields", needed=True) is CommentOutcome.CREATED
        assert [one.open for one in fake.issues] == [False, True]


def test_bitbucket_has_no_issues() -> None:
    with serving(Forge.BITBUCKET) as fake:
        environ = fake.environ()
        with pytest.raises(ForgeError, match="Bitbucket has no issues"):
            asyncio.run(keep_issue(find_place(environ), environ, MARK, "t", "x", needed=True))


def test_a_job_of_no_pull_request_says_how_to_name_one(fake: FakeForge) -> None:
    environ = fake.environ()
    with pytest.raises(ForgeError, match="of no pull request; name it: --number N"):
        asyncio.run(keep_comment(find_place(environ), environ, MARK, "x"))
    assert asyncio.run(keep_comment(find_place(environ, number=7), environ, MARK, "x")) is CommentOutcome.CREATED


def test_no_forge_a_missing_variable_and_a_missing_token_are_named() -> None:
    with pytest.raises(ForgeError, match="no CI job of a forge that gpurec knows"):
        find_place({})
    with pytest.raises(ForgeError, match="GitHub sets GITHUB_API_URL in its jobs"):
        find_place({"GITHUB_ACTIONS": "true"})
    environ = {"GITLAB_CI": "true", "CI_API_V4_URL": "https://gitlab.example/api/v4", "CI_PROJECT_ID": "1", "CI_MERGE_REQUEST_IID": "3"}
    with pytest.raises(Exception, match="GITLAB_TOKEN is not set"):
        asyncio.run(keep_comment(find_place(environ), environ, MARK, "x"))
    assert find_place(environ, token=SecretRef("env", "OTHER")).token == SecretRef("env", "OTHER")


@pytest.mark.parametrize(
    "api", ["http://gitea.example/api/v1", "http://127.0.0.1.evil.example/", "ftp://x", "https://u:p@x/", "https://x/?a"]
)
def test_the_token_goes_over_no_open_line(api: str) -> None:
    environ = {"GITHUB_ACTIONS": "true", "GITHUB_API_URL": api, "GITHUB_REPOSITORY": "o/r"}
    with pytest.raises(ForgeError, match=r"in the clear|not the URL of an API"):
        find_place(environ)
    assert find_place({**environ, "GITHUB_API_URL": "http://[::1]:3000/api/v1/"}).api == "http://[::1]:3000/api/v1"


@pytest.mark.parametrize(
    ("event", "number"),
    [
        ({"issue": {"number": 9, "pull_request": {"url": "u"}}}, 9),
        ({"issue": {"number": 9}}, None),
        ({"pull_request": {"number": True}}, None),
        ({"ref": "refs/heads/main"}, None),
        ([], None),
    ],
)
def test_the_number_is_that_of_the_pull_request(tmp_path: Path, event: object, number: int | None) -> None:
    (tmp_path / "e.json").write_text(json.dumps(event))
    environ = {"GITHUB_ACTIONS": "1", "GITHUB_API_URL": "https://api.github.com", "GITHUB_REPOSITORY": "o/r"}
    assert find_place({**environ, "GITHUB_EVENT_PATH": str(tmp_path / "e.json")}).number == number
