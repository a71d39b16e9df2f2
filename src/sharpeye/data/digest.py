"""Compute the SHA-256 of every image, which identifies it in splits and caches."""

import functools
import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from sharpeye.core.types import Rejected, Sample, SampleSet
from sharpeye.data.array_files import read_array_file
from sharpeye.data.sample_image import row_digests
from sharpeye.data.sample_range import choose_bit_depth
from sharpeye.errors import ImageReadError
from sharpeye.images.bit_depth import is_wide_file
from sharpeye.images.decode import read_file

_BATCH_SIZE = 4096
_NOT_CHOSEN = 0  # the bit depth of a wide image until all are known


def add_digests(samples: SampleSet, workers: int) -> SampleSet:
    """Read each image once and fill in `Sample.sha256`; unreadable images are rejected.

    Images of more than 8 bits a sample also get their `Sample.bit_depth`, one for all of them.
    Samples that have a digest keep it.
    """
    readable: list[Sample] = []
    rejected = list(samples.rejected)
    digests_of = functools.cache(_array_file_digests)
    with ThreadPoolExecutor(max(1, workers), thread_name_prefix="digest") as pool:
        for start in range(0, len(samples.samples), _BATCH_SIZE):
            batch = samples.samples[start : start + _BATCH_SIZE]
            only_files = all(sample.row is None for sample in batch)
            map_batch = pool.map if only_files else map
            for result in map_batch(functools.partial(_digest, digests_of=digests_of), batch):
                if isinstance(result, Sample):
                    readable.append(result)
                else:
                    rejected.append(result)
    return replace(samples, samples=_with_bit_depth(readable), rejected=tuple(rejected))


def _with_bit_depth(samples: list[Sample]) -> tuple[Sample, ...]:
    wide = [sample for sample in samples if sample.bit_depth == _NOT_CHOSEN]
    if not wide:
        return tuple(samples)
    bit_depth = choose_bit_depth(wide)
    return tuple(
        replace(sample, bit_depth=bit_depth) if sample.bit_depth == _NOT_CHOSEN else sample
        for sample in samples
    )


def _digest(sample: Sample, digests_of: Callable[[Path], list[str] | str]) -> Sample | Rejected:
    if sample.sha256:
        return sample
    if sample.row is None:
        result = _read_or_fail(sample)
        if isinstance(result, ImageReadError) and result.transient:
            result = _read_or_fail(sample)
        if isinstance(result, ImageReadError):
            return Rejected(sample.path, result.reason, result.transient)
        is_wide = is_wide_file(result)
        bit_depth = _NOT_CHOSEN if is_wide else sample.bit_depth
        digest = hashlib.sha256(result).hexdigest()
        return replace(sample, sha256=digest, bit_depth=bit_depth, is_wide=is_wide)
    digests = digests_of(sample.file)
    if isinstance(digests, str):
        return Rejected(sample.path, digests)
    if sample.row >= len(digests):
        return Rejected(sample.path, "the array file has become shorter; run it again")
    return replace(sample, sha256=digests[sample.row])


def _read_or_fail(sample: Sample) -> bytes | ImageReadError:
    try:
        return read_file(sample.file, sample.path)
    except ImageReadError as error:
        return error


def _array_file_digests(file: Path) -> list[str] | str:
    """The digests of all rows, as a task per row would cost far more; or why there are none."""
    try:
        return row_digests(read_array_file(file))
    except ImageReadError as error:
        return error.reason


def label_conflicts(samples: Sequence[Sample]) -> list[tuple[Sample, ...]]:
    """Groups of exact copies in more than one class, ordered by their first image."""
    return [copies for copies in _exact_copies(samples) if len({copy.label for copy in copies}) > 1]


def leaks(samples: Sequence[Sample]) -> list[tuple[Sample, ...]]:
    """Groups of exact copies in more than one of the splits that the folder gives."""
    return [copies for copies in _exact_copies(samples) if len({copy.split for copy in copies}) > 1]


def _exact_copies(samples: Sequence[Sample]) -> list[tuple[Sample, ...]]:
    by_digest: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        by_digest[sample.sha256].append(sample)
    return [tuple(copies) for copies in by_digest.values() if len(copies) > 1]
