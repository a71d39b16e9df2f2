"""The page Overview, the list of runs, and the public files of a run."""

from dataclasses import asdict
from datetime import datetime
from typing import Any

from fastapi import FastAPI
from fastapi.responses import FileResponse
from starlette.responses import HTMLResponse

from sharpeye.core.formatting import plain_percent
from sharpeye.errors import DataError
from sharpeye.runs import layout
from sharpeye.studio.page_templates import render_page
from sharpeye.studio.run_list import RunEntry, list_runs, list_sweeps, run_path
from sharpeye.studio.security_headers import REPORT_SECURITY_POLICY, policy_header
from sharpeye.studio.state import StudioState

_STATES = {
    "running": "training now",
    "stopped": "stopped, can go on",
    "unreadable": "cannot be read",
}
_LATEST = datetime(9999, 1, 1).timestamp()
_SHOWN = {layout.REPORT: "text/html; charset=utf-8", layout.CONFUSION_IMAGE: "image/png"}
_DOWNLOADS = {
    layout.MODEL: "application/octet-stream",
    layout.PREDICTIONS: "text/csv; charset=utf-8",
    layout.MISCLASSIFIED: "text/csv; charset=utf-8",
    layout.HISTORY: "text/csv; charset=utf-8",
    layout.METRICS: "application/json",
    layout.CONFIG: "text/plain; charset=utf-8",
    layout.LABELS: "text/plain; charset=utf-8",
    layout.CARD: "text/plain; charset=utf-8",
}


def add_routes(api: FastAPI, studio: StudioState) -> None:
    """Add `/`, `/api/runs` and `/run/NAME/FILE`."""
    workspace = studio.workspace

    @api.get("/")
    def page() -> HTMLResponse:
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
            max_rows=50,
            run_result=_run_result,
            local_time=_local_time,
            percent=plain_percent,
        )

    @api.get("/api/runs")
    def runs() -> list[dict[str, Any]]:
        return [asdict(summary) for summary in list_runs(workspace.runs)]

    @api.get("/run/{name}/{file}")
    def run_file(name: str, file: str) -> FileResponse:
        path = run_path(workspace.runs, name) / file
        media_type = _SHOWN.get(file) or _DOWNLOADS.get(file)
        if media_type is None or path.is_symlink() or not path.is_file():
            raise DataError(f"{name} has no such file to show")
        headers = {"content-security-policy": policy_header(REPORT_SECURITY_POLICY)}
        if file in _SHOWN:
            # With `same-origin`, a browser does not open a sandboxed page.
            headers["cross-origin-opener-policy"] = "unsafe-none"
        download_name = None if file in _SHOWN else f"{name}-{file}"
        return FileResponse(path, media_type=media_type, filename=download_name, headers=headers)


def _run_result(run: RunEntry) -> str:
    if run.accuracy is None:
        return _STATES.get(run.state, run.state)
    result = plain_percent(run.accuracy)
    if run.low is not None and run.high is not None:
        result += f" ({plain_percent(run.low)} to {plain_percent(run.high)})"
    if run.mean_iou is not None:
        result += f", boxes overlap {run.mean_iou:.2f}"
    return f"{result} of {run.count:,}"


def _local_time(seconds: float) -> str:
    seconds = min(max(seconds, 0), _LATEST)  # a file of others may have any time
    return f"{datetime.fromtimestamp(seconds).astimezone():%Y-%m-%d %H:%M}"
