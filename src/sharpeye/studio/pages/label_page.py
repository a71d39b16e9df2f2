"""The page Label: draw boxes, or sort images into classes, with suggestions of a model.

The header `ETag` holds a file's version. A request with another version in `If-Match` is merged
with the file, or answered with 412 and the file's current state if the two conflict.
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Header
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat
from starlette.responses import HTMLResponse, JSONResponse, Response

from sharpeye.data.moves import Move
from sharpeye.errors import UsageError
from sharpeye.images.decode import read_file
from sharpeye.studio.annotation_list import AnnotationList, require_class_name
from sharpeye.studio.annotations import AnnotationEdit, Annotations, AnnotationState, EditConflict
from sharpeye.studio.page_templates import render_page
from sharpeye.studio.prediction_view import box_fractions
from sharpeye.studio.run_list import list_runs, run_path
from sharpeye.studio.state import StudioState
from sharpeye.studio.voc_edit import LabelledObject

SUGGEST = "--suggest"  # The page's name for the model of the command line.

Mode = Literal["boxes", "sort"]
Name = Annotated[str, Field(max_length=255)]
ImagePath = Annotated[str, Field(max_length=1024)]


class _StrictModel(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ObjectBody(_StrictModel):
    """One object; `box` in pixels of the upright image, edges from 0."""

    name: Name
    box: tuple[FiniteFloat, FiniteFloat, FiniteFloat, FiniteFloat] | None
    difficult: bool = False
    truncated: bool = False
    pose: Name = "Unspecified"
    was: Annotated[str, Field(max_length=100)] = ""


Objects = Annotated[list[ObjectBody], Field(max_length=1000)]


class EditBody(_StrictModel):
    """The whole new annotation of an image, and the one that the edit is based on."""

    objects: Objects
    verified: bool = False
    base: Objects | None = None
    base_verified: bool = False
    replace: bool = False


class ClassBody(_StrictModel):
    name: Name
    mode: Mode = "boxes"


class SortBody(_StrictModel):
    path: ImagePath
    label: ImagePath


class MoveBody(_StrictModel):
    source: ImagePath
    target: ImagePath


def add_routes(api: FastAPI, studio: StudioState) -> None:
    """Add `/label` and `/api/label/...`, which run on worker threads."""
    workspace = studio.workspace
    annotations, images = Annotations(workspace), AnnotationList(workspace)

    @api.get("/label")
    def page(mode: str = "boxes", path: str = "", run: str = "") -> HTMLResponse:
        return _page(studio, path, run, sorting=mode == "sort")

    @api.get("/api/label/list")
    def image_list() -> Response:
        return JSONResponse(images.to_dict())

    @api.get("/api/label/boxes")
    def boxes(path: str) -> Response:
        return _state_response(annotations.read(path))

    @api.put("/api/label/boxes")
    def edit(
        path: str, body: EditBody, if_match: Annotated[str | None, Header()] = None
    ) -> Response:
        if if_match is None:
            raise UsageError("a change needs the header If-Match with the version it was made from")
        since = if_match.strip().strip('"')
        try:
            return _state_response(annotations.write(path, _edit(body, since)))
        except EditConflict as conflict:
            theirs = conflict.theirs
            error = {"error": str(conflict), "theirs": theirs.to_dict()}
            return JSONResponse(error, 412, {"ETag": f'"{theirs.etag}"'})

    @api.post("/api/label/classes")
    def add_class(body: ClassBody) -> Response:
        if body.mode == "sort":
            workspace.add_class(body.name)
            return JSONResponse({"classes": [name for name, _ in workspace.classes()]})
        return JSONResponse({"classes": images.add_class(body.name)})

    @api.post("/api/label/sort")
    def sort(body: SortBody) -> Response:
        move = workspace.move(body.path, body.label)
        return JSONResponse(asdict(move))

    @api.post("/api/label/unsort")
    def unsort(body: MoveBody) -> Response:
        workspace.undo(Move(body.source, body.target))
        return JSONResponse({"path": body.source})

    @api.get("/api/label/suggest")
    def suggest(path: str, run: str, mode: Mode = "boxes") -> Response:
        return JSONResponse(_suggest(studio, path, run, mode=mode))


def _page(studio: StudioState, path: str, run: str, *, sorting: bool) -> HTMLResponse:
    """The page at an image, or at the first unlabelled one, with suggestions of a run if any."""
    workspace = studio.workspace
    names = [
        summary.name
        for summary in list_runs(workspace.runs)
        if summary.state == "done" and (sorting or summary.task == "localize")
    ]
    models = [("", "nothing")]
    if studio.suggest:
        models.append((SUGGEST, studio.suggest.name))
    models += [(name, name) for name in names]
    setup = {
        # The browser keeps unsaved boxes under this key.
        "folder": hashlib.sha256(os.fsencode(workspace.root)).hexdigest()[:24],
        "mode": "sort" if sorting else "boxes",
        "path": path,
        "suggest": run if run in names else (SUGGEST if studio.suggest else ""),
        "query": {"mode": "sort"} if sorting else {},
    }
    return render_page(workspace, "label.html.j2", setup=setup, models=models)


def _edit(body: EditBody, since: str) -> AnnotationEdit:
    for item in body.objects:
        if not item.was or item.name:  # An object of an old file may lack its name.
            require_class_name(item.name)
    return AnnotationEdit(
        objects=_labelled_objects(body.objects),
        verified=body.verified,
        since=since,
        base=None if body.base is None else _labelled_objects(body.base),
        base_verified=body.base_verified,
        replace_unusable=body.replace,
    )


def _labelled_objects(items: Sequence[ObjectBody]) -> list[LabelledObject]:
    return [
        LabelledObject(
            item.name, item.box, item.difficult, item.truncated, item.pose, origin_id=item.was
        )
        for item in items
    ]


def _state_response(state: AnnotationState) -> Response:
    return JSONResponse(state.to_dict(), headers={"ETag": f'"{state.etag}"'})


def _suggest(studio: StudioState, path: str, run: str, *, mode: Mode) -> dict[str, Any]:
    """The suggestions of a model for an image.

    Args:
        run: a run's name, or `SUGGEST`.
        mode: `boxes` for a class and a box, `sort` for a class.

    Returns:
        `suggestions`, the best first, each with `name`, `score` 0..1, `box` in fractions 0..1 of
        the image, and `unknown`: the image is unlike the training images, so a person should check
        it; or none, and the `reason`.
    """
    file = studio.workspace.image(path)
    if run != SUGGEST:
        model_path = run_path(studio.workspace.runs, run)
    elif studio.suggest is None:
        raise UsageError("no model was given with --suggest")
    else:
        model_path = studio.suggest
    model = studio.models.open(model_path)
    if mode == "boxes" and not model.localizes:
        reason = "This model says what is in a picture, not where; train one that learns boxes."
        return {"suggestions": [], "reason": reason}
    prediction = model.predict(read_file(file, path), top=1)
    box = box_fractions(prediction) if mode == "boxes" else None
    if mode == "boxes" and box is None:
        return {"suggestions": [], "reason": "The model finds nothing."}
    suggestion = {
        "name": prediction.label,
        "score": prediction.score,
        "unknown": bool(prediction.unknown),
        "box": box,
    }
    return {"suggestions": [suggestion], "reason": ""}
