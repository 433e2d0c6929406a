"""The least that any program must do which compares such a fleet, to measure `gpurec plan` against.

It reads the same YAML, facts and rows of the state, typed, compares them, and writes what is missing. Usage: floor.py DIR FACTS [STATE]
"""

from __future__ import annotations

import re
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
from ruamel.yaml import YAML

Text = str | None
Number = int | None


class Resident(msgspec.Struct, gc=False):
    name: str
    size_bytes: Number
    vram_bytes: Number
    context: Number
    pinned: bool | None


class Installed(msgspec.Struct, gc=False):
    name: str
    size_bytes: Number
    digest: Text


class Engine(msgspec.Struct, gc=False):
    reachable: bool
    build: Text
    installed: list[Installed] | None
    residents: list[Resident] | None


class Card(msgspec.Struct, gc=False):
    index: int | str
    uuid: Text
    name: Text
    total_bytes: Number
    used_bytes: Number
    foreign_bytes: Number


class Node(msgspec.Struct, gc=False):
    node: str
    cards: list[Card] | None
    engines: dict[str, Engine]


class Fleet(msgspec.Struct, gc=False):
    nodes: dict[str, Node]


class Document(msgspec.Struct, gc=False):
    facts: Fleet


class Row(msgspec.Struct, gc=False):
    address: str
    model: str
    node: str
    engine: str
    engine_name: str
    context: Number
    pinned: int | None
    vram_bytes: Number


def yaml(file: Path) -> Any:
    return YAML(typ="safe", pure=True).load(file.read_text())


def hosts(root: Path) -> list[str]:
    found: list[str] = []
    for pattern in yaml(root / "inventories" / "bench.yaml")["all"]["children"]["gpu"]["hosts"]:
        match = re.fullmatch(r"(.*)\[(\d+):(\d+)\]", pattern)
        assert match is not None
        first, last = match[2], match[3]
        found += [f"{match[1]}{number:0{len(first)}d}" for number in range(int(first), int(last) + 1)]
    return found


def main(root: Path, facts: Path, state: Path | None) -> int:
    names = hosts(root)
    models = yaml(root / "desired" / "bench.yaml")["models"]
    seen = msgspec.json.decode(facts.read_bytes(), type=Document).facts.nodes
    owned: dict[str, Row] = {}
    if state is not None:
        with closing(sqlite3.connect(f"file:{state}?mode=ro", uri=True)) as conn:
            chosen = "address, model, node, engine, engine_name, context, observed_pinned, vram_bytes"
            owned = {row[0]: Row(*row) for row in conn.execute(f"select {chosen} from replicas")}
    held = {name: {one.name for one in engine.residents or ()} for name, node in seen.items() for engine in node.engines.values()}
    lines: list[str] = []
    for row in owned.values():
        if row.engine_name not in held.get(row.node, ()):
            lines.append(f"+ load {row.engine_name} on {row.node}")
    if not owned:
        for model, how in models.items():
            count = len(names) if how.get("each") else how["replicas"]
            for name in names[:count]:
                if model not in held[name]:
                    lines.append(f"+ model.{model}@{name}/ollama\n    load {model}  {how['vram']}  on {name}, it is not resident")
    print("\n".join(lines) or f"No changes: {len(owned)} replicas as wanted.")
    return len(lines)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]) if len(sys.argv) > 3 else None)
