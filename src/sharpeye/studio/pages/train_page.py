"""The page Train: choose settings, start, follow, stop and resume a training."""

import contextlib
import shlex
from pathlib import Path
from typing import Annotated, Any

from fastapi import Body, FastAPI
from starlette.responses import HTMLResponse

from sharpeye.errors import DataError, UsageError
from sharpeye.jobs.train.resolve import resolve
from sharpeye.report import wording
from sharpeye.runs import layout
from sharpeye.runs.run_directory import Run
from sharpeye.studio import train_request
from sharpeye.studio.page_templates import render_page
from sharpeye.studio.quick_check import describe_data, run_quick_check
from sharpeye.studio.request_body import text_field
from sharpeye.studio.run_list import is_resumable, list_runs, run_path
from sharpeye.studio.run_results import learning_curves_svg
from sharpeye.studio.state import StudioState

_JOB = "train"
_MAX_MESSAGES = 12  # Shown on the page.
_STAGES = {
    "": "Getting ready",
    "features": "Looking at each picture",
    "pictures": "Reading the pictures",
    "training": "Learning",
}


def add_routes(api: FastAPI, studio: StudioState) -> None:
    workspace, jobs = studio.workspace, studio.jobs

    @api.get("/train")
    def page() -> HTMLResponse:
        return render_page(workspace, "train.html.j2")

    @api.get("/api/train")
    def state() -> dict[str, Any]:
        current_run = jobs.running_subject(_JOB)
        runs = list_runs(workspace.runs)
        stopped = [run.name for run in runs if run.state == "stopped"]
        running = [run.name for run in runs if run.state == "running"]
        return {
            "job": _job_status(studio),
            "data": describe_data(workspace),
            "unfinished": [name for name in stopped if is_resumable(workspace.runs / name)],
            "elsewhere": [name for name in running if name != current_run],
        }

    @api.get("/api/train/job")
    def job() -> dict[str, Any]:  # The page requests this every second.
        return {"job": _job_status(studio)}

    @api.get("/api/train/knobs")
    def knobs() -> list[dict[str, Any]]:
        return train_request.list_knobs()

    @api.post("/api/train/look")
    def quick_check() -> dict[str, Any]:
        return run_quick_check(studio)

    @api.post("/api/train")
    def start(raw: Annotated[Any, Body()]) -> dict[str, Any]:
        request = train_request.parse_train_request(raw)
        if not describe_data(workspace)["pictures"]:
            raise DataError(
                "there are no pictures to learn from; bring some in on the page Collect"
            )
        config = train_request.build_config(request, workspace)
        resolve(config)  # Contradictory settings are an error before anything starts.
        name = train_request.choose_run_name(request, config, workspace)
        arguments = train_request.command_arguments(config, workspace.runs / name)
        jobs.start(_JOB, name, arguments)
        return {"run": name, "command": shlex.join(["sharpeye", *arguments])}

    @api.post("/api/train/stop")
    def stop() -> dict[str, Any]:
        jobs.stop(_JOB)
        return {"job": _job_status(studio)}

    @api.post("/api/train/resume")
    def resume(raw: Annotated[Any, Body()]) -> dict[str, Any]:
        name = text_field(raw, "run")
        path = run_path(workspace.runs, name)
        if not is_resumable(path):
            raise UsageError(f"{name} has nothing to go on with; train it again")
        jobs.start(_JOB, name, ["train", "--resume", "--output", str(path)])
        return {"run": name}


def _job_status(studio: StudioState) -> dict[str, Any] | None:
    """The current or last training, with its results on disk."""
    status = studio.jobs.status(_JOB)
    if status is None:
        return None
    path = studio.workspace.runs / status["about"]
    status["run"] = status.pop("about")
    status["share"] = status["done"] / status["total"] if status["total"] else None
    status["stage"] = _stage_name(status["stage"])
    status["messages"] = status["messages"][-_MAX_MESSAGES:]
    status["curves"] = ""
    with contextlib.suppress(OSError, ValueError):  # The run has just begun, or is being deleted.
        status["curves"] = learning_curves_svg(path)
    status["resumable"] = status["state"] in ("stopped", "failed") and is_resumable(path)
    status["headline"] = _headline(path) if status["state"] == "done" else None
    return status


def _headline(path: Path) -> dict[str, Any]:
    test = Run(path).metrics["test"]
    low, high = test["accuracy_ci95"]
    return {
        "verdict": wording.headline(test),
        "boxes": wording.box_headline(test) if "mean_iou" in test else "",
        "accuracy": test["accuracy"],
        "low": low,
        "high": high,
        "report": (path / layout.REPORT).is_file(),
    }


def _stage_name(stage: str) -> str:
    if stage.startswith("view "):
        return f"Looking at flips and crops, round {stage.removeprefix('view ')}"
    if stage.startswith("maps of "):
        return "Looking where things are"
    return _STAGES.get(stage, stage)
