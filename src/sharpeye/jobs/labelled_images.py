"""Read the labelled images that a model is scored on, with the classes that the model knows."""

import difflib
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sharpeye.core.config import Config
from sharpeye.core.formatting import name_list
from sharpeye.core.paths import shell_quote
from sharpeye.core.types import SampleSet
from sharpeye.data.class_names import spelling_by_name
from sharpeye.data.file_walk import walk_files
from sharpeye.data.layout_advice import class_folder_below, inner_folder_advice
from sharpeye.data.scan import scan_dataset
from sharpeye.errors import DataError, UsageError
from sharpeye.predict.predictor import Model

log = logging.getLogger(__name__)

LABEL_SOURCES = ("folder", "prefix", "xml")
_ORIGINS = {
    "folder": "from the folders",
    "prefix": "from the file names",
    "xml": "from the Pascal VOC files",
}
_MAX_NAMES = 10


def read_labelled_images(
    data: Path, model: Model, config: Config | None = None, *, label_from: str | None = None
) -> SampleSet:
    """List the images of a folder, without digests, with labels as the model spells them.

    Labels are read as the training of the model read them. If the folder has none that the model
    knows, they are read from the folders, the file names or the Pascal VOC files, whichever gives
    nothing but classes of the model. If the folder is split (`train/ test/`), the test split is
    used.

    Args:
        config: the configuration of the model's run, if it is at hand.
        label_from: `folder`, `prefix` or `xml`, to read the labels from there alone.

    Raises:
        DataError: no usable image, or a class that the model does not know.
        UsageError: `label_from` is none of these.
    """
    if label_from is not None and label_from not in LABEL_SOURCES:
        raise UsageError(
            f"--label-from must be one of {', '.join(LABEL_SOURCES)}. Received: {label_from}"
        )
    if config is None:
        config = Config().replace({"task": model.task})
    annotated = model.localizes and _has_annotations(data)
    first = label_from or _default_source(config, annotated)
    try:
        dataset = _scan(data, model, config, label_from=first, annotated=annotated)
        problem = _unknown_classes(dataset, model)
    except DataError as error:
        dataset, problem = None, error
    if label_from is None and (dataset is None or not _known(dataset, model)):
        for other in LABEL_SOURCES:
            if other == first:
                continue
            alternative = _try_scan(data, model, config, label_from=other, annotated=annotated)
            if alternative is not None:
                log.info("the classes of %s are taken %s", data, _ORIGINS[other])
                return _test_split(alternative)
    if dataset is None or problem is not None:
        advice = ""
        if first == "folder" and (dataset is None or not _known(dataset, model)):
            advice = _folder_advice(data, model)
        if advice:
            raise DataError(f"{data} has no folder of a class of the model; {advice}") from None
        known = name_list(model.labels, _MAX_NAMES)
        raise DataError(f"{problem} (the model knows {known})") from None
    return _test_split(dataset)


def _folder_advice(data: Path, model: Model) -> str:
    """Which folder to give instead of one that is too high or too low; empty if none is known."""
    inner = class_folder_below(data) if data.is_dir() else None
    if inner is not None:
        folders = [entry.name for entry in inner.iterdir() if entry.is_dir()]
        return inner_folder_advice(data) if _spelled(folders, model) else ""
    folder = data if data.name not in ("", "..") else data.resolve()
    name = _spelled([folder.name], model)
    return (
        f"it is the folder of the class {name[0]}: give {shell_quote(folder.parent)}"
        if name
        else ""
    )


def _spelled(names: Sequence[str], model: Model) -> list[str]:
    """The classes of the model that have one of these names, in its spelling."""
    by_name = spelling_by_name(names, model.labels)
    spelled = [by_name.get(name, name) for name in names]
    return [name for name in spelled if name in model.labels]


def _default_source(config: Config, annotated: bool) -> str:
    if config.data.label_from != "auto":
        return config.data.label_from
    return "xml" if annotated else "folder"


def _has_annotations(data: Path) -> bool:
    return data.is_dir() and any(
        path.suffix.casefold() == ".xml" for _, path in walk_files(data)[0]
    )


def _scan(
    data: Path, model: Model, config: Config, *, label_from: str, annotated: bool
) -> SampleSet:
    """Scan with boxes if the model predicts boxes and the folder has annotations."""
    with_boxes = model.localizes and (annotated or label_from == "xml")
    task = "localize" if with_boxes else "classify"
    changes = {"task": task, "data.label_from": label_from, "augment.mixup": 0.0}
    dataset = scan_dataset(config.replace(changes), data, min_classes=1)
    others = [name for name in dataset.class_names if name not in model.labels]
    names = spelling_by_name(others, model.labels)
    return replace(
        dataset,
        samples=tuple(replace(s, label=names.get(s.label, s.label)) for s in dataset),
        class_names=tuple(dict.fromkeys(names.get(name, name) for name in dataset.class_names)),
    )


def _try_scan(
    data: Path, model: Model, config: Config, *, label_from: str, annotated: bool
) -> SampleSet | None:
    """The images if the model knows all of their classes."""
    try:
        dataset = _scan(data, model, config, label_from=label_from, annotated=annotated)
    except DataError:
        return None
    return dataset if set(dataset.class_names) <= set(model.labels) and len(dataset) else None


def _known(dataset: SampleSet, model: Model) -> set[str]:
    return set(dataset.class_names) & set(model.labels)


def _unknown_classes(dataset: SampleSet, model: Model) -> DataError | None:
    unknown = [name for name in dataset.class_names if name not in model.labels]
    if not unknown:
        return None
    by_folded = {name.casefold(): name for name in model.labels}
    hints = []
    for name in unknown[:_MAX_NAMES]:
        close = difflib.get_close_matches(name.casefold(), by_folded, n=1, cutoff=0.75)
        if close:
            hints.append(f"{by_folded[close[0]]} for {name}")
    did_you_mean = f"; perhaps {', '.join(hints[:3])}" if hints else ""
    return DataError(
        f"the model does not know {name_list(unknown, _MAX_NAMES)}{did_you_mean}; "
        "rename these folders to its classes, or train a model that has them"
    )


def _test_split(dataset: SampleSet) -> SampleSet:
    tested = tuple(sample for sample in dataset if sample.split == "test")
    if not dataset.given_splits or not tested:
        return dataset
    log.info("the folder is split already: its test split is scored")
    return replace(dataset, samples=tested)
