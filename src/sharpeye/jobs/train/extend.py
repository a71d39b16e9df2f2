"""Adds images or classes to an earlier run: its images in their parts, and the new ones.

The earlier run's `split.csv` says which images it had, and in which part: so the split is the
same on any machine, whatever its cache remembers. The run itself is only read.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from sharpeye.core.config import Config, load_toml
from sharpeye.core.inference import available_cores
from sharpeye.core.types import Sample, SampleSet
from sharpeye.data.digest import add_digests
from sharpeye.data.file_walk import natural_key
from sharpeye.data.match_earlier import MatchResult, match_earlier
from sharpeye.data.name_typos import find_name_typos
from sharpeye.data.scan import base_folder, joined, scan_dataset, scan_folders
from sharpeye.errors import DataError, UsageError
from sharpeye.report.comparison import EarlierPrediction, Extension
from sharpeye.report.wording import number
from sharpeye.runs import layout
from sharpeye.runs.rundir import Run

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExtendedData:
    """The images that a configuration asks for.

    Attributes:
        samples: of a run that is added to with their digests; its own are `kept`, with their parts.
        growth: how many of each there are; None where nothing is added to a run.
        earlier: the earlier model's answers for its test images, by their paths now.
        notes: sentences that the owner of the images should know.
    """

    samples: SampleSet
    growth: Extension | None = None
    earlier: Mapping[str, EarlierPrediction] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def run_config(run: Run) -> Config:
    """The configuration of an earlier run.

    Raises:
        DataError: the run directory is not whole.
    """
    for name in (layout.CONFIG, layout.LABELS, layout.SPLIT, layout.PREDICTIONS, layout.QUARANTINE):
        if not (run.path / name).is_file():
            raise DataError(
                f"{run.path} is no whole run directory: it has no {name}; give the folder that "
                "`sharpeye train` printed"
            )
    return load_toml(run.path / layout.CONFIG)


def extended_config(config: Config, run: Run, new: str) -> Config:
    """A configuration with a folder of new images added to an earlier run.

    Args:
        config: the earlier run's with some changes, or another; its `data.folder` and `data.added`
            say where the earlier images are now, if they are not where they were.

    Raises:
        UsageError: the task is another one.
        DataError: the run directory is not whole.
    """
    earlier = run_config(run)
    if config.task != earlier.task:
        raise UsageError(
            f"the run in {run.path} was made with --task {earlier.task}, and what is added to it "
            f"must be too. Received: {config.task}"
        )
    place = config.data if config.data.folder else earlier.data
    added = [each for each in place.added if Path(each).resolve() != Path(new).resolve()]
    return config.replace(
        {"data.folder": place.folder, "data.added": [*added, new], "data.add_to": str(run.path)}
    )


def load_dataset(config: Config) -> ExtendedData:
    """The images that a configuration asks for: of a folder, or of a run and what is added to it.

    Raises:
        UsageError: `data.added` is empty.
        DataError: no such folder, or nothing in it that can be used; or there is no such run, its
            images are not where they were, nothing is new, or a new class is called nearly as
            one of the run's.
    """
    if not config.data.add_to:
        return ExtendedData(scan_dataset(config, Path(config.data.folder)))
    run = Run(config.data.add_to)
    run_config(run)  # whole
    if not config.data.added:
        raise UsageError(
            "data.added must name the folder that is added to the run data.add_to; "
            "sharpeye train --add RUN DIR sets both"
        )
    _require_folders(config, run)
    found = joined(Path(config.data.folder), scan_folders(config).values())
    found = add_digests(found, available_cores())
    rows = run.table(layout.SPLIT)
    newest = base_folder(config, config.data.added[-1])
    images = match_earlier(rows, found, newest, str(run.path))
    _require_both(images, config, run)
    growth = Extension(
        run=config.data.add_to,
        folder=config.data.added[-1],
        before=len(rows),
        missing=len(rows) - len(images.earlier),
        relabelled=sum(
            row["path"] in images.earlier and images.earlier[row["path"]].label != row["label"]
            for row in rows
        ),
        added=len(images.added),
        known=len(images.known),
        classes=_new_classes(images.added, run),
        tested=sum(row["part"] == "test" for row in rows),
    )
    _tell(growth, images)
    notes = _notes(growth, images, run)
    return ExtendedData(_samples(found, images), growth, _answers(run, images), notes)


def _require_folders(config: Config, run: Run) -> None:
    places = [("data.folder", "FOLDER", config.data.folder)]
    places += [("data.added", '["FOLDER", ...]', each) for each in config.data.added[:-1]]
    for key, value, folder in places:
        if not Path(folder).is_dir():
            raise DataError(
                f"the pictures of {run.path} are not where they were: there is no folder {folder}; "
                f"say where it is now with --set '{key}={value}'"
            )


def _require_both(images: MatchResult, config: Config, run: Run) -> None:
    if not images.earlier:
        raise DataError(
            f"none of the pictures of {run.path} is in {config.data.folder} any more; say where "
            "they are now with --set data.folder=FOLDER"
        )
    if not images.added:
        raise DataError(
            f"nothing is new in {config.data.added[-1]}: {run.path} has all of its pictures; "
            "give a folder with others, one sub-folder a class"
        )


def _new_classes(added: Sequence[Sample], run: Run) -> tuple[str, ...]:
    new = {sample.label for sample in added} - set(run.labels)
    ordered = tuple(sorted(new, key=natural_key))
    for slip in find_name_typos([*run.labels, *ordered]):
        if slip.serious and slip.label in new:
            raise DataError(
                f"the new class {slip.label!r} is nearly called as {slip.other!r}: {slip.why}; "
                "if they are one class, rename its folder, else give it another name"
            )
    return ordered


def _samples(found: SampleSet, images: MatchResult) -> SampleSet:
    earlier = images.earlier.values()
    samples = sorted([*earlier, *images.added], key=lambda sample: natural_key(sample.path))
    return replace(
        found,
        samples=tuple(samples),
        class_names=tuple(sorted({sample.label for sample in samples}, key=natural_key)),
        rejected=(*found.rejected, *images.missing),
        pinned=frozenset(sample.path for sample in earlier),
    )


def _tell(growth: Extension, images: MatchResult) -> None:
    log.info("%s added to %s", _counted(growth.added, f"of {growth.folder}"), growth.run)
    if growth.classes:
        log.info("new classes: %s", ", ".join(growth.classes))
    if images.known:
        log.info(
            "%d that %s has already are not added again, such as %s",
            growth.known,
            growth.run,
            images.known[0].path,
        )


def _notes(growth: Extension, images: MatchResult, run: Run) -> tuple[str, ...]:
    notes = []
    if growth.missing:
        such = f", such as {images.missing[0].path}" if images.missing else ""
        notes.append(
            f"{growth.missing} of the {growth.before} pictures of {run.path} are not there any "
            f"more, have changed or cannot be read{such}."
        )
    earlier = {sample.sha256: sample for sample in images.earlier.values()}
    clashes = [
        (sample, earlier[sample.sha256])
        for sample in images.known
        if sample.label != earlier[sample.sha256].label
    ]
    if clashes:
        notes.append(
            f"{_counted(len(clashes), f'of {growth.folder}')} in {run.path} in another class, "
            f"which stands: {clashes[0][0].path} is {clashes[0][1].path}."
        )
    if growth.relabelled:
        notes.append(f"{_counted(growth.relabelled, f'of {run.path}')} in another class now.")
    refused = {row["path"] for row in run.table(layout.QUARANTINE)}
    left = [sample for sample in images.left if sample.path not in refused]
    if left:
        notes.append(
            f"{_counted(len(left), f'in the folders of {run.path}')} left out, as it does not have "
            f"them, such as {left[0].path}; add the folder to take them."
        )
    for note in notes:
        log.info(note)
    return tuple(notes)


def _counted(images: int, which: str) -> str:
    """ "1 image of new is", "1,204 images of new are"."""
    noun, verb = ("picture", "is") if images == 1 else ("pictures", "are")
    return f"{images:,} {noun} {which} {verb}"


def _answers(run: Run, images: MatchResult) -> dict[str, EarlierPrediction]:
    """What the earlier model said of its test images, by their paths now."""
    found: dict[str, EarlierPrediction] = {}
    for row in run.table(layout.PREDICTIONS):
        sample = images.earlier.get(row["path"])
        if sample is not None:
            overlap = number(row["iou"]) if row.get("iou") else None
            found[sample.path] = EarlierPrediction(row["predicted"], number(row["score"]), overlap)
    return found
