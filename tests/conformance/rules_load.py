"""Loads and unloads: what they come to, also when they fail, collide or are given up."""

from __future__ import annotations

import asyncio

import pytest
from middle import Middle
from subject import (
    LLAMASWAP,
    OLLAMA,
    PROMPT,
    Subject,
    eventually,
    loaded,
    make_resident,
    occupied,
    opened,
    outcome_of,
    settled,
    until,
)

from reconciler.engines import LoadRequest
from reconciler.engines.trial import TOKENS
from reconciler.fleet import EngineError


async def a_second_load_of_the_same_is_harmless(subject: Subject) -> None:
    async with opened(subject.spec) as engine:
        await make_resident(engine, subject.first)
        facts = await make_resident(engine, subject.first)
        assert occupied(facts) == {subject.first}


async def unload_is_idempotent_and_the_memory_comes_back(subject: Subject) -> None:
    assert subject.memory is not None
    async with opened(subject.spec) as engine:
        await engine.unload(subject.first)
        await make_resident(engine, subject.first)
        assert subject.memory() > 0
        await engine.unload(subject.first)
        await engine.unload(subject.first)
        await until(engine, lambda facts: not occupied(facts), "the model leaves")
        await eventually(lambda: subject.memory is not None and subject.memory() == 0, "the memory comes back")
        await engine.unload(subject.first)
        assert occupied(await engine.observe()) == set()


async def unload_never_deletes(subject: Subject) -> None:
    async with opened(subject.spec) as engine:
        before = {model.name for model in (await make_resident(engine, subject.first)).installed or ()}
        await engine.unload(subject.first)
        facts = await until(engine, lambda facts: not occupied(facts), "the model leaves")
        assert {model.name for model in facts.installed or ()} == before
        await make_resident(engine, subject.first)


async def an_unknown_model_cannot_be_loaded_and_the_error_says_so(subject: Subject) -> None:
    async with opened(subject.spec) as engine:
        with pytest.raises(EngineError) as raised:
            await engine.load(LoadRequest("no-such-model:1"))
        assert raised.value.code == ("engine_fixed_model" if subject.fixed else "not_installed")
        assert "no-such-model:1" in str(raised.value)
        await engine.unload("no-such-model:1")
        assert occupied(await engine.observe()) == subject.at_rest


async def a_load_that_fails_is_told_and_leaves_nothing(subject: Subject) -> None:
    assert subject.broken is not None
    async with opened(subject.spec) as engine:
        error = await outcome_of(engine, LoadRequest(subject.broken, keep_alive=-1))
        assert error is not None
        assert error.code in ("load_failed", "engine_error")
        assert subject.broken in str(error)
        facts = await until(engine, settled, "no load is under way")
        assert subject.broken not in occupied(facts)
        await make_resident(engine, subject.first)


async def a_load_without_room_fails_and_leaves_nothing(subject: Subject) -> None:
    assert subject.too_big is not None
    assert subject.memory is not None
    name, options = subject.too_big
    async with opened(subject.spec) as engine:
        error = await outcome_of(engine, LoadRequest(name, keep_alive=-1, options=options))
        assert error is not None
        assert error.code in ("out_of_memory", "load_failed", "engine_error")
        facts = await until(engine, settled, "no load is under way")
        assert name not in occupied(facts)
        await eventually(lambda: subject.memory is not None and subject.memory() == 0, "nothing stays behind")


async def a_busy_engine_says_that_it_is_busy(subject: Subject) -> None:
    assert subject.crowd is not None
    async with opened(subject.spec) as engine:
        outcomes = await subject.crowd(subject, engine)
        assert all(outcome is None or isinstance(outcome, EngineError) for outcome in outcomes), outcomes
        assert "busy" in {outcome.code for outcome in outcomes if isinstance(outcome, EngineError)}, outcomes
        assert (await engine.observe()).reachable


async def two_loads_at_once_both_end_in_a_known_state(subject: Subject) -> None:
    async with opened(subject.spec) as engine:
        loads = [engine.load(LoadRequest(name, keep_alive=-1)) for name in (subject.first, subject.second)]
        for outcome in await asyncio.gather(*loads, return_exceptions=True):
            assert outcome is None or isinstance(outcome, EngineError), outcome
        facts = await until(engine, lambda facts: bool(facts.residents) and settled(facts), "no load is under way")
        assert loaded(facts) <= {subject.first, subject.second}


async def a_load_that_the_client_gives_up_leaves_a_known_state(subject: Subject) -> None:
    async with opened(subject.spec) as engine:
        sent = asyncio.ensure_future(engine.load(LoadRequest(subject.first, keep_alive=-1)))
        await asyncio.sleep(0)
        sent.cancel()
        await asyncio.gather(sent, return_exceptions=True)
        facts = await until(engine, settled, "no load is under way")
        assert occupied(facts) <= {subject.first}
        await make_resident(engine, subject.first)


async def a_load_that_never_answers_ends_with_its_deadline(subject: Subject) -> None:
    async with (
        Middle(subject.spec.url, hold=lambda method, path: _loads(subject, method, path)) as middle,
        opened(subject.through(middle.url, load_timeout=0.5).spec) as engine,
    ):
        start = asyncio.get_running_loop().time()
        with pytest.raises(EngineError) as raised:
            await engine.load(LoadRequest(subject.first, keep_alive=-1, embedding=False))
        assert raised.value.code == "timeout"
        assert asyncio.get_running_loop().time() - start < 0.5 + PROMPT
        assert occupied(await engine.observe()) == set()
    async with opened(subject.spec) as engine:
        await make_resident(engine, subject.first)


async def a_load_whose_answer_is_cut_leaves_a_known_state(subject: Subject) -> None:
    async with (
        Middle(subject.spec.url, cut=lambda method, path: _loads(subject, method, path)) as middle,
        opened(subject.through(middle.url).spec) as engine,
    ):
        with pytest.raises(EngineError) as raised:
            await engine.load(LoadRequest(subject.first, keep_alive=-1, embedding=False))
        assert raised.value.code == "cut"
        facts = await until(engine, settled, "no load is under way")
        assert occupied(facts) <= {subject.first}


async def an_embedding_model_loads_by_its_capability(subject: Subject) -> None:
    assert subject.embedding is not None
    async with opened(subject.spec) as engine:
        facts = await engine.observe([subject.embedding])
        assert next(model for model in facts.installed or () if model.name == subject.embedding).embedding is True
        await make_resident(engine, subject.embedding)
        await engine.unload(subject.embedding)
        await until(engine, lambda facts: not occupied(facts), "it leaves")


async def a_loaded_model_tells_how_fast_it_writes_and_is_not_reloaded_for_it(subject: Subject) -> None:
    options = {"num_ctx": 1024} if subject.engine == OLLAMA else {}
    request = LoadRequest(subject.first, -1, options)
    async with opened(subject.spec) as engine:
        before = await make_resident(engine, subject.first, options=options)
        assert (await engine.write(request, TOKENS)).rate > 0
        after = await engine.observe()
        assert [(one.name, one.context, one.pinned) for one in after.residents or ()] == [
            (one.name, one.context, one.pinned) for one in before.residents or ()
        ]


async def an_embedding_model_tells_the_length_of_its_vectors(subject: Subject) -> None:
    assert subject.embedding is not None
    async with opened(subject.spec) as engine:
        await make_resident(engine, subject.embedding)
        assert await engine.vector_length(LoadRequest(subject.embedding, -1)) == subject.vector_length


async def for_ever_and_a_finite_keep_alive_are_told_apart(subject: Subject) -> None:
    async with opened(subject.spec) as engine:
        facts = await make_resident(engine, subject.first)
        assert [resident.pinned for resident in facts.residents or ()] == [True]
        await engine.load(LoadRequest(subject.first, keep_alive=3600.0))
        await until(engine, lambda facts: [resident.pinned for resident in facts.residents or ()] == [False], "the pin is gone")


async def other_runner_options_reload_the_model_and_a_client_without_them_reloads_it_back(subject: Subject) -> None:
    async with opened(subject.spec) as engine:
        facts = await make_resident(engine, subject.first)
        (own,) = (resident.context for resident in facts.residents or ())
        await engine.load(LoadRequest(subject.first, keep_alive=-1, options={"num_ctx": 1024}))
        assert own not in (None, 1024)
        facts = await until(engine, lambda facts: [one.context for one in facts.residents or ()] == [1024], "it has the asked context")
        assert loaded(facts) == {subject.first}
        assert await subject.use(subject.first) == 200
        await until(engine, lambda facts: [one.context for one in facts.residents or ()] == [own], "it has its own context again")


async def its_one_model_is_never_touched_and_another_is_refused(subject: Subject) -> None:
    async with opened(subject.spec) as engine:
        await engine.load(LoadRequest(subject.first, keep_alive=-1))
        for act in (engine.unload(subject.first), engine.load(LoadRequest("another"))):
            with pytest.raises(EngineError) as raised:
                await act
            assert raised.value.code == "engine_fixed_model"
        facts = await engine.observe()
        assert (loaded(facts), facts.mode) == ({subject.first}, "single")
        assert await subject.use(subject.first) == 200


def _loads(subject: Subject, method: str, path: str) -> bool:
    """Whether a request is the one that loads."""
    if subject.engine == LLAMASWAP:
        return path.startswith("/upstream/")
    return method == "POST" and path in ("/api/generate", "/models/load")
