"""The lines that the command line prints when a run is done."""

import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from sharpeye.core.formatting import plain_percent
from sharpeye.report.comparison_wording import summary_lines
from sharpeye.report.wording import box_line
from sharpeye.runs import layout
from sharpeye.runs.run_directory import Run


def summary(run: Run) -> Mapping[str, str]:
    """Lines by their headings: accuracy, boxes, changes, report, next command."""
    test = run.metrics["test"]
    low, high = (plain_percent(end) for end in test["accuracy_ci95"])
    right = round(test["accuracy"] * test["count"])
    return {
        "accuracy": f"{plain_percent(test['accuracy'])} of {test['count']} test pictures "
        f"({right} right), 95 % interval {low} to {high}",
        **({"boxes": box_line(test)} if "mean_iou" in test else {}),
        **(summary_lines(run.metrics["changes"]) if "changes" in run.metrics else {}),
        "report": str(run.path / layout.REPORT),
        "next": _next_command(run),
    }


def _next_command(run: Run) -> str:
    """A command that predicts a test image, or evaluates all images of array files."""
    folder = run.config.data.folder
    test_paths = [row["path"] for row in run.table(layout.PREDICTIONS)]
    image = Path(folder) / next((path for path in test_paths if ".." not in path), test_paths[0])
    if image.is_file():
        return f"{_program()} predict {run.path} {shlex.quote(str(image))}"
    return f"{_program()} evaluate {run.path} {shlex.quote(folder)}"


def _program() -> str:
    """How this program is called: by its name where the shell finds it, else by its path."""
    if shutil.which("sharpeye") or Path(sys.argv[0]).name != "sharpeye":
        return "sharpeye"
    return os.path.relpath(sys.argv[0])
