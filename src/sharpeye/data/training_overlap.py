"""Tell the images that a model was trained on, or nearly the same ones, from unseen images.

A score on images that a model was trained on says nothing about new ones. `split.csv` of a run
has the digest of each of its images; near-duplicates are found by thumbnails, as for the split.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import numpy as np

from sharpeye.core.inference import available_cores
from sharpeye.core.progress import Progress
from sharpeye.core.types import SPLITS, Sample, SampleSet, Split
from sharpeye.data.digest import add_digests
from sharpeye.data.near_duplicates import find_near_duplicates
from sharpeye.data.thumbnail import (
    THUMBNAIL,
    ThumbnailArray,
    cached_thumbnails,
    load_thumbnails,
)

# The split of an image in the run; `near_copy`: nearly the same as an image of the run's training
# or validation split; `new`: none of these.
Exposure = Literal["train", "validation", "near_copy", "test", "new"]
# The weights, L2 and the temperature depend on the validation images too.
TRAINING_EXPOSURES: tuple[Exposure, ...] = ("train", "validation", "near_copy")
_TRAINING_SPLITS: tuple[Split, ...] = ("train", "validation")

Rows = Sequence[Mapping[str, str]]


@dataclass(frozen=True)
class TrainingOverlap:
    """What a run knows of some images.

    Attributes:
        exposures: one for each image.
        training_images: number of different images that the run was trained on.
        compared: how many of them could be compared with new images; all of them if no image file
            is new.
    """

    exposures: tuple[Exposure, ...]
    training_images: int
    compared: int


def find_training_overlap(
    rows: Rows, samples: SampleSet, root: Path | None, *, progress: Progress | None = None
) -> TrainingOverlap:
    """Compare images with those of a run.

    Args:
        rows: rows of the run's `split.csv`.
        samples: with digests.
        root: the folder of the run's images. Those whose thumbnail is not in the cache are read
            from there, if they are still there. None if it is not known.
        progress: called after each image that had to be decoded.
    """
    splits: dict[str, Split] = {}
    # An image in two given splits was trained on.
    for row in sorted(rows, key=lambda row: SPLITS.index(cast(Split, row["part"])), reverse=True):
        splits[row["sha256"]] = cast(Split, row["part"])
    exposures: list[Exposure] = [splits.get(sample.sha256, "new") for sample in samples]
    trained = {digest for digest, split in splits.items() if split in _TRAINING_SPLITS}
    new = [s for s, e in zip(samples, exposures, strict=True) if e == "new" and s.row is None]
    if not new:
        return TrainingOverlap(tuple(exposures), len(trained), len(trained))
    thumbnails = _training_thumbnails(
        rows, trained, root, bit_depth=samples.bit_depth, progress=progress
    )
    copies = _near_copies(thumbnails, new, progress)
    for index, sample in enumerate(samples):
        if exposures[index] == "new" and sample.sha256 in copies:
            exposures[index] = "near_copy"
    return TrainingOverlap(tuple(exposures), len(trained), len(thumbnails))


def _training_thumbnails(
    rows: Rows, trained: set[str], root: Path | None, *, bit_depth: int, progress: Progress | None
) -> ThumbnailArray:
    """Thumbnails from the cache, and those of image files that have not changed since."""
    cached = cached_thumbnails(trained, bit_depth)
    arrays = list(cached.values())
    missing = trained - set(cached)
    files = [
        Sample(row["path"], root / row["path"], row["label"], bit_depth=bit_depth)
        for row in (rows if root else ())
        if root and row["sha256"] in missing and (root / row["path"]).is_file()
    ]
    if root and files:
        loaded = add_digests(SampleSet(root, tuple(files), ()), available_cores())
        unchanged = [sample for sample in loaded if sample.sha256 in missing]
        arrays.append(load_thumbnails(unchanged, progress).thumbnails)
    return np.concatenate(arrays) if arrays else np.empty(0, THUMBNAIL)


def _near_copies(
    trained: ThumbnailArray, new: Sequence[Sample], progress: Progress | None
) -> set[str]:
    """The digests of new images that are nearly the same as an image of the training."""
    if not len(trained):
        return set()
    loaded = load_thumbnails(new, progress)
    thumbnails = np.concatenate([trained, loaded.thumbnails])
    is_new = np.arange(len(thumbnails)) >= len(trained)
    pairs = find_near_duplicates(thumbnails, is_new.astype(np.int64))
    across = pairs.second[~is_new[pairs.first] & is_new[pairs.second]]
    return {loaded.samples[index - len(trained)].sha256 for index in across.tolist()}
