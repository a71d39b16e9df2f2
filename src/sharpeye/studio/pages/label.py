"""The label page: boxes and classes, or images sorted into folders.

It is plain HTML with scripts of its own, not NiceGUI's: a page of NiceGUI loads itself anew when
the server was away, and with it would go what is being drawn.
"""

import hashlib
import json
import os
from html import escape
from typing import Any

from starlette.responses import HTMLResponse

from sharpeye.studio.frame import PLACES
from sharpeye.studio.label_routes import SUGGEST, add_routes
from sharpeye.studio.runs import list_runs
from sharpeye.studio.state import StudioState

_FILTERS = {
    "boxes": (
        ("all", "all pictures"),
        ("open", "not labelled"),
        ("done", "labelled"),
        ("unverified", "not verified"),
        ("bad", "damaged XML"),
    ),
    "sort": (("all", "all pictures"), ("loose", "not sorted")),
}

_KEYS = (
    ("D or →, A or ←", "the next, the previous picture (arrows: while no box is selected)"),
    ("U", "the next picture without a label"),
    ("1 to 9", "choose the class; of the selected box, too"),
    ("C", "type a class's name, also a new one"),
    ("Drag", "draw a box; its inside moves it, its handles resize it; Alt always draws"),
    ("Click", "select the smallest box there, or none"),
    ("W or N", "a new box without a mouse"),
    (". and ,", "select the next, the previous box; Esc selects none"),
    ("Arrows", "move the selected box by a pixel; with Ctrl by ten"),
    ("Shift + arrows", "move its right and lower side"),
    ("Delete", "delete the selected box"),
    ("Ctrl + Z, Ctrl + Y", "undo, redo"),
    ("Enter or Y", "accept the suggestion, and go to the next picture"),
    ("V, T, X", "verified (the picture); truncated, difficult (the box)"),
    ("+, -, 0", "zoom in, out, whole picture; the wheel zooms where the mouse is"),
    ("Space + drag", "move the picture; also with the middle button, or two fingers"),
    ("?", "this help"),
)
_SORT_KEYS = (
    ("1 to 9", "move the picture into the class's folder, and go to the next one"),
    ("C", "type a class's name, also a new one"),
    ("Ctrl + Z", "move the last one back"),
    ("D or →, A or ←", "the next, the previous picture"),
    ("U", "the next picture that is not sorted"),
    ("Enter or Y", "do what the model suggests"),
    ("+, -, 0, Space + drag", "zoom in, out, whole picture; move it"),
    ("?", "this help"),
)


def register(studio: StudioState) -> None:
    add_routes(studio, studio.api)

    @studio.api.get("/label")
    def label(mode: str = "boxes", path: str = "", run: str = "") -> HTMLResponse:
        return HTMLResponse(page(studio, "sort" if mode == "sort" else "boxes", path, run))


def page(studio: StudioState, mode: str, path: str, run: str) -> str:
    """The page as HTML.

    Args:
        mode: `boxes` or `sort`.
        path: the image to begin with, relative to the folder; "" for the first that is open.
        run: whose suggestions are shown; "" for those of `--suggest`, if it was given.
    """
    root = studio.workspace.root
    runs = [
        each.name
        for each in list_runs(studio.workspace.runs)
        if each.state == "done" and (mode == "sort" or each.task == "localize")
    ]
    chosen = run if run in runs else (SUGGEST if studio.suggest else "")
    models = [("", "nothing")]
    if studio.suggest:
        models.append((SUGGEST, studio.suggest.name))
    models += [(name, name) for name in runs]
    setup = {
        "folder": hashlib.sha256(os.fsencode(root)).hexdigest()[:24],
        "mode": mode,
        "path": path,
        "suggest": chosen,
        "query": {"mode": mode} if mode == "sort" else {},
    }
    other = ("/label?mode=sort", "Sort into folders")
    if mode == "sort":
        other = ("/label", "Draw boxes")
    return _PAGE.format(
        title=escape(f"Label - {root.name} - SharpEye"),
        places=_places(),
        folder=escape(root.name),
        root=escape(str(root)),
        setup=_json(setup),
        mode=mode,
        heading="Sort" if mode == "sort" else "Label",
        other=f'<a class="other" href="{other[0]}">{other[1]}</a>',
        filters=_options(_FILTERS[mode], "all"),
        models=_options(models, chosen),
        flags="" if mode == "sort" else _BOXES,
        keys="".join(
            f"<tr><th scope=row>{escape(key)}</th><td>{escape(what)}</td></tr>"
            for key, what in (_SORT_KEYS if mode == "sort" else _KEYS)
        ),
    )


def _places() -> str:
    links = []
    for name, address in PLACES:
        here = ' aria-current="page"' if name == "Label" else ""
        links.append(f'<li><a href="{address}"{here}>{name}</a></li>')
    return "".join(links)


def _options(values: Any, chosen: str) -> str:
    return "".join(
        f'<option value="{escape(value)}"{" selected" if value == chosen else ""}>'
        f"{escape(text)}</option>"
        for value, text in values
    )


def _json(values: dict[str, Any]) -> str:
    """For a script element: nothing in it may end the element."""
    return json.dumps(values).replace("<", "\\u003c")


_BOXES = """
<section aria-labelledby="boxes-title">
<h2 id="boxes-title">Boxes</h2>
<ol id="objects" class="picks"></ol>
<p id="no-boxes" class="hint">Drag over the picture, or press W.</p>
<p class="flags">
<label><input type="checkbox" id="truncated" disabled> truncated <kbd>T</kbd></label>
<label><input type="checkbox" id="difficult" disabled> difficult <kbd>X</kbd></label>
<button type="button" id="delete" disabled>Delete <kbd>Del</kbd></button>
</p>
<p class="flags">
<label><input type="checkbox" id="verified"> picture verified <kbd>V</kbd></label>
</p>
</section>
"""

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/static/studio.css">
<link rel="stylesheet" href="/static/label.css">
</head>
<body class="label-page {mode}">
<a class="skip" href="#stage">Skip to the picture</a>
<header class="bar">
<a class="brand" href="/" aria-label="SharpEye, overview"><span>SharpEye</span></a>
<nav aria-label="Places"><ul>{places}</ul></nav>
<span class="folder" title="{root}">{folder}</span>
</header>
<main id="content" tabindex="-1">
<h1 class="unseen">{heading}</h1>
<div class="tools">
<button type="button" id="previous" aria-label="Previous picture">&larr; <kbd>A</kbd></button>
<label class="number"><span class="unseen">Picture</span>
<input id="position" type="number" min="1" inputmode="numeric"> <span id="total"></span></label>
<button type="button" id="next" aria-label="Next picture">&rarr; <kbd>D</kbd></button>
<label>Show <select id="filter">{filters}</select></label>
<span class="progress"><progress id="progress" aria-labelledby="progress-text"></progress>
<span id="progress-text"></span></span>
{other}
<button type="button" id="open-help">Keys <kbd>?</kbd></button>
</div>
<div class="work">
<div class="picture">
<div id="stage" tabindex="0" role="application"
 aria-label="The picture. W makes a box, arrow keys move it; press ? for all keys."></div>
<div id="trouble" role="alert" hidden><p id="trouble-text"></p>
<button type="button" id="afresh" hidden>Begin anew; the old file goes into .set-aside</button>
</div>
<p id="note" hidden></p>
<div class="foot"><p id="name"></p>
<span id="saved" role="status">Saved</span>
<button type="button" id="attend" hidden>Show it</button>
<button type="button" id="discard" hidden>Discard that change</button>
</div>
</div>
<aside aria-label="Classes and boxes">
<section aria-labelledby="classes-title">
<h2 id="classes-title">Classes</h2>
<ol id="classes" class="picks"></ol>
<p id="no-classes" class="hint" hidden>None yet: add the first one.</p>
<form id="class-form"><label class="unseen" for="class-name">Class</label>
<input id="class-name" list="known-classes" maxlength="100" autocomplete="off"
 placeholder="Class (C)"><datalist id="known-classes"></datalist>
<button type="submit">Add or choose</button></form>
</section>
{flags}
<section aria-labelledby="suggest-title">
<h2 id="suggest-title">Suggestions</h2>
<label>of the model <select id="model">{models}</select></label>
<p id="suggested" aria-live="polite"></p>
<button type="button" id="accept" disabled>Accept, next <kbd>Enter</kbd></button>
</section>
</aside>
</div>
<ol id="strip" aria-label="Pictures before and after"></ol>
</main>
<p id="say" class="unseen" role="status" aria-live="polite"></p>
<dialog id="help" aria-labelledby="help-title"><h2 id="help-title">Keys</h2>
<table>{keys}</table><form method="dialog"><button>Close <kbd>Esc</kbd></button></form></dialog>
<dialog id="which" aria-labelledby="which-title">
<h2 id="which-title">Another tab changed the same boxes</h2>
<p id="which-name"></p><div id="which-sides"></div>
<p class="flags"><button type="button" id="take-both">Keep both</button>
<button type="button" id="take-mine">Keep mine</button>
<button type="button" id="take-theirs">Take the other tab's</button></p>
<p class="hint">What you do not take can be brought back with Ctrl + Z.</p></dialog>
<dialog id="first-class" aria-labelledby="first-class-title"><form method="dialog">
<h2 id="first-class-title">What is in the box?</h2>
<p><label>Class
<input id="first-class-name" maxlength="100" autocomplete="off" required></label></p>
<p class="flags"><button value="ok">Add the class</button>
<button value="" formnovalidate>Cancel</button></p></form></dialog>
<script type="application/json" id="setup">{setup}</script>
<script type="module" src="/static/label.js"></script>
</body>
</html>
"""
