"""The images of an earlier split, found again by what they are, and those that are new.

Paths say where an image was, digests what it is: files may have been renamed or moved since.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

from sharpeye.core.types import SPLITS, Rejected, Sample, SampleSet, Split
from sharpeye.errors import DataError

Rows = Sequence[Mapping[str, str]]


@dataclass(frozen=True)
class MatchResult:
    """The images of some folders, the earlier ones told from the new.

    Attributes:
        earlier: by the paths that they had then, each with the part that it had.
        added: images of the newest folder that the earlier split did not have.
        known: images of it that the earlier split had, and still has in another place.
        left: images of the other folders that it did not have.
        missing: what it had and is not there any more, or has changed; not what is among `added`
            as it is now.
    """

    earlier: Mapping[str, Sample]
    added: tuple[Sample, ...]
    known: tuple[Sample, ...]
    left: tuple[Sample, ...]
    missing: tuple[Rejected, ...]


def match_earlier(rows: Rows, found: SampleSet, newest: str, name: str) -> MatchResult:
    """Tell the images of an earlier split from new ones.

    Args:
        rows: of the earlier `split.csv`.
        found: with digests.
        newest: the `base` of the folder whose images are added.
        name: of the earlier run, for reasons and errors.

    Raises:
        DataError: a row has no part.
    """
    earlier = _find(rows, found, name)
    taken = {sample.path for sample in earlier.values()}
    digests = {sample.sha256 for sample in earlier.values()}
    rest = [sample for sample in found if sample.path not in taken]
    new = [sample for sample in rest if sample.base == newest]
    added = [sample for sample in new if sample.sha256 not in digests]
    if found.given_splits:  # what has none is to learn from
        added = [replace(sample, split=sample.split or "train") for sample in added]
    left = [sample for sample in rest if sample.base != newest and sample.sha256 not in digests]
    there_then = {row["path"] for row in rows}
    return MatchResult(
        earlier=earlier,
        added=tuple(added),
        known=tuple(s for s in new if s.sha256 in digests),
        left=tuple(s for s in left if s.path not in there_then),  # else it has changed
        missing=tuple(_missing(rows, earlier, found, newest, name)),
    )


def _find(rows: Rows, found: Iterable[Sample], name: str) -> dict[str, Sample]:
    """First what lies where it lay; then what lies elsewhere, in its class if there are several."""
    by_path = {sample.path: sample for sample in found}
    there: dict[str, Sample] = {}
    for row in rows:
        if row["part"] not in SPLITS:
            raise DataError(
                f"the split of {name} is damaged: {row['path']} must be for one of "
                f"{', '.join(SPLITS)}. Received: {row['part']!r}"
            )
        sample = by_path.get(row["path"])
        if sample is not None and sample.sha256 == row["sha256"]:
            there[row["path"]] = by_path.pop(row["path"])
    moved: dict[str, list[Sample]] = defaultdict(list)
    for sample in by_path.values():
        moved[sample.sha256].append(sample)
    for row in rows:
        others = moved[row["sha256"]]
        if row["path"] not in there and others:
            alike = [sample for sample in others if sample.label == row["label"]]
            there[row["path"]] = chosen = (alike or others)[0]
            others.remove(chosen)
    return {
        row["path"]: replace(there[row["path"]], split=cast(Split, row["part"]))
        for row in rows
        if row["path"] in there
    }


def _missing(
    rows: Rows, earlier: Mapping[str, Sample], found: SampleSet, newest: str, name: str
) -> Iterable[Rejected]:
    bases = {sample.path: sample.base for sample in found}
    said = {one.path for one in found.rejected}
    for row in rows:
        changed = row["path"] in bases
        if row["path"] in earlier or row["path"] in said:
            continue
        if changed and bases[row["path"]] == newest:
            continue
        yield Rejected(
            row["path"],
            f"has changed since {name}" if changed else f"was in {name} and is not there any more",
        )
