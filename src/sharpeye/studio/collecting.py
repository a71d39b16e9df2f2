"""What the page Collect asks for: lists of images, uploads, moves."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from sharpeye.errors import SharpEyeError, UsageError
from sharpeye.studio.downloads import Downloads
from sharpeye.studio.intake import Intake
from sharpeye.studio.thumbnails import listed
from sharpeye.studio.uploads import uploads_of
from sharpeye.studio.workspace import Moved, Workspace

PAGE = 100  # images
_MAX_PATHS = 1000  # of one wish


class NewClass(BaseModel):
    name: str


class Paths(BaseModel):
    paths: Annotated[list[str], Field(max_length=_MAX_PATHS)]
    label: str | None = None


class Back(BaseModel):
    moves: Annotated[list[tuple[str, str]], Field(max_length=_MAX_PATHS)]


class UrlList(BaseModel):
    label: str
    text: Annotated[str, Field(max_length=2 * 2**20)]


def add_routes(workspace: Workspace, api: FastAPI) -> Callable[[], None]:
    """The routes; returns what must be called at the studio's end."""
    intake, downloads = Intake(workspace), Downloads()
    _add_lists(workspace, api)
    _add_changes(workspace, intake, api)
    _add_downloads(workspace, downloads, api)

    @api.post("/api/upload")
    async def upload(request: Request, label: Annotated[str, Query()] = "") -> dict[str, Any]:
        name = await run_in_threadpool(_class_of, workspace, label)
        answers = []
        async for one in uploads_of(request):
            done = await run_in_threadpool(intake.take, one.name, name, one.file)
            answers.append(asdict(done))
        return {"label": name, "files": answers}

    def close() -> None:
        downloads.close()
        intake.forget()

    return close


def _class_of(workspace: Workspace, label: str) -> str:
    """The class that a label names; it is added if need be."""
    if any(label == name for name, _ in workspace.classes()):
        return label
    if not label.strip():
        raise UsageError("say into which class the pictures go: add one first")
    return workspace.add_class(label)


def _add_lists(workspace: Workspace, api: FastAPI) -> None:
    @api.get("/api/collect/classes")
    def classes() -> dict[str, Any]:
        found = [{"name": name, "count": count} for name, count in workspace.classes()]
        return {"classes": found, "all": workspace.images(None, 0, 0).total}

    @api.get("/api/collect/pictures")
    def images(
        label: str | None = None,
        offset: Annotated[int, Query(ge=0)] = 0,
        count: Annotated[int, Query(ge=1, le=500)] = PAGE,
    ) -> dict[str, Any]:
        page = workspace.images(label or None, offset, count)
        return {
            "total": page.total,
            "offset": offset,
            "pictures": listed(workspace, page.paths),
        }


def _add_changes(workspace: Workspace, intake: Intake, api: FastAPI) -> None:
    @api.post("/api/collect/class")
    def add_class(wish: NewClass) -> dict[str, Any]:
        name = workspace.add_class(wish.name)
        intake.forget()
        return {"name": name}

    @api.post("/api/collect/move")
    def move(wish: Paths) -> dict[str, Any]:
        label = wish.label
        if not label:
            raise UsageError("say into which class the pictures go")
        return _each(wish.paths, lambda path: workspace.move(path, label), intake)

    @api.post("/api/collect/aside")
    def aside(wish: Paths) -> dict[str, Any]:
        return _each(wish.paths, workspace.set_aside, intake)

    @api.post("/api/collect/undo")
    def undo(wish: Back) -> dict[str, Any]:
        moves = {target: source for source, target in wish.moves}

        def back(target: str) -> Moved:
            moved = Moved(moves[target], target)
            workspace.undo(moved)
            return Moved(target, moved.source)

        return _each([*moves], back, intake)


def _each(paths: list[str], change: Any, intake: Intake) -> dict[str, Any]:
    """Change each; one that cannot be changed does not hold the others up."""
    moved, problems = [], []
    try:
        for path in paths:
            try:
                done: Moved = change(path)
            except SharpEyeError as error:
                problems.append({"name": path, "reason": str(error)})
            else:
                moved.append([done.source, done.target])
    finally:
        intake.forget()
    return {"moves": moved, "problems": problems}


def _add_downloads(workspace: Workspace, downloads: Downloads, api: FastAPI) -> None:
    @api.post("/api/collect/urls")
    def start(wish: UrlList) -> dict[str, Any]:
        label = _class_of(workspace, wish.label)
        downloads.start(wish.text, label, workspace.resolve(label))
        return downloads.told()

    @api.get("/api/collect/urls")
    def told() -> dict[str, Any]:
        return downloads.told()

    @api.post("/api/collect/urls/stop")
    def stop() -> dict[str, Any]:
        downloads.stop()
        return downloads.told()
