"""`gpurec check FILE.gguf`: the terms as JSON and for people, without any fleet; what is not known is said, never guessed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from syrupy.assertion import SnapshotAssertion
from vram.judge import rows
from vram.shapes import Model, keys_of, transformer, write
from vram.truth_models import truth_model

from reconciler.cli.main import cli

TERMS = ("weights_bytes", "kv_bytes", "state_bytes", "compute_bytes", "fixed_bytes")
MIB = 2**20


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    return write(tmp_path / "llama.gguf", truth_model("llama-8b"))


def check(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["check", *map(str, arguments)])


def said(*arguments: object) -> dict[str, Any]:
    result = check(*arguments, "--format", "json")
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_the_terms_are_at_the_top_level_and_add_up(llama: Path) -> None:
    found = said(llama, "--context", 8192, "--parallel", 1)
    assert found["total_bytes"] == sum(found[term] for term in TERMS)
    assert found["low_bytes"] < found["total_bytes"] < found["high_bytes"]
    assert found["source"] == "computed"
    assert found["kv_bytes"] == 1024 * MIB
    assert found["host_bytes"] == sum(found["host"].values())


def test_context_is_what_one_request_may_use_and_the_cache_holds_it_for_each(llama: Path) -> None:
    one, four = said(llama, "--context", 8192, "--parallel", 1), said(llama, "--context", 8192, "--parallel", 4)
    assert four["kv_bytes"] == 4 * one["kv_bytes"]
    assert four["settings"]["cells"] == 4 * 8192


def test_without_parallel_four_slots_share_one_stream_of_the_context(llama: Path) -> None:
    found = said(llama, "--context", 8192)
    assert found["kv_bytes"] == 1024 * MIB
    assert (found["settings"]["slots"], found["settings"]["parallel"]) == (4, None)


def test_without_context_the_model_gets_what_it_was_trained_for(llama: Path) -> None:
    assert said(llama)["settings"]["context"] == 131072


def test_the_command_says_what_llama_cpp_printed(tmp_path: Path) -> None:
    wanted = [row for row in rows("llamacpp_b11434.csv", 37) if len(row.cards) == 1 and not row.partial]
    wanted = [row for row in wanted if not row.settings.unified and not row.settings.reserve_batch]
    assert len(wanted) > 10
    for row in wanted:
        path = tmp_path / f"{row.file.replace(':', '-')}.gguf"
        if not path.exists():
            write(path, truth_model(row.file))
        run = row.settings
        found = said(
            path, "--context", run.context, "--parallel", run.slots, "--kv-cache", f"{run.key_type.name}/{run.value_type.name}",
            "--flash-attention", "on" if run.flash_attention else "off", "--batch", run.ubatch, "--engine-build", "b11434",
        )  # fmt: skip
        assert found["weights_bytes"] / MIB == pytest.approx(row.cards[0].weights, abs=0.1)
        assert (found["kv_bytes"] + found["state_bytes"]) / MIB == pytest.approx(row.cards[0].context, abs=0.1)
        assert found["compute_bytes"] / MIB == pytest.approx(row.cards[0].compute, abs=1)


def unknown_graph(name: str = "gptj") -> Model:
    """An architecture with a plain cache that llama.cpp names and does not run, so nobody will work its graph out."""
    return transformer(name, keys_of(layers=4, embedding=512, heads=8, kv_heads=2, ff=1024, context=4096), 1000)


def test_an_unknown_architecture_has_null_for_what_is_not_known_and_says_why(tmp_path: Path) -> None:
    found = said(write(tmp_path / "new.gguf", unknown_graph()))
    assert found["compute_bytes"] is None
    assert found["total_bytes"] is None
    assert found["high_bytes"] is None
    assert found["weights_bytes"] > 0
    assert "not worked out" in found["unknown"][0]


@pytest.mark.parametrize("name", ["deepseek4", "llama-of-tomorrow"])
def test_a_cache_of_its_own_layout_and_an_architecture_never_heard_of_are_null_too(tmp_path: Path, name: str) -> None:
    found = said(write(tmp_path / "new.gguf", unknown_graph(name)))
    assert (found["kv_bytes"], found["state_bytes"], found["compute_bytes"]) == (None, None, None)


def test_another_build_gets_a_wider_interval(llama: Path) -> None:
    known, other = (said(llama, "--context", 4096, "--engine-build", build) for build in ("b11434", "12000"))
    assert other["high_bytes"] - other["low_bytes"] > known["high_bytes"] - known["low_bytes"]
    assert other["settings"]["engine_build"] == "b12000"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--kv-cache", "q9"], "is not a cache type"),
        (["--kv-cache", ""], "is not a cache type"),
        (["--kv-cache", "q8_0/"], "is not a cache type"),
        (["--kv-cache", "q8_0", "--flash-attention", "off"], "only with flash attention"),
        (["--context", "0"], "0 is not in the range"),
        (["--parallel", "-3"], "-3 is not in the range"),
        (["--engine-build", "newest"], "is not a build"),
    ],
)
def test_what_cannot_be_run_is_refused_in_one_sentence(llama: Path, arguments: list[str], sentence: str) -> None:
    result = check(llama, *arguments)
    assert result.exit_code == 1
    assert sentence in result.stderr
    assert result.stdout == ""


def test_a_cache_type_that_does_not_fit_the_heads_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "phi.gguf", transformer("phi2", keys_of(layers=2, embedding=2560, heads=32, kv_heads=32, ff=10240), 1000))
    result = check(path, "--kv-cache", "q8_0")
    assert result.exit_code == 1
    assert "refuses a q8_0 cache for heads of 80" in result.stderr


def test_a_file_that_is_none_is_an_error_with_its_name(tmp_path: Path) -> None:
    missing = check(tmp_path / "none.gguf")
    assert missing.exit_code == 1
    assert "none.gguf: No such file" in missing.stderr
    (tmp_path / "page.gguf").write_text("<html>" * 20)
    page = check(tmp_path / "page.gguf")
    assert page.exit_code == 1
    assert "page.gguf: this is not a GGUF file" in page.stderr


def test_names_in_a_file_cannot_forge_lines(tmp_path: Path) -> None:
    result = check(write(tmp_path / "evil.gguf", unknown_graph("x\n\x1b[2Jy")))
    assert "\x1b" not in result.output
    assert "x\\x0a\\x1b[2Jy" in result.stdout


def test_for_people(snapshot: SnapshotAssertion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "llama.gguf", truth_model("llama-8b"))
    write(tmp_path / "new.gguf", unknown_graph())
    assert check("llama.gguf", "--context", 8192, "--parallel", 2, "--kv-cache", "q8_0").stdout == snapshot(name="known")
    assert check("new.gguf").stdout == snapshot(name="unknown")


def test_fit_context_finds_the_largest_context_that_the_bytes_hold(llama: Path) -> None:
    found = said(llama, "--fit-context", "--vram", "8GiB", "--parallel", 1)
    context = found["fit"]["context"]
    assert found["settings"]["context"] == context
    assert found["total_bytes"] <= 8 * 2**30 < said(llama, "--context", context + 256, "--parallel", 1)["total_bytes"]
    assert (found["fit"]["bounded_by"], found["fit"]["vram_bytes"]) == ("vram", 8 * 2**30)


def test_fit_context_of_a_given_context_finds_the_most_requests_at_a_time(llama: Path) -> None:
    found = said(llama, "--fit-context", "--vram", "8GiB", "--context", 4096)
    assert found["fit"]["parallel"] == found["settings"]["parallel"] > 1
    assert found["total_bytes"] <= 8 * 2**30 < said(llama, "--context", 4096, "--parallel", found["fit"]["parallel"] + 1)["total_bytes"]


def test_a_large_card_holds_what_the_model_was_trained_for_and_no_more(llama: Path) -> None:
    assert said(llama, "--fit-context", "--vram", "80GB")["fit"] | {"vram_bytes": 0} == {
        "vram_bytes": 0, "context": 131072, "parallel": None, "bounded_by": "model", "high_fits": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--fit-context"], "go together"),
        (["--vram", "8GiB"], "go together"),
        (["--fit-context", "--vram", "8GiB", "--context", "256", "--parallel", "1"], "nothing left"),
        (["--fit-context", "--vram", "1GiB"], "not even 256 tokens fit into 1024 MiB: that needs"),
        (["--fit-context", "--vram", "1GiB", "--context", "4096"], "not even 4096 tokens fit into 1024 MiB: that needs"),
        (["--fit-context", "--vram", "big"], "'big' is not a size"),
    ],
)
def test_a_search_that_cannot_be_is_refused_in_one_sentence(llama: Path, arguments: list[str], sentence: str) -> None:
    result = check(llama, *arguments)
    assert result.exit_code == 1
    assert sentence in " ".join(result.stderr.split())


@pytest.mark.parametrize("what", ["file:///etc/hostname", "ftp://host/x.gguf"])
def test_a_url_that_is_not_of_the_web_is_no_name_of_a_model(what: str) -> None:
    result = CliRunner().invoke(cli, ["check", what])
    assert (result.exit_code, "http or https" in result.stderr) == (1, True), result.output


def test_a_search_for_people(snapshot: SnapshotAssertion, llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(llama.parent)
    assert check(llama.name, "--fit-context", "--vram", "8GiB").stdout.splitlines()[-2:] == snapshot


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (("some-model", "--mmproj", "m.gguf"), "--mmproj"),
        (("some-model", "--tensor-parallel", "2"), "--tensor-parallel"),
        (("x.gguf", "--refresh", "never"), "--refresh"),
    ],
)
def test_an_option_that_would_not_be_heeded_is_refused(tmp_path: Path, arguments: tuple[str, ...], option: str) -> None:
    result = CliRunner().invoke(cli, ["-C", str(tmp_path), "check", *arguments])
    assert result.exit_code == 1
    assert f"{option} does not go with this" in result.stderr
