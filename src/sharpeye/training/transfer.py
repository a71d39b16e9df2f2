"""The transfer path: pictures to a fitted head, by way of a frozen backbone's features."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sharpeye.config import Config
from sharpeye.data.digest import add_digests, label_conflicts, leaks
from sharpeye.data.image_folder import natural_key
from sharpeye.data.ledger import Ledger
from sharpeye.data.split import shares_for, split
from sharpeye.errors import DataError
from sharpeye.inference import Backbone, available_cores
from sharpeye.pipeline.extract import extract
from sharpeye.training.head import FittedHead, fit_head
from sharpeye.types import Part, Rejected, Sample, SampleSet

log = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]  # (stage, done, total)
Features = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Learned:
    """What training hands on: the data as used, the head, and its answers.

    Attributes:
        samples: every picture that was used, with its part.
        head: see `FittedHead`.
        probs: float64[N,C] by part: validation by the judged head, test by the shipped one.
        notes: sentences about the data that its owner should know.
        seconds: by stage.
    """

    samples: SampleSet
    head: FittedHead
    probs: dict[Part, npt.NDArray[np.float64]]
    notes: tuple[str, ...]
    seconds: dict[str, float]

    def of_part(self, part: Part) -> tuple[Sample, ...]:
        return tuple(sample for sample in self.samples if sample.part == part)


def learn(
    samples: SampleSet,
    backbone: Backbone,
    config: Config,
    on_samples: Callable[[SampleSet], None],
    progress: Progress | None = None,
) -> Learned:
    """Extract features, split, fit, and answer for the held-out parts.

    Args:
        samples: from `scan_folder`.
        on_samples: is told what was read and how it was split, before anything is fitted.
        progress: told how far a stage is.

    Raises:
        DataError: too few readable pictures, or an unreadable one under `data.strict`.
        DivergedError: the features are not finite.
    """
    clock = _Clock()
    samples = add_digests(samples, available_cores())
    clock.lap("digests")
    told = _teller(progress, "features")
    found = extract(samples.samples, backbone, progress=told)
    samples = _without_rejected(samples, found.rejected)
    log.info(
        "%d pictures in %d classes; features: %d computed, %d from the cache",
        len(samples),
        len(samples.labels),
        len(found.features) - found.from_store,
        found.from_store,
    )
    clock.lap("features")
    try:
        _refuse_unreadable(samples, config)
        samples = _split(samples, config)
    finally:
        on_samples(samples)
    notes = data_notes(samples, config)
    for note in notes:
        log.info(note)
    parts = {
        part: [s for s in samples if s.part == part] for part in ("train", "validation", "test")
    }
    views = [
        _matrix(parts["train"], _view(parts["train"], backbone, view, progress))
        for view in range(1, config.head.views)
    ]
    if views:
        clock.lap("views")
    index = {label: i for i, label in enumerate(samples.labels)}
    truth = {part: np.array([index[s.label] for s in own]) for part, own in parts.items()}
    features = {part: _matrix(own, found.features) for part, own in parts.items()}
    head = fit_head(
        features["train"],
        truth["train"],
        features["validation"],
        truth["validation"],
        len(samples.labels),
        views=views,
        balance=config.head.balance,
        refit=config.head.refit,
        seed=config.seed,
    )
    clock.lap("head")
    probs: dict[Part, Any] = {
        "validation": head.judged.probabilities(features["validation"]),
        "test": head.shipped.probabilities(features["test"]),
    }
    return Learned(samples, head, probs, notes, clock.seconds)


class _Clock:
    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.seconds[stage] = now - self._last
        self._last = now


def _teller(progress: Progress | None, stage: str) -> Callable[[int, int], None] | None:
    return (lambda done, total: progress(stage, done, total)) if progress else None


def _view(
    train: Sequence[Sample], backbone: Backbone, view: int, progress: Progress | None
) -> dict[str, Features]:
    return extract(train, backbone, view, _teller(progress, f"view {view}")).features


def _matrix(samples: Sequence[Sample], features: dict[str, Features]) -> Features:
    if not samples:
        width = len(next(iter(features.values())))
        return np.empty((0, width), np.float32)
    return np.stack([features[sample.sha256] for sample in samples])


def _without_rejected(samples: SampleSet, rejected: Sequence[Rejected]) -> SampleSet:
    """Leave out what could not be decoded, and the classes that have nothing left."""
    gone = {one.path for one in rejected}
    kept = tuple(s for s in samples if s.path not in gone)
    present = {s.label for s in kept}
    labels = tuple(label for label in samples.labels if label in present)
    everything = tuple(
        sorted((*samples.rejected, *rejected), key=lambda one: natural_key(one.path))
    )
    return replace(samples, samples=kept, labels=labels, rejected=everything)


def _refuse_unreadable(samples: SampleSet, config: Config) -> None:
    first = f"{samples.rejected[0].path}: {samples.rejected[0].reason}" if samples.rejected else ""
    if samples.rejected and config.data.strict:
        raise DataError(
            f"{len(samples.rejected)} files cannot be used, and --strict was given; "
            f"the first is {first}; quarantine.csv has them all"
        )
    if len(samples.labels) < 2:
        what = "only one class has" if samples.labels else "no class has"
        raise DataError(f"{what} pictures that can be read; the first that cannot is {first}")


def _split(samples: SampleSet, config: Config) -> SampleSet:
    if samples.given_parts:
        _refuse_untrained(samples)
    shares = shares_for(samples, config.split.validation, config.split.test)
    ledger = Ledger(config.seed, shares)
    known = ledger.read()
    samples = split(samples, config.seed, shares, known, drop_small=config.data.drop_small)
    if len(shares.carved()) > 1:
        ledger.remember((s for s in samples if s.group), known)
    return samples


def _refuse_untrained(samples: SampleSet) -> None:
    trained = {s.label for s in samples if s.part == "train"}
    missing = [label for label in samples.labels if label not in trained]
    if missing:
        raise DataError(
            f"no pictures in train/ for {', '.join(missing[:10])}, which other parts have; "
            "add some, or take the class out of the other parts"
        )


def data_notes(samples: SampleSet, config: Config) -> tuple[str, ...]:
    """What the owner of the pictures should know about them, in a sentence each."""
    notes = []
    counts = samples.count_by_label()
    few, many = min(counts.values()), max(counts.values())
    if many > 1.5 * few:
        rarest = min(counts, key=lambda label: counts[label])
        answer = (
            "each class counts the same in training"
            if config.head.balance == "weights"
            else "rare classes count less in training (head.balance = none)"
        )
        notes.append(f"The classes have {few} to {many} pictures ({rarest} fewest): {answer}.")
    for copies in label_conflicts(samples.samples)[:5]:
        notes.append(
            "The same picture is in more than one class: " + ", ".join(s.path for s in copies) + "."
        )
    if samples.given_parts:
        leaked = leaks(samples.samples)
        if leaked:
            example = ", ".join(s.path for s in leaked[0])
            notes.append(
                f"{len(leaked)} pictures are in more than one of the given parts, so the scores "
                f"are too good: {example}."
            )
    if samples.rejected:
        notes.append(
            f"{len(samples.rejected)} files were left out, such as {samples.rejected[0].path}: "
            f"{samples.rejected[0].reason}."
        )
    tests = sum(1 for s in samples if s.part == "test")
    if tests < 100:
        notes.append(f"With {tests} test pictures the accuracy is known only roughly.")
    return tuple(notes)
