"""The transfer path: pictures to a fitted head, by way of a frozen backbone's features."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sharpeye.config import Config
from sharpeye.data.digest import add_digests
from sharpeye.data.image_folder import natural_key
from sharpeye.data.ledger import Ledger
from sharpeye.data.path_rule import PathRule
from sharpeye.data.split import ContentRule, Rule, shares_for, split
from sharpeye.errors import DataError
from sharpeye.imaging.views import Distortion
from sharpeye.inference import Backbone, available_cores
from sharpeye.pipeline.extract import extract
from sharpeye.training.head import FittedHead, fit_head
from sharpeye.training.notes import data_notes
from sharpeye.training.sgd import Draws, Watcher, fit_sgd
from sharpeye.types import Part, Rejected, Sample, SampleSet

log = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]  # (stage, done, total)
Features = npt.NDArray[np.float32]
Ints = npt.NDArray[np.integer[Any]]


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
    watchers: Sequence[Watcher] = (),
) -> Learned:
    """Extract features, split, fit, and answer for the held-out parts.

    Args:
        samples: from `scan_folder`.
        on_samples: is told what was read and how it was split, before anything is fitted.
        progress: told how far a stage is.
        watchers: follow the steps of a head that is trained by steps.

    Raises:
        DataError: too few readable pictures, or an unreadable one under `data.strict`.
        DivergedError: the features are not finite.
    """
    clock = _Clock()
    samples = add_digests(samples, available_cores())
    clock.lap("digests")
    told = _teller(progress, "features")
    found = extract(samples.samples, backbone, progress=told, root=features_root(config))
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
    index = {label: i for i, label in enumerate(samples.labels)}
    truth = {part: np.array([index[s.label] for s in own]) for part, own in parts.items()}
    features = {part: _matrix(own, found.features) for part, own in parts.items()}
    for watcher in watchers:
        watcher.begin(backbone, samples)
    views = _Views(parts["train"], backbone, config, progress)
    if config.head.solver == "sgd":
        head = _sgd_head(views, features, truth, len(samples.labels), config, watchers)
    else:
        head = _logistic_head(views, features, truth, len(samples.labels), config)
    clock.lap("head")
    if views.seconds:
        clock.seconds |= {"views": views.seconds, "head": clock.seconds["head"] - views.seconds}
    probs: dict[Part, Any] = {
        "validation": head.judged.probabilities(features["validation"]),
        "test": head.shipped.probabilities(features["test"]),
    }
    return Learned(samples, head, probs, notes, clock.seconds)


def _logistic_head(
    views: "_Views",
    features: Mapping[str, Features],
    truth: Mapping[str, Ints],
    classes: int,
    config: Config,
) -> FittedHead:
    return fit_head(
        features["train"],
        truth["train"],
        features["validation"],
        truth["validation"],
        classes,
        views=[views.features(view) for view in range(1, config.head.views)],
        balance=config.head.balance,
        refit=config.head.refit,
        seed=config.seed,
    )


def _sgd_head(
    views: "_Views",
    features: Mapping[str, Features],
    truth: Mapping[str, Ints],
    classes: int,
    config: Config,
    watchers: Sequence[Watcher],
) -> FittedHead:
    """Only those views are made that a step will take."""
    most = config.distort.views if config.distort.active else 0
    draws = Draws(truth["train"], classes, config.sgd, config.seed, config.head.balance, most)
    if most:
        wanted = draws.wanted()
        count = sum(map(len, wanted.values()))
        log.info("%d distorted views of %d pictures", count, len(truth["train"]))
        rows = {view: (own, views.features(view, own)) for view, own in wanted.items()}
    else:
        rows = {0: (np.arange(len(truth["train"])), features["train"])}
    return fit_sgd(draws, rows, features["validation"], truth["validation"], watchers)


class _Views:
    """Features of views of the training pictures, by the number of the view.

    Attributes:
        seconds: spent on them so far.
    """

    def __init__(
        self,
        train: Sequence[Sample],
        backbone: Backbone,
        config: Config,
        progress: Progress | None,
    ) -> None:
        self._train, self._backbone, self._progress = train, backbone, progress
        self._root, self.seconds = features_root(config), 0.0
        wanted = config.distort
        distortion = Distortion(wanted.flip, wanted.crop, wanted.scale, wanted.brightness)
        self._distortion = distortion if wanted.active else None

    def features(self, view: int, pictures: Ints | None = None) -> Features:
        """float32[M,D] of one view of some training pictures, by default of all."""
        started = time.perf_counter()
        chosen = self._train if pictures is None else [self._train[i] for i in pictures]
        told = _teller(self._progress, f"view {view}")
        found = extract(chosen, self._backbone, view, told, self._root, self._distortion)
        self.seconds += time.perf_counter() - started
        return _matrix(chosen, found.features)


def features_root(config: Config) -> Path | None:
    """Where features are kept; None for the cache."""
    return Path(config.data.features_folder) if config.data.features_folder else None


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
    drop_small = config.data.drop_small
    if config.split.rule == "path":
        rule: Rule = PathRule(config.data.folder, shares)
        return split(samples, shares, rule, drop_small=drop_small)
    ledger = Ledger(config.seed, shares)
    known = ledger.read()
    rule = ContentRule(config.seed, shares)
    samples = split(samples, shares, rule, known, drop_small=drop_small)
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
