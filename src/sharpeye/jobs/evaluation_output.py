"""Require a folder that an evaluation can be written into without changing a file of the user."""

from pathlib import Path

from sharpeye.core.paths import require_outside
from sharpeye.core.safe_parse import load_json
from sharpeye.core.storage import os_errors_at
from sharpeye.core.temporaries import TEMPORARY_PREFIX
from sharpeye.data.system_names import is_system_name
from sharpeye.errors import UsageError
from sharpeye.runs import layout

# All that `write_evaluation` writes.
EVALUATION_FILES = frozenset(
    (
        layout.METRICS,
        layout.QUARANTINE,
        layout.PREDICTIONS,
        layout.MISCLASSIFIED,
        layout.CONFUSION_IMAGE,
        layout.REPORT,
    )
)
_ADVICE = "give --output a new or empty folder, or one of an earlier evaluation"


def require_evaluation_output(output: Path, data: Path) -> None:
    """Raise UsageError unless an evaluation of `data` may be written to `output`.

    That is a new or empty folder outside of the images, or one that holds an earlier evaluation and
    nothing else, which is replaced.
    """
    require_outside(output, data, "--output")
    with os_errors_at(output):
        if not output.is_dir():
            if output.exists() or output.is_symlink():
                raise UsageError(f"{output} is a file; give --output a folder")
            return
        names = {entry.name for entry in output.iterdir()}
    names = {n for n in names if not n.startswith(TEMPORARY_PREFIX) and not is_system_name(n)}
    if not names:
        return
    if layout.BUNDLE in names:
        raise UsageError(f"{output} holds a finished run, which is not replaced; {_ADVICE}")
    foreign = sorted(names - EVALUATION_FILES)
    if foreign or not _is_evaluation(output):
        first = (foreign or sorted(names))[0]
        raise UsageError(f"{output} holds {first}, which is of no evaluation; {_ADVICE}")


def _is_evaluation(folder: Path) -> bool:
    """Whether `metrics.json`, which is written first, has scores: other programs use its name."""
    try:
        metrics = load_json(folder / layout.METRICS)
    except (OSError, ValueError):
        return False
    return isinstance(metrics, dict) and isinstance(metrics.get("test"), dict)
