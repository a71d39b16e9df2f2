"""The page Collect: lists of images, uploads, downloads, moves."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse

from sharpeye.data.moves import Move
from sharpeye.errors import SharpEyeError, UsageError
from sharpeye.studio.page_templates import render_page
from sharpeye.studio.state import StudioState
from sharpeye.studio.thumbnails import file_version
from sharpeye.studio.uploads import read_uploads
from sharpeye.studio.workspace import Workspace

_MAX_PATHS = 1000  # Limit of one request.


class NewClass(BaseModel):
    name: str


class ImagePaths(BaseModel):
    paths: Annotated[list[str], Field(max_length=_MAX_PATHS)]
    label: str | None = None


class MovesToUndo(BaseModel):
    moves: Annotated[list[tuple[str, str]], Field(max_length=_MAX_PATHS)]


class UrlList(BaseModel):
    label: str
    text: Annotated[str, Field(max_length=2 * 2**20)]


def add_routes(api: FastAPI, studio: StudioState) -> None:
    workspace = studio.workspace

    @api.get("/collect")
    def page() -> HTMLResponse:
        return render_page(workspace, "collect.html.j2")

    @api.get("/api/collect/classes")
    def classes() -> dict[str, Any]:
        class_counts = [{"name": name, "count": count} for name, count in workspace.classes()]
        return {"classes": class_counts, "all": len(workspace.all_images())}

    @api.get("/api/collect/pictures")
    def images(
        label: str | None = None,
        offset: Annotated[int, Query(ge=0)] = 0,
        count: Annotated[int, Query(ge=1, le=500)] = 100,
    ) -> dict[str, Any]:
        paths, total = workspace.images(label or None, offset, count)
        listed = [
            {
                "path": path,
                "name": path.rpartition("/")[2],
                "version": file_version(workspace.root / path),
            }
            for path in paths
        ]
        return {"total": total, "offset": offset, "pictures": listed}

    @api.post("/api/upload")
    async def upload(request: Request, label: Annotated[str, Query()] = "") -> dict[str, Any]:
        class_name = await run_in_threadpool(_existing_or_new_class, workspace, label)
        results = []
        async for file in read_uploads(request):
            results.append(await run_in_threadpool(studio.uploads.add, file, class_name))
        return {"label": class_name, "files": results}

    _add_moves(api, studio)
    _add_downloads(api, studio)


def _existing_or_new_class(workspace: Workspace, label: str) -> str:
    if any(label == name for name, _ in workspace.classes()):
        return label
    if not label.strip():
        raise UsageError("say into which class the pictures go: add one first")
    return workspace.add_class(label)


def _add_moves(api: FastAPI, studio: StudioState) -> None:
    workspace = studio.workspace

    @api.post("/api/collect/class")
    def add_class(body: NewClass) -> dict[str, Any]:
        name = workspace.add_class(body.name)
        studio.uploads.close_folders()
        return {"name": name}

    @api.post("/api/collect/move")
    def move(body: ImagePaths) -> dict[str, Any]:
        label = body.label
        if not label:
            raise UsageError("say into which class the pictures go")
        return _move_each(body.paths, lambda path: workspace.move(path, label), studio)

    @api.post("/api/collect/aside")
    def hide(body: ImagePaths) -> dict[str, Any]:
        return _move_each(body.paths, workspace.hide, studio)

    @api.post("/api/collect/undo")
    def undo(body: MovesToUndo) -> dict[str, Any]:
        sources = {target: source for source, target in body.moves}

        def undo_one(target: str) -> Move:
            workspace.undo(Move(sources[target], target))
            return Move(target, sources[target])

        return _move_each([*sources], undo_one, studio)


def _move_each(
    paths: list[str], move: Callable[[str], Move], studio: StudioState
) -> dict[str, Any]:
    """Move several images, and continue after one that cannot be moved."""
    moves, problems = [], []
    try:
        for path in paths:
            try:
                moved = move(path)
            except SharpEyeError as error:
                reason = studio.workspace.shorten_paths(str(error))
                problems.append({"name": path, "reason": reason})
            else:
                moves.append([moved.source, moved.target])
    finally:
        studio.uploads.close_folders()
    return {"moves": moves, "problems": problems}


def _add_downloads(api: FastAPI, studio: StudioState) -> None:
    workspace, downloads = studio.workspace, studio.downloads

    @api.post("/api/collect/urls")
    def start(body: UrlList) -> dict[str, Any]:
        label = _existing_or_new_class(workspace, body.label)
        downloads.start(body.text, label, workspace.resolve(label))
        return downloads.status()

    @api.get("/api/collect/urls")
    def status() -> dict[str, Any]:
        return downloads.status()

    @api.post("/api/collect/urls/stop")
    def stop() -> dict[str, Any]:
        downloads.stop()
        return downloads.status()
