"""What looking at an engine must be: harmless, prompt, and true about what cannot be known."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from middle import Middle
from subject import PROMPT, Subject, loaded, make_resident, occupied, opened, settled, until

from reconciler.engines import LoadRequest
from reconciler.fleet import ResidentStatus, SecretRef, canonical_name


async def observe_tells_what_is_installed_and_loads_nothing(subject: Subject) -> None:
    async with opened(subject.spec) as engine:
        for _ in range(3):
            facts = await engine.observe(subject.installed)
            assert facts.reachable, facts.reason
            assert facts.build
            assert set(subject.installed) <= {model.name for model in facts.installed or ()}
            assert occupied(facts) == subject.at_rest


async def observe_is_answered_at_once_while_a_load_is_under_way(subject: Subject) -> None:
    async with opened(subject.spec) as engine:
        sent = asyncio.ensure_future(engine.load(LoadRequest(subject.first, keep_alive=-1)))
        while True:
            facts = await engine.observe()
            assert facts.reachable, facts.reason
            assert facts.probe_seconds < PROMPT
            if sent.done() and subject.first in loaded(facts):
                break
        await sent


async def observe_evicts_nobody_and_prolongs_nothing(subject: Subject) -> None:
    async with opened(subject.spec) as engine:
        for name in subject.installed:
            facts = await make_resident(engine, name, keep_alive=-1 if subject.fixed else 3600.0)
        assert occupied(facts) == set(subject.installed)
        left = {resident.name: resident.expires_in for resident in facts.residents or ()}
        for _ in range(3):
            facts = await engine.observe(subject.installed)
            now = {resident.name: resident.expires_in for resident in facts.residents or ()}
            assert now.keys() == left.keys()
            assert all((now[name] or 0) <= (left[name] or 0) for name in now), (left, now)
            left = now


async def observe_is_answered_at_once_while_a_model_writes(subject: Subject) -> None:
    async with opened(subject.spec) as engine:
        before = await make_resident(engine, subject.first)
        writing = asyncio.ensure_future(subject.use(subject.first, tokens=32))
        looks = 0
        while not writing.done():
            facts = await engine.observe([subject.first])
            assert facts.reachable, facts.reason
            assert facts.probe_seconds < PROMPT
            looks += 1
            await asyncio.sleep(0.05)
        assert looks
        assert await writing == 200
        assert occupied(await engine.observe()) == occupied(before)


async def what_is_shown_as_loaded_can_be_used(subject: Subject) -> None:
    async with opened(subject.spec) as engine, opened(subject.spec) as onlooker:
        sent = asyncio.ensure_future(engine.load(LoadRequest(subject.first, keep_alive=-1)))
        await until(onlooker, lambda facts: subject.first in loaded(facts), "it is shown")
        assert await subject.use(subject.first) == 200
        await sent


async def an_engine_that_starts_is_unknown_and_says_so(subject: Subject) -> None:
    async with opened(subject.spec) as engine:
        subject.begin()
        codes = set()
        while not (facts := await engine.observe()).reachable:
            codes.add(facts.reason_code)
            assert facts.residents is None
            await asyncio.sleep(0.05)
        assert codes <= {"starting", "starting_or_down", "refused", "cut"}, codes
        assert codes & {"starting", "starting_or_down"}
        assert loaded(facts) == {subject.first}


async def a_restarted_engine_is_empty_and_says_so(subject: Subject) -> None:
    async with opened(subject.spec) as engine:
        await make_resident(engine, subject.first)
        subject.restart()
        facts = await until(engine, settled, "the engine is back")
        assert occupied(facts) == set()


async def a_wrong_key_is_unreachable_with_that_reason(subject: Subject) -> None:
    for bearer in (SecretRef("env", "GPUREC_WRONG"), None):
        async with opened(replace(subject.spec, bearer=bearer), {"GPUREC_WRONG": "wrong"}) as engine:
            facts = await engine.observe()
        assert (facts.reachable, facts.reason_code) == (False, "key_refused")
        assert "wrong" not in (facts.reason or "")


async def a_cut_connection_is_unreachable_and_the_next_look_is_whole(subject: Subject) -> None:
    async with Middle(subject.spec.url, cut=lambda method, path: True) as middle, opened(subject.through(middle.url).spec) as engine:
        facts = await engine.observe()
        assert (facts.reachable, facts.residents) == (False, None)
        assert facts.reason_code in ("cut", "starting_or_down")
        middle.cut = lambda method, path: False
        facts = await engine.observe()
        assert facts.reachable, facts.reason
        assert occupied(facts) == subject.at_rest


async def an_engine_that_does_not_answer_costs_its_timeout_and_no_more(subject: Subject) -> None:
    async with (
        Middle(subject.spec.url, hold=lambda method, path: True) as middle,
        opened(subject.through(middle.url, timeout=0.5).spec) as engine,
    ):
        facts = await engine.observe()
        assert (facts.reachable, facts.residents) == (False, None)
        assert facts.reason_code in ("timeout", "starting_or_down")
        assert facts.probe_seconds < 0.5 + PROMPT


async def names_are_canonical_and_never_parts_of_names(subject: Subject) -> None:
    kind = subject.spec.kind
    async with opened(subject.spec) as engine:
        facts = await make_resident(engine, subject.first)
        names = {model.name for model in facts.installed or ()} | occupied(facts)
        assert names == {canonical_name(kind, name) for name in names}
        part = subject.first.partition(":")[0][:-1]
        assert part not in names
        assert occupied(await engine.observe([part])) == {subject.first}


async def a_sleeping_model_is_seen_and_looking_does_not_wake_it(subject: Subject) -> None:
    assert subject.doze is not None
    async with opened(subject.spec) as engine:
        if not subject.fixed:
            await make_resident(engine, subject.first)
        await subject.doze(subject)

        def asleep(status: ResidentStatus) -> bool:
            return status is ResidentStatus.SLEEPING

        await until(engine, lambda facts: [asleep(one.status) for one in facts.residents or ()] == [True], "it sleeps")
        for _ in range(3):
            facts = await engine.observe([subject.first])
            assert [asleep(one.status) for one in facts.residents or ()] == [True]


async def asking_whether_a_model_is_busy_changes_nothing_and_idle_is_never_called_busy(subject: Subject) -> None:
    async with opened(subject.spec) as engine:
        before = await make_resident(engine, subject.first)
        assert not await engine.busy(subject.first)  # None: it does not tell
        assert occupied(await engine.observe()) == occupied(before)
