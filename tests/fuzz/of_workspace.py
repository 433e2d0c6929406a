"""What people write: inventories, desired states, patterns, templates, names, units."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from oracle import Surface, is_ours
from places import folder, written
from two_readers import same

from reconciler.conversion import FORMATS, convert
from reconciler.fleet import EngineId, EngineKind, canonical_name, parse_replica_address, spelled_name, weights_digest
from reconciler.fleet.units import parse_bytes, parse_capability, parse_duration, parse_ratio, parse_version
from reconciler.workspace import load, load_inventory, load_workspace
from reconciler.workspace.inventory import Inventory

CASES = Path(__file__).parents[1] / "cases"
INVENTORY = """all:
  vars: {small: &small {vram: 8GiB}}
  hosts:
    a: {ansible_host: 10.0.0.1, gpus: [{index: 0, vram: 24GiB}], engines: {ollama: {url: "http://a:11434"}}}
    b[1:3]:
      gpus: "{{ [dict(index=0, vram='24GiB')] }}"
      engines: {llamacpp: {kind: llamacpp, url: "http://{{ inventory_hostname }}:8080"}}
  children: {gpu: {hosts: {a: }, vars: {limits: {reserve: 1GiB}}}}
"""
DESIRED = """models:
  llama3.1: {on: gpu, context: 8192, replicas: 1, priority: 10, keep_alive: 5m, vram: 6GiB}
  x: {engine: llamacpp, on: "b*:!b2", options: {threads: 4}, requires: {driver: ">=550", vram: 8GiB}}
policy: {strategy: binpack}
limits: {reserve: 5%}
"""
TEMPLATE = "all: {{hosts: {{a: {{engines: {{ollama: {{url: 'http://a:1'}}}}, labels: {{x: {0}}}}}}}}}\n"
FOREIGN = (
    b"apiKeys: [k]\nmacros: {m: llama-server --port 1}\nmodels: {a: {cmd: '${m} -m a.gguf -c 8192 -np 2 -ngl 0', ttl: 5, aliases: [b]}}\n",
    b"model_list:\n  - {model_name: a, litellm_params: {model: ollama/m, api_base: 'http://h:11434', num_ctx: 8, keep_alive: -1}}\n"
    b"router_settings: {fallbacks: [{a: [b]}], model_group_alias: {c: a}}\n",
    b"services:\n  o: {image: 'ollama/ollama:0.34.0', ports: ['11434:11434'], environment: {OLLAMA_KEEP_ALIVE: '-1', TOKEN: x},\n"
    b"    deploy: {resources: {reservations: {devices: [{driver: nvidia, device_ids: ['0'], capabilities: [gpu]}]}}}}\n"
    b"  v: {image: vllm/vllm-openai, command: --model a/b --max-model-len 4096, ports: ['127.0.0.1:8000:8000']}\n",
    b"vram_safety_margin: 0.8\npriority_models: [a, b]\nmodel_sizes: {a: 1900, b: 705}\ncheck_interval: 300\n"
    b"nodes:\n  - {name: s, url: 'http://10.0.0.1:11434', vram_mb: 4096, gpu_name: GTX}\n  - {name: p, url: 'http://h:1', gpu: none}\n",
    b"ollama_instances:\n  - {gpu_id: 0, gpu_name: RTX, port: 11434, memory_limit: 7GB, max_concurrent_requests: 2, models: ['m:7b']}\n"
    b"  - {gpu_id: 1, port: 11435, memory_limit: 11GB, models: ['g:9b', 'm:7b']}\nhealth_check: {interval: 30}\n",
)
YAML = (
    b"a: &x {b: !vault 'c', d: , e: }\nf: {<<: *x, url: \"http://h/?q\"}\ng: |\n  text?\n",
    b'- !unsafe >-\n  a\n\n  b\n- "q\\u00e9\\x41"\n- [1:30, 010, 0x1F, .5, 1_000, yes, ~, 2024-01-02]\n',
    b"--- # c\n? k\n: v\n'it''s': {a: 1, [b]: 2}\na: 1\na: 2\n...\n",
)
TEMPLATES = (
    b"{{ 1 + 2 }}",
    b"{% for i in range(9) %}{{ i }}{% endfor %}",
    b"{{ groups['all'] | join(',') }}",
    b"{{ 'a' * 9 ~ x | default(undefined) }}",
    b"{{ '%s' % (1,) | length }}{{ [undefined] }}",
)
WORDS = (
    b"8GiB", b"1.5 TB", b"50%", b"5m", b"1h30m", b"8.9", b"550.54.14", b"a/ollama", b"model.llama3.1:latest@a/ollama", b"hf.co/x/y:Q4_K_M",
    b"sha256-" + b"a" * 64,
)  # fmt: skip
PATTERNS = (b"all", b"gpu[0:2]:&b*:!b2", b"~b[0-9]+,a", b"~(a|b){3}", b"b[-1]", b"gpu[99999999999999999999]", b"*[0]")


def take_inventory(data: bytes) -> object:
    written("i/hosts.yaml", data)
    found = load_inventory(folder() / "i", inventory=[Path("hosts.yaml")])
    return found.match("all"), [one.sentence() for one in found.warnings]


def take_fleet(data: bytes) -> object:
    """An inventory read for a plan: every key is checked and every template rendered."""
    written("f/hosts.yaml", data)
    nodes, _ = load.load_fleet(folder() / "f", inventory=[Path("hosts.yaml")])
    return nodes


def take_desired(data: bytes) -> object:
    written("d/hosts.yaml", INVENTORY.encode())
    written("d/desired.yaml", data)
    return load_workspace(folder() / "d", inventory=[Path("hosts.yaml")], desired=[Path("desired.yaml")])


def take_foreign(data: bytes) -> object:
    """A file of another tool, taken in the format that its keys tell, and in each that it may be said to have."""
    text = data.decode("utf-8", "replace")
    found: list[object] = []
    for form in (None, *FORMATS):
        try:
            found.append(convert(text, "theirs.yaml", form))
        except Exception as error:
            if not is_ours(error):
                raise
    return found


def take_yaml(data: bytes) -> object:
    """A text as each of the two readers of YAML takes it: what is read fast is read right."""
    same(data.decode("utf-8-sig", "replace"))
    return None


def take_template(data: bytes) -> object:
    text = data.decode("utf-8", "replace").replace("'", "''").replace("\n", " ")
    return take_fleet(TEMPLATE.format(f"'{text}'").encode())


@cache
def inventory() -> Inventory:
    written("p/hosts.yaml", INVENTORY.encode())
    return load_inventory(folder() / "p", inventory=[Path("hosts.yaml")])


def take_pattern(data: bytes) -> object:
    return inventory().match(data.decode("utf-8", "replace"))


def address_of(text: str) -> object:
    try:
        return parse_replica_address(text)
    except ValueError as error:  # as it says
        return str(error)


def take_word(data: bytes) -> object:
    """A text as every kind of word that gpurec takes."""
    text = data.decode("utf-8", "replace")
    readers: list[Callable[[str], object]] = [
        parse_bytes, parse_ratio, parse_duration, parse_capability, parse_version, EngineId.parse, address_of, weights_digest,
        *(lambda name, kind=kind: canonical_name(kind, name) for kind in EngineKind),
        *(lambda name, kind=kind: spelled_name(kind, name) for kind in EngineKind),
    ]  # fmt: skip
    found: list[object] = []
    for read in readers:
        try:
            value = read(text)
        except Exception as error:
            if not is_ours(error):
                raise
        else:
            found.append(value)
    return found


def inventory_seeds() -> Iterator[bytes]:
    yield INVENTORY.encode()
    for path in sorted(CASES.glob("inventory/*/hosts.*")):
        if path.stat().st_size < 1500:
            yield path.read_bytes()


def fleet_seeds() -> Iterator[bytes]:
    yield INVENTORY.encode()
    for path in sorted(CASES.glob("plan/*/inventory.yaml")):
        yield path.read_bytes()


def desired_seeds() -> Iterator[bytes]:
    yield DESIRED.encode()
    for path in sorted(CASES.glob("plan/*/desired.yaml")):
        yield path.read_bytes()


def yaml_seeds() -> Iterator[bytes]:
    yield from YAML
    yield from inventory_seeds()
    yield from FOREIGN


SURFACES = (
    Surface("yaml", take_yaml, yaml_seeds),
    Surface("inventory", take_inventory, inventory_seeds),
    Surface("inventory-of-a-fleet", take_fleet, fleet_seeds),
    Surface("desired", take_desired, desired_seeds),
    Surface("foreign", take_foreign, lambda: FOREIGN),
    Surface("template", take_template, lambda: TEMPLATES),
    Surface("pattern", take_pattern, lambda: PATTERNS),
    Surface("word", take_word, lambda: WORDS),
)
