"""A template of the workspace, rendered. Jinja is imported only when one is read or rendered."""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from functools import lru_cache
from threading import Lock
from types import MappingProxyType
from typing import TYPE_CHECKING

from reconciler.fleet import GpurecError, Place, Problem
from reconciler.rendering import parts
from reconciler.value_class import value_class

if TYPE_CHECKING:
    from jinja2 import Template as JinjaTemplate

    from reconciler.rendering.sandbox import Sandbox

MOST_TEMPLATE = 2**18
"""Characters of a template: compiling one takes seconds for each million of them, which nothing can meter."""
MOST_TEXT = 4 * 2**20
"""Characters of a rendered file."""
MOST_SAID = 300
"""Characters that an error of Jinja or Python may say."""
_MOST_COMPILED = 256
"""Templates that are kept compiled: one is often rendered for every node."""
_CORRECT = "correct the template"
_FILTERS = "Jinja's own filters are there, but those for laying out text"
MOST_WORK = 20_000_000
"""Steps of one rendering: ten thousand engines with a dozen lines each."""

_OBJECT = re.compile(r"'?(?:[a-z_.]{1,80}\.)?([A-Za-z]{1,40}) object'?")
"""How Jinja names what has not the attribute that was asked for (jinja2.utils.object_type_repr)."""
_TYPES = MappingProxyType({"str": "text", "int": "a number", "float": "a number", "tuple": "a list", "list": "a list", "dict": "a mapping"})
_QUOTED = re.compile(r"'([^']{1,80})'")
_EXPRESSION = re.compile(r"\{[{%][^{}]{1,80}[}%]\}")
_LONGEST_LINE = 2000


@value_class
class Template:
    """`file` is its path as people see it, for errors, `first_line` the line of it where it begins; `text` what it says."""

    file: str
    text: str
    first_line: int = 1


class RenderingError(GpurecError):
    """A template cannot be read or rendered: file, line, and what to do."""


def used_names(template: Template) -> Set[str]:
    """The values that a template speaks of. Raises RenderingError where it is no Jinja."""
    from jinja2 import TemplateSyntaxError, meta

    if len(template.text) > MOST_TEMPLATE:
        what = f"it has {len(template.text):,} characters, the most is {MOST_TEMPLATE:,}"
        raise _refused(template, what, None, "loop over the values, or split it into several files")
    environment = _environment()
    try:
        return frozenset(meta.find_undeclared_variables(environment.parse(template.text))) - frozenset(environment.globals)
    except TemplateSyntaxError as error:
        raise _refused(template, error.message or "it is no template", error.lineno, _CORRECT) from None
    except Exception as error:  # noqa: BLE001 (a template can make Jinja, and Python's compiler behind it, throw anything)
        raise _refused(template, _said(error), None, "write it with less in one another") from None


def render(template: Template, values: Mapping[str, object]) -> str:
    """The text of a template. The same values give the same text.

    Raises RenderingError with file and line for what is undefined, not allowed in the sandbox, or larger than MOST_TEXT characters.
    """
    from jinja2 import TemplateSyntaxError, UndefinedError

    from reconciler.rendering.sandbox import TooMuchWork
    from reconciler.rendering.secret import refuse_marks

    found: list[str] = []
    length = 0
    try:
        refuse_marks(template.text)
        environment, compiled, alone = _compiled(template.text)
        with alone:
            environment.meter.renew()
            for piece in compiled.generate(values):
                length += len(piece)
                environment.meter.spend(1)
                if length > MOST_TEXT:
                    raise _refused(template, f"it renders to more than {MOST_TEXT:,} characters", None, "write a smaller file")
                found.append(piece)
    except TemplateSyntaxError as error:
        what = error.message or "it is no template"
        raise _refused(template, what, error.lineno, _FILTERS if what.startswith("No filter") else _CORRECT) from None
    except UndefinedError as error:
        line = _line_of(error)
        raise _refused(template, *_undefined(template, error.message or "something is undefined", line)) from None
    except TooMuchWork as error:
        raise _refused(template, error.message or "it takes too much work", _line_of(error), "make its loops smaller") from None
    except RenderingError:
        raise
    except Exception as error:  # noqa: BLE001 (as above; what is thrown by ourselves has been let through)
        raise _refused(template, _said(error), _line_of(error), _CORRECT) from None
    text = "".join(found)
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise _refused(template, "it renders to half a character (U+D800 to U+DFFF), which no file can hold", None, "leave it out")
    return text


def _undefined(template: Template, said: str, line: int | None) -> tuple[str, int | None, str]:
    """What is undefined, with the expression that asks for it, in our words and not by the names of Python's classes; and what there is."""
    hint = "the values of templates are in the docs; give it a value with `| default(…)`, or set it under `vars:` of the file"
    if (match := _OBJECT.search(said)) is not None:
        kind = getattr(parts, match.group(1), None)
        known = _TYPES.get(match.group(1), "a value")
        if isinstance(kind, type):
            word = kind.__name__.removesuffix("Value").lower()
            known = f"{'an' if word[0] in 'aeiou' else 'a'} {word}"
            hint = f"{known} has {', '.join(sorted(kind.__annotations__))}"
        said = f"{said[: match.start()]}{known}{said[match.end() :]}"
    source = template.text.splitlines()[line - 1 : line] if line is not None else []
    names = _QUOTED.findall(said)
    asking = [one for text in source for one in _EXPRESSION.findall(text[:_LONGEST_LINE]) if names and names[-1] in one]
    return f"{said}, in {asking[0]}" if asking else said, line, hint


def _said(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it has too much in one another: calls, lists or conditions"
    words = getattr(error, "message", None) or getattr(error, "msg", None) or str(error)
    return " ".join(words.split())[:MOST_SAID] or type(error).__name__


@lru_cache(_MOST_COMPILED)
def _compiled(text: str) -> tuple[Sandbox, JinjaTemplate, Lock]:
    """The lock is held while it is rendered: a service plans in several threads, and each rendering has the budget for itself."""
    environment = _environment()
    return environment, environment.from_string(text), Lock()


def _environment() -> Sandbox:
    from reconciler.rendering.sandbox import Meter, Sandbox

    return Sandbox(Meter(MOST_WORK, MOST_TEXT))


def _line_of(error: BaseException) -> int | None:
    """The line of the template where it came up: Jinja gives its frames the template's own lines, under the name `<template>`."""
    line, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def _refused(template: Template, what: str, line: int | None, hint: str) -> RenderingError:
    at = line + template.first_line - 1 if line is not None else template.first_line if template.first_line > 1 else None
    return RenderingError(Problem(f"this template cannot be rendered: {what}", Place(template.file, at), hint))
