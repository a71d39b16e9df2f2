"""TensorFlow-for-Poets' way to split: by the paths of the files as they were typed.

The number of an image is taken from SHA-1 of `<folder as typed>/<class>/<file>`, without
`_nohash_` and what follows it: 0..100. Below the validation percentage it is a validation image,
below both percentages together a test image, else it is for training. So an old split can be
kept, and images may be added; but another spelling of the folder is another split.

Source: `create_image_lists` of retrain.py, whose numbers are reproduced to the last bit.
"""

import hashlib
import os
import re
from collections.abc import Sequence

from sharpeye.core.types import Sample, Split
from sharpeye.data.split import SplitShares

_MOST = 2**27 - 1  # retrain.py's MAX_NUM_IMAGES_PER_CLASS


def hashed_name(folder: str, sample: Sample) -> str:
    """What the number of an image is taken from; equal for images that stay together."""
    return re.sub(r"_nohash_.*$", "", os.path.join(folder, sample.path))  # noqa: PTH118


def percentage(name: str) -> float:
    """The number, 0..100, of what `hashed_name` gave."""
    return (int(_sha1(name), 16) % (_MOST + 1)) * (100.0 / _MOST)


def _sha1(name: str) -> str:
    return hashlib.sha1(name.encode("utf-8"), usedforsecurity=False).hexdigest()


class PathRule:
    """See `sharpeye.data.split.Rule`.

    Args:
        folder: the data folder, exactly as it was typed.
        shares: of validation and test.
    """

    def __init__(self, folder: str, shares: SplitShares) -> None:
        self._folder = folder
        # Shares are percentages divided by 100: rounding brings the whole numbers back.
        self._validation = round(shares.validation * 100, 9)
        self._held_out = round((shares.validation + shares.test) * 100, 9)

    def keys(self, samples: Sequence[Sample]) -> list[list[str]]:
        return [[_sha1(hashed_name(self._folder, sample))] for sample in samples]

    def position(self, sample: Sample) -> float:
        return percentage(hashed_name(self._folder, sample))

    def split(self, place: float) -> Split:
        if place < self._validation:
            return "validation"
        return "test" if place < self._held_out else "train"
