"""Replace retrain.py of TensorFlow-for-Poets: its flags, files and log lines.

The flags become a configuration for `train`. A callback of the training writes the original's log
lines, TensorBoard's `train/` and `validation/`, and intermediate graphs. The frozen graph, the
labels and the run directory appear together at the end, and replace those of an earlier call.
"""

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sharpeye.compat import original_log
from sharpeye.compat.frozen_graph import GraphFlags
from sharpeye.compat.label_image import label_files
from sharpeye.compat.original_weights import find_original_weights, mention_text_bottlenecks
from sharpeye.compat.retrain_files import RetrainFiles
from sharpeye.compat.retrain_flags import Flags, parse_architecture, to_config
from sharpeye.compat.retrain_paths import check_paths, with_user_paths
from sharpeye.core.progress import StageProgress
from sharpeye.errors import MissingExtra
from sharpeye.jobs.train.train import train
from sharpeye.predict.predictor import UnreadableImage
from sharpeye.runs import layout
from sharpeye.runs.run_directory import Run

log = logging.getLogger(__name__)

_Row = dict[str, str]


def retrain(flags: Flags, progress: StageProgress | None = None) -> Run:
    """Train, and write the frozen graph, the labels and a run directory.

    All flags are checked before any work. What an earlier call with the same names wrote is
    replaced when all is complete; an error or a signal leaves it unchanged.

    Raises:
        UsageError: a flag is out of its range, or the architecture is unknown.
        All errors of `sharpeye.train`.
    """
    flags = _with_original_weights(with_user_paths(flags))
    config = to_config(flags)
    run_folder = check_paths(flags)
    original_log.folders(Path(flags.image_dir))
    if flags.bottleneck_dir:
        mention_text_bottlenecks(Path(flags.bottleneck_dir))
    with RetrainFiles(flags, run_folder) as files:
        run = train(
            flags.image_dir,
            output=run_folder,
            overwrite=True,
            config=config,
            progress=original_log.bottlenecks(progress),
            callbacks=[files],
        )
        _log_test(flags, run, files)
    return run


def _with_original_weights(flags: Flags) -> Flags:
    """The flags with the network that retrain.py downloaded to `--model_dir`, if it is there."""
    if flags.weights != "imagenet" or not flags.model_dir:
        return flags
    model, _ = parse_architecture(flags.architecture)
    file = find_original_weights(model, Path(flags.model_dir))
    return replace(flags, weights=str(file)) if file else flags


def _log_test(flags: Flags, run: Run, files: RetrainFiles) -> None:
    """Log the original's last lines, for all test images or a random batch of them."""
    rows: list[_Row] = run.table(layout.PREDICTIONS)
    names = files.names
    predicted = [names[row["predicted"]] for row in rows]
    if run.config.model.int8:
        predicted = _predict_with_graph(flags, files.new_graph, rows) or predicted
        _compare(rows, predicted, names)
    chosen = np.arange(len(rows))
    if flags.test_batch_size > 0:
        chosen = np.random.default_rng(flags.seed).integers(0, len(rows), flags.test_batch_size)
    mistakes = [i for i in chosen if names[rows[i]["label"]] != predicted[i]]
    accuracy = 100 - 100 * len(mistakes) / len(chosen)
    original_log.info("Final test accuracy = %.1f%% (N=%d)", accuracy, len(chosen))
    if flags.print_misclassified_test_images:
        original_log.info("=== MISCLASSIFIED TEST IMAGES ===")
        for i in mistakes:
            path = str(Path(flags.image_dir) / rows[i]["path"])
            original_log.info("%70s  %s", path, predicted[i])


def _predict_with_graph(flags: Flags, graph: Path, rows: list[_Row]) -> list[str]:
    """The classes that a written graph predicts for test images; empty if it cannot be run.

    A graph with int8 kernels computes otherwise than the run's int8 model.
    """
    images = ((row["path"], Path(flags.image_dir) / row["path"]) for row in rows)
    try:
        results = list(label_files(images, graph, GraphFlags(), labels=None, top=1))
    except MissingExtra as error:
        log.warning("the accuracy below is that of model.onnx, not of the graph: %s", error)
        return []
    readable = [result for result in results if not isinstance(result, UnreadableImage)]
    return [result.top[0][0] for result in readable] if len(readable) == len(rows) else []


def _compare(rows: list[_Row], predicted: list[str], names: Mapping[str, str]) -> None:
    """Say how often the graph and the run's model are right if they differ."""
    graph: Any = np.mean([names[r["label"]] == p for r, p in zip(rows, predicted, strict=True)])
    model: Any = np.mean([row["label"] == row["predicted"] for row in rows])
    if graph != model:
        log.info(
            "the graph, with int8 kernels, is right on %.1f%% of %d test images, model.onnx, which "
            "computes in int8, on %.1f%%",
            graph * 100,
            len(rows),
            model * 100,
        )
