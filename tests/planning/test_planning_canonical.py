"""What a digest is over is the JSON that Python itself writes, whoever writes it."""

from __future__ import annotations

import json

from hypothesis import example, given
from hypothesis import strategies as st

from reconciler.planning.canonical import canonical_json

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=10)


@given(VALUES)
@example(1e16)
@example([1e-5, -9.99e-5, 1.5e-7])
@example({"é": "\x7f", "a\ud800": 2**64, "e": "1e5"})
def test_canonical_json_is_what_json_writes_with_sorted_keys_and_without_spaces(value):
    assert canonical_json(value) == json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
