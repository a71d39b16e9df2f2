"""The page Try: the predictions of one run, or two, for an unlabelled image."""

from typing import Annotated, Any

from fastapi import Depends, FastAPI, Query, Request
from starlette.responses import HTMLResponse

from sharpeye.errors import UsageError
from sharpeye.images.decode import read_file
from sharpeye.studio import prediction_view
from sharpeye.studio.page_templates import render_page
from sharpeye.studio.run_list import finished_run_choices, run_path
from sharpeye.studio.state import StudioState

_MAX_NAME_CHARACTERS = 200
_MAX_IMAGES = 200


async def _read_body(request: Request) -> bytes:
    return await request.body()


_Body = Annotated[bytes, Depends(_read_body)]  # An image; empty if `path` names one.


def add_routes(api: FastAPI, studio: StudioState) -> None:
    """Add `/try` and `/api/try/...`."""
    workspace = studio.workspace

    @api.get("/try")
    def page(run: str = "", compared: Annotated[str, Query(alias="with")] = "") -> HTMLResponse:
        runs = finished_run_choices(workspace.runs)
        return render_page(workspace, "try.html.j2", runs=runs, chosen=run, compared=compared)

    @api.get("/api/try/pictures")
    def images(offset: int = 0, count: int = 24) -> dict[str, Any]:
        paths, total = workspace.images(None, offset, min(count, _MAX_IMAGES))
        return {"paths": paths, "total": total}

    @api.post("/api/try")
    def predict(body: _Body, run: str, path: str = "", name: str = "the picture") -> dict[str, Any]:
        data, name = _image(path, name[:_MAX_NAME_CHARACTERS], body)
        model = studio.models.open(run_path(workspace.runs, run))
        image = prediction_view.data_url(prediction_view.page_image(data, name))
        return {**prediction_view.predict_for_page(model, data, name), "picture": image, "run": run}

    @api.post("/api/try/heat")
    def heat_map(body: _Body, run: str, label: str | None = None, path: str = "") -> dict[str, Any]:
        data, name = _image(path, "the picture", body)
        model = studio.models.open(run_path(workspace.runs, run))
        image = prediction_view.heat_map_image(model, data, name, label=label)
        return {"picture": prediction_view.data_url(image)}

    def _image(path: str, name: str, body: bytes) -> tuple[bytes, str]:
        if path:
            return read_file(workspace.image(path), path), path
        if not body:
            raise UsageError("send a picture, or name one of the folder")
        return body, name
