"""Find the groups of nearly the same images in a data set, from the cache if they took long.

Among thousands of images that look alike, such as clothes on white, the comparison of pairs takes
a minute; each training, and each worker of a sweep, needs the same groups. One JSON file per data
set has them, with a checksum.
"""

import hashlib
import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sharpeye.core.safe_parse import MAX_JSON_BYTES, load_json
from sharpeye.core.storage import cache_root, make_folder, write_text
from sharpeye.core.types import Sample
from sharpeye.data.issues import is_blank
from sharpeye.data.near_duplicates import duplicate_groups, find_near_duplicates
from sharpeye.data.sample_image import wide_key
from sharpeye.data.thumbnail import load_thumbnails, store_key
from sharpeye.data.turned_copies import class_numbers, find_turned_copies
from sharpeye.errors import EnvironmentFault

log = logging.getLogger(__name__)

FOLDER = "duplicates"

_VERSION = 1  # raise it with every change that alters the groups
_MIN_SECONDS = 0.5  # what is found faster is not stored


@dataclass(frozen=True)
class DuplicateGroups:
    """What the comparison of the images of a data set found.

    Attributes:
        groups: the digests of two or more images that are nearly the same, mirrored or turned.
        blank: the digests of images without content.
    """

    groups: tuple[tuple[str, ...], ...]
    blank: frozenset[str]


def find_duplicate_groups(samples: Sequence[Sample], root: Path | None = None) -> DuplicateGroups:
    """The groups of some images with digests; `root` is the cache, by default `cache_root()`."""
    file = (root or cache_root()) / FOLDER / f"{_key(samples)}.json"
    stored = _read(file)
    if stored is not None:
        return stored
    loaded = load_thumbnails(samples)
    started = time.perf_counter()
    pairs = find_near_duplicates(loaded.thumbnails)
    turned = find_turned_copies(loaded.thumbnails, class_numbers(loaded.samples), pairs)
    digests = [sample.sha256 for sample in loaded.samples]
    result = DuplicateGroups(
        tuple(tuple(digests[i] for i in group) for group in duplicate_groups(pairs, turned)),
        frozenset(digests[i] for i in np.flatnonzero(is_blank(loaded.thumbnails)).tolist()),
    )
    # An image that could not be read may be readable next time.
    if not loaded.rejected and time.perf_counter() - started > _MIN_SECONDS:
        _write(file, result)
    return result


def _key(samples: Sequence[Sample]) -> str:
    """A digest of all that the groups depend on: the images, their order and their classes."""
    bit_depth = min((sample.bit_depth for sample in samples), default=8)
    about = [_VERSION, store_key(bit_depth) | wide_key(samples)]
    images = [[sample.sha256, sample.label] for sample in samples]
    return hashlib.sha256(json.dumps([about, images]).encode()).hexdigest()[:20]


def _checksum(content: Any) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _read(file: Path) -> DuplicateGroups | None:
    """The stored groups; None if there are none, or if the file is damaged."""
    try:
        stored = load_json(file)
        content, checksum = stored["result"], stored["checksum"]
        if checksum != _checksum(content):
            raise ValueError("its checksum is wrong")
        groups, blank = content
        return DuplicateGroups(tuple(map(tuple, groups)), frozenset(blank))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("%s is damaged (%s) and made again", file, error)
        return None


def _write(file: Path, result: DuplicateGroups) -> None:
    content = [[list(group) for group in result.groups], sorted(result.blank)]
    text = json.dumps({"result": content, "checksum": _checksum(content)})
    if len(text) > MAX_JSON_BYTES:
        return
    try:
        make_folder(file.parent)
        write_text(file, text)
    except EnvironmentFault as error:
        log.warning("near-duplicates are not remembered: %s", error)
