"""What writing commands are tried on, and what they wrote: inputs, results and checks."""

import hashlib
import json
import os
import re
import shutil
import tarfile
from pathlib import Path
from typing import Any

from runner import hard_photos, head_of, temporaries, tree
from sharpeye.collect.sources import SourcesFile
from sharpeye.core.tables import read_table, write_table

OTHER_DISK = Path("/dev/shm")
# A download that goes on; one that is done leaves no such file, which its result shows.
_DOWNLOAD = re.compile(r"\.sharpeye-tmp-[0-9a-f]{16}\.(part|json|lock)")


def run_result(run: Path) -> dict[str, Any]:
    """What a run with a frozen network says: its head, its tables and its scores."""
    metrics = json.loads((run / "metrics.json").read_text())
    metrics.pop("seconds")
    metrics.get("changes", {}).pop("features", None)  # how many the cache had
    digest = hashlib.sha256(b"".join(array.tobytes() for array in head_of(run)))
    texts = {
        name: _without_place((run / name).read_text(), run.parent)
        for name in ("labels.txt", "split.csv", "predictions.csv", "misclassified.csv")
    }
    names = sorted(path.name for path in run.iterdir())
    return {"head": digest.hexdigest(), "metrics": metrics, "names": names, **texts}


def network_result(run: Path) -> dict[str, Any]:
    """What a run from random weights says; scores to 1e-6."""
    test = json.loads((run / "metrics.json").read_text())["test"]
    scores = {name: round(test[name], 6) for name in ("accuracy", "log_loss", "ece")}
    epochs = [row["epoch"] for row in read_table(run / "history.csv")]
    return {"scores": scores, "split": (run / "split.csv").read_text(), "epochs": epochs}


def require_run(run: Path) -> None:
    """Fail unless a run directory, of either the old or the new run, can be used."""
    import sharpeye

    sharpeye.load(run).predict(next(run.parent.glob("photos/*/*.png")))
    run_result(run)


def file_digests(folder: Path) -> dict[str, str]:
    return {
        name: content
        for name, content in tree(folder).items()
        if not name.endswith((".lock", "sources.csv", ".undo.csv"))
    }


def write_fixes(folder: Path) -> None:
    hard_photos(folder / "photos", 6)
    names = sorted(path.name for path in (folder / "photos" / "ash").iterdir())
    rows = [(f"ash/{name}", "ash", "birch", "", str(folder / "photos")) for name in names]
    write_table(folder / "fixes.csv", ("path", "label", "new_label", "detail", "folder"), rows[:5])


def write_moved(folder: Path) -> None:
    write_fixes(folder)
    moved = [row["path"] for row in read_table(folder / "fixes.csv")]
    rows = [(path, path.replace("ash", "birch", 1), str(folder / "photos")) for path in moved]
    write_table(folder / "fixes.undo.csv", ("from", "to", "folder"), rows)
    for source, target, _ in rows:
        (folder / "photos" / source).rename(folder / "photos" / target)


def require_all_images(folder: Path) -> None:
    names = {path.name for path in (folder / "photos").rglob("*.png")}
    assert len(names) == 18, sorted(names)


def write_torn_images(folder: Path) -> None:
    hard_photos(folder / "photos", 5)
    for path in sorted((folder / "photos" / "ash").iterdir())[:4]:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def other_disk_folder(folder: Path) -> Path:
    return OTHER_DISK / f"sharpeye-battery-{os.getpid()}-{folder.name}"


def quarantine_result(folder: Path) -> list[dict[Path, str]]:
    return [image_digests(folder / "photos"), image_digests(other_disk_folder(folder) / "aside")]


def image_digests(folder: Path) -> dict[Path, str]:
    return {
        path.relative_to(folder): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*.png")
        if not path.name.startswith(".")
    }


def require_torn_images(folder: Path) -> None:
    """Every image is in one of the two places or in both, with the same bytes."""
    first, second = (
        image_digests(folder / "photos"),
        image_digests(other_disk_folder(folder) / "aside"),
    )
    assert len({*first, *second}) == 15, sorted(map(str, second))
    both = first.keys() & second.keys()
    assert {path: first[path] for path in both} == {path: second[path] for path in both}


def write_archive(folder: Path, per_class: int = 5) -> None:
    hard_photos(folder / "images", per_class)
    with tarfile.open(folder / "photos.tgz", "w:gz") as archive:
        archive.add(folder / "images", "images")
    shutil.rmtree(folder / "images")


def require_named_by_content(folder: Path) -> None:
    """No image is torn: each is named by the digest of its bytes."""
    for path in (folder / "data").rglob("*.png"):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        assert path.name.startswith(".") or digest.startswith(path.stem), f"{path} is torn"


def import_result(folder: Path) -> dict[str, str]:
    """The images; each has a line with its source."""
    for label in (folder / "data").iterdir():
        # As SharpEye reads it: a kill may leave an incomplete line, which is left out.
        added = {r.path for r in SourcesFile(label).new_records() if r.status == "added"}
        images = {path.name for path in label.glob("*.png")}
        assert images == added, f"without a source: {sorted(images - added)}"
    return file_digests(folder / "data")


def table_texts(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): _without_place(path.read_text(), folder)
        for path in sorted(folder.rglob("*.csv"))
        if not path.is_relative_to(folder / "run")
    }


def _without_place(text: str, folder: Path) -> str:
    """A table without the name of the case's folder, which differs from case to case."""
    return text.replace(f"{folder}/", "").replace(f"/{folder.name}/", "/case/")


def retrain_result(folder: Path) -> dict[str, Any]:
    names = sorted(path.name for path in (folder / "out").iterdir())
    digest = hashlib.sha256((folder / "out" / "graph.pb").read_bytes()).hexdigest()
    labels = (folder / "out" / "labels.txt").read_text()
    return {"graph": digest, "labels": labels, "names": names}


def require_graph(folder: Path) -> None:
    """The earlier graph, or the new one, is complete."""
    from sharpeye.compat.graph_reader import parse_graph_def, read_graph_bytes

    file = folder / "out" / "graph.pb"
    assert len(parse_graph_def(read_graph_bytes(file), file).node) > 50


def export_result(folder: Path, output: str) -> dict[str, Any]:
    """The digests of an export; its own manifest and archive hold the time of writing."""
    digests = tree(folder)
    changing = [
        n for n in digests if n.endswith(("manifest.json", ".sharpeye", ".keras", ".tflite"))
    ]
    changing += [n for n in digests if "saved" in n]
    return {name: "" if name in changing else digests[name] for name in digests}


def sweep_result(folder: Path) -> object:
    rows = read_table(folder / "out" / "leaderboard.csv")
    kept = ("state", "validation_log_loss", "validation_accuracy", "epochs", "layer_size")
    return sorted(str({key: row.get(key) for key in kept}) for row in rows)


def require_clean(folder: Path) -> None:
    """Fail if hidden files are left that no command needs any more."""
    left = [path for path in temporaries(folder) if not _DOWNLOAD.fullmatch(path.name)]
    left += list(folder.rglob(".*.before-*"))
    assert not left, f"left: {[str(path.relative_to(folder)) for path in left]}"
