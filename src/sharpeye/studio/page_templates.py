"""Render the studio's pages from the Jinja2 templates in `templates/`.

`base.html.j2` is the frame of every page: the links to the five places, the folder's name, and
the place for messages. Its style sheet `static/studio.css` follows the system's light or dark
colours. All text is escaped; data for a page's script is a JSON element, which is never executed.
"""

from functools import cache
from typing import TYPE_CHECKING, Any

from starlette.responses import HTMLResponse

from sharpeye.studio.workspace import Workspace

if TYPE_CHECKING:
    from jinja2 import Environment

# (name, URL, what a person does there)
PLACES = (
    ("Overview", "/", ""),
    ("Collect", "/collect", "Bring pictures in: files, folders, the camera, lists of addresses."),
    ("Label", "/label", "Draw boxes around things, or sort pictures into classes."),
    ("Train", "/train", "Make a model of the pictures, and watch it learn."),
    ("Understand", "/understand", "See its mistakes, wrong labels and copies, and mend them."),
    ("Try", "/try", "Show it a new picture, and see what it says."),
)


@cache
def template_environment() -> "Environment":
    """Jinja2 for the studio's templates: all text is escaped, no name may be missing."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("sharpeye.studio", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render_page(
    workspace: Workspace, template: str, *, status: int = 200, **values: Any
) -> HTMLResponse:
    """A page as a response.

    Args:
        template: `NAME.html.j2` in `templates/`; it sets `title`, and `place`, one of `PLACES`.
        values: what the template shows.
    """
    page = template_environment().get_template(template)
    return HTMLResponse(page.render(places=PLACES, folder=workspace.root, **values), status)
