"""The rules that decide the split of an image by a number, which they compute for it."""

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from sharpeye.core.types import Sample, Split
from sharpeye.data.augmentation_names import source_names
from sharpeye.data.file_walk import stem_of

_RETRAIN_MODULUS = 2**27 - 1  # retrain.py's MAX_NUM_IMAGES_PER_CLASS


@dataclass(frozen=True)
class SplitFractions:
    """Fractions 0..1 of the training images to split off; 0 for no such split.

    `fold` says which part of that size is the test: the tests of the folds 0, 1, ... up to
    1 / `test` have no image in common.
    """

    validation: float
    test: float
    fold: int = 0

    def required_splits(self) -> tuple[Split, ...]:
        """The splits that must have images, training last."""
        fractions: dict[Split, float] = {"test": self.test, "validation": self.validation}
        return (*(split for split, fraction in fractions.items() if fraction), "train")


class SplitRule(Protocol):
    """Decides the split of an image, before exceptions for small classes."""

    def keys(self, samples: Sequence[Sample]) -> list[list[str]]:
        """The keys of each image: images with a common key stay together.

        The first key is the image's own. The smallest key of a group is its name.
        """

    def position(self, sample: Sample) -> float:
        """The image's number."""

    def split(self, position: float) -> Split:
        """The split for a number."""


class ContentRule:
    """By SHA-256 of seed and file digest, a number in [0, 1): no file depends on other files.

    Exact copies stay together, and so do images whose names mark them as one photograph.
    """

    def __init__(self, seed: int, fractions: SplitFractions) -> None:
        self._seed, self._fractions = seed, fractions

    def keys(self, samples: Sequence[Sample]) -> list[list[str]]:
        return [
            [sample.sha256, *(f"name:{name}" for name in names)]
            for sample, names in zip(samples, families(samples), strict=True)
        ]

    def position(self, sample: Sample) -> float:
        first = self._fractions.fold * self._fractions.test
        return (position(sample.sha256, self._seed) - first) % 1.0

    def split(self, position: float) -> Split:
        if position < self._fractions.test:
            return "test"
        held_out = self._fractions.test + self._fractions.validation
        return "validation" if position < held_out else "train"


def position(sha256: str, seed: int) -> float:
    """The number in [0, 1) that decides an image's split."""
    digest = hashlib.sha256(f"{seed}:{sha256}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def families(samples: Sequence[Sample]) -> list[set[str]]:
    """For each sample, paths without suffix; samples that share a path belong together.

    They link an image with the images derived from it, see `augmentation_names.py`.
    """
    stems = [stem_of(sample.inner) for sample in samples]
    sources = source_names(stems)
    all_sources = set().union(*sources)
    return [names | ({stem} & all_sources) for stem, names in zip(stems, sources, strict=True)]


class PathRule:
    """By SHA-1 of `<folder as typed>/<class>/<file>`, a number 0..100, like retrain.py.

    `_nohash_` and the text after it do not count. An image below the validation percentage is for
    validation, below the sum of both percentages for the test, else for training. So an old split
    can be kept, and images can be added; but another spelling of the folder gives another split.

    Source: `create_image_lists` of TensorFlow-for-Poets' retrain.py, equal to the last bit.
    """

    def __init__(self, folder: str, fractions: SplitFractions) -> None:
        self._folder = folder
        # Shares are percentages divided by 100: rounding brings the whole numbers back.
        self._validation = round(fractions.validation * 100, 9)
        self._held_out = round((fractions.validation + fractions.test) * 100, 9)

    def keys(self, samples: Sequence[Sample]) -> list[list[str]]:
        return [[self._sha1(sample)] for sample in samples]

    def position(self, sample: Sample) -> float:
        number = int(self._sha1(sample), 16) % (_RETRAIN_MODULUS + 1)
        return number * (100.0 / _RETRAIN_MODULUS)

    def split(self, position: float) -> Split:
        if position < self._validation:
            return "validation"
        return "test" if position < self._held_out else "train"

    def _sha1(self, sample: Sample) -> str:
        path = os.path.join(self._folder, *sample.path.split("/"))  # noqa: PTH118
        text = re.sub(r"_nohash_.*$", "", path)
        return hashlib.sha1(text.encode("utf-8"), usedforsecurity=False).hexdigest()
