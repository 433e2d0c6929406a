"""Fixtures of the real suite. What cannot be had is a failure here, never a skip."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from provision import Provisioned, located
from rigs import Bench
from servers import Ollama
from together import Together, only_once
from vllm import Vllm

sys.path.append(str(Path(__file__).parents[1] / "conformance"))  # the rules, which this suite asks of the real servers


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Together:
    return Together(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.real)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    bench = getattr(item, "funcargs", {}).get("bench")
    if report.failed and report.when == "call" and isinstance(bench, Bench):
        report.sections.append(("logs of the servers", bench.logs()))
    return report


@pytest.fixture(scope="session")
def real() -> Provisioned:
    """The real servers; made by `python tests/real/provision.py`."""
    found = located()
    for needed in (found.llama_bin / "llama-server", found.ollama, *found.models, found.card_shim):
        if not needed.exists():
            pytest.fail(f"{needed} is missing; run `make real`, or `python tests/real/provision.py` first", pytrace=False)
    return found


@pytest.fixture(scope="session")
def ollama_store(real: Provisioned, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An Ollama store with all three models, imported once; each server of the suite gets hard links to it."""
    seed = Ollama(real, tmp_path_factory.mktemp("ollama-seed"))
    try:
        seed.import_gguf("gemma", real.gemma)
        seed.import_gguf("twin", real.gemma_twin)
        seed.import_gguf("embedder", real.gemma_embed)
    finally:
        seed.stop()
    return seed.models


@pytest.fixture(scope="session")
def vllm_server(real: Provisioned, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vllm]:
    """Begun when the first test wants it, one for all (TOGETHER): it takes a minute."""
    only_once(tmp_path_factory, "vllm")
    server = Vllm(real, tmp_path_factory.mktemp("vllm"))
    yield server
    print(server.process.tail())
    server.stop()


@pytest.fixture
def running_vllm(vllm_server: Vllm) -> Vllm:
    vllm_server.await_ready()
    return vllm_server


@pytest.fixture
def bench(real: Provisioned, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Bench]:
    """Starts servers, ends them with the test."""

    def store() -> Path:
        found = request.getfixturevalue("ollama_store")
        assert isinstance(found, Path)
        return found

    bench = Bench(real, tmp_path, store)
    try:
        yield bench
    finally:
        bench.stop()
