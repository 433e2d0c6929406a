"""Text to tree, by one of two readers of YAML.

libyaml (through PyYAML) takes a fortieth of the time of ruamel.yaml, which is Python, but knows only one version of YAML. So it reads what
means the same to both (`fast_reading`), and what it reads without an error is the tree. Everything else, mistakes above all, is read by
ruamel.yaml.
"""

from __future__ import annotations

import json

from reconciler.fleet import Place
from reconciler.workspace.fast_reading import read_fast
from reconciler.workspace.problems import Problems
from reconciler.workspace.scalars import YamlVersion
from reconciler.workspace.tree import Node
from reconciler.workspace.tree_builder import TreeBuilder


def parse(text: str, file: str, version: YamlVersion, problems: Problems) -> Node | None:
    """The one document of a file, or None where it is empty or was reported as unreadable."""
    found = Problems()
    builder = TreeBuilder(file, version, found, json_form=_is_json(text, version))
    if read_fast(text, builder) and not found.any:
        problems.add(found)
        return builder.root
    return parse_slowly(text, file, version, problems)


def parse_slowly(text: str, file: str, version: YamlVersion, problems: Problems) -> Node | None:
    """The same by ruamel.yaml alone."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    yaml = YAML(typ="safe", pure=True)
    yaml.version = version.value
    builder = TreeBuilder(file, version, problems, json_form=_is_json(text, version))
    try:
        return builder.root if builder.read(yaml.parse(text)) else None
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(file, mark.line + 1, mark.column + 1) if mark is not None else Place(file)
        said = f"this is not YAML: {error.problem or error.context}"
        hint = "quote the value if it holds a YAML sign such as ':', '{', '@' or '#'"
        if "'\\t'" in str(error.problem):
            said, hint = "a tab cannot stand here", "indent with spaces"
    except YAMLError as error:
        said, hint = f"this is not YAML: {' '.join(str(error).split())}", "save the file as plain UTF-8 text"
        place = _first_bad_character(text, file)
    except (ValueError, RecursionError) as error:
        said, place, hint = f"this is not YAML: {error}", builder.here, "correct the value here"
    except Exception as error:  # noqa: BLE001 (a file can make the parser throw anything, and each is a fault of the file)
        said = f"this is not YAML that can be read: {' '.join(str(error).split())[:200] or type(error).__name__}"
        place, hint = builder.here, "correct the file here"
    place, hint = _directive(text, file, place) or (place, hint)
    problems.error(said, place, hint)
    return None


def _directive(text: str, file: str, place: Place) -> tuple[Place, str] | None:
    """Where a file says which YAML it is, if that is what cannot be read: the parser tells no later place then."""
    for number, line in enumerate(text[:4096].split("\n"), 1):
        if line.startswith("%YAML") and (place.line or 0) <= number:
            return Place(file, number, 1), "remove this line: gpurec knows which YAML each of its files is"
    return None


def _is_json(text: str, version: YamlVersion) -> bool:
    """Whether an inventory is JSON, as which Ansible reads a file where it can: `1e3` is then a number."""
    if version is not YamlVersion.V1_1 or text.lstrip()[:1] not in ("{", "["):
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _first_bad_character(text: str, file: str) -> Place:
    for number, line in enumerate(text.split("\n"), 1):
        for column, character in enumerate(line, 1):
            if not (character.isprintable() or character in "\t\r\x85\u2028\u2029\ufeff"):
                return Place(file, number, column)
    return Place(file)
