"""Files that come back to gpurec or from strangers: plans, facts, states, rescue journals, model files, checkpoints."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
import struct
from functools import cache
from pathlib import Path

from drawing import Choices, as_json, changed
from oracle import Surface, is_ours
from places import folder, written

from reconciler.fleet import (
    Applied,
    AppliedReplica,
    CardFacts,
    EngineFacts,
    EngineId,
    EngineKind,
    FleetFacts,
    Installed,
    LoadKey,
    Measured,
    MeasuredKey,
    ModelHeader,
    NodeFacts,
    Resident,
    parse_replica_address,
    replica_address,
)  # fmt: skip
from reconciler.gguf import read_model
from reconciler.huggingface import read_folder
from reconciler.operations.plan_file import read_plan
from reconciler.planning import plan_digest
from reconciler.probes import facts_from_json
from reconciler.state import Learned, Measurement, StepStatus, check_state, open_reader, open_writer, read_rescue
from reconciler.state.sql import entries
from reconciler.state.sql.entries import Entry, StepFinished
from reconciler.state.sql.rescue import RescueHead, RescueJournal
from reconciler.views import document_checksum, plan_json
from reconciler.vram import VllmSettings, checkpoint_of, geometry_of, vllm_need

CASES = Path(__file__).parents[1] / "cases" / "plan"
AT = EngineId("gpu-a", "ollama")
AT_TIME = "2026-01-01T00:00:00Z"
HEADER = ModelHeader({"general.architecture": "x", "x.a": (1, 2.5, True)}, (("blk.0.w", "q4_k", (256, 2)),))
FACTS = FleetFacts(
    AT_TIME,
    {
        "gpu-a": NodeFacts(
            "gpu-a",
            (CardFacts(0, uuid="GPU-1", name="NVIDIA A40", total_bytes=2**35, used_bytes=2**30, compute_capability=(8, 6)),),
            2**36,
            {
                "ollama": EngineFacts(
                    AT, EngineKind.OLLAMA, True, build="0.34.0",
                    installed=(Installed("a:latest", 7, blob="sha256-1", header=HEADER),),
                    residents=(Resident("a:latest", context=4096, vram_bytes=5),),
                )
            },
        )
    },
)  # fmt: skip
ROW = AppliedReplica(replica_address("a:latest", AT), "a", AT, "a:latest", context=8192, options={"num_batch": 512}, vram_bytes=5)
MEASUREMENT = Measurement(LoadKey(EngineKind.OLLAMA, "a:latest", None), 2.5)
LEARNED = Learned(MeasuredKey("sha256:w", "0.34.0", "NVIDIA A40", 4096, 1, "f16", True), Measured(5, 9))
ENTRIES: tuple[Entry, ...] = (
    StepFinished(1, "1", StepStatus.DONE, None, AT_TIME, 2.5),
    entries.Recorded((ROW,), ("model.b@gpu-a/ollama",)),
    entries.MeasuredEntry((MEASUREMENT,)),
    entries.NeedsLearned((LEARNED,)),
    entries.RunFinishedEntry(1, "done", AT_TIME, 9.5, 0, 0),
)
CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 256, "intermediate_size": 512, "num_attention_heads": 4,
    "num_hidden_layers": 2, "num_key_value_heads": 2, "vocab_size": 1000, "max_position_embeddings": 4096, "torch_dtype": "bfloat16",
    "head_dim": 64, "tie_word_embeddings": False, "sliding_window": None, "layer_types": ["full_attention", "sliding_attention"],
    "quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 128}, "text_config": None,
    "rope_scaling": {"factor": 8.0, "rope_type": "llama3"},
}  # fmt: skip


@cache
def plan_document() -> dict[str, object]:
    """The plan of a case, made as `plan --out` makes one."""
    from click.testing import CliRunner

    from reconciler.cli.main import cli

    case = sorted(folder.parent for folder in CASES.glob("*/facts.json"))[0]
    out = folder() / "seed-plan.json"
    words = ["-C", str(case), "-i", "inventory.yaml", "-f", "desired.yaml", "--state", str(folder() / "none.db"), "plan"]
    done = CliRunner().invoke(cli, [*words, "--assume", str(case / "facts.json"), "--out", str(out)])
    assert out.exists(), done.output
    found = json.loads(out.read_text())
    assert isinstance(found, dict)
    return found


def take_plan(data: bytes) -> object:
    """Values of a document changed, mostly with the checksum made right again; or the document's bytes."""
    choices = Choices(data)
    if choices.below(4) == 0:
        return read_plan(written("plan.json", choices.rest()))
    document = changed(plan_document(), choices)
    if isinstance(document, dict) and choices.below(4):
        with contextlib.suppress(TypeError, ValueError, RecursionError):
            document["checksum"] = document_checksum(document)
    plan = read_plan(written("plan.json", as_json(document)))
    plan_json(plan)
    return plan_digest(plan.lineage, plan.config_digest, plan.placement.solver, plan.steps)


def take_facts(data: bytes) -> object:
    choices = Choices(data)
    if choices.below(4) == 0:
        return facts_from_json(choices.rest(), "f")
    usual = [json.loads(file.read_bytes()) for file in sorted(CASES.glob("*/facts.json"))]
    return facts_from_json(as_json(changed(choices.of(usual), choices)), "f")


@cache
def seed_state() -> Path:
    path = folder() / "seed.db"
    with open_writer(path, command="apply") as state:
        run = state.begin_run("sha256:p", "sha256:c", "apply")
        state.record([ROW])
        state.record_facts(FACTS)
        state.measure([MEASUREMENT])
        state.learn([LEARNED])
        state.finish_run(run, "done")
    with contextlib.closing(sqlite3.connect(path)) as conn:
        conn.execute("PRAGMA journal_mode = DELETE")
    return path


@cache
def cells() -> list[tuple[str, str]]:
    with contextlib.closing(sqlite3.connect(seed_state())) as conn:
        tables = [name for (name,) in conn.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
        return [(table, column[1]) for table in tables for column in conn.execute(f"PRAGMA table_info({table})")]


def take_state(data: bytes) -> object:
    """A cell of the state changed, in whatever type the column takes; or some of the file's bytes."""
    choices = Choices(data)
    path = folder() / "state.db"
    for old in (path, *folder().glob("state.db-*")):
        old.unlink(missing_ok=True)
    shutil.copyfile(seed_state(), path)
    if choices.below(4) == 0:
        with path.open("r+b") as file:
            for _ in range(1 + choices.below(4)):
                file.seek(choices.below(65536) % path.stat().st_size)
                file.write(choices.some(16))
    else:
        table, column = choices.of(cells())
        with contextlib.closing(sqlite3.connect(path)) as conn, contextlib.suppress(sqlite3.Error, OverflowError, UnicodeEncodeError):
            (now,) = conn.execute(f"SELECT {column} FROM {table}").fetchone() or (None,)
            try:
                document = json.loads(now)
            except (TypeError, ValueError):
                document = None
            value = as_json(changed(document, choices)).decode() if isinstance(document, (dict, list)) else choices.value()
            conn.execute(f"UPDATE {table} SET {column} = ?", (value if not isinstance(value, (dict, list)) else json.dumps(value),))
            conn.commit()
    found: list[object] = [check_state(path)]
    reader = open_reader(path)
    try:
        for look in (
            reader.applied, reader.recorded_facts, reader.runs, lambda: reader.journal(1), reader.tags, reader.renames, reader.lease,
            lambda: reader.applied_at(1), lambda: [*reader.changed_since(0, ["a"])], lambda: reader.run(1),
        ):  # fmt: skip
            try:
                found.append(look())
            except Exception as error:
                if not is_ours(error):
                    raise
    finally:
        reader.close()
    for one in found:
        if isinstance(one, Applied):
            found += map(parse_replica_address, one.replicas)
    return found


def take_rescue(data: bytes) -> object:
    choices = Choices(data)
    if choices.below(4) == 0:
        return read_rescue(written("s.rescue-1-a.jsonl", choices.rest()))
    lines = [json.loads(line) for line in rescue_lines()]
    at = choices.below(len(lines))
    lines[at] = changed(lines[at], choices)
    return read_rescue(written("s.rescue-1-a.jsonl", b"".join(as_json(line) + b"\n" for line in lines)))


@cache
def rescue_lines() -> tuple[bytes, ...]:
    made = folder() / "journal"
    made.mkdir(exist_ok=True)
    journal = RescueJournal(RescueHead("/x/s.db", "l", 1, 3, AT_TIME, "the disk is full"), [made])
    for entry in ENTRIES:
        journal.append(entry)
    path = journal.path
    journal.close()
    assert path is not None
    return tuple(path.read_bytes().splitlines())


def _text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


def _number(key: bytes, value: int) -> bytes:
    return _text(key) + struct.pack("<II", 4, value)


@cache
def gguf() -> bytes:
    keys = [_text(b"general.architecture") + struct.pack("<I", 8) + _text(b"llama")]
    numbers = {
        b"block_count": 1,
        b"embedding_length": 256,
        b"context_length": 4096,
        b"feed_forward_length": 512,
        b"attention.head_count": 4,
    }
    keys += [_number(b"llama." + name, value) for name, value in numbers.items()]
    keys.append(_text(b"tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, 2) + _text(b"a") + _text(b"b"))
    shapes = {b"token_embd.weight": (256, 2), b"blk.0.attn_q.weight": (256, 256), b"blk.0.ffn_up.weight": (256, 512)}
    tensors = [_text(name) + struct.pack("<IQQIQ", 2, *shape, 0, 0) for name, shape in shapes.items()]
    return b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys)) + b"".join(keys) + b"".join(tensors)


def take_gguf(data: bytes) -> object:
    path = written("m.gguf", data)
    with path.open("r+b") as file:
        file.truncate(max(len(data), 2**30))  # so long a header is believed to have its tensors behind it
    found = read_model(path)
    return found.bytes, geometry_of(found.header)


def take_checkpoint(data: bytes) -> object:
    choices = Choices(data)
    index = choices.below(3) == 0
    usual: object = {"metadata": {"total_size": 2**30}, "weight_map": {"a": "b"}} if index else CONFIG
    body = choices.rest() if choices.below(4) == 0 else as_json(changed(usual, choices))
    written("hf/config.json", as_json(CONFIG) if index else body)
    written("hf/model.safetensors.index.json", body if index else as_json({"metadata": {"total_size": 2**30}}))
    found = read_folder(folder() / "hf")
    checkpoint = checkpoint_of(found.config)
    return vllm_need(checkpoint, found.weight_bytes, VllmSettings(checkpoint.context, 1, 8192, None))


def chosen(count: int) -> list[bytes]:
    """Inputs that change one value here or there."""
    return [bytes([1, 0, place, 0, 7, value]) for place in range(0, 250, 250 // count) for value in (3, 9)]


SURFACES = (
    Surface("plan", take_plan, lambda: [*chosen(20), b"\0" + as_json(plan_document())[:8000]]),
    Surface("facts", take_facts, lambda: chosen(20)),
    Surface("state", take_state, lambda: chosen(20)),
    Surface("rescue", take_rescue, lambda: [*chosen(20), b"\0" + b"\n".join(rescue_lines())]),
    Surface("gguf", take_gguf, lambda: [gguf()]),
    Surface("checkpoint", take_checkpoint, lambda: [*chosen(20), b"\1\0" + as_json(CONFIG)]),
)
