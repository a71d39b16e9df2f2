"""The job of TensorFlow-for-Poets' label_image.py: open a graph, name what is in images.

TensorFlow is loaded for a TensorFlow graph only, never for a model of SharpEye's.
"""

import io
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from sharpeye.compat.frozen_graph import GraphFlags, open_frozen_graph
from sharpeye.errors import ImageReadError, ModelError, UsageError
from sharpeye.images.decode import ORIENTATION, decode, read_file
from sharpeye.images.formats import JPEG, sniff
from sharpeye.images.resize import fit_exact, load_image
from sharpeye.predict.predictor import UnreadableImage, load

Batch = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]

# Where TensorFlow-for-Poets keeps them, seen from the folder in which its commands are typed.
DEFAULT_GRAPH = Path("tf_files/retrained_graph.pb")
DEFAULT_LABELS = Path("tf_files/retrained_labels.txt")

_MAX_LABELS_BYTES = 16 * 2**20


@dataclass(frozen=True, slots=True)
class Answer:
    """What a graph says of one image.

    Attributes:
        path: the name that was given.
        seconds: for running the graph, without reading the image.
        top: the best classes with their scores, best first.
    """

    path: str
    seconds: float
    top: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Labeller:
    """A graph with the names of its classes.

    Attributes:
        source: the graph, as messages call it.
        labels: class names; the index is the class index.
    """

    source: Path
    labels: tuple[str, ...]
    _prepare: Callable[[Path, str], Batch]
    _run: Callable[[Batch], Floats]

    def answer_files(
        self, files: Iterable[tuple[str, Path] | UnreadableImage], top: int = 5
    ) -> Iterator[Answer | UnreadableImage]:
        """Answer for files one after the other; one that cannot be read stops nothing.

        Args:
            files: (name to answer under, file) pairs, or what is known to be unreadable.
            top: how many classes an answer names.

        Raises:
            ModelError: the graph fails, or does not give a score a label.
        """
        for item in files:
            if isinstance(item, UnreadableImage):
                yield item
                continue
            name, file = item
            try:
                batch = self._prepare(file, name)
            except ImageReadError as error:
                yield UnreadableImage(name, error.reason)
                continue
            begin = time.perf_counter()
            scores = self._run(batch)
            seconds = time.perf_counter() - begin
            _check_count(self.labels, len(scores), self.source)
            order = np.argsort(-scores, kind="stable")[: max(1, top)]
            yield Answer(name, seconds, tuple((self.labels[i], float(scores[i])) for i in order))


def open_labeller(graph: Path, labels: Path | None, flags: GraphFlags) -> Labeller:
    """Open a graph and find the names of its classes.

    Args:
        graph: a run directory, an `.onnx` file that SharpEye wrote, or else a frozen GraphDef.
        labels: a file with a class name a line; None for the names that the graph carries, else
            `retrained_labels.txt` beside it, else `DEFAULT_LABELS`.
        flags: what is known about a GraphDef. A model of SharpEye's knows it itself.

    Raises:
        UsageError: a file is not there, or a flag contradicts the graph.
        ModelError: the graph is rejected, or does not have as many classes as there are labels.
        MissingExtra: a GraphDef, and TensorFlow is not installed.
    """
    if graph.is_dir() or graph.suffix == ".onnx":
        return _open_own(graph, labels, flags)
    frozen = open_frozen_graph(graph, flags)
    names = frozen.labels
    if labels is not None or names is None:
        names = _read_labels(labels or _find_labels(graph), frozen.classes)
    if frozen.classes is not None:
        _check_count(names, frozen.classes, graph)

    def prepare(file: Path, name: str) -> Batch:
        data = read_file(file, name)
        image = decode(data, name)
        if _is_plain_jpeg(data):
            image = Image.fromarray(frozen.decode_jpeg(data))
        return frozen.scale(fit_exact(image, frozen.input))

    return Labeller(graph, names, prepare, frozen.run)


def _is_plain_jpeg(data: bytes) -> bool:
    """Whether TensorFlow would decode an image to the same, but for its quicker arithmetic.

    That makes a grey level or two, which a network can turn into a percent: programs that run such
    a graph decode with TensorFlow, and so must the answer that is compared with theirs.

    Args:
        data: of an image that `decode` took.
    """
    if sniff(data[:32]) != JPEG:
        return False
    with Image.open(io.BytesIO(data), formats=[JPEG]) as image:
        return image.mode in ("RGB", "L") and image.getexif().get(ORIENTATION, 1) == 1


def _open_own(path: Path, labels: Path | None, flags: GraphFlags) -> Labeller:
    model = load(path)
    spec = model.input
    # The model takes grey levels as they are; how they become floats is inside.
    facts = GraphFlags(spec.height, spec.width, 0.0, 1.0, "image", "probs")
    for flag, fact in asdict(facts).items():
        asked = getattr(flags, flag)
        if asked not in (None, fact):
            raise UsageError(
                f"--{flag} {asked} contradicts {path}: it takes pictures of {spec.width} x "
                f"{spec.height} pixels and scales them itself (--{flag} {fact}); leave the flag out"
            )
    names = model.labels
    if labels is not None:
        names = _read_labels(labels, len(model.labels))
        _check_count(names, len(model.labels), path)

    def prepare(file: Path, name: str) -> Batch:
        return load_image(file, name, spec)[None]

    return Labeller(path, names, prepare, lambda batch: model.probabilities(batch)[0])


def _check_count(labels: tuple[str, ...], classes: int, graph: Path) -> None:
    if len(labels) != classes:
        raise ModelError(
            f"{graph} gives {classes} scores, but there are {len(labels)} labels; "
            "give --labels the file that was written with this graph, a class a line"
        )


def _find_labels(graph: Path) -> Path:
    for file in (graph.with_name(DEFAULT_LABELS.name), DEFAULT_LABELS):
        if file.is_file():
            return file
    raise ModelError(
        f"{graph} does not name its classes, and there is no {DEFAULT_LABELS}; "
        "give --labels the file that was written with it, a class a line"
    )


def _read_labels(file: Path, classes: int | None) -> tuple[str, ...]:
    """Class names, a line each, without blanks at the end, as label_image.py reads them.

    Empty lines at the end are dropped, as long as there are more lines than classes: retrain.py
    writes an empty name for a folder without a Latin letter.
    """
    if not file.is_file():
        raise UsageError(f"no such file: {file}; give --labels a file with a class name a line")
    if file.stat().st_size > _MAX_LABELS_BYTES:
        raise ModelError(f"{file} is larger than {_MAX_LABELS_BYTES // 2**20} MiB")
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ModelError(
            f"{file} is not UTF-8 text; give a file with a class name a line"
        ) from None
    names = [line.rstrip() for line in text.removesuffix("\n").split("\n")]
    while classes is not None and len(names) > classes and not names[-1]:
        names.pop()
    return tuple(names)
