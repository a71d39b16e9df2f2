"""Compute the SHA-256 of every image, the key under which splits and caches know it."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from sharpeye.core.types import Rejected, Sample, SampleSet
from sharpeye.data.array_files import read_array_file
from sharpeye.data.sample_image import row_digests
from sharpeye.errors import ImageReadError
from sharpeye.images.decode import read_file

_BATCH_SIZE = 4096


def add_digests(samples: SampleSet, workers: int) -> SampleSet:
    """Read everything once and fill in `Sample.sha256`; what cannot be read is rejected.

    Samples that have a digest keep it.
    """
    readable: list[Sample] = []
    rejected = list(samples.rejected)
    rows = _RowDigests()
    with ThreadPoolExecutor(max(1, workers), thread_name_prefix="digest") as pool:
        for start in range(0, len(samples.samples), _BATCH_SIZE):
            batch = samples.samples[start : start + _BATCH_SIZE]
            only_files = all(sample.row is None for sample in batch)
            for result in pool.map(_digest, batch) if only_files else map(rows.digest, batch):
                if isinstance(result, Sample):
                    readable.append(result)
                else:
                    rejected.append(result)
    return replace(samples, samples=tuple(readable), rejected=tuple(rejected))


def _digest(sample: Sample) -> Sample | Rejected:
    if sample.sha256:
        return sample
    try:
        data = read_file(sample.file, sample.path)
    except ImageReadError as error:
        return Rejected(sample.path, error.reason)
    return replace(sample, sha256=hashlib.sha256(data).hexdigest())


class _RowDigests:
    """Computes those of all rows of an array file at once: a task a row would cost far more."""

    def __init__(self) -> None:
        self._files: dict[Path, list[str] | str] = {}  # the digests, or why there are none

    def digest(self, sample: Sample) -> Sample | Rejected:
        if sample.row is None or sample.sha256:
            return _digest(sample)
        if sample.file not in self._files:
            self._files[sample.file] = self._read(sample.file)
        digests = self._files[sample.file]
        if isinstance(digests, str):
            return Rejected(sample.path, digests)
        if sample.row >= len(digests):
            return Rejected(sample.path, "the array file has become shorter; run it again")
        return replace(sample, sha256=digests[sample.row])

    def _read(self, file: Path) -> list[str] | str:
        try:
            return row_digests(read_array_file(file))
        except ImageReadError as error:
            return error.reason


def label_conflicts(samples: Sequence[Sample]) -> list[tuple[Sample, ...]]:
    """Exact copies that lie in more than one class, in the order of the first of them."""
    return [copies for copies in _exact_copies(samples) if len({copy.label for copy in copies}) > 1]


def leaks(samples: Sequence[Sample]) -> list[tuple[Sample, ...]]:
    """Exact copies that lie in more than one split, where the folder itself gives the splits."""
    return [copies for copies in _exact_copies(samples) if len({copy.split for copy in copies}) > 1]


def _exact_copies(samples: Sequence[Sample]) -> list[tuple[Sample, ...]]:
    by_digest: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        by_digest[sample.sha256].append(sample)
    return [tuple(copies) for copies in by_digest.values() if len(copies) > 1]
