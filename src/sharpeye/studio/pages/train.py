"""The page Train: choose in plain words, see what comes of it, stop, go on."""

import json
import shlex
from pathlib import Path
from typing import Annotated, Any

from fastapi import Body
from nicegui import ui

from sharpeye.core.config import load_toml
from sharpeye.core.tables import read_table
from sharpeye.errors import DataError, UsageError
from sharpeye.jobs.audit.check import ISSUES_JSON
from sharpeye.jobs.train.resolve import resolve
from sharpeye.report import wording
from sharpeye.runs import layout
from sharpeye.runs.run_directory import Run
from sharpeye.studio import wishes
from sharpeye.studio.findings import curves_of
from sharpeye.studio.frame import element, frame, script
from sharpeye.studio.runs import list_runs, resumable, run_path
from sharpeye.studio.state import StudioState
from sharpeye.studio.workspace import Workspace

_MESSAGES = 12  # that the page shows
_STAGES = {
    "": "Getting ready",
    "features": "Looking at each picture",
    "pictures": "Reading the pictures",
    "epochs": "Learning",
}


def register(studio: StudioState) -> None:
    """Add the page and its routes."""
    api, workspace, jobs = studio.api, studio.workspace, studio.jobs

    @ui.page("/train")
    def page() -> None:
        with frame(studio, "Train", "Train"):
            element("div").props("id=train-place")
        ui.add_head_html('<link rel="stylesheet" href="/static/work.css">')
        script("train.js")

    @api.get("/api/train")
    def state() -> dict[str, Any]:
        own = jobs.running("train")
        unfinished = [one for one in list_runs(workspace.runs) if one.state != "done"]
        return {
            "job": _job(studio),
            "data": _data(workspace),
            "unfinished": [
                one.name
                for one in unfinished
                if one.state == "stopped" and resumable(workspace.runs / one.name)
            ],
            "elsewhere": [
                one.name for one in unfinished if one.state == "running" and one.name != own
            ],
        }

    @api.get("/api/train/job")
    def job() -> dict[str, Any]:  # what is asked for again and again
        return {"job": _job(studio)}

    @api.get("/api/train/knobs")
    def knobs() -> list[dict[str, Any]]:
        return wishes.knobs()

    @api.post("/api/train/look")
    def look() -> dict[str, Any]:
        return _look(studio)

    @api.post("/api/train")
    def start(raw: Annotated[Any, Body()]) -> dict[str, Any]:
        wish = wishes.read_wish(raw)
        if not _data(workspace)["pictures"]:
            raise DataError(
                "there are no pictures to learn from; bring some in on the page Collect"
            )
        config = wishes.config_of(wish, workspace)
        resolve(config)  # what does not go together is said now
        name = wishes.run_name(wish, config, workspace)
        words = wishes.arguments(config, workspace.runs / name)
        jobs.start("train", name, words)
        return {"run": name, "command": shlex.join(["sharpeye", *words])}

    @api.post("/api/train/stop")
    def stop() -> dict[str, Any]:
        jobs.stop("train")
        return {"job": _job(studio)}

    @api.post("/api/train/resume")
    def resume(raw: Annotated[Any, Body()]) -> dict[str, Any]:
        name = _text(raw, "run")
        path = run_path(workspace.runs, name)
        if not resumable(path):
            raise UsageError(f"{name} has nothing to go on with; train it again")
        jobs.start("train", name, ["train", "--resume", "--output", str(path)])
        return {"run": name}


def _text(raw: Any, key: str) -> str:
    value = raw.get(key) if isinstance(raw, dict) else None
    if not isinstance(value, str):
        raise UsageError(f'the request needs {{"{key}": ...}}')
    return value


def _data(workspace: Workspace) -> dict[str, Any]:
    paths = workspace.all_images()
    return {
        "classes": workspace.classes(),
        "pictures": len(paths),
        "annotated": _annotated(workspace, paths),
    }


def _annotated(workspace: Workspace, paths: list[str]) -> int:
    """How many images have a Pascal VOC file."""
    apart = workspace.root / "Annotations"
    if apart.is_dir():
        return sum(1 for _ in apart.glob("*.xml"))
    return sum((workspace.root / path).with_suffix(".xml").is_file() for path in paths)


def _job(studio: StudioState) -> dict[str, Any] | None:
    """The training that goes on or ended last; what it left on the disk is among it."""
    told = studio.jobs.told("train")
    if told is None:
        return None
    path = studio.workspace.runs / told["about"]
    told["run"] = told.pop("about")
    told["share"] = told["done"] / told["total"] if told["total"] else None
    if told["stage"] == "epochs" and not told["total"]:
        told["share"], told["left"] = _within_limit(path)
    told["stage"] = _words(told["stage"])
    told["messages"] = told["messages"][-_MESSAGES:]
    told["curves"] = _curves(path)
    told["resumable"] = told["state"] in ("stopped", "failed") and resumable(path)
    told["headline"] = _headline(path) if told["state"] == "done" else None
    return told


def _within_limit(path: Path) -> tuple[float | None, float | None]:
    """Of a training with a time limit: the share of it that is over, and the seconds left."""
    try:
        limit = load_toml(path / layout.CONFIG).train.time_limit
        spent = sum(float(row["seconds"]) for row in read_table(path / layout.HISTORY))
    except (OSError, ValueError, KeyError):  # just begun, or being taken away
        return None, None
    return (min(spent / limit, 1.0), max(limit - spent, 0.0)) if limit else (None, None)


def _curves(path: Path) -> str:
    try:
        return curves_of(path)
    except (OSError, ValueError):  # it is being taken away, or just begun
        return ""


def _headline(path: Path) -> dict[str, Any]:
    test = Run(path).metrics["test"]
    low, high = test["accuracy_ci95"]
    return {
        "verdict": wording.verdict(test),
        "boxes": wording.box_verdict(test) if "mean_iou" in test else "",
        "accuracy": test["accuracy"],
        "low": low,
        "high": high,
        "report": (path / layout.REPORT).is_file(),
    }


def _words(stage: str) -> str:
    if stage.startswith("view "):
        return f"Looking at flips and crops, round {stage.removeprefix('view ')}"
    if stage.startswith("maps of "):
        return "Looking where things are"
    return _STAGES.get(stage, stage)


# --- the quick check -----------------------------------------------------------------------------


def _look(studio: StudioState) -> dict[str, Any]:
    """What the quick check says of the folder, in three lines; it is begun if need be."""
    data, jobs = _data(studio.workspace), studio.jobs
    folder = jobs.results("look")
    stamp = json.dumps([data, str(studio.workspace.root)])
    told = jobs.told("look")
    if not data["pictures"]:
        return {"state": "done", "lines": []}
    if told is None or (told["about"] != stamp and told["state"] != "running"):
        words = ["check", str(studio.workspace.root), "--quick", "--output", str(folder)]
        label_from = "xml" if not data["classes"] else "auto"
        jobs.start("look", stamp, [*words, "--label-from", label_from])
        return {"state": "running", "lines": []}
    if told["state"] == "failed":
        return {"state": "failed", "lines": [{"kind": "bad", "text": told["error"]}]}
    if told["state"] != "done":
        return {"state": "running", "lines": []}
    record = json.loads((folder / ISSUES_JSON).read_text(encoding="utf-8"))
    return {"state": "done", "lines": _lines(record)}


def _lines(record: dict[str, Any]) -> list[dict[str, str]]:
    """Sizes, copies, and what is in the way: a line each."""
    counts, classes = record["counts"], record["classes"]
    few, many = min(classes.values()), max(classes.values())
    spread = f"{few:,} each" if few == many else f"{few:,} to {many:,} each"
    size = f"{wording.plural(record['pictures'], 'picture')} in " + wording.plural(
        len(classes), "class", "classes"
    )
    lines = [{"kind": "good", "text": f"{size}, {spread}."}]
    copies = counts.get("exact_duplicate", 0) + counts.get("near_duplicate", 0)
    if copies:
        text = (
            f"{wording.plural(copies, 'picture')} nearly the same as another one of their class: "
            "copies are kept together, so they do not make the score look better than it is."
        )
        lines.append({"kind": "note", "text": text})
    else:
        lines.append({"kind": "good", "text": "No copies within a class."})
    return [*lines, _obstacles(record, len(classes))]


def _obstacles(record: dict[str, Any], classes: int) -> dict[str, str]:
    counts, issues = record["counts"], record["issues"]
    found = []
    for kind, noun in (
        ("unreadable", "file that cannot be read"),
        ("leak", "picture in two parts"),
        ("label_conflict", "picture or name that is in two classes"),
    ):
        if counts.get(kind):
            first = next(one["path"] for one in issues if one["kind"] == kind)
            nouns = noun.replace("file that", "files that").replace("picture", "pictures", 1)
            nouns = nouns.replace("that is", "that are").replace("name that", "names that")
            found.append(f"{wording.plural(counts[kind], noun, nouns)}, such as {first}")
    small = [one["path"] for one in issues if one["kind"] == "small_class"]
    if small:
        found.append(f"few pictures in {', '.join(small[:3])}{' ...' if len(small) > 3 else ''}")
    if classes < 2:
        found.append("it takes two classes to learn a difference")
    if not found:
        return {"kind": "good", "text": "Nothing stands in the way."}
    return {"kind": "note", "text": f"To look at: {'; '.join(found)}."}
