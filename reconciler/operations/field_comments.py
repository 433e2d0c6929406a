"""What the fields of a value class are, as the comments `#: …` beside or above them say it."""

from __future__ import annotations

import ast
import inspect


def field_comments(of: type) -> dict[str, str]:
    """Sentences by field, those that it inherits too. Raises OSError where the source is not there."""
    said: dict[str, str] = {}
    for one in reversed(of.__mro__[:-1]):
        source = inspect.getsource(one)
        lines = source.splitlines()
        (definition,) = ast.parse(source).body
        assert isinstance(definition, ast.ClassDef)
        for node in definition.body:
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                _, found, comment = lines[(node.end_lineno or node.lineno) - 1].rpartition("  #: ")
                if not found:
                    _, found, comment = lines[node.lineno - 2].rpartition("    #: ")
                if found:
                    said[node.target.id] = comment
    return said
