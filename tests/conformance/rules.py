"""What every engine adapter and the server behind it must do together. Each rule is a function of a subject; real and simulated servers are
asked the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import pytest

from reconciler.engines import Engine, LoadRequest, Transport, open_engine
from reconciler.fleet import EngineError, EngineFacts, EngineKind, EngineSpec, ResidentStatus, SecretRef
from reconciler.vram import geometry_of, header_of_fact, ollama_server, ollama_settings, predict

PATIENCE = 90.0
"""Seconds that a rule waits for a server to come to what it promised."""


@dataclass(frozen=True)
class Subject:
    """A running server with two models installed, nothing resident. `restart` ends the process and starts it again;
    `embedding` is a model that only embeds, where it has one."""

    spec: EngineSpec
    first: str
    second: str
    restart: Callable[[], None]
    embedding: str | None = None
    asks_for_key: bool = False


@asynccontextmanager
async def opened(spec: EngineSpec) -> AsyncIterator[Engine]:
    async with Transport() as transport:
        engine = open_engine(spec, transport)
        yield engine
        await engine.aclose()


async def until(engine: Engine, holds: Callable[[EngineFacts], bool], what: str) -> EngineFacts:
    """Looks until `holds`, at most PATIENCE seconds."""
    async with asyncio.timeout(PATIENCE):
        while True:
            facts = await engine.observe()
            if facts.reachable and holds(facts):
                return facts
            await asyncio.sleep(0.05)
    raise AssertionError(what)


def loaded(facts: EngineFacts) -> set[str]:
    return {resident.name for resident in facts.residents or () if resident.status is ResidentStatus.LOADED}


def occupied(facts: EngineFacts) -> set[str]:
    return {resident.name for resident in facts.residents or ()}


async def make_resident(engine: Engine, name: str) -> EngineFacts:
    await engine.load(LoadRequest(name, keep_alive=-1))
    return await until(engine, lambda facts: name in loaded(facts), f"{name} becomes resident")


async def observe_tells_what_is_installed_and_loads_nothing(subject: Subject) -> None:
    async with opened(subject.spec) as engine:
        for _ in range(3):
            facts = await engine.observe([subject.first, subject.second])
            assert facts.reachable, facts.reason
            assert facts.build
            assert {subject.first, subject.second} <= {model.name for model in facts.installed or ()}
            assert facts.residents == ()


async def an_ollama_tells_the_header_of_a_wanted_model_and_it_is_of_the_files_size(subject: Subject) -> None:
    if subject.spec.kind is not EngineKind.OLLAMA:
        return
    async with opened(subject.spec) as engine:
        facts = await engine.observe([subject.first])
        (found,) = [model for model in facts.installed or () if model.name == subject.first]
        assert found.header is not None
        header = header_of_fact(found.header)
        settings = ollama_settings(ollama_server(facts.build, {}, None, ()), geometry_of(header), 2048)
        assert settings is not None
        (card,) = predict(geometry_of(header), settings).cards
        assert card.high is not None
        size = found.size_bytes or 0
        assert 0.7 * size < sum(tensor.bytes for tensor in header.tensors) <= 1.1 * size
        assert facts.residents == ()


async def a_load_shows_only_when_it_is_usable_and_a_second_load_of_the_same_is_harmless(subject: Subject) -> None:
    async with opened(subject.spec) as engine:
        facts = await make_resident(engine, subject.first)
        assert occupied(facts) == {subject.first}
        await make_resident(engine, subject.first)


async def unload_empties_the_memory_and_never_deletes(subject: Subject) -> None:
    async with opened(subject.spec) as engine:
        before = {model.name for model in (await make_resident(engine, subject.first)).installed or ()}
        await engine.unload(subject.first)
        facts = await until(engine, lambda facts: not occupied(facts), "the model leaves")
        assert {model.name for model in facts.installed or ()} == before


async def unload_of_what_is_not_resident_is_harmless(subject: Subject) -> None:
    async with opened(subject.spec) as engine:
        await engine.unload(subject.first)
        assert occupied(await engine.observe()) == set()


async def an_unknown_model_cannot_be_loaded_and_the_error_says_so(subject: Subject) -> None:
    async with opened(subject.spec) as engine:
        with pytest.raises(EngineError) as raised:
            await engine.load(LoadRequest("no-such-model:1"))
        assert raised.value.code == "not_installed"
        assert "no-such-model:1" in str(raised.value)
        assert occupied(await engine.observe()) == set()


async def two_loads_at_once_both_end_in_a_known_state(subject: Subject) -> None:
    async with opened(subject.spec) as engine:
        loads = [engine.load(LoadRequest(name, keep_alive=-1)) for name in (subject.first, subject.second)]
        for outcome in await asyncio.gather(*loads, return_exceptions=True):
            assert outcome is None or isinstance(outcome, EngineError), outcome
        facts = await until(engine, lambda facts: bool(facts.residents) and loaded(facts) == occupied(facts), "no load is under way")
        assert loaded(facts) <= {subject.first, subject.second}


async def a_load_that_the_client_gives_up_leaves_a_known_state(subject: Subject) -> None:
    async with opened(subject.spec) as engine:
        sent = asyncio.ensure_future(engine.load(LoadRequest(subject.first, keep_alive=-1)))
        await asyncio.sleep(0)
        sent.cancel()
        await asyncio.gather(sent, return_exceptions=True)
        facts = await until(engine, lambda facts: loaded(facts) == occupied(facts), "no load is under way")
        assert occupied(facts) <= {subject.first}
        await make_resident(engine, subject.first)


async def a_restarted_engine_is_empty_and_says_so(subject: Subject) -> None:
    async with opened(subject.spec) as engine:
        await make_resident(engine, subject.first)
        subject.restart()
        facts = await until(engine, lambda facts: facts.residents is not None, "the engine is back")
        assert occupied(facts) == set()


async def a_wrong_key_is_unreachable_with_that_reason(subject: Subject) -> None:
    if not subject.asks_for_key:
        return
    wrong = replace(subject.spec, bearer=SecretRef("env", "PATH"))
    async with Transport(environ={"PATH": "wrong"}) as transport:
        facts = await open_engine(wrong, transport).observe()
    assert (facts.reachable, facts.reason_code) == (False, "key_refused")
    assert "wrong" not in (facts.reason or "")


async def an_embedding_model_loads_by_its_capability(subject: Subject) -> None:
    if subject.embedding is None:
        return
    async with opened(subject.spec) as engine:
        facts = await engine.observe([subject.embedding])
        assert next(model for model in facts.installed or () if model.name == subject.embedding).embedding is True
        await make_resident(engine, subject.embedding)


async def for_ever_and_a_finite_keep_alive_are_told_apart(subject: Subject) -> None:
    if subject.spec.kind is not EngineKind.OLLAMA:
        return
    async with opened(subject.spec) as engine:
        facts = await make_resident(engine, subject.first)
        assert [resident.pinned for resident in facts.residents or ()] == [True]
        await engine.load(LoadRequest(subject.first, keep_alive=3600.0))
        await until(engine, lambda facts: [resident.pinned for resident in facts.residents or ()] == [False], "the pin is gone")


async def a_derived_tag_holds_its_context_on_the_same_weights(subject: Subject) -> None:
    if subject.spec.kind is not EngineKind.OLLAMA:
        return
    tag = f"{subject.first}-c1024"
    async with opened(subject.spec) as engine:
        await engine.derive(subject.first, tag, {"num_ctx": 1024})
        await engine.load(LoadRequest(tag, keep_alive=-1))
        facts = await until(engine, lambda facts: tag in loaded(facts), "the tag is resident")
        assert [resident.context for resident in facts.residents or ()] == [1024]
        blobs = {model.name: model.blob for model in (await engine.observe([subject.first, tag])).installed or ()}
        assert blobs[tag] == blobs[subject.first] is not None


async def a_deletion_takes_one_name_from_the_disk_and_unloads_nothing(subject: Subject) -> None:
    async with opened(subject.spec) as engine:
        if subject.spec.kind is not EngineKind.OLLAMA:
            with pytest.raises(EngineError) as raised:
                await engine.delete(subject.first)
            assert raised.value.code == "cannot_delete"
            return
        tag = f"{subject.first}-c1024"
        await engine.derive(subject.first, tag, {"num_ctx": 1024})
        await make_resident(engine, subject.first)
        for _ in range(2):  # the second time there is nothing to delete
            await engine.delete(tag)
        facts = await engine.observe()
        names = {model.name for model in facts.installed or ()}
        assert tag not in names
        assert subject.first in names
        assert occupied(facts) == {subject.first}


async def a_pull_of_what_no_registry_has_fails_though_its_status_is_200(subject: Subject) -> None:
    async with opened(subject.spec) as engine:
        with pytest.raises(EngineError) as raised:
            async for _ in engine.pull("127.0.0.1:9/library/nothing:1"):
                pass
        assert raised.value.code in ("pull_failed", "cannot_pull")


RULES: tuple[Callable[[Subject], Awaitable[None]], ...] = (
    observe_tells_what_is_installed_and_loads_nothing,
    an_ollama_tells_the_header_of_a_wanted_model_and_it_is_of_the_files_size,
    a_load_shows_only_when_it_is_usable_and_a_second_load_of_the_same_is_harmless,
    unload_empties_the_memory_and_never_deletes,
    unload_of_what_is_not_resident_is_harmless,
    an_unknown_model_cannot_be_loaded_and_the_error_says_so,
    two_loads_at_once_both_end_in_a_known_state,
    a_load_that_the_client_gives_up_leaves_a_known_state,
    a_restarted_engine_is_empty_and_says_so,
    a_wrong_key_is_unreachable_with_that_reason,
    an_embedding_model_loads_by_its_capability,
    for_ever_and_a_finite_keep_alive_are_told_apart,
    a_derived_tag_holds_its_context_on_the_same_weights,
    a_deletion_takes_one_name_from_the_disk_and_unloads_nothing,
    a_pull_of_what_no_registry_has_fails_though_its_status_is_200,
)
