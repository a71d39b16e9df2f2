"""Check the folder of images before a training, and describe the result in three lines.

The check is `sharpeye check --quick` in the background; it runs again when the folder has changed.
"""

import json
from typing import Any

from sharpeye.jobs.audit.check import ISSUES_JSON
from sharpeye.report import wording
from sharpeye.studio.state import StudioState
from sharpeye.studio.workspace import Workspace

_JOB = "look"
# (kind of an issue, words for one, words for several)
_OBSTACLES = (
    ("unreadable", "file that cannot be read", "files that cannot be read"),
    ("leak", "picture in two splits", "pictures in two splits"),
    (
        "label_conflict",
        "picture or name that is in two classes",
        "pictures or names that are in two classes",
    ),
)
_MAX_NAMED_CLASSES = 3


def describe_data(workspace: Workspace) -> dict[str, Any]:
    """`classes` with their numbers of images, `pictures` in all, and how many are `annotated`."""
    paths = workspace.all_images()
    voc_folder = workspace.root / "Annotations"
    if voc_folder.is_dir():
        annotated = sum(1 for _ in voc_folder.glob("*.xml"))
    else:
        annotated = sum((workspace.root / path).with_suffix(".xml").is_file() for path in paths)
    return {"classes": workspace.classes(), "pictures": len(paths), "annotated": annotated}


def run_quick_check(studio: StudioState) -> dict[str, Any]:
    """Start the check if necessary; return its state and result.

    Returns:
        `state` (`running`, `failed` or `done`) and `lines`, each with `kind` (`good`, `note` or
        `bad`) and `text`.
    """
    data, jobs = describe_data(studio.workspace), studio.jobs
    folder = jobs.output_folder(_JOB)
    fingerprint = json.dumps([data, str(studio.workspace.root)])
    status = jobs.status(_JOB)
    if not data["pictures"]:
        return {"state": "done", "lines": []}
    if status is None or (status["about"] != fingerprint and status["state"] != "running"):
        arguments = ["check", str(studio.workspace.root), "--quick", "--output", str(folder)]
        label_from = "auto" if data["classes"] else "xml"
        jobs.start(_JOB, fingerprint, [*arguments, "--label-from", label_from])
        return {"state": "running", "lines": []}
    if status["state"] == "failed":
        return {"state": "failed", "lines": [{"kind": "bad", "text": status["error"]}]}
    if status["state"] != "done":
        return {"state": "running", "lines": []}
    issues = json.loads((folder / ISSUES_JSON).read_text(encoding="utf-8"))
    lines = [_size_line(issues), _copies_line(issues), _obstacles_line(issues)]
    return {"state": "done", "lines": lines}


def _size_line(issues: dict[str, Any]) -> dict[str, str]:
    classes = issues["classes"]
    smallest, largest = min(classes.values()), max(classes.values())
    sizes = f"{smallest:,}" if smallest == largest else f"{smallest:,} to {largest:,}"
    images = wording.plural(issues["pictures"], "picture")
    count = wording.plural(len(classes), "class", "classes")
    return {"kind": "good", "text": f"{images} in {count}, {sizes} each."}


def _copies_line(issues: dict[str, Any]) -> dict[str, str]:
    counts = issues["counts"]
    copies = counts.get("exact_duplicate", 0) + counts.get("near_duplicate", 0)
    if not copies:
        return {"kind": "good", "text": "No copies within a class."}
    text = (
        f"{wording.plural(copies, 'picture')} nearly the same as another one of their class: "
        "copies are kept together, so they do not make the score look better than it is."
    )
    return {"kind": "note", "text": text}


def _obstacles_line(issues: dict[str, Any]) -> dict[str, str]:
    obstacles = []
    for kind, singular, plural in _OBSTACLES:
        if count := issues["counts"].get(kind):
            first = next(issue["path"] for issue in issues["issues"] if issue["kind"] == kind)
            obstacles.append(f"{wording.plural(count, singular, plural)}, such as {first}")
    small = [issue["path"] for issue in issues["issues"] if issue["kind"] == "small_class"]
    if small:
        more = " ..." if len(small) > _MAX_NAMED_CLASSES else ""
        obstacles.append(f"few pictures in {', '.join(small[:_MAX_NAMED_CLASSES])}{more}")
    if len(issues["classes"]) < 2:
        obstacles.append("it takes two classes to learn a difference")
    if not obstacles:
        return {"kind": "good", "text": "Nothing stands in the way."}
    return {"kind": "note", "text": f"To look at: {'; '.join(obstacles)}."}
