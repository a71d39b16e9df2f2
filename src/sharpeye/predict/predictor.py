"""A trained model that answers. Needs numpy, Pillow and ONNX Runtime, nothing else."""

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np
import numpy.typing as npt
from PIL import Image

from sharpeye.artefact.session import OpenModel, open_model
from sharpeye.core.parallel import parallel_map
from sharpeye.core.types import InputSpec, Prediction
from sharpeye.data.file_walk import IMAGE_SUFFIXES, printable, walk_files
from sharpeye.errors import ImageReadError, UsageError
from sharpeye.images.boxes import from_input, to_pixels
from sharpeye.images.decode import decode, read_file
from sharpeye.images.heat_overlay import upsample_heat_map
from sharpeye.images.resize import fit_image
from sharpeye.predict.explain import Explanation, class_index, occlusion

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
One = str | Path | bytes | Image.Image | npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class UnreadableImage:
    """A file for which there is no answer, and why."""

    path: str
    error: str

    def to_dict(self) -> dict[str, str]:
        """The line that `sharpeye predict --format jsonl` writes."""
        return {"path": self.path, "error": self.error}


class ModelOutputs(NamedTuple):
    """What a model says of a batch.

    Attributes:
        probs: float32[N,C], calibrated probabilities.
        boxes: float32[N,4], a localizer's, as shares 0..1 of the model's input, not of the
            image (see `images.boxes.from_input`); None of a classifier.
        unknown: float32[N], 0..1, unknown scores; None from a model that has none.
    """

    probs: Floats
    boxes: Floats | None
    unknown: Floats | None = None


class _Fitted(NamedTuple):
    """An image as the model's input, and what it takes to bring a box back to it.

    Attributes:
        pixels: uint8[height,width,channels].
        size: width and height of the image itself, upright.
    """

    pixels: Pixels
    size: tuple[int, int]


def load(path: str | Path, coverage: float | None = None) -> "Model":
    """Open a trained model.

    Args:
        path: a run directory, a bundle, or an `.onnx` file that SharpEye wrote.
        coverage: 0..1, share of known images that should not be called unknown; by default the
            model's own.

    Raises:
        UsageError: nothing is there, or `coverage` is out of range, or the model tells no unknown.
        ModelError: it is damaged, changed, or not SharpEye's.
    """
    return Model(open_model(path), coverage)


class Model:
    """A trained model. Safe to use from several threads.

    Attributes:
        labels: class names; the index is the class index.
        input: how an image becomes the model's input.
        task: `classify`, or `localize` if it also says where the object is.
        coverage: an image whose unknown score is above it is called unknown.
    """

    def __init__(self, opened: OpenModel, coverage: float | None = None) -> None:
        self._opened, self.manifest = opened, opened.manifest
        self.coverage = _coverage(opened, coverage)
        self.task: str = opened.manifest.task
        self.labels: tuple[str, ...] = opened.manifest.labels
        self.input: InputSpec = opened.manifest.input

    @property
    def localizes(self) -> bool:
        """Whether its predictions have a box."""
        return self.task == "localize"

    @property
    def tells_unknown(self) -> bool:
        """Whether its predictions have an unknown score; those of format 1 have none."""
        return "unknown_score" in self._opened.graph.outputs

    @property
    def has_heat(self) -> bool:
        """Whether the model file holds class activation maps, so that `explain` is quick."""
        return "heat" in self._opened.graph.outputs

    @overload
    def predict(self, source: One, top: int = 5) -> Prediction: ...
    @overload
    def predict(self, source: list[One], top: int = 5) -> list[Prediction]: ...
    def predict(self, source: One | list[One], top: int = 5) -> Prediction | list[Prediction]:
        """Say what is in an image, or in each of a list.

        Args:
            source: a file's path, its bytes, a PIL image, a uint8[H,W,3] RGB or uint8[H,W] grey
                array, or a list of these.
            top: how many classes `Prediction.top` holds.

        Raises:
            ImageReadError: the image cannot be read.
            UsageError: not one of these kinds.
        """
        if isinstance(source, list):
            return [
                answer for _, answer in parallel_map(lambda one: self.predict(one, top), source)
            ]
        path = str(source) if isinstance(source, str | Path) else None
        return replace(self._predict(self._read(source), top), path=path)

    def answers(self, pixels: Pixels) -> ModelOutputs:
        """Probabilities and boxes for uint8[N,H,W,channels] of the model's size."""
        found = self._opened.run(pixels)
        return _answers(found)

    def probabilities(self, pixels: Pixels) -> Floats:
        """Calibrated probabilities float32[N,C] for uint8[N,H,W,channels] of the model's size."""
        return self.answers(pixels).probs

    def predict_files(
        self, files: Iterable[tuple[str, Path] | UnreadableImage], top: int = 5
    ) -> Iterator[Prediction | UnreadableImage]:
        """Answer for many files on all cores, in order; one that cannot be read stops nothing.

        Args:
            files: (name to answer under, file) pairs; what is known to be unreadable is passed
                on in its place.
        """

        def work(item: tuple[str, Path] | UnreadableImage) -> Prediction | UnreadableImage:
            if isinstance(item, UnreadableImage):
                return item
            name, file = item
            try:
                fitted = self._fit(read_file(file, name), name)
            except ImageReadError as error:
                return UnreadableImage(name, error.reason)
            return replace(self._predict(fitted, top), path=name)

        for _, answer in parallel_map(work, files):
            yield answer

    def explain(self, source: One, label: str | None = None, top: int = 5) -> Explanation:
        """Say what is in an image, and where the model saw what speaks for it.

        Args:
            source: as for `predict`.
            label: the class to explain; by default the most probable one.
            top: how many classes `Explanation.prediction.top` holds.

        Raises:
            ImageReadError: the image cannot be read.
            UsageError: not one of these kinds, or the model does not know the class.
        """
        path = str(source) if isinstance(source, str | Path) else None
        fitted = self._read(source)
        found = self._opened.run(fitted.pixels[None], self._opened.graph.outputs)
        answers = _answers(found)
        prediction = replace(self._answer(fitted, answers, top), path=path)
        index = class_index(self.labels, prediction.label if label is None else label)
        if self.has_heat:
            cells = found["heat"][0, index]
        else:
            cells = occlusion(self.probabilities, fitted.pixels, index)
        return Explanation(
            prediction,
            self.labels[index],
            float(answers.probs[0, index]),
            upsample_heat_map(cells, fitted.size, self.input, fitted.size),
        )

    def _predict(self, fitted: _Fitted, top: int) -> Prediction:
        return self._answer(fitted, self.answers(fitted.pixels[None]), top)

    def _answer(self, fitted: _Fitted, found: ModelOutputs, top: int) -> Prediction:
        probs, box = found.probs[0], None
        order = np.argsort(-probs, kind="stable")[: max(1, top)]
        ranked = tuple((self.labels[int(i)], float(probs[i])) for i in order)
        if found.boxes is not None:
            xmin, ymin, xmax, ymax = (float(edge) for edge in found.boxes[0])
            shares = from_input((xmin, ymin, xmax, ymax), fitted.size, self.input)
            box = to_pixels(shares, fitted.size)
        score = None if found.unknown is None else float(found.unknown[0])
        return Prediction(
            *ranked[0],
            ranked,
            box,
            size=fitted.size,
            unknown=None if score is None else score > self.coverage,
            unknown_score=score,
        )

    def _fit(self, data: bytes, name: str) -> _Fitted:
        """Every image that is answered for takes this way, wherever its bytes are from."""
        image = decode(data, name)
        return _Fitted(fit_image(image, self.input), image.size)

    def _read(self, source: One) -> _Fitted:
        if isinstance(source, str | Path):
            file = Path(source)
            if file.is_dir():
                raise UsageError(f"{file} is a folder; use predict_files, or `sharpeye predict`")
            return self._fit(read_file(file, str(source)), str(source))
        if isinstance(source, bytes):
            return self._fit(source, "the picture")
        # Through a lossless file: an image in memory takes the same way as one on disk.
        return self._fit(_encode(source), "the picture")


def _answers(found: dict[str, Floats]) -> ModelOutputs:
    return ModelOutputs(found["probs"], found.get("box"), found.get("unknown_score"))


def _coverage(opened: OpenModel, wanted: float | None) -> float:
    if wanted is None:
        return float(opened.manifest.unknown.get("coverage", 1.0))
    if not 0 <= wanted <= 1:
        raise UsageError(f"the coverage must be from 0 to 1. Received: {wanted}")
    if "unknown_score" not in opened.graph.outputs:
        raise UsageError(
            f"{opened.path} cannot tell what it does not know; train it again with this SharpEye"
        )
    return wanted


def _encode(source: Image.Image | npt.NDArray[Any]) -> bytes:
    if isinstance(source, np.ndarray):
        if source.dtype != np.uint8 or source.ndim not in (2, 3):
            raise UsageError(
                "an array must be uint8[H,W,3] RGB or uint8[H,W] grey, 0..255. "
                f"Received: {source.dtype}{list(source.shape)}"
            )
        source = Image.fromarray(source)
    if not isinstance(source, Image.Image):
        raise UsageError(
            "a picture must be a path, bytes, a PIL image or a uint8 array. "
            f"Received: {type(source).__name__}"
        )
    buffer = io.BytesIO()
    plain = source if source.mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16") else None
    (plain or source.convert("RGB")).save(buffer, "PNG", compress_level=0)
    return buffer.getvalue()


def find_images(paths: Iterable[Path]) -> Iterator[tuple[str, Path] | UnreadableImage]:
    """The files to answer for: files as given, folders walked, in natural order.

    Yields:
        (printable name, file); a path that does not exist is yielded too, its reading will fail.
        What a walk leaves out (pipes, links out of the folder) comes as Unreadable.
    """
    for path in paths:
        if not path.is_dir():
            yield printable(str(path)), path
            continue
        files, rejected = walk_files(path)
        for relative, file in files:
            if not file.suffix or file.suffix.casefold() in IMAGE_SUFFIXES:
                yield printable(str(path / relative)), file
        for one in rejected:
            yield UnreadableImage(printable(str(path / one.path)), one.reason)
