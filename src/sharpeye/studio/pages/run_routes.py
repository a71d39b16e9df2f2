"""The list of runs, and the files of a run that a browser may see, by their names."""

from dataclasses import asdict
from typing import Any

from fastapi import FastAPI
from fastapi.responses import FileResponse

from sharpeye.errors import DataError
from sharpeye.runs import layout
from sharpeye.studio.run_list import list_runs, run_path
from sharpeye.studio.security_headers import REPORT_SECURITY_POLICY, policy_header
from sharpeye.studio.state import StudioState

_SHOWN = {
    layout.REPORT: "text/html; charset=utf-8",
    layout.CONFUSION_IMAGE: "image/png",
}
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
    """Add `/api/runs` and `/run/NAME/FILE`."""
    runs = studio.workspace.runs

    @api.get("/api/runs")
    def run_list() -> list[dict[str, Any]]:
        return [asdict(summary) for summary in list_runs(runs)]

    @api.get("/run/{name}/{file}")
    def run_file(name: str, file: str) -> FileResponse:
        path = run_path(runs, name) / file
        media_type = _SHOWN.get(file) or _DOWNLOADS.get(file)
        if media_type is None or path.is_symlink() or not path.is_file():
            raise DataError(f"{name} has no such file to show")
        headers = {"content-security-policy": policy_header(REPORT_SECURITY_POLICY)}
        if file in _SHOWN:
            # With `same-origin`, a browser does not open a sandboxed page at all.
            headers["cross-origin-opener-policy"] = "unsafe-none"
            return FileResponse(path, media_type=media_type, headers=headers)
        download_name = f"{name}-{file}"
        return FileResponse(path, media_type=media_type, filename=download_name, headers=headers)
