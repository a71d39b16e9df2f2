"""Choose the range of brightness of images with more than 8 bits a sample, over a data set.

A camera's 10, 12 or 14 bits usually lie in files of 16, whose upper 8 bits would be all but black.
All wide images of a set are read by one number of significant bits, the largest that one of them
needs. So the range is the same for all, no image is clipped, and a dark image stays dark.
"""

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np

from sharpeye.core.arrays import Floats
from sharpeye.core.storage import cache_root
from sharpeye.core.types import MAX_BIT_DEPTH, Sample
from sharpeye.data.cached_vectors import load_or_compute
from sharpeye.data.sample_image import read_sample_file
from sharpeye.data.thumbnail import FOLDER
from sharpeye.data.vector_store import VectorStore
from sharpeye.images.bit_depth import significant_bits
from sharpeye.images.decode import DECODER_VERSION, open_loaded

# Raise it with every change of `significant_bits`: it is part of the cache key.
_VERSION = 1


def choose_bit_depth(samples: Sequence[Sample], root: Path | None = None) -> int:
    """The largest number of significant bits, 8..16, of images with more than 8 bits.

    Each image is decoded once; the cache keeps its number. Unreadable images do not count.
    """
    depths: list[int] = []
    first = {sample.sha256: sample for sample in reversed(samples)}
    key = {"range": _VERSION, "decoder": DECODER_VERSION, "pillow": version("pillow")}
    store = VectorStore(key, 1, (root or cache_root()) / FOLDER)
    load_or_compute(store, first, _compute, receive=lambda _, bits: depths.append(int(bits[0])))
    return max((depth for depth in depths if depth), default=MAX_BIT_DEPTH)


def _compute(sample: Sample) -> Floats:
    """float32[1]: the number of significant bits, or 0."""
    data = read_sample_file(sample)
    with open_loaded(data, sample.path) as image:
        return np.array([significant_bits(image) or 0], np.float32)
