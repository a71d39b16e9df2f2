"""The page Label: boxes and classes, or images sorted into folders."""

import hashlib
import os

from fastapi import FastAPI
from starlette.responses import HTMLResponse

from sharpeye.studio.page_templates import render_page
from sharpeye.studio.pages.annotation_routes import SUGGEST
from sharpeye.studio.run_list import list_runs
from sharpeye.studio.state import StudioState


def add_routes(api: FastAPI, studio: StudioState) -> None:
    workspace = studio.workspace

    @api.get("/label")
    def page(mode: str = "boxes", path: str = "", run: str = "") -> HTMLResponse:
        """The page.

        Args:
            mode: `boxes` or `sort`.
            path: the image to begin with, relative to the folder; "" for the first open one.
            run: whose suggestions are shown; "" for those of `--suggest`, if it was given.
        """
        sorting = mode == "sort"
        names = [
            summary.name
            for summary in list_runs(workspace.runs)
            if summary.state == "done" and (sorting or summary.task == "localize")
        ]
        models = [("", "nothing")]
        if studio.suggest:
            models.append((SUGGEST, studio.suggest.name))
        setup = {
            # The browser keeps unsaved boxes under this key.
            "folder": hashlib.sha256(os.fsencode(workspace.root)).hexdigest()[:24],
            "mode": "sort" if sorting else "boxes",
            "path": path,
            "suggest": run if run in names else (SUGGEST if studio.suggest else ""),
            "query": {"mode": mode} if sorting else {},
        }
        models += [(name, name) for name in names]
        return render_page(workspace, "label.html.j2", setup=setup, models=models)
