"""Images in a wrong class, found with the frozen network of a run; and a table of fixes."""

import csv
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sharpeye.core.config import Config, load_toml
from sharpeye.core.storage import atomic_open
from sharpeye.core.types import SampleSet
from sharpeye.data.features import extract_features
from sharpeye.data.issues import Issue
from sharpeye.errors import DataError, UsageError
from sharpeye.jobs.audit.relabel import FIX_COLUMNS
from sharpeye.jobs.train.prepare import Progress, stage_progress
from sharpeye.jobs.train.resolve import is_from_scratch
from sharpeye.jobs.train.transfer import features_root
from sharpeye.learn.heads.label_errors import find_label_errors
from sharpeye.models.backbone import BackboneConfig, load_backbone
from sharpeye.runs import layout

_LEAST = 2  # images of a class: one to learn from where the other is left out

Features = Mapping[str, npt.NDArray[np.float32]]


def run_config(run: Path) -> Config:
    """The configuration of a run with a pretrained network.

    Raises:
        UsageError: it is no run directory, or its network was trained from scratch.
    """
    file = run / layout.CONFIG
    if not file.is_file():
        raise UsageError(
            f"--labels takes a run directory, and {run} has no {layout.CONFIG}; "
            "make one with: sharpeye train DIR"
        )
    config = load_toml(file)
    if is_from_scratch(config):
        raise UsageError(
            f"the network of {run} has learned the labels that are to be checked; give a run on a "
            "pretrained network, such as: sharpeye train DIR"
        )
    return config


def features_for(samples: SampleSet, run: Path, progress: Progress | None = None) -> Features:
    """The features of every image by digest, from the frozen network of a run.

    Args:
        samples: with digests; all of them can be read.
        run: its configuration says which network is used.

    Raises:
        UsageError: see `run_config`.
    """
    config = run_config(run)
    backbone = load_backbone(BackboneConfig.from_config(config))
    told = stage_progress(progress, "features")
    return extract_features(
        samples.samples, backbone, progress=told, root=features_root(config)
    ).features


def mislabelled(
    samples: SampleSet,
    features: Features,
    near: Sequence[Sequence[str]],
    run: Path,
    blank: Collection[str] = (),
) -> list[Issue]:
    """Images whose label is in doubt, the most doubtful first; `related` is the better label.

    Args:
        samples: with digests.
        features: by digest; images without are left out.
        near: digests of images that are nearly the same, group by group.
        run: its configuration says how classes are balanced.
        blank: digests of images with nothing in them, which are in no class.

    Raises:
        DataError: fewer than two classes have two images; other classes with one are left out.
    """
    config = run_config(run)
    known = [s for s in samples if s.sha256 in features and s.sha256 not in blank]
    counts = Counter(sample.label for sample in known)
    labels = [label for label in samples.class_names if counts[label] >= _LEAST]
    known = [sample for sample in known if counts[sample.label] >= _LEAST]
    if len(labels) < 2:
        raise DataError(
            f"wrong labels can be found where two classes have {_LEAST} pictures or more that can "
            f"be read; {samples.root} has {len(labels)} such; add pictures"
        )
    rows: dict[str, list[int]] = {}
    for row, sample in enumerate(known):
        rows.setdefault(sample.sha256, []).append(row)
    groups = [own for own in rows.values() if len(own) > 1]
    groups += [[row for digest in own for row in rows.get(digest, [])] for own in near]
    index = {label: i for i, label in enumerate(labels)}
    truth = np.array([index[sample.label] for sample in known])
    doubts = find_label_errors(
        np.stack([features[sample.sha256] for sample in known]),
        truth,
        len(labels),
        groups=[own for own in groups if own],
        unsure=[row for own in groups if len({truth[row] for row in own}) > 1 for row in own],
        balance=config.data.balance,
        seed=config.seed,
    )
    return [
        Issue(
            known[doubt.row].path,
            "mislabelled",
            labels[doubt.suggested],
            f"more like {labels[doubt.suggested]} ({doubt.suggested_score:.2f}) than "
            f"{known[doubt.row].label} ({doubt.given_score:.2f})",
        )
        for doubt in doubts
    ]


def write_fixes(file: Path, issues: Sequence[Issue], samples: SampleSet) -> int:
    """Write a line for each image whose label is in doubt; returns how many.

    The file is for a person to go through: lines that are taken out are not applied.
    """
    labels = {sample.path: sample.label for sample in samples}
    folder = str(samples.root.resolve())
    rows = [
        (issue.path, labels[issue.path], issue.related, issue.detail, folder)
        for issue in issues
        if issue.kind == "mislabelled"
    ]
    with atomic_open(file) as opened:
        writer = csv.writer(opened, lineterminator="\n")
        writer.writerow(FIX_COLUMNS)
        writer.writerows(rows)
    return len(rows)
