"""Bytes of cards are added up in one room: placement, planning and execution ask `capacity` and never reckon themselves."""

from __future__ import annotations

import ast
from pathlib import Path

import reconciler

ROOMS = ("placement", "planning", "execution")
OF_A_CARD = {"foreign", "usable", "unused", "capacity", "before", "held", "own", "own_before", "left", "free", "cache", "most_cache"}
OF_A_CARD |= {"usable_bytes", "foreign_bytes", "before_bytes", "after_bytes", "peak_bytes", "used_bytes"}
"""Attributes of a card or of an engine's state that mean bytes."""
CHARGES = {"charges", "takes", "frees"}


def sums(text: str) -> list[int]:
    """The lines of a module that reckon with bytes of a card, or that walk over charges to add them up."""
    found = []
    for node in ast.walk(ast.parse(text)):
        adds = isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Add | ast.Sub) and not _is_text(node)
        if adds and any(isinstance(part, ast.Attribute) and part.attr in OF_A_CARD for part in ast.walk(node)):
            found.append(node.lineno)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "sum":
            walks = [part.iter for part in ast.walk(node) if isinstance(part, ast.comprehension)]
            if any(isinstance(one, ast.Attribute) and one.attr in CHARGES for one in walks):
                found.append(node.lineno)
        if isinstance(node, ast.For) and isinstance(node.iter, ast.Attribute) and node.iter.attr in CHARGES:
            found += [part.lineno for part in ast.walk(node) if isinstance(part, ast.AugAssign) and isinstance(part.op, ast.Add | ast.Sub)]
    return found


def _is_text(node: ast.AST) -> bool:
    return any(isinstance(part, ast.JoinedStr) for part in ast.walk(node))


def test_no_module_of_placement_planning_or_execution_adds_up_bytes_of_a_card():
    root = Path(reconciler.__file__).parent
    files = [path for room in ROOMS for path in sorted((root / room).rglob("*.py"))]
    assert len(files) > 40
    assert {str(path.relative_to(root)): lines for path in files if (lines := sums(path.read_text()))} == {}


def test_a_module_that_does_is_found():
    assert sums("free = card.usable - card.held\n") == [1]
    assert sums("\nheld = sum(count for _, count in change.takes)\n") == [2]
    assert sums("for card, count in holding.charges:\n    stays[card] -= count\n") == [2]
    assert sums("room = max(card.capacity, card.before) - count\n") == [1]
    assert sums("free = sum(card.total_bytes - (card.foreign_bytes or 0) for card in cards)\n") == [1]
    assert sums("own = limit - slot.own.get(card.index, 0)\n") == [1]
