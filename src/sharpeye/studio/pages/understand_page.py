"""The page Understand: the mistakes of a run, and possible reasons in the images."""

import json
from typing import Annotated, Any

from fastapi import Body, FastAPI
from starlette.responses import HTMLResponse, Response

from sharpeye.images.decode import read_file
from sharpeye.jobs.audit.check import ISSUES_JSON
from sharpeye.runs.run_directory import Run
from sharpeye.studio import prediction_view, relabelling, run_results
from sharpeye.studio.page_templates import render_page
from sharpeye.studio.request_body import text_field
from sharpeye.studio.run_list import finished_run_choices, run_path
from sharpeye.studio.state import StudioState
from sharpeye.studio.thumbnails import encode_jpeg

_JOB = "doubts"
_COPIES = ("exact_duplicate", "near_duplicate", "label_conflict", "leak")
_MAX_ISSUES = 200  # Limit per kind.


def add_routes(api: FastAPI, studio: StudioState) -> None:
    workspace = studio.workspace

    @api.get("/understand")
    def page(run: str = "") -> HTMLResponse:
        runs = finished_run_choices(workspace.runs)
        return render_page(workspace, "understand.html.j2", runs=runs, chosen=run)

    @api.get("/api/understand")
    def overview(run: str) -> dict[str, Any]:
        opened = Run(run_path(workspace.runs, run))
        with run_results.damage_as_data_error(opened):
            is_of_workspace = run_results.image_folder(opened) == workspace.root
            return {**run_results.overview(opened), "own": is_of_workspace}

    @api.get("/api/understand/pictures")
    def images(
        run: str,
        label: str | None = None,
        predicted: str | None = None,
        wrong: bool = False,
        offset: int = 0,
    ) -> dict[str, Any]:
        opened = Run(run_path(workspace.runs, run))
        with run_results.damage_as_data_error(opened):
            selected = run_results.select_test_images(
                opened, label, predicted, only_mistakes=wrong, offset=offset
            )
        for image in selected["pictures"]:
            image["there"] = workspace.has_file(image["path"])
        return selected

    @api.get("/api/heat")
    def heat_map(run: str, path: str, label: str | None = None) -> Response:
        data = read_file(workspace.image(path), path)
        model = studio.models.open(run_path(workspace.runs, run))
        image = prediction_view.heat_map_image(model, data, path, label=label)
        return Response(encode_jpeg(image), media_type="image/jpeg")

    _add_label_check(api, studio)


def _add_label_check(api: FastAPI, studio: StudioState) -> None:
    workspace, jobs = studio.workspace, studio.jobs

    @api.get("/api/doubts")
    def status() -> dict[str, Any]:
        return _label_check_status(studio)

    @api.post("/api/doubts")
    def start(raw: Annotated[Any, Body()]) -> dict[str, Any]:
        name = raw.get("run") if isinstance(raw, dict) else None
        run = Run(run_path(workspace.runs, name if isinstance(name, str) else ""))
        label_from = run.config.data.label_from
        if run.config.task == "localize" and label_from == "auto":
            label_from = "xml"
        output = str(jobs.output_folder(_JOB))
        arguments = ["check", str(workspace.root), "--labels", str(run.path)]
        arguments += ["--label-from", label_from, "--output", output]
        jobs.start(_JOB, run.path.name, arguments)
        return _label_check_status(studio)

    @api.post("/api/relabel")
    def relabel(raw: Annotated[Any, Body()]) -> dict[str, Any]:
        path, label = text_field(raw, "path"), text_field(raw, "label")
        undo = relabelling.relabel(workspace, path, label)
        return {"undo": undo, "recent": relabelling.recent_moves(workspace)}

    @api.post("/api/relabel/undo")
    def undo(raw: Annotated[Any, Body()]) -> dict[str, Any]:
        count = relabelling.undo(workspace, text_field(raw, "id"))
        return {"count": count, "recent": relabelling.recent_moves(workspace)}


def _label_check_status(studio: StudioState) -> dict[str, Any]:
    """The search for wrong labels and copies: its progress and results."""
    workspace, job = studio.workspace, studio.jobs.status(_JOB)
    status: dict[str, Any] = {
        "job": job,
        "labels": [],
        "copies": [],
        "recent": relabelling.recent_moves(workspace),
        "classes": [name.rpartition("/")[2] for name, _ in workspace.classes()],
    }
    file = studio.jobs.output_folder(_JOB) / ISSUES_JSON
    if job is None or job["state"] != "done" or not file.is_file():
        return status
    issues = json.loads(file.read_text(encoding="utf-8"))["issues"]
    # An image that was moved since counts as settled.
    present = [issue for issue in issues if workspace.has_file(issue["path"])]
    labels = [issue for issue in present if issue["kind"] == "mislabelled"]
    copies = [
        issue
        for issue in present
        if issue["kind"] in _COPIES and workspace.has_file(issue["related"])
    ]
    return {**status, "labels": labels[:_MAX_ISSUES], "copies": copies[:_MAX_ISSUES]}
