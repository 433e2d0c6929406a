"""Where hosts and their engines stand, however an inventory writes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.fleet import EngineId
from reconciler.workspace import load_fleet, place_of

INVENTORY = """\
all:
  vars:
    port: 11434
  hosts:
    a: {engines: {ollama: {url: "http://a:11434"}}}
    b:
      gpurec:
        engines:
          ollama: {url: "http://b:{{ port }}"}
    c: {docker: "unix:///var/run/docker.sock", address: 10.0.0.1, engines: {vllm: {runtime: container, container: {image: "v:1"}}}}
    d: {gpurec: "{{ {'engines': {'ollama': {'url': 'http://d:1'}}} }}"}
    e: {}
  children:
    group:
      hosts: {f: {}}
      vars:
        engines: {ollama: {url: "http://{{ inventory_hostname }}:11434"}}
"""


@pytest.mark.parametrize(
    ("what", "line", "column"),
    [
        (EngineId("a", "ollama"), 5, 33),
        (EngineId("b", "ollama"), 9, 25),
        (EngineId("c", "vllm"), 10, 83),
        (EngineId("c", "vllm-0"), 10, 83),
        (EngineId("d", "ollama"), 11, 17),
        (EngineId("e", "ollama"), 12, 5),
        (EngineId("f", "ollama"), 17, 33),
        ("c", 10, 5),
    ],
)
def test_an_engine_stands_where_its_url_or_the_nearest_thing_around_it_does(
    tmp_path: Path, what: EngineId | str, line: int, column: int
) -> None:
    (tmp_path / "inventories").mkdir()
    (tmp_path / "inventories" / "lab.yaml").write_text(INVENTORY)
    _, inventory = load_fleet(tmp_path)
    assert str(place_of(inventory, what)) == f"inventories/lab.yaml:{line}:{column}"


def test_a_host_that_the_inventory_lacks_stands_nowhere(tmp_path: Path) -> None:
    (tmp_path / "inventories").mkdir()
    (tmp_path / "inventories" / "lab.yaml").write_text(INVENTORY)
    _, inventory = load_fleet(tmp_path)
    assert place_of(inventory, EngineId("z", "ollama")) is None
