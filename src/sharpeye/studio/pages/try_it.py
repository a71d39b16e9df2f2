"""The page Try: what one run, or two, say of an image that nobody has labelled."""

from typing import Any

from fastapi import Request
from nicegui import ui
from starlette.concurrency import run_in_threadpool

from sharpeye.errors import UsageError
from sharpeye.images.decode import read_file
from sharpeye.studio import replies
from sharpeye.studio.frame import element, frame, script
from sharpeye.studio.runs import run_path
from sharpeye.studio.state import StudioState

_MAX_NAME = 200
_MAX_IMAGES = 200


def register(studio: StudioState) -> None:
    """Add the page and its routes."""
    api = studio.api

    @ui.page("/try")
    def page() -> None:
        with frame(studio, "Try", "Try"):
            element("div").props("id=try-place")
        ui.add_head_html('<link rel="stylesheet" href="/static/work.css">')
        script("try.js")

    @api.get("/api/try/pictures")
    def images(offset: int = 0, count: int = 24) -> dict[str, Any]:
        page = studio.workspace.images(None, offset, min(count, _MAX_IMAGES))
        return {"paths": page.paths, "total": page.total}

    @api.post("/api/try")
    async def answer(
        request: Request, run: str, path: str = "", name: str = "the picture"
    ) -> dict[str, Any]:
        sent = await request.body()
        return await run_in_threadpool(_answer, studio, run, path, name[:_MAX_NAME], sent)

    @api.post("/api/try/heat")
    async def heat(
        request: Request, run: str, label: str | None = None, path: str = ""
    ) -> dict[str, Any]:
        sent = await request.body()
        return await run_in_threadpool(_heat, studio, run, path, label, sent)


def _answer(studio: StudioState, run: str, path: str, name: str, sent: bytes) -> dict[str, Any]:
    data, name = _image(studio, path, name, sent)
    model = studio.models.open(run_path(studio.workspace.runs, run))
    image = replies.data_address(replies.shown(data, name))  # an error calls it by its name
    return {**replies.reply(model, data, name), "picture": image, "run": run}


def _heat(
    studio: StudioState, run: str, path: str, label: str | None, sent: bytes
) -> dict[str, Any]:
    data, name = _image(studio, path, "the picture", sent)
    model = studio.models.open(run_path(studio.workspace.runs, run))
    return {"picture": replies.data_address(replies.heated(model, data, name, label))}


def _image(studio: StudioState, path: str, name: str, sent: bytes) -> tuple[bytes, str]:
    """The bytes of an image of the folder, or those that were sent."""
    if path:
        return read_file(studio.workspace.image(path), path), path
    if not sent:
        raise UsageError("send a picture, or name one of the folder")
    return sent, name
