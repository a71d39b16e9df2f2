"""Merge two edits of one image's objects, by two people or in two tabs.

A three-way merge combines edits of different objects, and of different fields of one object; if
both changed one field in different ways, a person must decide.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from sharpeye.images.boxes import iou
from sharpeye.studio.voc_edit import LabelledObject

_MIN_IOU = 0.3  # A changed box with this overlap still counts as the same object.
_FIELDS = ("name", "edges", "difficult", "truncated", "pose")


@dataclass(frozen=True, slots=True)
class MergedObject:
    """An object of the merged list; `mine` is its index in my list, None if it is not there."""

    content: LabelledObject
    mine: int | None


def merge(
    base: Sequence[LabelledObject], mine: Sequence[LabelledObject], theirs: Sequence[LabelledObject]
) -> list[MergedObject] | None:
    """Merge two edits of one list.

    Args:
        base: the list that both edits started from.
        mine: my list; an object with the `origin_id` of one in `base` is the same object.
        theirs: the current list in the file; its `origin_id` is unrelated to `base`.

    Returns:
        the merged list, in the file's order with my new objects at its end; None for a conflict.
    """
    my_index = {item.origin_id: index for index, item in enumerate(mine) if item.origin_id}
    their_index = _match(base, theirs)
    merged: dict[int, MergedObject] = {}  # By the index in `theirs`.
    for index, before in enumerate(base):
        i, j = my_index.get(before.origin_id), their_index.get(index)
        my_object = None if i is None else mine[i]
        if j is None:
            if my_object is not None and my_object != before:
                return None  # They deleted what I changed.
        elif my_object is None:
            if theirs[j] != before:
                return None  # I deleted what they changed.
        else:
            combined = _merge_fields(before, my_object, theirs[j])
            if combined is None:
                return None
            merged[j] = MergedObject(combined, i)
    base_ids = {item.origin_id for item in base}
    added = {index: item for index, item in enumerate(mine) if item.origin_id not in base_ids}
    matched = set(their_index.values())
    for j, their_object in enumerate(theirs):
        if j not in matched:
            same = next((i for i, item in added.items() if item == their_object), None)
            if same is not None:
                del added[same]
            merged[j] = MergedObject(their_object, same)
    new = [MergedObject(item, index) for index, item in added.items()]
    return [merged[j] for j in sorted(merged)] + new


def _merge_fields(
    before: LabelledObject, mine: LabelledObject, theirs: LabelledObject
) -> LabelledObject | None:
    changes = {}
    for name in _FIELDS:
        old, my_value, their_value = (getattr(item, name) for item in (before, mine, theirs))
        if my_value not in (old, their_value):
            if their_value != old:
                return None
            changes[name] = my_value
    return replace(theirs, **changes)


def _match(base: Sequence[LabelledObject], theirs: Sequence[LabelledObject]) -> dict[int, int]:
    """Match objects of `base` with indices in `theirs`: equal ones first, then by similarity."""
    matches: dict[int, int] = {}
    free = set(range(len(theirs)))
    for index, before in enumerate(base):
        same = next((j for j in sorted(free) if theirs[j] == before), None)
        if same is not None:
            matches[index] = same
            free.discard(same)
    rest = [index for index in range(len(base)) if index not in matches]
    pairs = sorted((-_similarity(base[index], theirs[j]), index, j) for index in rest for j in free)
    for negative, index, j in pairs:
        if -negative >= _MIN_IOU and index not in matches and j in free:
            matches[index] = j
            free.discard(j)
    rest = [index for index in rest if index not in matches]
    if len(rest) == len(free) == 1 and base[rest[0]].name == theirs[min(free)].name:
        matches[rest[0]] = min(free)  # The only remaining object of this class was moved far.
    return matches


def _similarity(first: LabelledObject, second: LabelledObject) -> float:
    """IoU, plus a small bonus for the same name."""
    if first.edges is None or second.edges is None:
        return 0.0
    overlap = float(iou(np.array(first.edges), np.array(second.edges)))
    return overlap + 0.01 * (first.name == second.name)
