"""The llama-swap template, held to what llama-swap asks of its configuration: keys, types and bounds, which of them belong together, and
which models its groups let run at once (config-schema.json and internal/config of mostlygeek/llama-swap, commit 032d741)."""

from __future__ import annotations

import re
from itertools import permutations
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from template_lab import yaml

from reconciler.operations.rendered import rendered_as_declared
from reconciler.sim.llamaswap.groups import stopped_by
from reconciler.sim.spec import SimGroup
from reconciler.workspace import load_workspace

Word = Annotated[str, Field(min_length=1)]
_MACRO = re.compile(r"\$\{([^}]*)\}")


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


class _Model(_Strict):
    cmd: Word
    ttl: Annotated[int, Field(ge=-1)] = -1
    aliases: list[Word] = []


class _Group(_Strict):
    members: list[str]
    swap: bool = True
    exclusive: bool = True
    persistent: bool = False


class _Start(_Strict):
    preload: list[str] = []


class _Hooks(_Strict):
    on_startup: _Start = _Start()


class Config(_Strict):
    """What of its configuration the template writes."""

    models: dict[Word, _Model]
    healthCheckTimeout: Annotated[int, Field(ge=15)] = 120  # noqa: N815
    groups: dict[str, _Group] = {}
    hooks: _Hooks = _Hooks()

    def faults(self) -> list[str]:
        """What its loader refuses beside wrong keys and types."""
        aliases = [alias for model in self.models.values() for alias in model.aliases]
        members = [member for group in self.groups.values() for member in group.members]
        found = [f"alias {name} twice" for name in {*aliases} if aliases.count(name) > 1 or name in self.models]
        found += [f"{name} in two groups" for name in {*members} if members.count(name) > 1]
        found += [f"no model {name}" for name in (*members, *self.hooks.on_startup.preload) if name not in self.models]
        for name, model in self.models.items():
            macros = _MACRO.findall(model.cmd)
            found += [f"macro {macro} of {name}" for macro in macros if macro != "PORT"]
            found += [] if "PORT" in macros else [f"{name} has no port"]
        return found


def configs_of(root: Path) -> dict[str, Config]:
    """Those of two llama-swaps of one node, of which the first has all places."""
    for folder in ("inventories", "desired"):
        (root / folder).mkdir()
    swaps = 'first: {kind: llamaswap, url: "http://127.0.0.1:8085"}, second: {kind: llamaswap, url: "http://127.0.0.1:8086"}'
    engines = f'{{{swaps}, ollama: {{url: "http://127.0.0.1:11434"}}}}'
    (root / "inventories" / "lab.yaml").write_text(f"all: {{hosts: {{box: {{gpus: [{{vram: 24GiB}}], engines: {engines}}}}}}}\n")
    files = "[{template: 'gpurec:llama-swap', per: engine, on: box, to: '/etc/{{ engine.name }}.yaml'}]"
    (root / "desired" / "lab.yaml").write_text(f"version: 1\nmodels:\n{MODELS}files: {files}\n")
    return {
        name: Config.model_validate(yaml(one.text))
        for one in rendered_as_declared(load_workspace(root))
        if (name := Path(one.path).stem) != "ollama"
    }


MODELS = """\
  a: {engine: llamaswap, vram: 8GiB, context: 8192, aliases: ['gpt "4"', "it's"]}
  b: {engine: llamaswap, vram: 8GiB}
  c: {engine: llamaswap, ensure: present, vram: 20GiB, names: {llamaswap: "org/c:Q4"}}
  d: {engine: llamaswap, ensure: present, vram: 10GiB}
  "7": {engine: llamaswap, ensure: present}
  elsewhere: {engine: ollama}
"""


def test_llama_swap_takes_the_file(tmp_path: Path) -> None:
    configs = configs_of(tmp_path)
    assert {name: config.faults() for name, config in configs.items()} == {"first": [], "second": []}
    models = configs["first"].models
    assert set(models) == {"a", "b", "org/c:Q4", "d", "7"}
    assert models["a"].cmd == "llama-server --port ${PORT} -m /models/a.gguf -c 8192"
    assert models["a"].aliases == ['gpt "4"', "it's"]
    assert models["org/c:Q4"].cmd == "llama-server --port ${PORT} -m /models/org_c_Q4.gguf"
    assert configs["first"].healthCheckTimeout == 900


def test_what_runs_at_once_is_what_has_its_place_there_or_one_other_model_whoever_asks_in_whatever_order(tmp_path: Path) -> None:
    config = configs_of(tmp_path)["first"]
    groups = [SimGroup(name, one.swap, one.exclusive, one.persistent, tuple(one.members)) for name, one in config.groups.items()]
    seen = set()
    for order in permutations(config.models):
        running = set(config.hooks.on_startup.preload)
        for name in order:
            running = {name, *running} - {*stopped_by(name, running, groups)}
            seen.add(frozenset(running))
    assert {one for one in seen if len(one) > 1} == {frozenset({"a", "b"})}
    assert config.hooks.on_startup.preload == ["a", "b"]


def test_a_model_without_a_place_stays_in_the_file_since_only_there_an_engine_without_pulls_has_it(tmp_path: Path) -> None:
    configs = configs_of(tmp_path)
    assert configs["second"].models == configs["first"].models
    assert (configs["second"].groups, configs["second"].hooks.on_startup.preload) == ({}, [])


@pytest.mark.parametrize(
    "wrong",
    [
        {"models": {"a": {"cmd": ""}}},
        {"models": {"a": {"cmd": "x", "ttl": "0"}}},
        {"models": {"a": {"cmd": "x", "nope": 1}}},
        {"models": {}, "group": {}},
        {"models": {}, "healthCheckTimeout": 5},
        {"models": {}, "groups": {"g": {"first": True}}},
    ],
)
def test_the_judge_refuses_what_llama_swap_refuses(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Config.model_validate(wrong)
