"""What the API can be asked, as one table: routes are made of it, and the OpenAPI document."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from reconciler import __version__
from reconciler.fleet import Role
from reconciler.service.http.access import is_signed, needed_role
from reconciler.value_class import value_class

Answer = Callable[[Request], Awaitable[Response]]
Schema = Mapping[str, object]
JSON = "application/json"
_PARAMETER = re.compile(r"\{(\w+)(?::\w+)?\}")
_ERROR: Schema = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}


@value_class
class Parameter:
    """One of the query."""

    name: str
    schema: Schema
    said: str
    required: bool = False


@value_class
class Operation:
    """`paths` all answer the same; `shape` is the JSON Schema of what is answered (None: it is no JSON), by `status`; `body` that of what
    is to be sent. A `page` is for people, and in no document. Every other answer is `{"error": …}`."""

    method: str
    paths: tuple[str, ...]
    answer: Answer
    said: str
    shape: Schema | None
    query: tuple[Parameter, ...] = ()
    body: Schema | None = None
    statuses: tuple[int, ...] = (200,)
    media: str = JSON
    page: bool = False


def routes(operations: Iterable[Operation]) -> list[Route]:
    """The routes of a table."""
    return [Route(path, one.answer, methods=[one.method]) for one in operations for path in one.paths]


def document(operations: Sequence[Operation], shared: Mapping[str, Schema]) -> dict[str, object]:
    """The OpenAPI 3.1 document of a table. `shared` are the schemas that `#/components/schemas/` names."""
    paths: dict[str, dict[str, object]] = {}
    for one in operations:
        for path in one.paths if not one.page else ():
            paths.setdefault(_PARAMETER.sub(r"{\1}", path), {})[one.method.lower()] = _operation(one, path)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "gpurec",
            "version": __version__,
            "description": "A fleet as it was seen by the last look, and what is to be done.",
        },
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": {"Error": _ERROR, **shared},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "responses": {"Error": {"description": "what is wrong, in one sentence", "content": {JSON: {"schema": _ref("Error")}}}},
        },
    }


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _operation(one: Operation, path: str) -> dict[str, object]:
    role = needed_role(one.method, path)
    inside = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}} for name in _PARAMETER.findall(path)
    ]
    query = [
        {"name": each.name, "in": "query", "required": each.required, "description": each.said, "schema": each.schema} for each in one.query
    ]
    content = {one.media: {"schema": one.shape if one.shape is not None else {"type": "string"}}}
    found: dict[str, object] = {
        "summary": one.said,
        "responses": {
            **{str(status): {"description": one.said, "content": content} for status in one.statuses},
            "default": {"$ref": "#/components/responses/Error"},
        },
    }
    if inside or query:
        found["parameters"] = [*inside, *query]
    if one.body is not None:
        found["requestBody"] = {"required": True, "content": {JSON: {"schema": one.body}}}
    if is_signed(path):
        found["parameters"] = [{"name": "X-Signature-256", "in": "header", "required": True, "schema": {"type": "string"}}]
    else:
        found["security"] = [{"token": []}, *([{}] if role is Role.READ else [])]
        found["description"] = f"Needs the role {role.value}." if role is not Role.READ else "Free on loopback, else the role read."
    return found
