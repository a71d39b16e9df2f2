"""Every command that writes files, with what must be equal after it was killed and run again."""

import hashlib
import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from battery.processes import EndedProcess
from battery.written_files import (
    export_result,
    file_digests,
    import_result,
    network_result,
    other_disk_folder,
    quarantine_result,
    require_all_images,
    require_graph,
    require_named_by_content,
    require_run,
    require_torn_images,
    retrain_result,
    run_result,
    sweep_result,
    table_texts,
    write_archive,
    write_fixes,
    write_moved,
    write_torn_images,
)
from loopback import Loopback
from runner import hard_photos

Words = Sequence[str]
Next = Callable[[Path, EndedProcess], Words | None]
SMALL = ("--set", "model.image_size=64", "-q")
TINY = (
    *("--model", "cnn", "--set", "model.image_size=16", "--set", "net.conv_layers=1"),
    *("--set", "net.layer_size=8", "--set", "train.batch_size=8", "--set", "net.dropout=0.3"),
)
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


class Commands:
    """The commands.

    Args:
        trained: a finished run.
        cache: a cache that has its backbone and its features.
        server: serves an archive to `fetch`.
    """

    def __init__(self, trained: Path, cache: Path, server: Loopback) -> None:
        self._trained, self._cache, self._server = trained, cache, server

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
                write_fixes,
                file_digests,
                again=_undo_then_apply,
                stays=("fixes.csv",),
                intact=require_all_images,
                kills=5,
                points=8,
            ),
            WritingCommand(
                "relabel --undo",
                ("relabel", "photos", "--undo", "fixes.undo.csv", "-q"),
                write_moved,
                file_digests,
                stays=("fixes.csv", "fixes.undo.csv"),
                intact=require_all_images,
                points=6,
            ),
            WritingCommand(
                "relabel --copy",
                ("relabel", "photos", "--apply", "fixes.csv", "--copy", "fixed", "-q"),
                write_fixes,
                lambda folder: file_digests(folder / "fixed"),
                points=6,
            ),
            WritingCommand(
                "check --quarantine to another disk",
                ("check", "photos", "--quick", "--quarantine", "{outside}/aside", "-q"),
                write_torn_images,
                quarantine_result,
                stays=(),
                intact=require_torn_images,
                kills=5,
                points=8,
                outside=True,
            ),
            WritingCommand(
                "collect import",
                ("collect", "import", "photos.tgz", "data", "--classes", "-q"),
                write_archive,
                import_result,
                stays=("photos.tgz",),
                intact=require_named_by_content,
                kills=6,
                points=8,
            ),
            self._fetch(),
            WritingCommand(
                "sample",
                ("sample", "shapes", "shapes"),
                lambda folder: folder.mkdir(exist_ok=True),
                lambda folder: file_digests(folder / "shapes"),
                stays=(),
                points=4,
            ),
            WritingCommand(
                "augment",
                ("augment", "photos", "copies", "-q"),
                lambda folder: hard_photos(folder / "photos", 3),
                lambda folder: file_digests(folder / "copies"),
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
                retrain_result,
                intact=require_graph,
                kills=5,
                points=5,
            ),
            WritingCommand(
                "predict --draw --explain",
                ("predict", "run", "photos", "--draw", "drawn", "--explain", "maps"),
                self.with_run,
                lambda folder: (file_digests(folder / "drawn"), file_digests(folder / "maps")),
                stays=("photos", "run"),
                points=4,
            ),
            WritingCommand(
                "evaluate --output",
                ("evaluate", "run", "photos", "--output", "scores", "-q"),
                self.with_run,
                lambda folder: table_texts(folder / "scores"),
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
                lambda folder: table_texts(folder),
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
                sweep_result,
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
            lambda folder: export_result(folder / "out", output),
            stays=("photos", "run"),
            kills=kills,
            points=points,
        )

    def _fetch(self) -> WritingCommand:
        with tempfile.TemporaryDirectory() as folder:
            write_archive(Path(folder), per_class=60)
            data = (Path(folder) / "photos.tgz").read_bytes()
        url = self._server.add("/photos.tgz", data)
        digest = hashlib.sha256(data).hexdigest()
        return WritingCommand(
            "fetch",
            ("fetch", url, "data", "--sha256", digest, "-q"),
            lambda folder: None,
            lambda folder: (file_digests(folder / "data"), file_digests(folder / "cache")),
            stays=(),
            kills=5,
            points=6,
        )

    def _with_retrained(self, folder: Path) -> None:
        from battery.forked_commands import fork_server

        self.photos(folder)
        words = f"retrain {_RETRAIN} --how_many_training_steps=20 --summaries_dir=out/logs"
        graph = ("--output_graph=out/graph.pb", "--output_labels=out/labels.txt", "-q")
        with fork_server() as server:
            ended = server.run(*words.split(), *graph, cache=folder / "cache", cwd=folder)
        ended.check({0})


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


def outside_folder(command: WritingCommand, folder: Path) -> Path | None:
    """The folder on another disk of one case; None if the command needs none."""
    return other_disk_folder(folder) if command.outside else None
