"""Extend an earlier run: keep its images in their splits, and add new images or classes.

The earlier run's `split.csv` lists its images with their splits, so the split is the same on any
machine, whatever its cache holds. The run itself is not changed.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from sharpeye.core.config import Config
from sharpeye.core.config_paths import describe_lookup, locate, with_typed_paths
from sharpeye.core.formatting import name_list, number
from sharpeye.core.inference import available_cores
from sharpeye.core.paths import user_path
from sharpeye.core.types import Sample, SampleSet
from sharpeye.data.class_names import spelling_by_name
from sharpeye.data.digest import add_digests
from sharpeye.data.file_walk import describe_ignored, natural_key
from sharpeye.data.match_earlier import MatchResult, match_earlier
from sharpeye.data.name_typos import find_name_typos
from sharpeye.data.scan import base_folder, merge_sample_sets, scan_dataset, scan_folders
from sharpeye.errors import DataError, UsageError
from sharpeye.report.comparison import EarlierPrediction, Extension
from sharpeye.runs import layout
from sharpeye.runs.run_directory import Run

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExtendedData:
    """The images that a configuration names.

    Attributes:
        samples: in an extended run they have digests, and the earlier images are `pinned` to their
            splits.
        extension: numbers of earlier, new and missing images; None if no run is extended.
        earlier: the earlier model's predictions for its test images, by their present paths.
    """

    samples: SampleSet
    extension: Extension | None = None
    earlier: Mapping[str, EarlierPrediction] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def require_complete(run: Run) -> None:
    """Raise DataError if a run directory lacks a file that an extension needs."""
    files = (layout.CONFIG, layout.LABELS, layout.SPLIT, layout.PREDICTIONS, layout.QUARANTINE)
    for name in files:
        run.require_file(name)


def extended_config(config: Config, run: Run, new: str) -> Config:
    """A configuration that adds a folder of new images to an earlier run.

    Args:
        config: its `data.folder` and `data.added` locate the earlier images if they were moved.

    Raises:
        UsageError: the tasks differ.
        DataError: the run directory is not complete.
    """
    require_complete(run)
    if config.task != run.config.task:
        raise UsageError(
            f"the run in {run.path} was made with --task {run.config.task}, and what is added to "
            f"it must be too. Received: {config.task}"
        )
    data = config.data if config.data.folder else run.config.data
    config = config.replace({"data.folder": data.folder, "data.relative_to": data.relative_to})
    typed = with_typed_paths(config, {"data.added": [new], "data.add_to": str(run.path)})
    resolved = user_path(new).resolve()
    earlier = [path for path in data.added if locate(config, path).resolve() != resolved]
    return typed.replace({"data.added": [*earlier, *typed.data.added]})


def load_dataset(config: Config) -> ExtendedData:
    """Scan the images that a configuration names: a folder, or a run and the images added to it.

    Raises:
        UsageError: `data.added` is empty.
        DataError: no usable images; for an extended run, its images were moved, none is new, or a
            new class is named almost like one of the run's.
    """
    if not config.data.add_to:
        samples = scan_dataset(config, locate(config, config.data.folder))
        _log_ignored(samples)
        return ExtendedData(samples)
    run = Run(locate(config, config.data.add_to))
    require_complete(run)
    if not config.data.added:
        raise UsageError(
            "data.added must name the folder that is added to the run data.add_to; "
            "sharpeye train --add RUN DIR sets both"
        )
    _require_folders(config, run)
    root = locate(config, config.data.folder)
    scanned = merge_sample_sets(root, scan_folders(config).values())
    scanned = _spelled_as(run.labels, scanned)
    _log_ignored(scanned)
    scanned = add_digests(scanned, available_cores())
    rows = run.table(layout.SPLIT)
    newest = base_folder(config, config.data.added[-1])
    images = match_earlier(rows, scanned, newest, run_name=str(run.path))
    _require_earlier_and_new(images, config, run)
    extension = Extension(
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
    notes = _notes(extension, images, run)
    return ExtendedData(_merge(scanned, images), extension, _predictions(run, images), notes)


def _log_ignored(samples: SampleSet) -> None:
    if samples.ignored:
        log.info("left out, as they are no images: %s", describe_ignored(samples.ignored))


def _require_folders(config: Config, run: Run) -> None:
    folders = [("data.folder", "FOLDER", config.data.folder)]
    folders += [("data.added", '["FOLDER", ...]', path) for path in config.data.added[:-1]]
    for key, value, folder in folders:
        if not locate(config, folder).is_dir():
            raise DataError(
                f"the images of {run.path} are not where they were: there is no folder "
                f"{describe_lookup(config, folder)}; "
                f"say where it is now with --set '{key}={value}'"
            )


def _require_earlier_and_new(images: MatchResult, config: Config, run: Run) -> None:
    if not images.earlier:
        raise DataError(
            f"none of the images of {run.path} is in {config.data.folder} any more; say where "
            "they are now with --set data.folder=FOLDER"
        )
    if not images.added:
        raise DataError(
            f"nothing is new in {config.data.added[-1]}: {run.path} has all of its images; "
            "give a folder with others, one sub-folder a class"
        )


def _spelled_as(labels: Sequence[str], samples: SampleSet) -> SampleSet:
    """The samples with the run's spelling of class names that differ in their Unicode form."""
    spellings = spelling_by_name(samples.class_names, known=labels)
    respelled = (replace(sample, label=spellings[sample.label]) for sample in samples)
    names = dict.fromkeys(spellings[name] for name in samples.class_names)
    return replace(samples, samples=tuple(respelled), class_names=tuple(names))


def _new_classes(added: Sequence[Sample], run: Run) -> tuple[str, ...]:
    new = {sample.label for sample in added} - set(run.labels)
    ordered = tuple(sorted(new, key=natural_key))
    for typo in find_name_typos([*run.labels, *ordered]):
        if typo.name not in new or not typo.other:
            continue
        text = f"the new class {typo.name!r} is nearly called as {typo.other!r}: {typo.detail}"
        if typo.serious:
            raise DataError(
                f"{text}; if they are one class, rename its folder, else give it another name"
            )
        log.warning("%s", text)
    return ordered


def _merge(scanned: SampleSet, images: MatchResult) -> SampleSet:
    """Merge the earlier and the new images; the earlier ones are pinned."""
    earlier = images.earlier.values()
    samples = sorted([*earlier, *images.added], key=lambda sample: natural_key(sample.path))
    return replace(
        scanned,
        samples=tuple(samples),
        class_names=tuple(sorted({sample.label for sample in samples}, key=natural_key)),
        rejected=(*scanned.rejected, *images.missing),
        pinned=frozenset(sample.path for sample in earlier),
    )


def _notes(extension: Extension, images: MatchResult, run: Run) -> tuple[str, ...]:
    log.info("%s added to %s", _counted(extension.added, f"of {extension.folder}"), extension.run)
    if extension.classes:
        log.info("new classes: %s", name_list(extension.classes))
    if images.known:
        text = "%d that %s has already are not added again, such as %s"
        log.info(text, extension.known, extension.run, images.known[0].path)
    notes = []
    if extension.missing:
        example = f", such as {images.missing[0].path}" if images.missing else ""
        notes.append(
            f"{extension.missing} of the {extension.before} images of {run.path} are not there "
            f"any more, have changed or cannot be read{example}."
        )
    earlier = {sample.sha256: sample for sample in images.earlier.values()}
    conflicts = [s for s in images.known if s.label != earlier[s.sha256].label]
    if conflicts:
        notes.append(
            f"{_counted(len(conflicts), f'of {extension.folder}')} in {run.path} in another class, "
            f"which stands: {conflicts[0].path} is {earlier[conflicts[0].sha256].path}."
        )
    if extension.relabelled:
        notes.append(f"{_counted(extension.relabelled, f'of {run.path}')} in another class now.")
    quarantined = {row["path"] for row in run.table(layout.QUARANTINE)}
    ignored = [sample for sample in images.unlisted if sample.path not in quarantined]
    if ignored:
        notes.append(
            f"{_counted(len(ignored), f'in the folders of {run.path}')} left out, as it does not "
            f"have them, such as {ignored[0].path}; add the folder to take them."
        )
    for note in notes:
        log.info(note)
    return tuple(notes)


def _counted(count: int, which: str) -> str:
    """ "1 image of new is", "1,204 images of new are"."""
    noun, verb = ("image", "is") if count == 1 else ("images", "are")
    return f"{count:,} {noun} {which} {verb}"


def _predictions(run: Run, images: MatchResult) -> dict[str, EarlierPrediction]:
    """The earlier model's predictions for its test images, by their present paths."""
    predictions: dict[str, EarlierPrediction] = {}
    for row in run.table(layout.PREDICTIONS):
        if row["path"] in images.earlier:
            overlap = number(row["iou"]) if row.get("iou") else None
            prediction = EarlierPrediction(row["predicted"], number(row["score"]), overlap)
            predictions[images.earlier[row["path"]].path] = prediction
    return predictions
