"""Pictures in a wrong class, found with the frozen network of a run; and a table of fixes."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np

from sharpeye.config import Config, load_toml
from sharpeye.data.audit import Issue
from sharpeye.errors import DataError, UsageError
from sharpeye.jobs.resolve import is_from_scratch
from sharpeye.pipeline.extract import extract
from sharpeye.runs import layout
from sharpeye.storage import atomic_open
from sharpeye.training.mislabels import doubtful, out_of_fold
from sharpeye.training.prepare import Progress, teller
from sharpeye.training.transfer import features_root
from sharpeye.types import Filter, Fit, SampleSet
from sharpeye.zoo.frozen import Source, freeze

FIX_COLUMNS = ("path", "label", "new_label", "detail")


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


def mislabelled(
    samples: SampleSet,
    run: Path,
    near: Sequence[Sequence[str]] = (),
    progress: Progress | None = None,
) -> list[Issue]:
    """Pictures whose label is in doubt, the most doubtful first; `related` is the better label.

    Args:
        samples: with digests; all of them can be read.
        run: its configuration says which frozen network is used.
        near: digests of pictures that are nearly the same, group by group.

    Raises:
        UsageError: see `run_config`.
        DataError: fewer than two classes, or a class with one picture.
    """
    config = run_config(run)
    if len(samples.labels) < 2:
        raise DataError("wrong labels can be found where there are two classes or more")
    wanted = config.model
    source = Source(
        wanted.name,
        wanted.weights,
        wanted.image_size,
        cast(Fit, wanted.fit),
        cast(Filter, wanted.filter),
        Path(wanted.weights_folder) if wanted.weights_folder else None,
    )
    told = teller(progress, "features")
    found = extract(samples.samples, freeze(source), progress=told, root=features_root(config))
    known = [sample for sample in samples if sample.sha256 in found.features]
    rows: dict[str, list[int]] = {}
    for row, sample in enumerate(known):
        rows.setdefault(sample.sha256, []).append(row)
    copies = [own for own in rows.values() if len(own) > 1]
    groups = [[row for digest in own for row in rows.get(digest, [])] for own in near]
    truth = np.array([samples.labels.index(sample.label) for sample in known])
    probs = out_of_fold(
        np.stack([found.features[sample.sha256] for sample in known]),
        truth,
        len(samples.labels),
        groups=[*copies, *filter(None, groups)],
        balance=config.data.balance,
        seed=config.seed,
    )
    return [
        Issue(
            known[doubt.row].path,
            "mislabelled",
            samples.labels[doubt.suggested],
            f"more like {samples.labels[doubt.suggested]} ({doubt.suggested_score:.2f}) than "
            f"{known[doubt.row].label} ({doubt.given_score:.2f})",
        )
        for doubt in doubtful(probs, truth)
    ]


def write_fixes(file: Path, issues: Sequence[Issue], samples: SampleSet) -> int:
    """Write a line for each picture whose label is in doubt; returns how many.

    The file is for a person to go through: lines that are taken out are not applied.
    """
    labels = {sample.path: sample.label for sample in samples}
    rows = [
        (issue.path, labels[issue.path], issue.related, issue.detail)
        for issue in issues
        if issue.kind == "mislabelled"
    ]
    with atomic_open(file) as opened:
        writer = csv.writer(opened, lineterminator="\n")
        writer.writerow(FIX_COLUMNS)
        writer.writerows(rows)
    return len(rows)
