"""The rules of `tests/conformance`, unchanged, asked of the real Ollama, llama-server (router and single) and vLLM."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from rigs import Bench
from rules import REAL, Rule, asked
from simulated import KEY_VARIABLE
from subject import VLLM
from subjects import STARTS, vllm_subject, wake
from vllm import KEY, Vllm

MANY = [(rule, engine) for rule, engine in asked(REAL) if engine != VLLM]
ONE_START = sorted((rule for rule, engine in asked(REAL) if engine == VLLM), key=lambda rule: rule.world != "starting")
"""What is asked of the one vLLM, beginning with its start: the rule about starts sees all of it, if it is the first to want the server."""
Record = Callable[[str, object], None]


@pytest.mark.parametrize(("rule", "engine"), MANY, ids=lambda value: value.name if isinstance(value, Rule) else value)
def test_conformance_of_the_real_server(
    rule: Rule, engine: str, bench: Bench, monkeypatch: pytest.MonkeyPatch, record_property: Record
) -> None:
    record_property("conformance", f"{rule.name} {engine} {REAL}")
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    subject = STARTS[engine](bench, rule)
    asyncio.run(rule.ask(subject))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("rule", ONE_START, ids=lambda rule: str(rule.name))
def test_conformance_of_the_real_vllm(rule: Rule, vllm_server: Vllm, monkeypatch: pytest.MonkeyPatch, record_property: Record) -> None:
    record_property("conformance", f"{rule.name} {VLLM} {REAL}")
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    if rule.world != "starting":
        vllm_server.await_ready()
    try:
        asyncio.run(rule.ask(vllm_subject(vllm_server)))
    finally:
        if rule.world == "sleepy":
            wake(vllm_server)
