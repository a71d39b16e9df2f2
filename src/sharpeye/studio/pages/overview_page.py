"""The page Overview: the places, the classes with their images, the runs with their results."""

from datetime import datetime

from fastapi import FastAPI
from starlette.responses import HTMLResponse

from sharpeye.core.formatting import plain_percent
from sharpeye.studio.page_templates import render_page
from sharpeye.studio.run_list import RunSummary, list_runs
from sharpeye.studio.state import StudioState
from sharpeye.studio.sweep_list import list_sweeps

_MAX_ROWS = 50
_STATES = {"running": "training now", "stopped": "stopped, can go on"}


def add_routes(api: FastAPI, studio: StudioState) -> None:
    workspace = studio.workspace

    @api.get("/")
    def overview() -> HTMLResponse:
        classes, total = workspace.classes(), len(workspace.all_images())
        runs = list_runs(workspace.runs)
        return render_page(
            workspace,
            "overview.html.j2",
            classes=classes,
            total=total,
            largest_class=max((count for _, count in classes), default=0) or 1,
            runs=runs,
            sweeps=list_sweeps(workspace.runs),
            next_place="Collect" if not total else "" if runs else "Train",
            max_rows=_MAX_ROWS,
            run_result=_run_result,
            local_time=_local_time,
            percent=plain_percent,
        )


def _run_result(run: RunSummary) -> str:
    if run.accuracy is None:
        return _STATES.get(run.state, run.state)
    result = plain_percent(run.accuracy)
    if run.low is not None and run.high is not None:
        result += f" ({plain_percent(run.low)} to {plain_percent(run.high)})"
    if run.mean_iou is not None:
        result += f", boxes overlap {run.mean_iou:.2f}"
    return f"{result} of {run.count:,}"


def _local_time(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds).astimezone():%Y-%m-%d %H:%M}"
