"""`value_class` makes what a frozen data class with slots is, but for what refuses an assignment."""

from __future__ import annotations

import copy
import pickle
from dataclasses import asdict, dataclass, field, fields, replace

import pytest

from reconciler.value_class import value_class


@value_class
class Place:
    name: str
    marks: tuple[int, ...] = ()
    note: str = field(default="", compare=False, repr=False)
    told: dict[str, int] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Frozen:
    name: str
    marks: tuple[int, ...] = ()
    note: str = field(default="", compare=False, repr=False)
    told: dict[str, int] = field(default_factory=dict, hash=False)


@value_class(kw_only=True)
class Near(Place):
    far: float = 0.0


@value_class
class Kept:
    """Fields that nobody passes, and one that is only passed by name."""

    name: str
    late: int = field(default=1, kw_only=True)
    seen: list[str] = field(default_factory=list, init=False, compare=False)
    count: int = field(default=0, init=False)


@value_class
class Alone:
    share: float


@value_class
class ByName:
    name: str
    size: int

    def __hash__(self) -> int:
        return hash(self.name)


@pytest.mark.parametrize("other", [("a", (1,)), ("a", (2,)), ("b", (1,)), ("a", (1,), "noted"), ("a", (1,), "", {"x": 1})])
def test_values_are_equal_and_hashed_as_those_of_a_frozen_data_class(other):
    one, same = Place("a", (1,)), Place(*other)
    assert (one == same) == (Frozen("a", (1,)) == Frozen(*other))
    assert (hash(one) == hash(same)) == (hash(Frozen("a", (1,))) == hash(Frozen(*other)))
    assert repr(same) == repr(Frozen(*other)).replace("Frozen", "Place")


def test_values_are_made_as_those_of_a_data_class():
    one, other = Kept("a", late=2), Kept(name="a")
    assert (one.name, one.late, one.seen, one.count) == ("a", 2, [], 0)
    assert other.late == 1
    one.seen.append("here")
    assert other.seen == [] == Kept("b").seen
    assert Place("a").told is not Place("a").told


@pytest.mark.parametrize(("of", "given"), [(Kept, ("a", 2)), (Kept, ()), (Near, ("a", (), "", {}, 1.0)), (Place, ("a", (), "", {}, 1))])
def test_a_value_is_refused_arguments_that_its_data_class_refuses(of, given):
    for _ in range(2):  # the first value of a class, and those after it
        with pytest.raises(TypeError):
            of(*given)
    with pytest.raises(TypeError, match="counted"):
        of(name="a", counted=1)


def test_a_value_of_another_class_is_another_value():
    assert Place("a") != Near(name="a")
    assert Place("a") != Frozen("a")
    assert Near(name="a", far=1.0) == Near(name="a", far=1.0) != Near(name="a")


def test_a_share_that_is_no_number_is_still_itself():
    unknown = float("nan")
    assert (Alone(unknown) == Alone(unknown)) is True


def test_a_class_that_says_how_it_is_hashed_is_hashed_so_and_still_compared_by_all():
    assert hash(ByName("a", 1)) == hash(ByName("a", 2))
    assert ByName("a", 1) != ByName("a", 2)


def test_what_knows_data_classes_knows_values():
    one = Near(name="a", marks=(1, 2), far=2.0)
    assert replace(one, far=3.0) == Near(name="a", marks=(1, 2), far=3.0)
    assert [each.name for each in fields(one)] == ["name", "marks", "note", "told", "far"]
    assert asdict(one) == {"name": "a", "marks": (1, 2), "note": "", "told": {}, "far": 2.0}
    assert copy.deepcopy(one) == one == pickle.loads(pickle.dumps(one))
    assert not hasattr(one, "__dict__")
