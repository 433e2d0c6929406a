"""Tests that share something dear run in one worker, so that it is made once.

xdist's own groups are not used: those of 3.8.0 do nothing under pytest 9.2, without a word.
"""

from __future__ import annotations

import os

import pytest
from xdist.scheduler import LoadScopeScheduling

TOGETHER = ("real_vllm", "test_real_inventory", "test_real_docker")
"""Words of node ids: the vLLM takes a minute to start, Ansible one to judge all inventories, a Docker daemon wants a bridge."""


class Together(LoadScopeScheduling):
    """Spreads tests over the workers, except for those that belong together; these keep their order."""

    def _split_scope(self, nodeid: str) -> str:
        return next((word for word in TOGETHER if word in nodeid), nodeid)


def only_once(factory: pytest.TempPathFactory, what: str) -> None:
    """Fails where another worker of this run has made the same already."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        try:
            (factory.getbasetemp().parent / f"made-{what}").mkdir()
        except FileExistsError:
            pytest.fail(f"two workers make {what}: name its tests in TOGETHER", pytrace=False)
