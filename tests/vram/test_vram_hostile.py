"""Files that lie about their counts and shapes: refused in a sentence or predicted in part, with bounded time and memory, never a crash."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from vram.judge import UNSEEN, model_of
from vram.shapes import keys_of, transformer, write

from reconciler.fleet import GpurecError
from reconciler.gguf import read_model
from reconciler.vram import CACHE_TYPES, Header, RunSettings, TensorInfo, geometry_of, predict

NAMES = sorted({*UNSEEN, "llama-1b", "gpt-oss-20b"})
VALUES = st.sampled_from(
    [0, 1, 2, 3, 7, 64, 255, 512, 2**16, 2**24, 2**31 - 1, 2**32, 2**40, 2**63, -1, 1.5, float("nan"), float("inf"), True, "x", (), (1,)]
)
HEADERS: dict[str, Header] = {}


def header(name: str) -> Header:
    if name not in HEADERS:
        with TemporaryDirectory() as folder:
            HEADERS[name] = read_model(write(Path(folder) / "model.gguf", model_of(name))).header
    return HEADERS[name]


@st.composite
def liars(draw: st.DrawFn) -> Header:
    """The header of a model of the judge's, with some keys and shapes replaced or gone."""
    true = header(draw(st.sampled_from(NAMES)))
    values, tensors = dict(true.values), list(true.tensors)
    own = sorted(key for key in values if key.startswith(true.architecture))
    for key in draw(st.lists(st.sampled_from(own), max_size=4)):
        lie = draw(VALUES | st.none() | st.lists(st.integers(-1, 2**31), max_size=64).map(tuple))
        values.pop(key, None)
        if lie is not None:
            values[key] = lie
    for index in draw(st.lists(st.integers(0, len(tensors) - 1), max_size=2, unique=True)):
        tensor = tensors[index]
        axes = [*tensor.shape[:1], *(draw(st.sampled_from([length, 1, 2, 2**16, 2**40])) for length in tensor.shape[1:])]
        tensors[index] = TensorInfo(tensor.name, tuple(axes), tensor.type)
    for index in draw(st.lists(st.integers(0, len(tensors) - 1), max_size=1)):
        del tensors[index]
    return Header(values, true.counts, tuple(tensors))


@st.composite
def ways(draw: st.DrawFn) -> RunSettings:
    kinds = st.sampled_from(sorted(CACHE_TYPES.values(), key=lambda kind: kind.number))
    return RunSettings(
        context=draw(st.sampled_from([1, 255, 4096, 2**30])),
        parallel=draw(st.sampled_from([None, 1, 2, 1024])),
        key_type=draw(kinds),
        value_type=draw(kinds),
        flash_attention=draw(st.booleans()),
        ubatch=draw(st.sampled_from([1, 3, 512, 65536])),
        split=draw(st.sampled_from([(1,), (3, 1), (1,) * 8])),
        offloaded=draw(st.sampled_from([10**6, 0, 3])),
    )


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(liars(), ways())
def test_a_lying_header_is_refused_or_predicted_and_no_term_is_negative(found: Header, how: RunSettings) -> None:
    try:
        prediction = predict(geometry_of(found), how)
    except GpurecError as error:
        assert error.problems[0].what  # noqa: PT017
        return
    for card in prediction.cards:
        assert min(term for term in (card.weights, card.kv, card.state, card.compute, 0) if term is not None) >= 0


def test_the_largest_graph_that_a_header_may_claim_stays_within_half_a_gigabyte(tmp_path: Path) -> None:
    keys = keys_of(layers=512, embedding=256, heads=4, kv_heads=4, ff=256, expert_count=256, expert_used_count=256)
    model = transformer("llama", keys, 1000, experts={"count": 256, "width": 256})
    file = write(tmp_path / "many.gguf", model)
    code = (
        "import sys; from pathlib import Path; from reconciler.gguf import read_model; from reconciler.vram import *;"
        "need = predict(geometry_of(read_model(Path(sys.argv[1])).header), RunSettings(4096)); print(need.cards[0].compute)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, str(file)],
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (2**29, 2**29)),
    )
    assert (ran.returncode, ran.stdout.strip()) == (0, "None"), ran.stderr[-500:]
