"""Compare finished runs on the test images that they have in common."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sharpeye.artefact.manifest import MODEL_FILE
from sharpeye.artefact.session import open_model
from sharpeye.core.config_paths import locate
from sharpeye.core.formatting import number
from sharpeye.core.storage import make_folder, os_errors_at, write_text
from sharpeye.core.types import Sample
from sharpeye.errors import DataError, UsageError
from sharpeye.images.resize import fit_image
from sharpeye.report.compare_page import render_compare
from sharpeye.report.run_comparison import ComparedRun, RunComparison, RunPrediction
from sharpeye.runs import layout
from sharpeye.runs.lineage import training_rows
from sharpeye.runs.run_directory import ResultWriter, Run

TABLE, CHANGED = "compare.csv", "changed.csv"
# Images that are predicted to measure the speed, each once after a first one.
_TIMED_IMAGES = 15
_MAX_SHOWN = 60


def compare(runs: Sequence[str | Path | Run]) -> RunComparison:
    """Compare two or more finished runs; the first is the reference.

    An image counts if it is a test image of all runs, with the same content and the same class,
    and no run was trained on it, nor any whose weights a run began with.

    Raises:
        UsageError: fewer than two runs, or the same one twice.
        DataError: a run is not finished or lacks a file, or there is no common test image.
        ModelError: a model cannot be opened.
    """
    opened = [run if isinstance(run, Run) else Run(run) for run in runs]
    paths = [run.path.resolve() for run in opened]
    if len(opened) < 2 or len(set(paths)) < len(paths):
        raise UsageError(
            "compare takes two runs or more, each once: sharpeye compare RUN RUN ... Received: "
            f"{', '.join(str(run.path) for run in opened)}"
        )
    predictions = [_test_predictions(run) for run in opened]
    common = set.intersection(*(set(by_image) for by_image in predictions))
    if not common:
        raise DataError(
            "the runs have no test image in common, by content and class, on which none of them "
            "was trained: train them on the same folder with the same split (seed, split.*)"
        )
    order = [image for image in predictions[0] if image in common]
    compared = [
        ComparedRun(
            name=name,
            run=run,
            predictions=tuple(by_image[image] for image in order),
            **_costs(run),
        )
        for name, run, by_image in zip(_names(opened), opened, predictions, strict=True)
    ]
    return RunComparison(tuple(compared), tuple(label for _, label in order))


def write_comparison(comparison: RunComparison, folder: Path) -> None:
    """Write `report.html`, `compare.csv` and `changed.csv` into a folder.

    Raises:
        UsageError: the folder holds other files than those of an earlier comparison.
        EnvironmentFault: it cannot be written.
    """
    make_folder(folder)
    writer = ResultWriter(folder)
    writer.write_csv(TABLE, comparison.columns, comparison.rows)
    writer.write_csv(CHANGED, comparison.changed_columns, comparison.changed_rows)
    samples = {index: _sample(comparison, index) for index, _ in comparison.changed[:_MAX_SHOWN]}
    write_text(folder / layout.REPORT, render_compare(comparison, samples))


def require_comparison_output(folder: Path) -> None:
    """Raise UsageError unless `folder` is new or empty, or holds an earlier comparison alone."""
    with os_errors_at(folder):
        names = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
    foreign = sorted(names - {TABLE, CHANGED, layout.REPORT})
    if foreign or (folder.exists() and not folder.is_dir()) or (names and TABLE not in names):
        received = foreign[0] if foreign else next(iter(names), "a file")
        raise UsageError(
            f"--output takes a new or empty folder, or one of an earlier comparison. Received: "
            f"{folder}, with {received}"
        )


def _test_predictions(run: Run) -> dict[tuple[str, str], RunPrediction]:
    """The predictions of the test images by digest and class, in the order of the table."""
    trained = {row["sha256"] for row in training_rows(run.path)}
    digests = {
        (row["path"], row["label"]): row["sha256"]
        for row in run.table(layout.SPLIT)
        if row["part"] == "test" and row["sha256"] not in trained
    }
    result = {}
    for row in run.table(layout.PREDICTIONS):
        digest = digests.get((row["path"], row["label"]))
        if digest:
            score = number(row["score"])
            prediction = RunPrediction(row["path"], row["predicted"], score)
            result[digest, row["label"]] = prediction
    return result


def _names(runs: Sequence[Run]) -> list[str]:
    """The folders' names; their paths where two are the same."""
    names = [run.path.resolve().name for run in runs]
    return [
        name if names.count(name) == 1 else str(run.path)
        for name, run in zip(names, runs, strict=True)
    ]


def _costs(run: Run) -> dict[str, Any]:
    """The size of the model file, the seconds of a prediction, and those of the training."""
    model = open_model(run.path)
    spec, random = model.manifest.input, np.random.default_rng(0)
    levels = random.integers(0, 256, (spec.height, spec.width, 3), np.uint8)
    pixels = fit_image(Image.fromarray(levels), spec)[None]
    times = []
    for _ in range(_TIMED_IMAGES + 1):
        started = time.perf_counter()
        model.run(pixels, ("probs",))
        times.append(time.perf_counter() - started)
    total = run.metrics.get("seconds", {}).get("total")
    return {
        "megabytes": (run.path / MODEL_FILE).stat().st_size / 1e6,
        "seconds_an_image": float(np.median(times[1:])),
        "training_seconds": number(total),
    }


def _sample(comparison: RunComparison, index: int) -> Sample:
    reference = comparison.runs[0]
    path = reference.predictions[index].path
    folder = locate(reference.run.config, reference.run.config.data.folder)
    return Sample(path, folder / path, comparison.labels[index])
