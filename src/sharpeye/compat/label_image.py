"""label_image.py of TensorFlow-for-Poets: open a graph, and name the classes of images.

TensorFlow is loaded only for a TensorFlow graph, never for a SharpEye model.
"""

import io
import time
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from sharpeye.compat.frozen_graph import GraphFlags, open_frozen_graph
from sharpeye.core.arrays import Array, Floats
from sharpeye.errors import ImageReadError, ModelError, UsageError
from sharpeye.images.decode import decode, read_file
from sharpeye.images.formats import JPEG, sniff
from sharpeye.images.orientation import ORIENTATION
from sharpeye.images.resize import fit_image_unrounded, load_image
from sharpeye.predict.predictor import ImageFile, UnreadableImage, load

# The files of TensorFlow-for-Poets, relative to the folder in which its commands are typed.
DEFAULT_GRAPH = Path("tf_files/retrained_graph.pb")
DEFAULT_LABELS = Path("tf_files/retrained_labels.txt")

_MAX_LABELS_BYTES = 16 * 2**20


@dataclass(frozen=True, slots=True)
class RankedClasses:
    """A graph's best classes for one image, best first, with their scores.

    Attributes:
        seconds: time to run the graph, without reading the image.
    """

    path: str
    seconds: float
    top: tuple[tuple[str, float], ...]


# The class names, a function from a file to a batch of one, and one from a batch to scores.
_OpenGraph = tuple[tuple[str, ...], Callable[[Path, str], Array], Callable[[Array], Floats]]


def label_files(
    files: Iterable[ImageFile], graph: Path, flags: GraphFlags, *, labels: Path | None, top: int = 5
) -> Iterator[RankedClasses | UnreadableImage]:
    """Rank the classes of files one by one; an unreadable file does not stop the rest.

    Args:
        files: as `predict.predictor.find_images` yields them.
        graph: a run directory, an `.onnx` file that SharpEye wrote, or else a frozen GraphDef.
        flags: facts about a GraphDef; a SharpEye model has its own description.
        labels: a file with a class name per line; None for the names in the graph, else
            `retrained_labels.txt` beside it, else `DEFAULT_LABELS`.

    Raises:
        UsageError: a file does not exist, or a flag contradicts the graph.
        ModelError: the graph is rejected or fails, or does not return one score per label.
    """
    is_model = graph.is_dir() or graph.suffix == ".onnx"
    names, prepare, run = (_open_model if is_model else _open_frozen)(graph, labels, flags)
    for item in files:
        if isinstance(item, UnreadableImage):
            yield item
            continue
        name, file = item
        try:
            batch = prepare(file, name)
        except ImageReadError as error:
            yield UnreadableImage(name, error.reason)
            continue
        started = time.perf_counter()
        scores = run(batch)
        seconds = time.perf_counter() - started
        _check_label_count(names, len(scores), graph)
        order = np.argsort(-scores, kind="stable")[: max(1, top)]
        yield RankedClasses(name, seconds, tuple((names[i], float(scores[i])) for i in order))


def _open_frozen(graph: Path, labels: Path | None, flags: GraphFlags) -> _OpenGraph:
    frozen = open_frozen_graph(graph, flags)
    names = frozen.labels
    if labels is not None or names is None:
        names = _read_labels(labels or _find_labels(graph), frozen.classes)
    if frozen.classes is not None:
        _check_label_count(names, frozen.classes, graph)

    def prepare(file: Path, name: str) -> Array:
        data = read_file(file, name)
        image = decode(data, name)
        if _is_upright_jpeg(data):
            image = Image.fromarray(frozen.decode_jpeg(data))
        return frozen.scale(fit_image_unrounded(image, frozen.input))

    return names, prepare, frozen.run


def _is_upright_jpeg(data: bytes) -> bool:
    """Whether TensorFlow decodes an image to the same pixels, except for its faster arithmetic.

    That changes some pixels by a grey level or two, which can change a score by a percent.
    Other programs for such graphs decode with TensorFlow, so this one does, too.
    """
    if sniff(data[:32]) != JPEG:
        return False
    with Image.open(io.BytesIO(data), formats=[JPEG]) as image:
        return image.mode in ("RGB", "L") and image.getexif().get(ORIENTATION, 1) == 1


def _open_model(path: Path, labels: Path | None, flags: GraphFlags) -> _OpenGraph:
    model = load(path)
    spec = model.input
    # The model takes unscaled grey levels, and scales them itself.
    actual = GraphFlags(spec.height, spec.width, 0.0, 1.0, "image", "probs")
    for flag, value in asdict(actual).items():
        requested = getattr(flags, flag)
        if requested not in (None, value):
            raise UsageError(
                f"--{flag} {requested} contradicts {path}: it takes images of {spec.width} x "
                f"{spec.height} pixels and scales them itself (--{flag} {value}); "
                "leave the flag out"
            )
    names = model.labels
    if labels is not None:
        names = _read_labels(labels, len(model.labels))
        _check_label_count(names, len(model.labels), path)

    def prepare(file: Path, name: str) -> Array:
        return load_image(file, name, spec)[None]

    return names, prepare, lambda batch: model.probabilities(batch)[0]


def _check_label_count(labels: tuple[str, ...], classes: int, graph: Path) -> None:
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
    """Read class names, one per line, without trailing blanks, like label_image.py.

    Empty last lines are dropped while there are more lines than classes: retrain.py writes an empty
    name for a folder without a Latin letter.
    """
    if not file.is_file():
        raise UsageError(f"no such file: {file}; give --labels a file with a class name a line")
    if file.stat().st_size > _MAX_LABELS_BYTES:
        raise ModelError(f"{file} is larger than {_MAX_LABELS_BYTES // 2**20} MiB")
    data = file.read_bytes()
    # Notepad of Windows marks UTF-8 and UTF-16 at the beginning, and ends lines with \r\n.
    encoding = "utf-16" if data.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        raise ModelError(
            f"{file} is not UTF-8 or UTF-16 text; save it as UTF-8, with a class name a line"
        ) from None
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    names = [line.rstrip() for line in text.removesuffix("\n").split("\n")]
    while classes is not None and len(names) > classes and not names[-1]:
        names.pop()
    return tuple(names)
