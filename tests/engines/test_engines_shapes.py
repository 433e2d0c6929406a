"""What engines answer is read by its shape: what is wrong is named by its place, and what may be missing costs nothing else."""

from __future__ import annotations

from typing import Annotated

import pytest
from msgspec import Meta
from msgspec.json import Decoder

from reconciler.engines.shapes import Bytes, Name, OrUnknown, Rate, Word, answered, read_shape
from reconciler.fleet import Unreachable

URL = "http://h:1/api"


@answered
class Part:
    rate: Rate = None
    word: Word = None


@answered
class Row:
    name: Name
    size: Bytes = None
    part: Annotated[Part | None, OrUnknown()] = None

    @property
    def large(self) -> bool:
        return (self.size or 0) > 10


@answered
class Rows:
    rows: Annotated[list[Row], Meta(max_length=2)]


ROWS = Decoder(Rows)


def test_a_shape_has_its_fields_its_defaults_and_its_properties() -> None:
    first, second = read_shape(ROWS, b'{"rows": [{"name": "a", "size": 11, "part": {"rate": 2}, "more": [1]}, {"name": "b"}]}', URL).rows
    assert (first.name, first.size, first.large, first.part) == ("a", 11, True, Part(rate=2.0))
    assert (second.size, second.large, second.part) == (None, False, None)


@pytest.mark.parametrize("field", [b"-1", b'"1"', b"1.5", b"true", b"NaN", b"1e999", b"1" + b"0" * 40, b"[]", b"{}", b"null"])
def test_a_field_that_may_be_unknown_is_unknown_where_it_is_wrong_and_the_rest_stands(field: bytes) -> None:
    (row,) = read_shape(ROWS, b'{"rows": [{"name": "a", "size": %s, "part": {"rate": 7, "word": "w"}}]}' % field, URL).rows
    assert (row.name, row.size, row.part) == ("a", None, Part(rate=7.0, word="w"))


@pytest.mark.parametrize("part", [b"3", b'{"rate": NaN, "word": 4}', b"[]"])
def test_within_a_part_as_well(part: bytes) -> None:
    (row,) = read_shape(ROWS, b'{"rows": [{"name": "a", "size": 5, "part": %s}]}' % part, URL).rows
    assert (row.size, row.part in (None, Part())) == (5, True)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"{}", "JSON of another shape (rows is missing)"),
        (b"[]", "JSON of another shape (it must be a mapping)"),
        (b'{"rows": 3}', "JSON of another shape (rows must be a list)"),
        (b'{"rows": [{"size": 3}]}', "JSON of another shape (rows.0.name is missing)"),
        (b'{"rows": [{"name": 3}]}', "JSON of another shape (rows.0.name must be text)"),
        (b'{"rows": [{"name": ""}]}', "JSON of another shape (rows.0.name is empty)"),
        (b'{"rows": [{"name": "a"}, {"name": "b"}, {"name": "c"}]}', "JSON of another shape (rows holds too many values)"),
        (b'{"rows": [{"name": "\\ud800"}]}', "something that is not JSON"),
        (b'{"rows": [{"name": "\xff"}]}', "something that is not JSON"),
        (b" <html>", "HTML where JSON was expected"),
        (b"", "something that is not JSON"),
        (b"[" * 200_000, "something that is not JSON"),
    ],
)
def test_what_is_wrong_is_one_sentence_with_its_place(body: bytes, says: str) -> None:
    with pytest.raises(Unreachable) as error:
        read_shape(ROWS, body, URL)
    assert error.value.code == "not_its_protocol"
    assert f"{URL}: answered {says};" in error.value.problems[0].sentence()


def test_more_values_than_may_be_are_not_read() -> None:
    with pytest.raises(Unreachable, match="more than 100 values"):
        read_shape(ROWS, b'{"rows": [' + b'{"name":"a"},' * 60 + b'{"name":"a"}]}', URL, 100)
