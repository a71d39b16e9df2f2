"""Every command that writes files, with what must be equal after it was killed and run again."""

import csv
import hashlib
import json
import os
import re
import shutil
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from battery.processes import EndedProcess
from runner import hard_photos, head_of, temporaries, tree
from sharpeye.core.tables import read_table, write_table

Words = Sequence[str]
Next = Callable[[Path, EndedProcess], Words | None]
SMALL = ("--set", "model.image_size=64", "-q")
TINY = (
    *("--model", "cnn", "--set", "model.image_size=16", "--set", "net.conv_layers=1"),
    *("--set", "net.layer_size=8", "--set", "train.batch_size=8", "--set", "net.dropout=0.3"),
)
OTHER_DISK = Path("/dev/shm")
# A second run reports so that the killed one had completed its output.
_COMPLETE = re.compile(r"holds a finished run|is there already|is not empty|is no image in|applied")
_RETRAIN = "--image_dir=photos --architecture=mobilenet_0.25_128 --weights=random"


def same_again(_: Path, ended: EndedProcess) -> Words | None:
    """The second run of a command: itself, or what its message advises; None if it is done."""
    if ended.code == 0 or (ended.code == 2 and _COMPLETE.search(ended.err)):
        return None
    if ended.code == 2 and "--resume" in ended.err:
        return (*ended.arguments, "--resume")
    return ended.arguments


@dataclass(frozen=True)
class WritingCommand:
    """A command, run in a folder of its own.

    Attributes:
        prepare: fills the folder, of which each case gets a copy.
        result: what the command wrote, to be compared by `==`.
        again: the next command after one that ended, from the killed one on, or None.
        stays: paths, below the folder, that the command must not change.
        intact: fails unless an earlier output is complete, at any moment.
        kills: the number of kills in the tier `battery`; the tier `full` has three times as many.
        points: the number of calls in that tier.
        keras: whether it trains networks.
        ready: whether a kill may come.
        outside: whether the command writes to `{outside}`, a folder on another disk.
    """

    name: str
    words: Words
    prepare: Callable[[Path], object]
    result: Callable[[Path], object]
    again: Next = same_again
    stays: Words = ("photos",)
    intact: Callable[[Path], object] | None = None
    kills: int = 3
    points: int = 3
    keras: bool = False
    ready: Callable[[Path], bool] | None = None
    outside: bool = False


def run_result(run: Path) -> dict[str, Any]:
    """What a run with a frozen network says: its head, its tables and its scores."""
    metrics = json.loads((run / "metrics.json").read_text())
    metrics.pop("seconds")
    digest = hashlib.sha256(b"".join(array.tobytes() for array in head_of(run)))
    texts = {
        name: (run / name).read_text()
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


def files(folder: Path) -> dict[str, str]:
    return {
        name: content
        for name, content in tree(folder).items()
        if not name.endswith((".lock", "sources.csv", ".undo.csv"))
    }


class Commands:
    """The commands; `trained` is a finished run and `cache` a cache that has its backbone."""

    def __init__(self, trained: Path, cache: Path) -> None:
        self._trained, self._cache = trained, cache

    def photos(self, folder: Path, per_class: int = 12) -> None:
        hard_photos(folder / "photos", per_class)
        shutil.copytree(self._cache / "backbones", folder / "cache" / "backbones")

    def with_run(self, folder: Path) -> None:
        self.photos(folder)
        shutil.copytree(self._trained, folder / "run")
        shutil.copytree(self._cache / "features", folder / "cache" / "features")
        config = folder / "run" / "config.toml"
        text = config.read_text()
        config.write_text(text.replace(str(self._trained.parent / "hard"), str(folder / "photos")))

    def with_more(self, folder: Path) -> None:
        self.with_run(folder)
        hard_photos(folder / "more", 4, seed=9)

    def all(self) -> list[WritingCommand]:
        return [*self.quick(), *self.trainings(), *self.exports(), *self.networks()]

    def quick(self) -> list[WritingCommand]:
        """Commands without a model."""
        return [
            WritingCommand(
                "relabel --apply",
                ("relabel", "photos", "--apply", "fixes.csv", "-q"),
                _with_fixes,
                files,
                again=_undo_then_apply,
                stays=("fixes.csv",),
                intact=_require_all_images,
                kills=5,
                points=8,
            ),
            WritingCommand(
                "relabel --undo",
                ("relabel", "photos", "--undo", "fixes.undo.csv", "-q"),
                _with_undo,
                files,
                stays=("fixes.csv", "fixes.undo.csv"),
                intact=_require_all_images,
                points=6,
            ),
            WritingCommand(
                "relabel --copy",
                ("relabel", "photos", "--apply", "fixes.csv", "--copy", "fixed", "-q"),
                _with_fixes,
                lambda folder: files(folder / "fixed"),
                points=6,
            ),
            WritingCommand(
                "check --quarantine to another disk",
                ("check", "photos", "--quick", "--quarantine", "{outside}/aside", "-q"),
                _with_torn_images,
                _quarantine_result,
                stays=(),
                intact=_require_torn_images,
                kills=5,
                points=8,
                outside=True,
            ),
            WritingCommand(
                "collect import",
                ("collect", "import", "photos.tgz", "data", "--classes", "-q"),
                _with_archive,
                lambda folder: files(folder / "data"),
                stays=("photos.tgz",),
                intact=_require_sources,
                kills=6,
                points=8,
            ),
            WritingCommand(
                "sample",
                ("sample", "shapes", "shapes"),
                lambda folder: folder.mkdir(exist_ok=True),
                lambda folder: files(folder / "shapes"),
                stays=(),
                points=4,
            ),
            WritingCommand(
                "augment",
                ("augment", "photos", "copies", "-q"),
                lambda folder: hard_photos(folder / "photos", 3),
                lambda folder: files(folder / "copies"),
                kills=4,
                points=4,
            ),
        ]

    def trainings(self) -> list[WritingCommand]:
        """Commands with a frozen network."""
        retrain = (*_RETRAIN.split(), "--how_many_training_steps=60", "--summaries_dir=out/logs")
        graph = ("--output_graph=out/graph.pb", "--output_labels=out/labels.txt", "-q")
        return [
            WritingCommand(
                "train",
                ("train", "photos", "-o", "run", *SMALL),
                self.photos,
                lambda folder: run_result(folder / "run"),
                kills=10,
                points=6,
            ),
            WritingCommand(
                "train --overwrite",
                ("train", "photos", "-o", "run", "--overwrite", "--seed", "3", *SMALL),
                self.with_run,
                lambda folder: run_result(folder / "run"),
                intact=lambda folder: require_run(folder / "run"),
                kills=5,
                points=5,
            ),
            WritingCommand(
                "train --add",
                ("train", "--add", "run", "more", "-o", "larger", "-q"),
                self.with_more,
                lambda folder: run_result(folder / "larger"),
                stays=("photos", "more", "run"),
                points=3,
            ),
            WritingCommand(
                "retrain",
                ("retrain", *retrain, *graph),
                self._with_retrained,
                _retrain_result,
                intact=_require_graph,
                kills=5,
                points=5,
            ),
            WritingCommand(
                "predict --draw --write-voc",
                ("predict", "run", "photos", "--draw", "drawn", "--write-voc", "voc"),
                self.with_run,
                lambda folder: (files(folder / "drawn"), files(folder / "voc")),
                stays=("photos", "run"),
                points=4,
            ),
            WritingCommand(
                "evaluate --output",
                ("evaluate", "run", "photos", "--output", "scores", "-q"),
                self.with_run,
                lambda folder: _tables(folder / "scores"),
                stays=("photos", "run"),
                points=3,
            ),
            WritingCommand(
                "check --labels --write-fixes",
                (
                    "check",
                    "photos",
                    "--labels",
                    "run",
                    "--write-fixes",
                    "fixes.csv",
                    "-q",
                    "-ofound",
                ),
                self.with_run,
                lambda folder: _tables(folder),
                stays=("photos", "run"),
                points=3,
            ),
            WritingCommand(
                "cache clear",
                ("cache", "clear"),
                self.with_run,
                lambda folder: sorted(p.name for p in (folder / "cache").rglob("*") if p.is_file()),
                stays=("photos", "run"),
                points=4,
            ),
        ]

    def exports(self) -> list[WritingCommand]:
        return [
            self._export("onnx", "m.onnx", kills=3, points=6),
            self._export("bundle", "m.sharpeye", kills=3, points=5),
            self._export("onnx", "m8.onnx", "--quantize", "int8", "--force", kills=2, points=2),
            self._export("openvino", "openvino", kills=2, points=2),
            self._export("keras", "m.keras", kills=1, points=0),
            self._export("litert", "m.tflite", kills=1, points=0),
            self._export("saved_model", "saved", kills=1, points=0),
            self._export("frozen_graph", "g.pb", kills=1, points=0),
        ]

    def networks(self) -> list[WritingCommand]:
        """Commands that train networks."""
        sweep = ("--grid", "layer_size=8,16", "--workers", "1", "--no-prune", "--epochs", "2")
        return [
            WritingCommand(
                "train from scratch",
                ("train", "photos", "-o", "run", "--epochs", "60", *TINY, "-q"),
                lambda folder: hard_photos(folder / "photos"),
                lambda folder: network_result(folder / "run"),
                kills=4,
                points=3,
                keras=True,
            ),
            WritingCommand(
                "train --resume from a checkpoint",
                ("train", "photos", "-o", "run", "--epochs", "60", *TINY, "-q"),
                lambda folder: hard_photos(folder / "photos"),
                lambda folder: network_result(folder / "run"),
                kills=8,
                points=0,
                keras=True,
                ready=lambda folder: any((folder / "run" / "checkpoints").glob("epoch-*.npz")),
            ),
            WritingCommand(
                "sweep",
                ("sweep", "photos", *sweep, "-o", "out", *TINY[2:], "-q"),
                lambda folder: hard_photos(folder / "photos"),
                _sweep_result,
                kills=3,
                points=0,
            ),
        ]

    def _export(
        self, form: str, output: str, *options: str, kills: int, points: int
    ) -> WritingCommand:
        return WritingCommand(
            f"export {form} {' '.join(options)}".strip(),
            ("export", "run", "--format", form, "--output", f"out/{output}", *options),
            self.with_run,
            lambda folder: _export_result(folder / "out", output),
            stays=("photos", "run"),
            kills=kills,
            points=points,
        )

    def _with_retrained(self, folder: Path) -> None:
        from battery.forked_commands import fork_server

        self.photos(folder)
        words = f"retrain {_RETRAIN} --how_many_training_steps=20 --summaries_dir=out/logs"
        graph = ("--output_graph=out/graph.pb", "--output_labels=out/labels.txt", "-q")
        with fork_server() as server:
            ended = server.run(*words.split(), *graph, cache=folder / "cache", cwd=folder)
        ended.check({0})


def _with_fixes(folder: Path) -> None:
    hard_photos(folder / "photos", 6)
    names = sorted(path.name for path in (folder / "photos" / "ash").iterdir())
    rows = [(f"ash/{name}", "ash", "birch", "", str(folder / "photos")) for name in names]
    write_table(folder / "fixes.csv", ("path", "label", "new_label", "detail", "folder"), rows[:5])


def _with_undo(folder: Path) -> None:
    _with_fixes(folder)
    moved = [row["path"] for row in read_table(folder / "fixes.csv")]
    rows = [(path, path.replace("ash", "birch", 1), str(folder / "photos")) for path in moved]
    write_table(folder / "fixes.undo.csv", ("from", "to", "folder"), rows)
    for source, target, _ in rows:
        (folder / "photos" / source).rename(folder / "photos" / target)


def _undo_then_apply(folder: Path, ended: EndedProcess) -> Words | None:
    """A killed `--apply` is undone; its message names that command."""
    if ended.code == 0 and "--apply" in ended.arguments:
        return None
    apply = ("relabel", "photos", "--apply", "fixes.csv", "-q")
    undo = ("relabel", "photos", "--undo", "fixes.undo.csv", "-q")
    if ended.code in (2, 3) and "--apply" in ended.arguments:
        assert "relabel --undo" in ended.err, ended.err
        return undo
    if ended.code == 0:
        (folder / "fixes.undo.csv").unlink()
    return apply


def _require_all_images(folder: Path) -> None:
    names = {path.name for path in (folder / "photos").rglob("*.png")}
    assert len(names) == 18, sorted(names)


def _with_torn_images(folder: Path) -> None:
    hard_photos(folder / "photos", 5)
    for path in sorted((folder / "photos" / "ash").iterdir())[:4]:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def outside_folder(command: WritingCommand, folder: Path) -> Path | None:
    """The folder on another disk of one case; None if the command needs none."""
    return _outside(folder) if command.outside else None


def _outside(folder: Path) -> Path:
    return OTHER_DISK / f"sharpeye-battery-{os.getpid()}-{folder.name}"


def _quarantine_result(folder: Path) -> dict[str, str]:
    moved = {p.name: v for p in [_outside(folder) / "aside"] for p, v in _images(p).items()}
    return {**_images(folder / "photos"), **moved}  # type: ignore[dict-item]


def _images(folder: Path) -> dict[Path, str]:
    return {
        path.relative_to(folder): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*.png")
        if not path.name.startswith(".")
    }


def _require_torn_images(folder: Path) -> None:
    """Every image is in one of the two places or in both, with the same bytes."""
    first, second = _images(folder / "photos"), _images(_outside(folder) / "aside")
    assert len({*first, *second}) == 15, sorted(map(str, second))
    both = first.keys() & second.keys()
    assert {path: first[path] for path in both} == {path: second[path] for path in both}


def _with_archive(folder: Path) -> None:
    hard_photos(folder / "images", 5)
    with tarfile.open(folder / "photos.tgz", "w:gz") as archive:
        archive.add(folder / "images", "images")
    shutil.rmtree(folder / "images")


def _require_sources(folder: Path) -> None:
    """No image without its source once the command was run again; see `_import_is_complete`."""
    for path in (folder / "data").rglob("*.png"):
        if not path.name.startswith("."):
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            assert digest.startswith(path.stem), f"{path} is torn"


def require_recorded(folder: Path) -> None:
    """Fail unless each imported image has a line with its source."""
    for label in (folder / "data").iterdir():
        with (label / "sources.csv").open(newline="") as file:
            added = {row["path"] for row in csv.DictReader(file) if row["status"] == "added"}
        images = {path.name for path in label.glob("*.png")}
        assert images == added, f"{label.name}: without a source: {sorted(images - added)}"


def _tables(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in sorted(folder.rglob("*.csv"))
        if not path.is_relative_to(folder / "run")
    }


def _retrain_result(folder: Path) -> dict[str, Any]:
    names = sorted(path.name for path in (folder / "out").iterdir())
    digest = hashlib.sha256((folder / "out" / "graph.pb").read_bytes()).hexdigest()
    labels = (folder / "out" / "labels.txt").read_text()
    return {"graph": digest, "labels": labels, "names": names}


def _require_graph(folder: Path) -> None:
    """The earlier graph, or the new one, is complete."""
    from sharpeye.compat.graph_reader import parse_graph_def, read_graph_bytes

    file = folder / "out" / "graph.pb"
    assert len(parse_graph_def(read_graph_bytes(file), file).node) > 50


def _export_result(folder: Path, output: str) -> dict[str, Any]:
    """The digests of an export; its own manifest and archive hold the time of writing."""
    digests = tree(folder)
    changing = [n for n in digests if n.endswith(("export.json", ".sharpeye", ".keras", ".tflite"))]
    changing += [n for n in digests if "saved" in n]
    return {name: "" if name in changing else digests[name] for name in digests}


def _sweep_result(folder: Path) -> object:
    rows = read_table(folder / "out" / "leaderboard.csv")
    kept = ("state", "validation_log_loss", "validation_accuracy", "epochs", "layer_size")
    return sorted(str({key: row.get(key) for key in kept}) for row in rows)


def require_clean(folder: Path) -> None:
    """Fail if hidden files are left that no command needs any more."""
    left = [path for path in temporaries(folder) if path.suffix not in (".part", ".lock")]
    left += list(folder.rglob(".*.before-*"))
    assert not left, f"left: {[str(path.relative_to(folder)) for path in left]}"
