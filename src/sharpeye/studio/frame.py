"""What every page has: the five places, the folder's name, light and dark, a place for messages."""

import contextlib
from collections.abc import Iterator

from nicegui import ui
from nicegui.elements.mixins.text_element import TextElement

from sharpeye.studio.state import StudioState

# (name, address): a page is `here` by its name.
PLACES = (
    ("Overview", "/"),
    ("Collect", "/collect"),
    ("Label", "/label"),
    ("Train", "/train"),
    ("Understand", "/understand"),
    ("Try", "/try"),
)


@contextlib.contextmanager
def frame(studio: StudioState, title: str, here: str) -> Iterator[None]:
    """The frame of a page; its content is what is made inside of the block.

    `static/studio.js` gives scripts of pages `studio.toast(text)`, `studio.ask(method, url, body)`
    and `studio.url(path, values)`; `static/studio.css` has the classes.

    Args:
        studio: see there.
        title: the page's heading.
        here: the name of its place in `PLACES`.
    """
    ui.add_head_html('<link rel="stylesheet" href="/static/studio.css">')
    ui.add_head_html('<script src="/static/studio.js"></script>')
    ui.page_title(f"{title} - {studio.workspace.root.name} - SharpEye")
    layout = ui.context.client.layout  # Quasar's: the page in it is the element `main`
    with layout:
        link("Skip to the content", "#content").classes("skip").move(layout, 0)
        _bar(studio, here).move(layout, 1)
        element("div").props("id=toasts role=status aria-live=polite")
    with element("div", "content").props("id=content tabindex=-1"):
        text("h1", title)
        yield


def _bar(studio: StudioState, here: str) -> ui.element:
    bar = element("header", "bar")
    with bar:
        text("span", "SharpEye", "brand")
        with element("nav").props('aria-label="Places"'), element("ul"):
            for name, address in PLACES:
                with element("li"):
                    place = link(name, address)
                    if name == here:
                        place.props('aria-current="page"')
        folder = text("span", studio.workspace.root.name, "folder")
        folder.props["title"] = str(studio.workspace.root)
    return bar


def element(tag: str, classes: str = "") -> ui.element:
    """An element of HTML; used with `with`, it holds others."""
    return ui.element(tag).classes(classes)


def text(tag: str, content: str, classes: str = "") -> ui.element:
    """An element that holds text; whatever is in it, it stays text."""
    return TextElement(tag=tag, text=content).classes(classes)


def link(content: str, address: str) -> ui.element:
    """A real link."""
    made = text("a", content)
    made.props["href"] = address
    return made


def script(name: str) -> None:
    """Load a script of `static/` in this page: after the page is there."""
    ui.add_body_html(f'<script type="module" src="/static/{name}"></script>')
