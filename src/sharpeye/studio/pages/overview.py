"""The first page: the places, the classes with their images, the runs with their numbers."""

from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote

from nicegui import run, ui

from sharpeye.studio.frame import element, frame, link, text
from sharpeye.studio.runs import RunState, list_runs
from sharpeye.studio.state import StudioState
from sharpeye.studio.sweeps import SweepState, list_sweeps

# (place, address, what one does there)
_PLACES = (
    ("Collect", "/collect", "Bring pictures in: files, folders, the camera, lists of addresses."),
    ("Label", "/label", "Draw boxes around things, or sort pictures into classes."),
    ("Train", "/train", "Make a model of the pictures, and watch it learn."),
    ("Understand", "/understand", "See its mistakes, wrong labels and copies, and mend them."),
    ("Try", "/try", "Show it a new picture, and see what it says."),
)
_MAX_RUNS = 50
_STATES = {"running": "training now", "stopped": "stopped, can go on"}


def register(studio: StudioState) -> None:
    @ui.page("/")
    async def overview() -> None:
        facts = await run.io_bound(_facts, studio)
        if facts is None:  # the studio is ending
            return
        with frame(studio, "Overview", "Overview"):
            _places(facts.total, len(facts.runs))
            _classes(facts.classes, facts.total)
            _runs(facts.runs)
            if facts.sweeps:
                _sweeps(facts.sweeps)


@dataclass(frozen=True)
class _Facts:
    classes: list[tuple[str, int]]
    total: int
    runs: list[RunState]
    sweeps: list[SweepState]


def _facts(studio: StudioState) -> _Facts:
    workspace = studio.workspace
    total = workspace.images(None, 0, 0).total
    runs, sweeps = list_runs(workspace.runs), list_sweeps(workspace.runs)
    return _Facts(workspace.classes(), total, runs, sweeps)


def _places(total: int, runs: int) -> None:
    wanted = "Collect" if not total else "Train" if not runs else ""
    with element("ol", "places"):
        for name, address, what in _PLACES:
            with element("li"), link("", address).classes("place"):
                text("strong", name)
                text("span", what)
                if name == wanted:
                    text("em", "Begin here")


def _classes(classes: list[tuple[str, int]], total: int) -> None:
    with element("section", "panel"):
        text("h2", "Pictures")
        if not total:
            with element("p"):
                text("span", "There are no pictures yet. ")
                link("Bring some in.", "/collect")
        elif not classes:
            with element("p"):
                text("span", f"{_images(total)}, not in classes. ")
                link("See them.", "/collect")
        if not classes:
            return
        most = max(count for _, count in classes) or 1
        with element("table", "classes").props('aria-label="Classes"'):
            with element("thead"), element("tr"):
                text("th", "Class").props("scope=col")
                text("th", "Pictures", "number").props("scope=col")
                text("th", "", "wide").props("aria-hidden=true")
            with element("tbody"):
                for name, count in classes:
                    with element("tr"):
                        with element("td"):
                            link(name, f"/collect?class={quote(name, safe='')}")
                        text("td", f"{count:,}", "number")
                        with element("td").props("aria-hidden=true"):
                            element("div", "meter").style(f"width: {100 * count / most:.1f}%")


def _runs(runs: list[RunState]) -> None:
    with element("section", "panel"):
        text("h2", "Trainings")
        if not runs:
            with element("p"):
                text("span", "Nothing has been trained here yet. ")
                link("Train a model.", "/train")
            return
        with element("div", "scroll"), element("table").props('aria-label="Trainings"'):
            with element("thead"), element("tr"):
                for name in ("Name", "Right on test pictures", "Model", "When"):
                    text("th", name).props("scope=col")
            with element("tbody"):
                for state in runs[:_MAX_RUNS]:
                    _run(state)
        if len(runs) > _MAX_RUNS:
            text("p", f"{len(runs) - _MAX_RUNS:,} older ones are not shown.")


def _run(state: RunState) -> None:
    with element("tr"):
        with element("td"):
            place = "understand" if state.state == "done" else "train"
            link(state.name, f"/{place}?run={quote(state.name, safe='')}")
        text("td", _score(state))
        text("td", state.model)
        text("td", _when(state.made))


def _score(state: RunState) -> str:
    if state.accuracy is None:
        return _STATES.get(state.state, state.state)
    words = f"{state.accuracy:.1%}"
    if state.low is not None and state.high is not None:
        words += f" ({state.low:.1%} to {state.high:.1%})"
    if state.mean_iou is not None:
        words += f", boxes overlap {state.mean_iou:.2f}"
    return f"{words} of {state.count:,}"


def _sweeps(sweeps: list[SweepState]) -> None:
    with element("section", "panel"):
        text("h2", "Sweeps")
        with element("div", "scroll"), element("table").props('aria-label="Sweeps"'):
            with element("thead"), element("tr"):
                for name in ("Name", "Finished", "Best", "Right on validation pictures", "When"):
                    text("th", name).props("scope=col")
            with element("tbody"):
                for state in sweeps[:_MAX_RUNS]:
                    with element("tr"):
                        text("td", state.name)
                        text("td", f"{state.finished} of {state.trials}")
                        text("td", state.best or "none yet")
                        text("td", "" if state.accuracy is None else f"{state.accuracy:.1%}")
                        text("td", _when(state.made))


def _images(count: int) -> str:
    return f"{count:,} picture" + ("" if count == 1 else "s")


def _when(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds).astimezone():%Y-%m-%d %H:%M}"
