"""YAML by libyaml, through PyYAML, as far as it reads what ruamel.yaml reads."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from reconciler.workspace.tree import ScalarNode
from reconciler.workspace.tree_builder import TreeBuilder

try:
    from yaml import MappingStartEvent, ScalarEvent, YAMLError
    from yaml._yaml import CParser
except ImportError:  # PyYAML without its C extension: where it has no wheel and no libyaml was there to build against
    IS_HERE = False
else:
    IS_HERE = True

_READ_OTHERWISE = re.compile(
    r"[\t\x85\u2028\u2029\ufeff]"  # tabs, and ends of lines of YAML 1.1 only
    r"|[&*][\w-]+:"  # an anchor `a:` to ruamel.yaml
    r"|[|>][-+0-9]*#"  # no comment
    r"|![^\s\"'<!]*[,\]}]"  # a tag `!,`
    r"|![^\s!]*\s+&"  # an anchor after its tag, where ruamel.yaml says that the value begins
    r"|(?:^|[\s,{\[])\?(?:\s|$)"  # a key that is announced, and may be left out
    r"|^\.\.\.",  # the end of a document, and what may follow
    re.MULTILINE,
)
"""Where the two readers do not agree, or not on the positions. Found by comparing what they make of drawn texts. No alternative runs over
what its next match may begin with, so that any text is looked at once."""

_BLOCKS = ("|", ">")
_EMPTY_LINE = ("", "\n")
"""How the value of a block begins where its first line holds spaces alone, which ruamel.yaml may take for its indentation."""


class _ReadOtherwise(ValueError):
    """What follows means something else to ruamel.yaml."""


def read_fast(text: str, builder: TreeBuilder) -> bool:
    """Whether the whole text was read. Where it was not, the builder holds a part of it."""
    if not IS_HERE or _READ_OTHERWISE.search(text):
        return False
    try:
        return builder.read(_events(text)) and not isinstance(builder.root, ScalarNode)  # a text alone may begin with `#`
    except (YAMLError, ValueError, RecursionError):
        return False


def _events(text: str) -> Iterator[Any]:
    next_event: Callable[[], Any] = CParser(text).get_event
    while (event := next_event()) is not None:
        kind = event.__class__
        if kind is ScalarEvent:
            value, style = event.value, event.style
            if style in _BLOCKS:
                if value[:1] in _EMPTY_LINE:
                    raise _ReadOtherwise
            elif not style and ("?" in value or (value == "" and event.tag is not None)):
                raise _ReadOtherwise
        elif kind is MappingStartEvent and event.flow_style and _is_a_pair(event, text):
            raise _ReadOtherwise
        yield event


def _is_a_pair(event: Any, text: str) -> bool:
    """Whether this mapping is one pair in a list, without braces."""
    return event.anchor is None and event.tag is None and text[event.start_mark.index] != "{"
