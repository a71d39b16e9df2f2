"""Match the images of an earlier split with the present ones, and find the new ones.

Digests identify images whose files have been renamed or moved since.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

from sharpeye.core.types import SPLITS, Rejected, Sample, SampleSet, Split
from sharpeye.errors import DataError

Rows = Sequence[Mapping[str, str]]


@dataclass(frozen=True)
class MatchResult:
    """The images of some folders, divided by whether the earlier split has them.

    Attributes:
        earlier: by their paths in the earlier split, each with its split there.
        added: images of the newest folder that the earlier split lacks.
        known: images of the newest folder that the earlier split has under another path.
        unlisted: images of the other folders that it lacks.
        missing: images of the earlier split that were deleted or changed, except those whose
            changed version is among `added`.
    """

    earlier: Mapping[str, Sample]
    added: tuple[Sample, ...]
    known: tuple[Sample, ...]
    unlisted: tuple[Sample, ...]
    missing: tuple[Rejected, ...]


def match_earlier(rows: Rows, samples: SampleSet, newest: str, *, run_name: str) -> MatchResult:
    """Divide images into those of an earlier split and new ones.

    Args:
        rows: rows of the earlier `split.csv`.
        samples: with digests.
        newest: the `base` of the folder whose images are added.

    Raises:
        DataError: the split of a row is not in SPLITS.
    """
    earlier = _match_rows(rows, samples, run_name)
    matched = {sample.path for sample in earlier.values()}
    digests = {sample.sha256 for sample in earlier.values()}
    unmatched = [sample for sample in samples if sample.path not in matched]
    newest_samples = [sample for sample in unmatched if sample.base == newest]
    added = [sample for sample in newest_samples if sample.sha256 not in digests]
    if samples.given_splits:  # images without a split are for training
        added = [replace(sample, split=sample.split or "train") for sample in added]
    earlier_paths = {row["path"] for row in rows}
    unlisted = [
        sample
        for sample in unmatched
        if sample.base != newest
        and sample.sha256 not in digests
        and sample.path not in earlier_paths  # else it has changed
    ]
    known = [sample for sample in newest_samples if sample.sha256 in digests]
    missing = _missing(rows, earlier, samples, newest=newest, run_name=run_name)
    return MatchResult(earlier, tuple(added), tuple(known), tuple(unlisted), tuple(missing))


def _match_rows(rows: Rows, samples: Iterable[Sample], run_name: str) -> dict[str, Sample]:
    """The sample of each row, by the row's path: the one with the same path and digest, else one
    with the same digest, in the same class if there are several.
    """
    by_path = {sample.path: sample for sample in samples}
    matches: dict[str, Sample] = {}
    for row in rows:
        if row["part"] not in SPLITS:
            raise DataError(
                f"the split of {run_name} is damaged: {row['path']} must be for one of "
                f"{', '.join(SPLITS)}. Received: {row['part']!r}"
            )
        sample = by_path.get(row["path"])
        if sample is not None and sample.sha256 == row["sha256"]:
            matches[row["path"]] = by_path.pop(row["path"])
    moved: dict[str, list[Sample]] = defaultdict(list)
    for sample in by_path.values():
        moved[sample.sha256].append(sample)
    for row in rows:
        candidates = moved[row["sha256"]]
        if row["path"] not in matches and candidates:
            same_class = [sample for sample in candidates if sample.label == row["label"]]
            matches[row["path"]] = match = (same_class or candidates)[0]
            candidates.remove(match)
    splits = {row["path"]: cast(Split, row["part"]) for row in rows}
    return {p: replace(matches[p], split=split) for p, split in splits.items() if p in matches}


def _missing(
    rows: Rows, earlier: Mapping[str, Sample], samples: SampleSet, *, newest: str, run_name: str
) -> Iterator[Rejected]:
    bases = {sample.path: sample.base for sample in samples}
    rejected = {rejection.path for rejection in samples.rejected}
    for row in rows:
        path = row["path"]
        if path in earlier or path in rejected or bases.get(path) == newest:
            continue
        if path in bases:
            yield Rejected(path, f"has changed since {run_name}")
        else:
            yield Rejected(path, f"was in {run_name} and is not there any more")
