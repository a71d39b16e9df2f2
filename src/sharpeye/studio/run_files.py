"""The files of runs that a browser may see, by their names, and the list of runs."""

from dataclasses import asdict
from typing import Any

from fastapi.responses import FileResponse

from sharpeye.errors import DataError
from sharpeye.runs import layout
from sharpeye.studio.runs import list_runs, run_path
from sharpeye.studio.state import StudioState

# A report holds names that strangers may have chosen. They are escaped; should that ever fail, the
# page is in a sandbox: no access to this server, no forms, no windows.
_SANDBOX = (
    "sandbox allow-scripts; default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
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


def add_routes(studio: StudioState) -> None:
    """`/api/runs` and `/run/NAME/FILE`."""
    api, runs = studio.api, studio.workspace.runs

    @api.get("/api/runs")
    def listed() -> list[dict[str, Any]]:
        return [asdict(state) for state in list_runs(runs)]

    @api.get("/run/{name}/{file}")
    def run_file(name: str, file: str) -> FileResponse:
        path = run_path(runs, name) / file
        known = _SHOWN.get(file) or _DOWNLOADS.get(file)
        if known is None or path.is_symlink() or not path.is_file():
            raise DataError(f"{name} has no such file to show")
        headers = {"content-security-policy": _SANDBOX}
        if file in _SHOWN:
            # Else a page in a sandbox would not be opened at all.
            headers["cross-origin-opener-policy"] = "unsafe-none"
            return FileResponse(path, media_type=known, headers=headers)
        return FileResponse(path, media_type=known, filename=f"{name}-{file}", headers=headers)
