"""The real servers as subjects of the conformance rules, each in the world that the rule wants."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
from rigs import MIB, ROOM_FOR_ONE, Bench
from rules import Rule
from servers import Ollama, Single
from simulated import KEY_VARIABLE, fall_asleep, load_beside_a_busy_model, put_to_sleep, reload_at_once
from subject import OLLAMA, ROUTER, SINGLE, VLLM, Pulls, Subject
from vllm import KEY, NAMES, Vllm

from reconciler.fleet import EngineId, EngineKind, EngineSpec, SecretRef

TOO_SMALL = 200 * MIB
SLEEPS_AFTER = ("--sleep-idle-seconds", "1")
HEADERS = {"Authorization": f"Bearer {KEY}"}


def _spec(kind: EngineKind, url: str, keyed: bool = True) -> EngineSpec:
    bearer = SecretRef("env", KEY_VARIABLE) if keyed else None
    return EngineSpec(EngineId("box", kind.value), kind, url, bearer=bearer, load_timeout=90.0)


def ollama(bench: Bench, rule: Rule) -> Subject:
    sizes = {"card": ROOM_FOR_ONE, "small card": TOO_SMALL}
    cards = [bench.card(sizes[rule.world])] if rule.world in sizes else []
    variables = {"OLLAMA_MAX_QUEUE": "1"} if rule.world == "crowded" else {}
    server = bench.ollama(cards, **variables)
    if rule.world == "broken model":
        _break(server, "twin:latest")
    return Subject(
        OLLAMA,
        _spec(EngineKind.OLLAMA, server.url, keyed=False),
        ("gemma:latest", "twin:latest"),
        server.restart,
        memory=(lambda: cards[0].used) if cards else None,
        embedding="embedder:latest",
        vector_length=640,
        broken="twin:latest",
        too_big=("gemma:latest", {"num_gpu": 99}),
        crowd=reload_at_once,
        pulls=_registry(bench, server, rule) if "registry" in rule.world else None,
    )


def router(bench: Bench, rule: Rule) -> Subject:
    sizes = {"card": ROOM_FOR_ONE, "small card": TOO_SMALL}
    cards = [bench.card(sizes[rule.world])] if rule.world in sizes else []
    extra = [*(["-ngl", "99"] if cards else []), *(SLEEPS_AFTER if rule.world == "sleepy" else [])]
    server = bench.router(cards, key=KEY, most=1 if rule.world == "crowded" else 4, extra=extra, broken=rule.world == "broken model")
    return Subject(
        ROUTER,
        _spec(EngineKind.LLAMACPP, server.url),
        ("gemma", "twin"),
        server.restart,
        memory=(lambda: cards[0].used) if cards else None,
        broken="broken",
        too_big=("gemma", {}),
        crowd=load_beside_a_busy_model,
        doze=fall_asleep,
        headers=HEADERS,
    )


def single(bench: Bench, rule: Rule) -> Subject:
    extra = SLEEPS_AFTER if rule.world == "sleepy" else ()
    server = Single(bench.real, bench.folder("single"), bench.real.gemma, "gemma", key=KEY, extra=extra)
    bench.started(server)

    def begin() -> None:
        server.kill()
        server.begin()

    return Subject(
        SINGLE, _spec(EngineKind.LLAMACPP, server.url), ("gemma",), server.restart, begin=begin, doze=fall_asleep, headers=HEADERS
    )


def vllm_subject(server: Vllm) -> Subject:
    """A vLLM that runs already: its start takes too long to have one a rule. The rules leave it as it was."""
    return Subject(VLLM, _spec(EngineKind.VLLM, server.url), NAMES[:1], server.restart, doze=put_to_sleep, headers=HEADERS)


STARTS: Mapping[str, Callable[[Bench, Rule], Subject]] = {OLLAMA: ollama, ROUTER: router, SINGLE: single}


@contextmanager
def sleeping(server: Vllm) -> Iterator[None]:
    """Asleep while it lasts; dev mode asks for no key there."""
    httpx.post(f"{server.url}/sleep?level=1", trust_env=False).raise_for_status()
    try:
        yield
    finally:
        wake(server)


def wake(server: Vllm) -> None:
    httpx.post(f"{server.url}/wake_up", trust_env=False).raise_for_status()


def _registry(bench: Bench, server: Ollama, rule: Rule) -> Pulls:
    """A registry that has one model, which the server has no longer. Slow: its layers come at 40 MB/s."""
    registry = bench.registry(40 * MIB if rule.world == "slow registry" else None)
    there = registry.name("fetched:latest")
    server.post("/api/copy", {"source": "gemma:latest", "destination": there})
    server.post("/api/push", {"model": there, "insecure": True, "stream": False})
    server.delete(there)
    server.delete("gemma:latest")
    return Pulls(there, registry.name("absent:latest"))


def _break(server: Ollama, name: str) -> None:
    """Cuts the weights of an installed model short, in this store only: its blobs are links to those of all the others."""
    shown = server.post("/api/show", {"model": name})["modelfile"]
    blob = Path(next(line for line in shown.splitlines() if line.startswith("FROM ")).removeprefix("FROM "))
    whole = blob.read_bytes()
    blob.unlink()
    blob.write_bytes(whole[: len(whole) // 2])
    os.utime(blob)
