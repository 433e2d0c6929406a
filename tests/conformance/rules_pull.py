"""Pulls and derived tags."""

from __future__ import annotations

from contextlib import aclosing

import pytest
from subject import Subject, loaded, make_resident, occupied, opened, until

from reconciler.engines import LoadRequest
from reconciler.fleet import EngineError


async def a_pull_streams_its_progress_and_ends_when_the_model_is_installed(subject: Subject) -> None:
    assert subject.pulls is not None
    name = subject.pulls.there
    async with opened(subject.spec) as engine:
        assert name not in {model.name for model in (await engine.observe()).installed or ()}
        steps = [step async for step in engine.pull(name)]
        assert name in {model.name for model in (await engine.observe()).installed or ()}
    arrived = [step.completed for step in steps if step.completed is not None]
    # The real server's last word of a layer may be short of the whole (0.34.0): that it is there is told by the end of the stream.
    assert 0 < max(arrived) <= max(step.total or 0 for step in steps)
    assert len(set(arrived)) > 1
    assert steps[-1].status == "success"


async def a_pull_that_was_broken_off_goes_on_where_it_was(subject: Subject) -> None:
    assert subject.pulls is not None
    name = subject.pulls.there
    async with opened(subject.spec) as engine:
        had = 0
        async with aclosing(engine.pull(name)) as steps:
            async for step in steps:
                if step.completed and step.total and step.completed * 5 > step.total:
                    had = step.completed
                    break
        assert had
        assert name not in {model.name for model in (await engine.observe()).installed or ()}
        first = 0
        async for step in engine.pull(name):
            if not first and step.completed:
                first = step.completed
        assert first * 2 >= had
        assert name in {model.name for model in (await engine.observe()).installed or ()}


async def a_pull_of_what_no_registry_has_fails_though_its_status_is_200(subject: Subject) -> None:
    assert subject.pulls is not None
    async with opened(subject.spec) as engine:
        with pytest.raises(EngineError) as raised:
            async for _ in engine.pull(subject.pulls.absent):
                pass
        assert raised.value.code == "pull_failed"
        assert subject.pulls.absent in str(raised.value)


async def an_engine_that_cannot_pull_or_delete_says_so(subject: Subject) -> None:
    async with opened(subject.spec) as engine:
        with pytest.raises(EngineError) as raised:
            async for _ in engine.pull("anything:1"):
                pass
        assert raised.value.code == "cannot_pull"
        with pytest.raises(EngineError) as raised:
            await engine.derive(subject.first, "tag", {})
        assert raised.value.code == "cannot_pull"
        with pytest.raises(EngineError) as raised:
            await engine.delete(subject.first)
        assert raised.value.code == "cannot_delete"


async def a_derived_tag_holds_its_context_on_the_same_weights(subject: Subject) -> None:
    tag = f"{subject.first}-c1024"
    async with opened(subject.spec) as engine:
        await engine.derive(subject.first, tag, {"num_ctx": 1024})
        await engine.load(LoadRequest(tag, keep_alive=-1))
        facts = await until(engine, lambda facts: tag in loaded(facts), "the tag is resident")
        assert [resident.context for resident in facts.residents or ()] == [1024]
        blobs = {model.name: model.blob for model in (await engine.observe([subject.first, tag])).installed or ()}
        assert blobs[tag] == blobs[subject.first] is not None
        assert await subject.use(tag) == 200
        assert [resident.context for resident in (await engine.observe()).residents or ()] == [1024]


async def a_deletion_takes_one_name_from_the_disk_and_unloads_nothing(subject: Subject) -> None:
    tag = f"{subject.first}-c1024"
    async with opened(subject.spec) as engine:
        await engine.derive(subject.first, tag, {"num_ctx": 1024})
        await make_resident(engine, subject.first)
        for _ in range(2):  # the second time there is nothing to delete
            await engine.delete(tag)
        facts = await engine.observe()
        names = {model.name for model in facts.installed or ()}
        assert tag not in names
        assert subject.first in names
        assert occupied(facts) == {subject.first}
