"""What is wrong with a document is said in a line of ours, whatever its reader calls it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Annotated, Literal, get_args

import pytest
from pydantic import Field, TypeAdapter, ValidationError
from pydantic_core.core_schema import ErrorType

from reconciler.files import documents, what_is_wrong


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Form:
    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012 # pydantic reads it from here

    name: str = ""
    count: Annotated[int, Field(ge=0, lt=9)] = 0
    share: float = 0.0
    on: bool = False
    every: tuple[int, ...] = ()
    colour: Colour = Colour.RED
    version: Literal["1.0"] = "1.0"
    at: datetime | None = None
    below: dict[str, int] | None = None


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("<html>", "it is not JSON"),
        ("[", "it is not JSON"),
        ("[]", "it must be a mapping"),
        ('{"name": 1}', "name must be text"),
        ('{"count": "x"}', "count must be a whole number"),
        ('{"count": 1.5}', "count must be a whole number"),
        ('{"count": -1}', "count must be at least 0"),
        ('{"count": 9}', "count must be less than 9"),
        ('{"share": "secret"}', "share must be a number"),
        ('{"on": 7}', "on must be true or false"),
        ('{"every": 7}', "every must be a list"),
        ('{"every": [1, "x"]}', "every.1 must be a whole number"),
        ('{"colour": "green"}', "colour must be 'red' or 'blue'"),
        ('{"version": "2.0"}', "version must be '1.0'"),
        ('{"at": "x"}', "at must be a time"),
        ('{"below": {"a\\n b": null}}', "below.a b must be a whole number"),
        ('{"other": 1}', "other is not known here"),
    ],
)
def test_one_line_says_where_and_what_it_must_be(text: str, line: str) -> None:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(Form).validate_json(text)
    assert what_is_wrong(caught.value) == (line,)


def test_as_many_as_are_asked_for_each_below_what_leads_there() -> None:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(Form).validate_json('{"name": 1, "count": "x", "on": 7}')
    assert what_is_wrong(caught.value, ("steps", 3), 2) == ("steps.3.name must be text", "steps.3.count must be a whole number")


def test_a_path_of_any_length_leaves_the_words_in_sight() -> None:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(dict[str, int]).validate_json('{"%s": null}' % ("k" * 9000))
    (line,) = what_is_wrong(caught.value)
    assert len(line) == 200
    assert line.endswith("k must be a whole number")


def test_every_kind_of_fault_that_has_words_is_one_that_the_reader_has() -> None:
    assert {*documents._WORDS, *documents._BOUNDS} <= {*get_args(ErrorType)}
