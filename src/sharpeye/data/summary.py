"""What a set of images consists of: counts by class and part, sizes, formats."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from sharpeye.core.types import SPLITS, Sample, SampleSet, Split
from sharpeye.data.thumbnail import ThumbnailArray
from sharpeye.images.formats import sniff

Counts = dict[str, dict[Split, int]]


def splits_of(samples: SampleSet) -> tuple[Split, ...]:
    """The parts that the folder itself gives, training first."""
    present = {sample.split for sample in samples}
    return tuple(part for part in SPLITS if part in present)


def counts_by_split(samples: SampleSet) -> Counts:
    """Number of images by class, in the order of `labels`, and given part; 0 where none are."""
    parts = splits_of(samples)
    counts: Counts = {label: dict.fromkeys(parts, 0) for label in samples.class_names}
    for sample in samples:
        if sample.split:
            counts[sample.label][sample.split] += 1
    return counts


def summarize_dataset(
    samples: SampleSet, looks: ThumbnailArray, seen: Sequence[Sample]
) -> dict[str, str]:
    """What is said of a set, in words, by what it is about.

    Args:
        looks, seen: looks, and the images that they are of, one a digest.
    """
    counts = samples.count_by_class()
    noun = "class" if len(counts) == 1 else "classes"
    facts = {"Pictures": f"{len(samples):,} in {len(counts):,} {noun}"}
    if counts:
        facts["A class has"] = _spread(counts)
    parts = Counter(sample.split for sample in samples if sample.split)
    if parts:
        facts["Parts"] = ", ".join(f"{part} {parts[part]:,}" for part in splits_of(samples))
    if len(looks):
        sides = np.sort(np.maximum(looks["width"], looks["height"]))
        half = sides[len(sides) // 2]
        facts["Longer side"] = (
            f"{sides[0]:,.0f} to {sides[-1]:,.0f} pixels, half have {half:,.0f} or more"
        )
        formats = Counter(_format(sample) for sample in samples)
        facts["Formats"] = ", ".join(f"{name} {n:,}" for name, n in formats.most_common())
    if samples.ignored:
        ignored = sorted(samples.ignored.items())
        facts["Other files"] = ", ".join(f"{n:,} {suffix}" for suffix, n in ignored)
    return facts


def _spread(counts: dict[str, int]) -> str:
    few, many = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
    if counts[few] == counts[many]:
        return f"{counts[few]:,} pictures, each"
    return f"{counts[few]:,} ({few}) to {counts[many]:,} ({many})"


def _format(sample: Sample) -> str:
    if sample.row is not None:
        return "rows of array files"
    try:
        with sample.file.open("rb", buffering=0) as file:
            return sniff(file.read(32)) or "unknown"
    except OSError:
        return "unknown"
