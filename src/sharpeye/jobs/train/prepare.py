"""What every way of learning begins with: images that can be read, split into parts."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from sharpeye.core.config import Config
from sharpeye.core.types import Rejected, Sample, SampleSet, Split
from sharpeye.data.file_walk import natural_key
from sharpeye.data.near_duplicates import duplicate_groups, find_near_duplicates
from sharpeye.data.split import assign_splits, shares_for
from sharpeye.data.split_cache import SplitCache
from sharpeye.data.split_rules import ContentRule, PathRule, SplitRule
from sharpeye.data.thumbnail_store import load_thumbnails
from sharpeye.errors import DataError
from sharpeye.learn.heads.head import FittedHead

log = logging.getLogger(__name__)

_NOTES_TOLD = 3

Progress = Callable[[str, int, int], None]  # (stage, done, total); 0 where it is not known
OnSamples = Callable[[SampleSet], None]


@dataclass(frozen=True)
class FitResult:
    """What training hands on: the data as used, the head, and its answers.

    Attributes:
        samples: every image that was used, with its part.
        head: see `FittedHead`.
        probs: float64[N,C] by part: validation by the judged head, test by the shipped one.
        notes: sentences about the data that its owner should know.
        seconds: by stage.
        boxes: float32[N,4] by held-out part, where the objects are in the model's input, shares
            0..1; empty where none were learned.
        features: how many were computed, and how many were in the cache; None where a network
            learns from the images themselves.
    """

    samples: SampleSet
    head: FittedHead
    probs: dict[Split, npt.NDArray[np.float64]]
    notes: tuple[str, ...]
    seconds: dict[str, float]
    boxes: dict[Split, npt.NDArray[np.float32]] = field(default_factory=dict)
    features: tuple[int, int] | None = None

    def in_split(self, part: Split) -> tuple[Sample, ...]:
        return tuple(sample for sample in self.samples if sample.split == part)


class Clock:
    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.seconds[stage] = now - self._last
        self._last = now


def log_notes(notes: Sequence[str]) -> None:
    """Log the first three notes, which are the gravest; the report has all."""
    for note in notes[:_NOTES_TOLD]:
        log.info(note)
    if len(notes) > _NOTES_TOLD:
        log.debug("and %d more notes in the report", len(notes) - _NOTES_TOLD)


def stage_progress(progress: Progress | None, stage: str) -> Callable[[int, int], None] | None:
    return (lambda done, total: progress(stage, done, total)) if progress else None


def settle(
    samples: SampleSet, rejected: Sequence[Rejected], config: Config, on_samples: OnSamples
) -> SampleSet:
    """Leave out what could not be decoded, and split the rest.

    Args:
        on_samples: is told what was read and how it was split, before anything is fitted.

    Raises:
        DataError: too few readable images, or an unreadable one under `data.strict`.
    """
    samples = _without_rejected(samples, rejected)
    try:
        _refuse_unreadable(samples, config)
        samples = _split(samples, config)
    finally:
        on_samples(samples)
    return samples


def _without_rejected(samples: SampleSet, rejected: Sequence[Rejected]) -> SampleSet:
    """Leave out what could not be decoded, and the classes that have nothing left."""
    gone = {one.path for one in rejected}
    kept = tuple(s for s in samples if s.path not in gone)
    present = {s.label for s in kept}
    labels = tuple(label for label in samples.class_names if label in present)
    everything = tuple(
        sorted((*samples.rejected, *rejected), key=lambda one: natural_key(one.path))
    )
    return replace(samples, samples=kept, class_names=labels, rejected=everything)


def _refuse_unreadable(samples: SampleSet, config: Config) -> None:
    first = f"{samples.rejected[0].path}: {samples.rejected[0].reason}" if samples.rejected else ""
    if samples.rejected and config.data.strict:
        raise DataError(
            f"{len(samples.rejected)} files cannot be used, and --strict was given; "
            f"the first is {first}; quarantine.csv has them all"
        )
    if len(samples.class_names) < 2:
        what = "only one class has" if samples.class_names else "no class has"
        raise DataError(f"{what} pictures that can be read; the first that cannot is {first}")


def _split(samples: SampleSet, config: Config) -> SampleSet:
    if samples.given_splits:
        _refuse_untrained(samples)
    shares = shares_for(samples, config.split.validation, config.split.test)
    drop_small = config.data.drop_small
    if config.split.rule == "path":
        rule: SplitRule = PathRule(config.data.folder, shares)
        return assign_splits(samples, shares, rule, drop_small=drop_small)
    ledger = SplitCache(config.seed, shares)
    remembered = ledger.read()
    # What an earlier run says holds on every machine, what this one remembers does not.
    known = {} if samples.pinned else remembered
    rule = ContentRule(config.seed, shares)
    if config.split.near_duplicates:
        samples = replace(samples, near_duplicates=_near(samples))
    samples = assign_splits(
        samples, shares, rule, known, near=samples.near_duplicates, drop_small=drop_small
    )
    if len(shares.required_splits()) > 1:
        ledger.add((s for s in samples if s.group), remembered)
    return samples


def _near(samples: SampleSet) -> tuple[tuple[str, ...], ...]:
    """Digests of files that are nearly the same, group by group."""
    seen = load_thumbnails([sample for sample in samples if sample.row is None])
    groups = duplicate_groups(find_near_duplicates(seen.thumbnails))
    return tuple(tuple(seen.samples[row].sha256 for row in rows) for rows in groups)


def _refuse_untrained(samples: SampleSet) -> None:
    trained = {s.label for s in samples if s.split == "train"}
    missing = [label for label in samples.class_names if label not in trained]
    if missing:
        raise DataError(
            f"no pictures in train/ for {', '.join(missing[:10])}, which other parts have; "
            "add some, or take the class out of the other parts"
        )
