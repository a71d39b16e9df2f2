"""The page Collect: its frame; the rest is `static/collect.html` and `static/collect.js`."""

from nicegui import ui

from sharpeye.studio import collecting, thumbnails
from sharpeye.studio.assets import FOLDER
from sharpeye.studio.frame import frame, script
from sharpeye.studio.state import StudioState


def register(studio: StudioState) -> None:
    thumbnails.add_routes(studio, studio.api)
    studio.at_end(collecting.add_routes(studio.workspace, studio.api))
    content = (FOLDER / "collect.html").read_text(encoding="utf-8")

    @ui.page("/collect")
    def collect() -> None:
        with frame(studio, "Collect", "Collect"):
            ui.html(content, sanitize=False)  # our own file, without anything of the user's in it
        script("collect.js")
