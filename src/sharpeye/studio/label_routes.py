"""What the label page asks: lists, boxes, classes, suggestions, moves. JSON in and out.

A version of a file travels as the header `ETag`; `If-Match` with another one than the file's is
answered with 412 and what the file says now, unless the two changes can be put together.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Header
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat
from starlette.responses import JSONResponse, Response

from sharpeye.errors import UsageError
from sharpeye.images.boxes import from_pixels
from sharpeye.images.decode import read_file
from sharpeye.studio.label_list import LabelList, require_class
from sharpeye.studio.labelling import Change, Labels, StaleError, State
from sharpeye.studio.runs import run_path
from sharpeye.studio.state import StudioState
from sharpeye.studio.voc_edit import Marked
from sharpeye.studio.workspace import Moved

SUGGEST = "--suggest"  # how the page calls the model of the command line

Mode = Literal["boxes", "sort"]
Text = Annotated[str, Field(max_length=255)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class BoxIn(_Strict):
    """One object; `box` in pixels of the upright image, edges from 0."""

    name: Text
    box: tuple[FiniteFloat, FiniteFloat, FiniteFloat, FiniteFloat] | None
    difficult: bool = False
    truncated: bool = False
    pose: Text = "Unspecified"
    was: Annotated[str, Field(max_length=100)] = ""

    def marked(self) -> Marked:
        return Marked(self.name, self.box, self.difficult, self.truncated, self.pose, was=self.was)


class ChangeIn(_Strict):
    """All that an image's annotation shall say, and what the page began with."""

    objects: Annotated[list[BoxIn], Field(max_length=1000)]
    verified: bool = False
    base: Annotated[list[BoxIn], Field(max_length=1000)] | None = None
    base_verified: bool = False
    replace: bool = False


class ClassIn(_Strict):
    name: Text
    mode: Mode = "boxes"


class SortIn(_Strict):
    path: Annotated[str, Field(max_length=1024)]
    label: Annotated[str, Field(max_length=1024)]


class MovedIn(_Strict):
    source: Annotated[str, Field(max_length=1024)]
    target: Annotated[str, Field(max_length=1024)]


def add_routes(studio: StudioState, api: FastAPI) -> None:
    """Add `/api/label/...`; all of them run on worker threads."""
    labels, images = Labels(studio.workspace), LabelList(studio.workspace)

    @api.get("/api/label/list")
    def listing() -> Response:
        return JSONResponse(images.to_dict())

    @api.get("/api/label/boxes")
    def boxes(path: str) -> Response:
        return _said(labels.read(path))

    @api.put("/api/label/boxes")
    def change(
        path: str, wanted: ChangeIn, if_match: Annotated[str | None, Header()] = None
    ) -> Response:
        if if_match is None:
            raise UsageError("a change needs the header If-Match with the version it was made from")
        try:
            return _said(labels.write(path, _change(wanted, if_match.strip().strip('"'))))
        except StaleError as error:
            body = {"error": str(error), "theirs": error.theirs.to_dict()}
            return JSONResponse(body, 412, {"ETag": f'"{error.theirs.etag}"'})

    @api.post("/api/label/classes")
    def add_class(wanted: ClassIn) -> Response:
        if wanted.mode == "sort":
            studio.workspace.add_class(wanted.name)
            return JSONResponse({"classes": [name for name, _ in studio.workspace.classes()]})
        return JSONResponse({"classes": images.add_class(wanted.name)})

    @api.post("/api/label/sort")
    def sort(wanted: SortIn) -> Response:
        moved = studio.workspace.move(wanted.path, wanted.label)
        return JSONResponse({"source": moved.source, "target": moved.target})

    @api.post("/api/label/unsort")
    def unsort(wanted: MovedIn) -> Response:
        studio.workspace.undo(Moved(wanted.source, wanted.target))
        return JSONResponse({"path": wanted.source})

    @api.get("/api/label/suggest")
    def suggest(path: str, run: str, mode: Mode = "boxes") -> Response:
        return JSONResponse(suggestions(studio, path, run, mode))


def _change(wanted: ChangeIn, since: str) -> Change:
    for each in wanted.objects:
        if not each.was or each.name:  # of an old file, an object may lack its name
            require_class(each.name)
    return Change(
        objects=_marked(wanted.objects),
        verified=wanted.verified,
        since=since,
        base=None if wanted.base is None else _marked(wanted.base),
        base_verified=wanted.base_verified,
        replace=wanted.replace,
    )


def _marked(items: Sequence[BoxIn]) -> list[Marked]:
    return [item.marked() for item in items]


def _said(state: State) -> Response:
    return JSONResponse(state.to_dict(), headers={"ETag": f'"{state.etag}"'})


def suggestions(studio: StudioState, path: str, run: str, mode: Mode) -> dict[str, Any]:
    """What a model proposes for an image.

    Args:
        run: a run's name, or `SUGGEST`.
        mode: `boxes` asks where something is, `sort` only what it is.

    Returns:
        `suggestions`, the best first, each with `name`, `score` 0..1, `box`, as shares 0..1 of the
        image, and `unknown`: the image is unlike those that the model has learned, so that a
        person should look twice; or none, and the `reason`.
    """
    file, model = studio.workspace.image(path), studio.models.open(model_folder(studio, run))
    if mode == "boxes" and not model.localizes:
        reason = "This model says what is in a picture, not where; train one that learns boxes."
        return {"suggestions": [], "reason": reason}
    answer = model.predict(read_file(file, path), top=1)
    found = {"name": answer.label, "score": answer.score, "unknown": bool(answer.unknown)}
    if mode == "sort":
        return {"suggestions": [{**found, "box": None}], "reason": ""}
    if answer.box is None or answer.size is None:
        return {"suggestions": [], "reason": "The model finds nothing."}
    return {"suggestions": [{**found, "box": from_pixels(answer.box, answer.size)}], "reason": ""}


def model_folder(studio: StudioState, run: str) -> Path:
    """The folder of a model by the name that the page has for it.

    Raises:
        UsageError, DataError: there is none of this name.
    """
    if run != SUGGEST:
        return run_path(studio.workspace.runs, run)
    if studio.suggest is None:
        raise UsageError("no model was given with --suggest")
    return studio.suggest
