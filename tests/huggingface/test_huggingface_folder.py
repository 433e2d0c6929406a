"""A checkpoint's folder: the index before the files, the files before nothing, and hostile ones refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from reconciler.cli.main import cli
from reconciler.huggingface import CheckpointError, read_folder

CONFIG = {
    "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 8, "vocab_size": 128256, "torch_dtype": "bfloat16", "max_position_embeddings": 131072,
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    return tmp_path


def safetensors(path: Path, count: int) -> None:
    header = json.dumps({"x": {"dtype": "BF16", "shape": [count // 2], "data_offsets": [0, count]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(count))


def test_the_index_tells_the_weights_before_the_files(folder: Path) -> None:
    assert (read_folder(folder).weight_bytes, read_folder(folder).weight_source) == (None, None)
    for number in (1, 2):
        safetensors(folder / f"model-0000{number}-of-00002.safetensors", 1000)
    assert (read_folder(folder).weight_bytes, read_folder(folder).weight_source) == (2000, "2 safetensors files")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {"total_size": 4000}, "weight_map": {}}))
    assert read_folder(folder).weight_bytes == read_folder(folder / "config.json").weight_bytes == 4000


@pytest.mark.parametrize("size", [0, -1, True, "4000", 2**60, None])
def test_an_index_without_a_size_is_refused(folder: Path, size: object) -> None:
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {"total_size": size}}))
    with pytest.raises(CheckpointError, match="no number of bytes"):
        read_folder(folder)


@pytest.mark.parametrize("text", ["[1]", "{", "[" * 100_000, "\x00", '"x"'])
def test_a_config_that_is_no_mapping_is_one_sentence(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text)
    with pytest.raises(CheckpointError):
        read_folder(folder)


@pytest.mark.parametrize(("content", "place"), [(b"\xff\xfea", "config.json: this"), (b'{"a":\n x}', "config.json:2:2: this")])
def test_of_a_config_that_is_no_json_the_place_is_told_and_nothing_of_our_reader(folder: Path, content: bytes, place: str) -> None:
    (folder / "config.json").write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        read_folder(folder)
    assert str(caught.value).endswith(f"{place} is not JSON; download it again")


def test_a_file_that_is_too_large_cut_off_or_missing_is_refused(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes((2**62).to_bytes(8, "little"))
    with pytest.raises(CheckpointError, match="cut off"):
        read_folder(folder)
    with (folder / "config.json").open("r+b") as file:
        file.truncate(5 * 2**20)
    with pytest.raises(CheckpointError, match="more than 4 MiB"):
        read_folder(folder)
    (folder / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"there is no config\.json"):
        read_folder(folder)


def check(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli, ["check", *arguments])
    return result.exit_code, result.stdout + result.stderr


def test_check_says_what_fits_into_the_reservation(folder: Path) -> None:
    code, text = check(str(folder), "--context", "8192", "--vram", "24GiB", "--format", "json")
    document = json.loads(text)
    assert code == 0
    assert (document["weights_bytes"], document["kv_bytes"], document["weights_from"]) == (16_060_522_496, 2**30, "config")
    assert document["reservation"]["fits"] is True
    assert document["reservation"]["gpu_memory_utilization"] == 0.92
    _, text = check(str(folder), "--context", "8192", "--vram", "16GiB")
    assert "It does not fit: vLLM reserves 14.7 GiB of 16.0 GiB (92%)" in text
    _, text = check(str(folder), "--tensor-parallel", "2", "--context", "8192", "--gpu-memory-utilization", "0.5", "--vram", "24GiB")
    assert "On each of 2 cards" in text
    assert "(50%)" in text


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--parallel", "2"), "--parallel does not go with this"),
        (("--fit-context",), "--fit-context does not go with this"),
        (("--gpu-memory-utilization", "0.9"), "give the card's size"),
        (("--tensor-parallel", "3"), "cannot be split over 3 cards"),
        (("--kv-cache", "q4_0"), "is no cache type of vLLM"),
    ],
)
def test_options_that_vllm_has_not_are_refused(folder: Path, arguments: tuple[str, ...], told: str) -> None:
    code, text = check(str(folder), *arguments)
    assert (code, told in text) == (1, True), text


def test_options_of_vllm_do_not_go_with_a_gguf_file() -> None:
    code, text = check("x.gguf", "--tensor-parallel", "2")
    assert (code, "--tensor-parallel does not go with this" in text) == (1, True)
