"""Answers of daemons and API servers by their shapes: read by pydantic, which knows the other names that their fields have."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, TypeAdapter, ValidationError
from pydantic_core import CoreSchema, core_schema

from reconciler.engines.answers import MOST_BYTES, another_shape, check_count, not_json
from reconciler.files import what_is_wrong
from reconciler.value_class import value_class

Shape = TypeVar("Shape")


class Answered(BaseModel):
    """Base of the shapes: unknown keys are ignored (servers grow), known ones must have their type."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)


@value_class
class Lenient:
    """Marks a field that an answer can do without; as `engines.shapes.OrUnknown` does for engines."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_default_schema(handler(source), default=None, on_error="default")


Word = Annotated[str | None, Lenient()]
"""A text that a server may leave out."""
Words = Annotated[list[str] | None, Lenient()]
Flag = Annotated[bool | None, Lenient()]
Bytes = Annotated[int | None, Field(ge=0, lt=MOST_BYTES), Lenient()]
Count = Annotated[int | None, Field(ge=0, le=1_000_000), Lenient()]


def read_shape(adapter: TypeAdapter[Shape], body: bytes, url: str) -> Shape:
    """The answer in its shape. Raises Unreachable `not_its_protocol`, naming the first field that is wrong, and `too_large`."""
    check_count(body, url)
    try:
        return adapter.validate_json(body)
    except ValidationError as error:
        if error.errors(include_url=False, include_context=False, include_input=False)[0]["type"] == "json_invalid":
            raise not_json(body, url) from None
        raise another_shape(url, what_is_wrong(error)[0]) from None
