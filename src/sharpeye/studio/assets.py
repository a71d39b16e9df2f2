"""Our own scripts and styles, under `/static/`. Nothing is fetched from elsewhere."""

from pathlib import Path

from fastapi import FastAPI
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

FOLDER = Path(__file__).parent / "static"


class _Checked(StaticFiles):
    """Browsers may keep a file, but ask each time whether it is still the same."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        answer = await super().get_response(path, scope)
        answer.headers["Cache-Control"] = "no-cache"
        return answer


def add_routes(api: FastAPI) -> None:
    api.mount("/static", _Checked(directory=FOLDER))
