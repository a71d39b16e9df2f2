"""The page Understand: what a run gets wrong, and what in the images may be the reason."""

import json
from typing import Annotated, Any

from fastapi import Body
from fastapi.responses import Response
from nicegui import ui

from sharpeye.core.config import load_toml
from sharpeye.errors import UsageError
from sharpeye.images.decode import read_file
from sharpeye.jobs.audit.check import ISSUES_JSON
from sharpeye.runs import layout
from sharpeye.studio import findings, relabelling, replies, run_files
from sharpeye.studio.frame import element, frame, script
from sharpeye.studio.runs import finished, run_path
from sharpeye.studio.state import StudioState

_COPIES = ("exact_duplicate", "near_duplicate", "label_conflict", "leak")
_MOST = 200  # of a kind of finding


def register(studio: StudioState) -> None:
    """Add the page and its routes."""
    run_files.add_routes(studio)
    _add_findings(studio)
    _add_doubts(studio)

    @ui.page("/understand")
    def page() -> None:
        with frame(studio, "Understand", "Understand"):
            element("div").props("id=understand-place")
        ui.add_head_html('<link rel="stylesheet" href="/static/work.css">')
        script("understand.js")


def _add_findings(studio: StudioState) -> None:
    api, workspace = studio.api, studio.workspace

    @api.get("/api/understand")
    def overview(run: str) -> dict[str, Any]:
        opened = finished(workspace.runs, run)
        with findings.reading(opened):
            own = findings.folder_of(opened) == workspace.root
            return {**findings.overview(opened), "own": own}

    @api.get("/api/understand/pictures")
    def images(
        run: str,
        label: str | None = None,
        predicted: str | None = None,
        wrong: bool = False,
        offset: int = 0,
    ) -> dict[str, Any]:
        opened = finished(workspace.runs, run)
        with findings.reading(opened):
            found = findings.images(opened, label, predicted, wrong=wrong, offset=offset)
        for one in found["pictures"]:
            one["there"] = _is_there(studio, one["path"])
        return found

    @api.get("/api/heat")
    def heat(run: str, path: str, label: str | None = None) -> Response:
        data = read_file(workspace.image(path), path)
        model = studio.models.open(run_path(workspace.runs, run))
        painted = replies.heated(model, data, path, label)
        return Response(replies.jpeg(painted), media_type="image/jpeg")


def _add_doubts(studio: StudioState) -> None:
    api, workspace, jobs = studio.api, studio.workspace, studio.jobs

    @api.get("/api/doubts")
    def doubts() -> dict[str, Any]:
        return _doubts(studio)

    @api.post("/api/doubts")
    def start(raw: Annotated[Any, Body()]) -> dict[str, Any]:
        name = raw.get("run") if isinstance(raw, dict) else None
        run = finished(workspace.runs, name if isinstance(name, str) else "").path
        config = load_toml(run / layout.CONFIG)
        boxes = config.task == "localize" and config.data.label_from == "auto"
        label_from = "xml" if boxes else config.data.label_from
        words = ["check", str(workspace.root), "--labels", str(run), "--label-from", label_from]
        jobs.start("doubts", run.name, [*words, "--output", str(jobs.results("doubts"))])
        return _doubts(studio)

    @api.post("/api/relabel")
    def relabel(raw: Annotated[Any, Body()]) -> dict[str, Any]:
        path, label = (_text(raw, key) for key in ("path", "label"))
        undo = relabelling.relabel(workspace, path, label, jobs.results("fixes"))
        return {"undo": undo, "recent": relabelling.recent(workspace)}

    @api.post("/api/relabel/undo")
    def take_back(raw: Annotated[Any, Body()]) -> dict[str, Any]:
        count = relabelling.undo(workspace, _text(raw, "id"))
        return {"count": count, "recent": relabelling.recent(workspace)}


def _text(raw: Any, key: str) -> str:
    value = raw.get(key) if isinstance(raw, dict) else None
    if not isinstance(value, str):
        raise UsageError(f'the request needs {{"{key}": ...}}')
    return value


def _doubts(studio: StudioState) -> dict[str, Any]:
    """The search for wrong labels and copies: how far it is, and what it found."""
    told = studio.jobs.told("doubts")
    answer: dict[str, Any] = {
        "job": told,
        "labels": [],
        "copies": [],
        "recent": relabelling.recent(studio.workspace),
        "classes": [name.rpartition("/")[2] for name, _ in studio.workspace.classes()],
    }
    file = studio.jobs.results("doubts") / ISSUES_JSON
    if told is None or told["state"] != "done" or not file.is_file():
        return answer
    issues = json.loads(file.read_text(encoding="utf-8"))["issues"]
    # What was moved or taken away since is answered for.
    there = [one for one in issues if _is_there(studio, one["path"])]
    answer["labels"] = [one for one in there if one["kind"] == "mislabelled"][:_MOST]
    copies = [one for one in there if one["kind"] in _COPIES and _is_there(studio, one["related"])]
    answer["copies"] = copies[:_MOST]
    return answer


def _is_there(studio: StudioState, path: str) -> bool:
    try:
        return studio.workspace.resolve(path).is_file()
    except UsageError:
        return False
