"""Recognize the copies that Keras' `save_to_dir` writes: `aug_7_4821`, prefix, index and number.

    aug_7_4821  aug_7_93            one prefix: the index is the source's
    aug_Y1_0_4821  aug_Y1_0_93      one prefix a source, all with index 0

Counters, dates, tiles and cameras' numbers have the same form. Keras' numbers are random below
10^4, of images from files below 10^7, and there are several sources, each with several images. With
one source the names may as well be of one image each.
"""

import math
import re
from collections import defaultdict
from collections.abc import Container, Sequence
from itertools import pairwise

_NAME = re.compile(r"(.+_)(0|[1-9]\d{0,5})_(0|[1-9]\d{0,6})", re.S)
_LIMITS = (10**4, 10**7)
_MIN_RANDOM = 12  # fewer numbers do not show that they are random below a limit
_MAX_COPIES = 20  # of a source, if only the distance of the numbers shows that they are random

_Copies = list[tuple[int, int, int]]  # position, index and number


def keras_sources(
    stems: Sequence[str], known: Container[str]
) -> tuple[dict[int, str], dict[int, str]]:
    """By position, the sources of names that are certainly, and of those that are likely, Keras'.

    A certain source of one prefix is `aug_7`; one of many prefixes is the prefix: `aug_Y1`.
    """
    by_prefix: dict[str, _Copies] = defaultdict(list)
    for position, stem in enumerate(stems):
        if match := _NAME.fullmatch(stem):
            by_prefix[match[1]].append((position, int(match[2]), int(match[3])))
    certain, likely = dict[int, str](), dict[int, str]()
    single: dict[str, dict[str, _Copies]] = defaultdict(dict)  # by folder: prefixes of one source
    for prefix, copies in by_prefix.items():
        name = prefix.rpartition("/")[2]
        indices = {index for _, index, _ in copies}
        numbers = [number for _, _, number in copies]
        by_index = {position: f"{prefix}{index}" for position, index, _ in copies}
        if indices == {0}:
            if any(map(str.isdigit, name)) or prefix[:-1] in known:
                single[prefix[: len(prefix) - len(name)]][prefix] = copies
        elif indices == set(range(len(indices))) and _are_random(numbers):
            certain |= by_index
        elif (
            len(indices) >= 3
            and len(copies) <= _MAX_COPIES * len(indices)
            and _are_scattered(numbers)
        ):
            likely |= by_index
    for of_folder in single.values():
        certain |= _single_sources(of_folder, known)
    return certain, likely


def _single_sources(by_prefix: dict[str, _Copies], known: Container[str]) -> dict[int, str]:
    several = {p: [n for _, _, n in c] for p, c in by_prefix.items() if len(c) > 1}
    numbers = [number for of_prefix in several.values() for number in of_prefix]
    scattered = sum(map(_are_scattered, several.values()))
    originals = all(prefix[:-1] in known for prefix in several)
    is_keras = scattered >= 0.9 * len(several) and (
        (len(several) >= 2 and _are_random(numbers))
        or (len(several) >= 3 and len(numbers) < _MIN_RANDOM and _are_scattered(numbers))
        or (bool(several) and originals and _are_scattered(numbers))
    )
    if not is_keras:
        return {}
    return {position: p[:-1] for p, copies in by_prefix.items() for position, _, _ in copies}


def _are_scattered(numbers: Sequence[int]) -> bool:
    """Whether they lie far apart, and not on a grid."""
    spread = max(numbers) - min(numbers) if numbers else 0
    return spread >= 20 * len(numbers) and not _have_step(numbers)


def _have_step(numbers: Sequence[int]) -> bool:
    """Whether all are multiples of one number, as the places of tiles and of frames are."""
    return len(set(numbers)) >= 5 and math.gcd(*numbers) > 1


def _are_random(numbers: Sequence[int]) -> bool:
    """Whether numbers are spread evenly below one of Keras' limits, without runs of a counter."""
    if len(numbers) < _MIN_RANDOM or _have_step(numbers):
        return False
    limit = next((limit for limit in _LIMITS if max(numbers) < limit), 0)
    below = sum(2 * number < limit for number in numbers) / len(numbers)
    # Uniform numbers in sorted order follow one another as often as they are dense.
    ordered = sorted(set(numbers))
    neighbours = sum(after - before == 1 for before, after in pairwise(ordered))
    return (
        max(numbers) >= 0.7 * limit
        and 0.15 <= below <= 0.85
        and neighbours <= 0.1 * len(ordered) + 2 * len(ordered) ** 2 / max(limit, 1)
    )
