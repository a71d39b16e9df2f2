"""Summarize a set of images: counts by class and split, sizes, formats."""

from collections import Counter
from pathlib import Path

import numpy as np

from sharpeye.core.regular_files import read_head
from sharpeye.core.types import SPLITS, Sample, SampleSet, Split
from sharpeye.data.file_walk import describe_ignored
from sharpeye.data.thumbnail import ThumbnailArray
from sharpeye.images.formats import sniff

Counts = dict[str, dict[Split, int]]


def dataset_name(folder: str | Path) -> str:
    """The name of a data set's folder, for titles and run directories."""
    return Path(folder).resolve().name or "pictures"


def splits_of(samples: SampleSet) -> tuple[Split, ...]:
    """The splits that the folder itself defines, training first."""
    present = {sample.split for sample in samples}
    return tuple(split for split in SPLITS if split in present)


def counts_by_split(samples: SampleSet) -> Counts:
    """Number of images by class, in the order of `class_names`, and given split; 0 for none."""
    splits = splits_of(samples)
    counts: Counts = {label: dict.fromkeys(splits, 0) for label in samples.class_names}
    for sample in samples:
        if sample.split:
            counts[sample.label][sample.split] += 1
    return counts


def summarize_dataset(samples: SampleSet, thumbnails: ThumbnailArray) -> dict[str, str]:
    """Describe a set in words, by topic; `thumbnails` has one per digest, or is empty."""
    counts = samples.count_by_class()
    noun = "class" if len(counts) == 1 else "classes"
    summary = {"Pictures": f"{len(samples):,} in {len(counts):,} {noun}"}
    if counts:
        smallest = min(counts, key=counts.__getitem__)
        largest = max(counts, key=counts.__getitem__)
        summary["A class has"] = (
            f"{counts[smallest]:,} images, each"
            if counts[smallest] == counts[largest]
            else f"{counts[smallest]:,} ({smallest}) to {counts[largest]:,} ({largest})"
        )
    by_split = Counter(sample.split for sample in samples if sample.split)
    if by_split:
        summary["Parts"] = ", ".join(f"{split} {by_split[split]:,}" for split in splits_of(samples))
    if len(thumbnails):
        sides = np.sort(np.maximum(thumbnails["width"], thumbnails["height"]))
        median = sides[len(sides) // 2]
        summary["Longer side"] = (
            f"{sides[0]:,.0f} to {sides[-1]:,.0f} pixels, half have {median:,.0f} or more"
        )
        formats = Counter(_format(sample) for sample in samples)
        summary["Formats"] = ", ".join(f"{name} {n:,}" for name, n in formats.most_common())
    if samples.ignored:
        summary["Other files"] = describe_ignored(samples.ignored)
    return summary


def _format(sample: Sample) -> str:
    if sample.row is not None:
        return "rows of array files"
    try:
        return sniff(read_head(sample.file, 32)) or "unknown"
    except OSError:
        return "unknown"
