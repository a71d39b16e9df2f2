"""The page Try: what one run, or two, predict for an image that nobody has labelled."""

from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse

from sharpeye.errors import UsageError
from sharpeye.images.decode import read_file
from sharpeye.studio import prediction_view
from sharpeye.studio.page_templates import render_page
from sharpeye.studio.run_list import finished_run_choices, run_path
from sharpeye.studio.state import StudioState

_MAX_NAME_CHARACTERS = 200
_MAX_IMAGES = 200


def add_routes(api: FastAPI, studio: StudioState) -> None:
    workspace = studio.workspace

    @api.get("/try")
    def page(run: str = "", compared: Annotated[str, Query(alias="with")] = "") -> HTMLResponse:
        runs = finished_run_choices(workspace.runs)
        return render_page(workspace, "try.html.j2", runs=runs, chosen=run, compared=compared)

    @api.get("/api/try/pictures")
    def images(offset: int = 0, count: int = 24) -> dict[str, Any]:
        page = workspace.images(None, offset, min(count, _MAX_IMAGES))
        return {"paths": page.paths, "total": page.total}

    @api.post("/api/try")
    async def predict(
        request: Request, run: str, path: str = "", name: str = "the picture"
    ) -> dict[str, Any]:
        sent = await request.body()
        name = name[:_MAX_NAME_CHARACTERS]
        return await run_in_threadpool(_predict, studio, run, path, name=name, sent=sent)

    @api.post("/api/try/heat")
    async def heat_map(
        request: Request, run: str, label: str | None = None, path: str = ""
    ) -> dict[str, Any]:
        sent = await request.body()
        return await run_in_threadpool(_heat_map, studio, run, path, label=label, sent=sent)


def _predict(studio: StudioState, run: str, path: str, *, name: str, sent: bytes) -> dict[str, Any]:
    data, name = _image(studio, path, name, sent=sent)
    model = studio.models.open(run_path(studio.workspace.runs, run))
    image = prediction_view.data_url(prediction_view.page_image(data, name))
    return {**prediction_view.predict_for_page(model, data, name), "picture": image, "run": run}


def _heat_map(
    studio: StudioState, run: str, path: str, *, label: str | None, sent: bytes
) -> dict[str, Any]:
    data, name = _image(studio, path, "the picture", sent=sent)
    model = studio.models.open(run_path(studio.workspace.runs, run))
    heat_map = prediction_view.heat_map_image(model, data, name, label=label)
    return {"picture": prediction_view.data_url(heat_map)}


def _image(studio: StudioState, path: str, name: str, *, sent: bytes) -> tuple[bytes, str]:
    """The bytes and the name of an image of the folder, or of the one that was sent."""
    if path:
        return read_file(studio.workspace.image(path), path), path
    if not sent:
        raise UsageError("send a picture, or name one of the folder")
    return sent, name
