"""What a set of pictures consists of: counts by class and part, sizes, formats."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from sharpeye.core.types import PARTS, Part, Sample, SampleSet
from sharpeye.data.thumbnail import Looks
from sharpeye.images.formats import sniff

Counts = dict[str, dict[Part, int]]


def parts_of(samples: SampleSet) -> tuple[Part, ...]:
    """The parts that the folder itself gives, training first."""
    present = {sample.part for sample in samples}
    return tuple(part for part in PARTS if part in present)


def counts_by_part(samples: SampleSet) -> Counts:
    """Number of pictures by class, in the order of `labels`, and given part; 0 where none are."""
    parts = parts_of(samples)
    counts: Counts = {label: dict.fromkeys(parts, 0) for label in samples.labels}
    for sample in samples:
        if sample.part:
            counts[sample.label][sample.part] += 1
    return counts


def facts_of(samples: SampleSet, looks: Looks, seen: Sequence[Sample]) -> dict[str, str]:
    """What is said of a set, in words, by what it is about.

    Args:
        looks, seen: looks, and the pictures that they are of, one a digest.
    """
    counts = samples.count_by_label()
    noun = "class" if len(counts) == 1 else "classes"
    facts = {"Pictures": f"{len(samples):,} in {len(counts):,} {noun}"}
    if counts:
        facts["A class has"] = _spread(counts)
    parts = Counter(sample.part for sample in samples if sample.part)
    if parts:
        facts["Parts"] = ", ".join(f"{part} {parts[part]:,}" for part in parts_of(samples))
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
