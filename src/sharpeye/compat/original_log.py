"""The log lines of retrain.py, as TensorFlow 1 wrote them: `INFO:tensorflow:` and the text.

Scripts search the output for them. Source: scripts/retrain.py of tensorflow-for-poets-2.
"""

import datetime
import logging
from collections.abc import Mapping
from pathlib import Path

from sharpeye.core.progress import StageProgress
from sharpeye.learn.heads.sgd import SgdStep

log = logging.getLogger(__name__)

_FEW_IMAGES = 20
_BOTTLENECKS_A_LINE = 100


def info(text: str, *values: object) -> None:
    """Log a line as `tf.logging.info` did."""
    log.info(f"INFO:tensorflow:{text}", *values)


def folders(image_dir: Path) -> None:
    """The line for each folder of images."""
    if image_dir.is_dir():
        for folder in sorted(path for path in image_dir.iterdir() if path.is_dir()):
            info("Looking for images in '%s'", folder.name)


def small_folders(counts: Mapping[str, int]) -> None:
    """The warning about folders of fewer than twenty images; it did not name them."""
    for label, count in counts.items():
        if count < _FEW_IMAGES:
            log.info(
                "WARNING:tensorflow:WARNING: Folder has less than %d images, which may cause "
                "issues. (%s: %d)",
                _FEW_IMAGES,
                label,
                count,
            )


def bottlenecks(progress: StageProgress | None) -> StageProgress:
    """A progress function that logs a line for every hundred images whose features are there."""
    logged = 0

    def report(stage: str, done: int, total: int) -> None:
        nonlocal logged
        if stage == "features":
            while logged + _BOTTLENECKS_A_LINE <= done:
                logged += _BOTTLENECKS_A_LINE
                info("%d bottleneck files created.", logged)
        if progress:
            progress(stage, done, total)

    return report


def step(step: SgdStep) -> None:
    """The three lines of an evaluated step."""
    if (after := step.after) and (validation := step.validation):
        start = f"{datetime.datetime.now()}: Step {step.number}:"
        info("%s Train accuracy = %.1f%%", start, after.accuracy * 100)
        info("%s Cross entropy = %f", start, after.log_loss)
        accuracy, count = validation.accuracy * 100, validation.count
        info("%s Validation accuracy = %.1f%% (N=%d)", start, accuracy, count)
