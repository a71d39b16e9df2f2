"""A trained model: load it, fit an image to its input, run the graph, return a `Prediction`.

Needs only numpy, Pillow and ONNX Runtime.
"""

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np
from PIL import Image

from sharpeye.artefact.session import OpenModel, open_model
from sharpeye.core.arrays import Array, Floats, Pixels
from sharpeye.core.parallel import parallel_map
from sharpeye.core.types import InputSpec, Prediction
from sharpeye.data.file_walk import IMAGE_SUFFIXES, printable, walk_files
from sharpeye.errors import ImageReadError, UsageError
from sharpeye.images.boxes import from_input, to_pixels
from sharpeye.images.decode import decode, read_file
from sharpeye.images.heat_overlay import upsample_heat_map
from sharpeye.images.resize import fit_image
from sharpeye.predict.explain import Explanation, class_index, occlusion

ImageSource = str | Path | bytes | Image.Image | Array
# uint8[height,width,channels] of the model's size; width and height of the original, upright image.
_FittedImage = tuple[Pixels, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class UnreadableImage:
    """A file without a prediction, and why."""

    path: str
    error: str

    def to_dict(self) -> dict[str, str]:
        """The line that `sharpeye predict --format jsonl` writes."""
        return {"path": self.path, "error": self.error}


# (name in the output, file); a known unreadable file is passed through.
ImageFile = tuple[str, Path] | UnreadableImage
PredictResult = Prediction | UnreadableImage


class ModelOutputs(NamedTuple):
    """A model's outputs for a batch.

    Attributes:
        probs: float32[N,C], calibrated probabilities.
        boxes: float32[N,4] from a localizer, as fractions 0..1 of the model's input, not of the
            image (see `images.boxes.from_input`).
        unknown_scores: float32[N], 0..1, from a model that has them.
        box_scores: float32[N], 0..1, from a localizer that has them.
    """

    probs: Floats
    boxes: Floats | None
    unknown_scores: Floats | None
    box_scores: Floats | None = None


def load(path: str | Path, coverage: float | None = None) -> "Model":
    """Load a trained model.

    Args:
        path: a run directory, a bundle, or an `.onnx` file that SharpEye wrote.
        coverage: 0..1, fraction of images of the known classes that should not be called unknown;
            by default the model's own.

    Raises:
        UsageError: a missing path, `coverage` is out of range, or the model has no unknown score.
        ModelError: the model is damaged, changed, or not written by SharpEye.
    """
    return Model(open_model(path), coverage)


class Model:
    """A trained model. Safe to use from several threads.

    Attributes:
        task: `classify`, or `localize` if predictions have a box.
        labels: class names; the index is the class index.
        input: how an image becomes the model's input.
        coverage: an image with a higher unknown score is called unknown.
        has_unknown_score: models of format 1 have none.
        has_box_score: whether a localizer says how well its box is expected to overlap the object.
        has_heat: whether the file outputs class activation maps, which make `explain` quick.
    """

    def __init__(self, opened: OpenModel, coverage: float | None = None) -> None:
        self._opened, self.manifest = opened, opened.manifest
        self.task: str = opened.manifest.task
        self.labels: tuple[str, ...] = opened.manifest.labels
        self.input: InputSpec = opened.manifest.input
        self.has_unknown_score = "unknown_score" in opened.graph.outputs
        self.has_box_score = "box_score" in opened.graph.outputs
        self.has_heat = "heat" in opened.graph.outputs
        if coverage is None:
            coverage = float(opened.manifest.unknown.get("coverage", 1.0))
        elif not 0 <= coverage <= 1:
            raise UsageError(f"the coverage must be from 0 to 1. Received: {coverage}")
        elif not self.has_unknown_score:
            raise UsageError(
                f"{opened.path} cannot tell what it does not know; "
                "train it again with this SharpEye"
            )
        self.coverage = coverage

    @property
    def localizes(self) -> bool:
        return self.task == "localize"

    @overload
    def predict(self, source: ImageSource, top: int = 5) -> Prediction: ...
    @overload
    def predict(self, source: list[ImageSource], top: int = 5) -> list[Prediction]: ...
    def predict(
        self, source: ImageSource | list[ImageSource], top: int = 5
    ) -> Prediction | list[Prediction]:
        """Predict the class of an image, or of each image of a list.

        Args:
            source: a file's path, its bytes, a PIL image, a uint8[H,W,3] RGB or uint8[H,W] grey
                array, or a list of these.
            top: how many classes `Prediction.top` holds.

        Raises:
            ImageReadError: the image cannot be read.
            UsageError: not one of these types.
        """
        if isinstance(source, list):
            predictions = parallel_map(lambda each: self.predict(each, top), source)
            return [prediction for _, prediction in predictions]
        return self._predict(self._fit(source), top, _path_of(source))

    def predict_files(self, files: Iterable[ImageFile], top: int = 5) -> Iterator[PredictResult]:
        """Predict many files on all cores, in order; an unreadable file does not stop the rest."""

        def predict_file(item: ImageFile) -> PredictResult:
            if isinstance(item, UnreadableImage):
                return item
            name, file = item
            try:
                image = self._fit_bytes(read_file(file, name), name)
            except ImageReadError as error:
                return UnreadableImage(name, error.reason)
            return self._predict(image, top, name)

        for _, result in parallel_map(predict_file, files):
            yield result

    def explain(self, source: ImageSource, label: str | None = None, top: int = 5) -> Explanation:
        """Predict the class of an image, and show where the evidence for a class is.

        Args:
            source, top: as for `predict`.
            label: the class to explain; by default the most probable one.

        Raises:
            ImageReadError: the image cannot be read.
            UsageError: not one of these types, or the model has no such class.
        """
        pixels, size = self._fit(source)
        raw = self._opened.run(pixels[None], self._opened.graph.outputs)
        outputs = _name_outputs(raw)
        prediction = self._to_prediction(outputs, size, top, path=_path_of(source))
        index = class_index(self.labels, prediction.label if label is None else label)
        if self.has_heat:
            cells = raw["heat"][0, index]
        else:
            cells = occlusion(self.probabilities, pixels, index)
        heat = upsample_heat_map(cells, size, self.input, size=size)
        return Explanation(prediction, self.labels[index], float(outputs.probs[0, index]), heat)

    def run(self, pixels: Pixels) -> ModelOutputs:
        """Run the graph on a batch, uint8[N,height,width,channels] of the model's size."""
        return _name_outputs(self._opened.run(pixels))

    def probabilities(self, pixels: Pixels) -> Floats:
        """Calibrated probabilities float32[N,C] for uint8[N,H,W,channels] of the model's size."""
        return self.run(pixels).probs

    def _fit(self, source: ImageSource) -> _FittedImage:
        if isinstance(source, str | Path):
            file = Path(source)
            if file.is_dir():
                raise UsageError(f"{file} is a folder; use predict_files, or `sharpeye predict`")
            return self._fit_bytes(read_file(file, str(source)), str(source))
        # An image in memory becomes a lossless file, so that all sources share one code path.
        data = source if isinstance(source, bytes) else _encode_png(source)
        return self._fit_bytes(data, "the image")

    def _fit_bytes(self, data: bytes, name: str) -> _FittedImage:
        image = decode(data, name)
        return fit_image(image, self.input), image.size

    def _predict(self, image: _FittedImage, top: int, path: str | None) -> Prediction:
        pixels, size = image
        return self._to_prediction(self.run(pixels[None]), size, top, path=path)

    def _to_prediction(
        self, outputs: ModelOutputs, size: tuple[int, int], top: int, *, path: str | None
    ) -> Prediction:
        """The prediction for a batch of one image."""
        probs, box = outputs.probs[0], None
        order = np.argsort(-probs, kind="stable")[: max(1, top)]
        ranked = tuple((self.labels[int(i)], float(probs[i])) for i in order)
        if outputs.boxes is not None:
            xmin, ymin, xmax, ymax = (float(edge) for edge in outputs.boxes[0])
            relative = from_input((xmin, ymin, xmax, ymax), size, self.input)
            box = to_pixels(relative, size)
        score = None if outputs.unknown_scores is None else float(outputs.unknown_scores[0])
        return Prediction(
            *ranked[0],
            ranked,
            box,
            path=path,
            size=size,
            unknown=None if score is None else score > self.coverage,
            unknown_score=score,
            box_score=None if outputs.box_scores is None else float(outputs.box_scores[0]),
        )


def _path_of(source: ImageSource) -> str | None:
    return str(source) if isinstance(source, str | Path) else None


def _name_outputs(raw: dict[str, Any]) -> ModelOutputs:
    return ModelOutputs(
        raw["probs"], raw.get("box"), raw.get("unknown_score"), raw.get("box_score")
    )


def _encode_png(source: Image.Image | Array) -> bytes:
    if isinstance(source, np.ndarray):
        if source.dtype != np.uint8 or source.ndim not in (2, 3):
            raise UsageError(
                "an array must be uint8[H,W,3] RGB or uint8[H,W] grey, 0..255. "
                f"Received: {source.dtype}{list(source.shape)}"
            )
        source = Image.fromarray(source)
    if not isinstance(source, Image.Image):
        raise UsageError(
            "an image must be a path, bytes, a PIL image or a uint8 array. "
            f"Received: {type(source).__name__}"
        )
    lossless = source.mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
    buffer = io.BytesIO()
    (source if lossless else source.convert("RGB")).save(buffer, "PNG", compress_level=0)
    return buffer.getvalue()


def find_images(paths: Iterable[Path]) -> Iterator[ImageFile]:
    """The files to predict: files as given, folders searched, in natural order.

    Yields:
        (printable name, file). A missing path is yielded too; reading it will fail.
        What the search rejects (pipes, links out of the folder) comes as `UnreadableImage`.
    """
    for path in paths:
        if not path.is_dir():
            yield printable(str(path)), path
            continue
        files, rejected = walk_files(path)
        for relative, file in files:
            if not file.suffix or file.suffix.casefold() in IMAGE_SUFFIXES:
                yield printable(str(path / relative)), file
        for item in rejected:
            yield UnreadableImage(printable(str(path / item.path)), item.reason)
