"""The reader of GGUF headers: what it keeps, and that hostile files are refused early, with little memory, place and advice."""

from __future__ import annotations

import io
import struct
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vram.shapes import Model, keys_of, transformer, write

from reconciler.fleet import GpurecError
from reconciler.gguf import GgufError, read_header, read_model
from reconciler.vram import geometry_of

U32, STRING, ARRAY = 4, 8, 9


def text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def number(key: str, value: int) -> bytes:
    return text(key) + struct.pack("<II", U32, value)


def tensor(name: str, shape: tuple[int, ...], kind: int = 0) -> bytes:
    return text(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape) + struct.pack("<IQ", kind, 0)


def header(
    keys: list[bytes], tensors: list[bytes], *, version: int = 3, key_count: int | None = None, tensor_count: int | None = None
) -> bytes:
    counts = (len(tensors) if tensor_count is None else tensor_count, len(keys) if key_count is None else key_count)
    return b"GGUF" + struct.pack("<IQQ", version, *counts) + b"".join(keys) + b"".join(tensors)


def refusal(raw: bytes, size: int | None = None) -> str:
    with pytest.raises(GgufError) as found:
        read_header(io.BytesIO(raw), "bad.gguf", len(raw) if size is None else size)
    said = str(found.value)
    assert said.startswith("bad.gguf: ")
    assert "; " in said, "an error says what to do"
    return said


def small() -> Model:
    return transformer("llama", keys_of(layers=2, embedding=256, heads=4, kv_heads=2, ff=512, context=4096), 1000)


def test_keys_tensors_and_vocabulary_size_are_read_back_as_written(tmp_path: Path) -> None:
    model = small()
    model.keys["tokenizer.ggml.tokens"] = ["a", "b", "c"] * 1000
    found = read_model(write(tmp_path / "m.gguf", model))
    assert found.header.architecture == "llama"
    assert found.header.values["llama.block_count"] == 2
    assert found.header.counts["tokenizer.ggml.tokens"] == 3000
    assert {one.name: one.shape for one in found.header.tensors}["blk.1.ffn_down.weight"] == (512, 256)
    assert len(found.header.tensors) == len(model.tensors)


def test_short_arrays_of_numbers_are_kept_and_long_ones_only_counted() -> None:
    short = text("a.b") + struct.pack("<IIQ", ARRAY, 5, 3) + struct.pack("<3i", 1, -2, 3)
    long = text("a.c") + struct.pack("<IIQ", ARRAY, 6, 100_000) + bytes(400_000)
    raw = header([short, long], [])
    found = read_header(io.BytesIO(raw), "x", len(raw))
    assert found.values["a.b"] == (1, -2, 3)
    assert "a.c" not in found.values
    assert found.counts["a.c"] == 100_000


def test_an_array_of_strings_is_stepped_over_wherever_windows_end() -> None:
    strings = [("x" * (index % 700)) for index in range(5000)]
    array = text("tokenizer.ggml.tokens") + struct.pack("<IIQ", ARRAY, STRING, len(strings)) + b"".join(map(text, strings))
    raw = header([array, number("a.n", 7)], [tensor("t", (4, 2))])
    found = read_header(io.BytesIO(raw), "x", len(raw))
    assert found.counts["tokenizer.ggml.tokens"] == 5000
    assert found.values["a.n"] == 7
    assert found.tensors[0].bytes == 32


@pytest.mark.parametrize("raw", [b"", b"GGUF", b"GGML" + bytes(40), b"<html>" + bytes(40), b"PK\x03\x04" + bytes(100)])
def test_what_is_no_gguf_is_refused(raw: bytes) -> None:
    assert "not a GGUF file" in refusal(raw)


def test_other_versions_and_big_endian_are_refused() -> None:
    assert "version 1" in refusal(header([], [], version=1))
    assert "version 99" in refusal(header([], [], version=99))
    assert "big endian" in refusal(b"GGUF" + struct.pack(">IQQ", 3, 0, 0))


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (header([], [], key_count=2**63), "claims 9223372036854775808 keys"),
        (header([], [], tensor_count=2**40), "claims 1099511627776 tensors"),
        (header([], [], key_count=1), "ends inside its header"),
        (header([number("a", 1), number("a", 2)], []), "is there twice"),
        (header([number("a.a", 1)], [tensor("t", (1,)), tensor("t", (1,))]), "is there twice"),
        (header([struct.pack("<Q", 2**62) + bytes(40)], []), "claims 4611686018427387904 bytes"),
        (header([text("a") + struct.pack("<IQ", STRING, 2**40) + bytes(20)], []), "ends inside its header"),
        (header([text("a") + struct.pack("<IIQ", ARRAY, ARRAY, 1) + bytes(40)], []), "array of arrays"),
        (header([text("a") + struct.pack("<IIQ", ARRAY, STRING, 2**50) + bytes(40)], []), "strings"),
        (header([text("a") + struct.pack("<IIQ", ARRAY, U32, 2**61) + bytes(40)], []), "ends inside its header"),
        (header([text("a") + struct.pack("<IIQ", ARRAY, 77, 1) + bytes(40)], []), "unknown type 77"),
        (header([text("a") + struct.pack("<I", 77) + bytes(40)], []), "unknown type 77"),
        (header([number("a.a", 1)], [tensor("t", (0, 4))]), "claims the shape 0×4"),
        (header([number("a.a", 1)], [tensor("t", (2**40, 2**40))]), "claims the shape"),
        (header([number("a.a", 1)], [tensor("t", (2**64 - 1,))]), "claims the shape"),
        (header([number("a.a", 1)], [tensor("t", (1, 1, 1, 1, 1))]), "claims 5 dimensions"),
        (header([number("a.a", 1)], [tensor("t", (1,), kind=9999)]), "type 9999, whose size is not known"),
        (header([number("a.a", 1)], [tensor("t", (33,), kind=8)]), "no whole number of q8_0 blocks"),
        (header([number("a.a", 1)], [tensor("t", (2**30, 2**25))]), "claim"),
    ],
)  # fmt: skip
def test_a_claim_that_cannot_be_is_refused_with_its_place(raw: bytes, said: str) -> None:
    message = refusal(raw)
    assert said in message
    assert "at byte" in message


def test_every_cut_of_a_good_header_is_refused(tmp_path: Path) -> None:
    raw = write(tmp_path / "m.gguf", small()).read_bytes()
    end = raw.index(b"blk.1.ffn_down.weight")
    for length in range(0, end, 97):
        refusal(raw[:length])


def test_a_file_whose_size_lies_is_refused() -> None:
    assert "ends inside its header" in refusal(header([number("a", 1)], [])[:30], size=10**9)


@pytest.mark.parametrize(
    "raw",
    [
        header([text("a") + struct.pack("<IIQ", ARRAY, STRING, 3_000_000) + bytes(64)], []),
        header([], [], key_count=65_000) + bytes(2_000_000),
        header([text("a" * 60_000) + struct.pack("<I", 77)], []),
    ],
)
def test_a_hostile_file_takes_little_memory(raw: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(GgufError):
            read_header(io.BytesIO(raw), "bad.gguf", 2**40)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * 2**20


@given(st.data())
def test_a_header_with_any_bytes_changed_is_read_or_refused_but_never_fails_otherwise(data: st.DataObject) -> None:
    raw = bytearray(_GOOD)
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(4, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        geometry_of(read_header(io.BytesIO(bytes(raw)), "x", len(raw)))
    except GpurecError:
        return


def _good() -> bytes:
    model = small()
    keys = [text("general.architecture") + struct.pack("<I", STRING) + text("llama")]
    keys += [number(f"llama.{key}", value) for key, value in model.keys.items() if isinstance(value, int)]
    return header(keys, [tensor(name, shape) for name, (shape, _) in model.tensors.items()])


_GOOD = _good()


def test_the_parts_of_a_split_model_are_read_together(tmp_path: Path) -> None:
    whole = small()
    half = len(whole.tensors) // 2
    names = list(whole.tensors)
    for number_, chosen in ((1, names[:half]), (2, names[half:])):
        part = Model(whole.arch, dict(whole.keys) if number_ == 1 else {"block_count": 2}, {name: whole.tensors[name] for name in chosen})
        part.keys |= {"general.split": 1}
        part.keys = {**part.keys}
        _write_part(tmp_path / f"m-0000{number_}-of-00002.gguf", part)
    found = read_model(tmp_path / "m-00001-of-00002.gguf")
    assert {one.name for one in found.header.tensors} == set(names)
    assert len(found.names) == 2
    assert read_model(tmp_path / "m-00002-of-00002.gguf").header.values["llama.embedding_length"] == 256


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    _write_part(tmp_path / "m-00001-of-00002.gguf", small())
    with pytest.raises(GgufError, match=r"m-00002-of-00002\.gguf: a part of m-00001-of-00002\.gguf is missing"):
        read_model(tmp_path / "m-00001-of-00002.gguf")


def _write_part(path: Path, model: Model) -> None:
    plain = write(path, model).read_bytes()
    count = struct.unpack_from("<Q", plain, 16)[0]
    extra = text("split.count") + struct.pack("<IH", 2, 2)
    path.write_bytes(plain[:16] + struct.pack("<Q", count + 1) + extra + plain[24:])


def test_many_things_of_allowed_size_are_refused_before_they_fill_memory() -> None:
    """5,000 arrays of 4,096 bytes each would be a gigabyte of numbers."""
    array = struct.pack("<IIQ", ARRAY, 0, 4096) + bytes(4096)
    raw = header([text(f"k{index}") + array for index in range(5000)], [])
    tracemalloc.start()
    try:
        assert "take more than" in refusal(raw)
        assert tracemalloc.get_traced_memory()[1] < 80 * 2**20
    finally:
        tracemalloc.stop()


def test_long_names_add_up_too() -> None:
    raw = header([], [tensor(f"{index:065000}", (1,)) for index in range(300)])
    assert "take more than" in refusal(raw)


def test_the_parts_of_a_model_have_no_more_tensors_together_than_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconciler.gguf.model.MOST_TENSORS", 3)
    for number_of in (1, 2):
        keys = [number("split.count", 2), number("split.no", number_of - 1)]
        raw = header(keys, [tensor(f"t{number_of}.{index}", (1,)) for index in range(2)])
        (tmp_path / f"m-{number_of:05d}-of-00002.gguf").write_bytes(raw)
    with pytest.raises(GgufError, match="more than 3 tensors"):
        read_model(tmp_path / "m-00001-of-00002.gguf")
