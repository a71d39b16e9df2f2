"""Two people, or two tabs, changed the boxes of one image: both changes in one list.

A change is what differs from the state that both began with. Changes of different objects, and of
different fields of one object, are put together; what both changed in different ways is for a
person to decide.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from sharpeye.images.boxes import iou
from sharpeye.studio.voc_edit import Edges, Marked

_ALIKE = 0.3  # IoU from which a changed box is still taken for the same object
_FIELDS = ("name", "edges", "difficult", "truncated", "pose")


@dataclass(frozen=True, slots=True)
class Merged:
    """One object of both; `mine` is its place in my list, None if I did not have it."""

    marked: Marked
    mine: int | None


def merge(
    base: Sequence[Marked], mine: Sequence[Marked], theirs: Sequence[Marked]
) -> list[Merged] | None:
    """Put two changes of one list together.

    Args:
        base: what I began with.
        mine: what I made of it; an object with the `was` of one in `base` is the same.
        theirs: what is in the file now; its `was` says nothing of `base`.

    Returns:
        what the file should have, in its order, mine behind; None where the changes collide.
    """
    my_place = {each.was: number for number, each in enumerate(mine) if each.was}
    their_place = _pairs(base, theirs)
    found: dict[int, Merged] = {}  # by the place in theirs
    for number, before in enumerate(base):
        my_number, their_number = my_place.get(before.was), their_place.get(number)
        my_one = None if my_number is None else mine[my_number]
        if their_number is None:
            if my_one is not None and my_one != before:
                return None  # they deleted what I changed
            continue
        their_one = theirs[their_number]
        if my_one is None:
            if their_one != before:
                return None  # I deleted what they changed
            continue
        both = _both(before, my_one, their_one)
        if both is None:
            return None
        found[their_number] = Merged(both, my_number)
    known = {before.was for before in base}
    added = {number: each for number, each in enumerate(mine) if each.was not in known}
    for number, their_one in enumerate(theirs):
        if number not in their_place.values():
            same = next((mine_at for mine_at, each in added.items() if each == their_one), None)
            if same is not None:
                del added[same]
            found[number] = Merged(their_one, same)
    return [found[number] for number in sorted(found)] + [
        Merged(each, number) for number, each in added.items()
    ]


def _both(before: Marked, mine: Marked, theirs: Marked) -> Marked | None:
    changes = {}
    for name in _FIELDS:
        old, my_value, their_value = (getattr(each, name) for each in (before, mine, theirs))
        if my_value not in (old, their_value):
            if their_value != old:
                return None
            changes[name] = my_value
    return replace(theirs, **changes)


def _pairs(base: Sequence[Marked], theirs: Sequence[Marked]) -> dict[int, int]:
    """Which object of theirs is which of the base: the equal ones, then the most alike ones."""
    pairs: dict[int, int] = {}
    free = set(range(len(theirs)))
    for number, before in enumerate(base):
        same = next((at for at in sorted(free) if theirs[at] == before), None)
        if same is not None:
            pairs[number] = same
            free.discard(same)
    rest = [number for number in range(len(base)) if number not in pairs]
    likeness = sorted(
        (-_alike(base[number], theirs[at]), number, at) for number in rest for at in free
    )
    for value, number, at in likeness:
        if -value >= _ALIKE and number not in pairs and at in free:
            pairs[number] = at
            free.discard(at)
    left = [number for number in rest if number not in pairs]
    if len(left) == len(free) == 1 and base[left[0]].name == theirs[min(free)].name:
        pairs[left[0]] = min(free)  # moved far
    return pairs


def _alike(one: Marked, other: Marked) -> float:
    """IoU, and a little more for the same name."""
    if one.edges is None or other.edges is None:
        return 0.0
    return _overlap(one.edges, other.edges) + 0.01 * (one.name == other.name)


def _overlap(one: Edges, other: Edges) -> float:
    return float(iou(np.array(one), np.array(other)))
