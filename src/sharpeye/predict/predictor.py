"""A trained model: load it, fit an image to its input, run the graph, return a `Prediction`.

Needs only numpy, Pillow and ONNX Runtime.
"""

from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np
from PIL import Image

from sharpeye.artefact.session import OpenModel, open_model
from sharpeye.core.arrays import Floats, Pixels
from sharpeye.core.parallel import parallel_map
from sharpeye.core.types import InputSpec, Prediction
from sharpeye.data.file_walk import original_name, printable, walk_images
from sharpeye.errors import ImageReadError, ModelError, UsageError
from sharpeye.images.boxes import from_input, to_pixels
from sharpeye.images.decode import decode, read_file
from sharpeye.images.heat_overlay import upsample_heat_map
from sharpeye.images.image_source import (
    ImageSource,
    as_array,
    iterate_sources,
    path_of,
    refuse_address,
    source_to_image,
)
from sharpeye.images.resize import fit_image
from sharpeye.predict.explain import Explanation, class_index, occlusion

ImageSources = list[Any] | tuple[Any, ...] | Generator[Any, None, None]  # of `ImageSource`
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
    def path(self) -> Path:
        """The run directory, the bundle or the file that it was loaded from."""
        return self._opened.path

    @property
    def localizes(self) -> bool:
        return self.task == "localize"

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy, also in another process, opens the same model from its path."""
        opened = self._opened
        return _reopen, (str(opened.path.absolute()), self.coverage, opened.sha256)

    @overload
    def predict(
        self,
        source: ImageSource,
        top: int = 5,
        *,
        data_format: str = "channels_last",
        value_range: Sequence[float] | None = None,
    ) -> Prediction: ...
    @overload
    def predict(
        self,
        source: ImageSources,
        top: int = 5,
        *,
        data_format: str = "channels_last",
        value_range: Sequence[float] | None = None,
    ) -> list[Prediction]: ...
    def predict(
        self,
        source: ImageSource | ImageSources,
        top: int = 5,
        *,
        data_format: str = "channels_last",
        value_range: Sequence[float] | None = None,
    ) -> Prediction | list[Prediction]:
        """Predict the class of an image, or of each image of a list.

        Args:
            source: a file's path, its bytes, an open file, a `data:` URL with base64, a PIL image,
                or an array; or a list, tuple, generator or array of these.
            top: how many classes `Prediction.top` holds.
            data_format: `channels_first` for arrays [C,H,W].
            value_range: black and white of an array, (0, 1) or (0, 255), where its type leaves it
                open; see `images.array_image.array_to_image`.

        Raises:
            ImageReadError: the image cannot be read.
            UsageError: not one of these types, or an array whose meaning is not plain.
        """
        arguments: dict[str, Any] = {"data_format": data_format, "value_range": value_range}
        sources = iterate_sources(source := as_array(source))
        if sources is None:
            return self._predict(self._fit(source, **arguments), top, path_of(source))

        def predict_item(item: tuple[int, ImageSource]) -> Prediction:
            number, image = item
            try:
                fitted = self._fit(as_array(image), f"source[{number}]", **arguments)
            except UsageError as error:
                raise UsageError(f"source[{number}]: {error}") from None
            return self._predict(fitted, top, path_of(image))

        return [prediction for _, prediction in parallel_map(predict_item, enumerate(sources))]

    def predict_files(self, files: Iterable[ImageFile], top: int = 5) -> Iterator[PredictResult]:
        """Predict many files on all cores, in order; an unreadable file does not stop the rest."""

        def predict_file(item: ImageFile) -> PredictResult:
            if isinstance(item, UnreadableImage):
                return item
            name, file = item
            try:
                data = read_file(file, name)
                depth = self.input.bit_depth
                image = self._fit_decoded(decode(data, name, bit_depth=depth, keep_grey=True))
            except ImageReadError as error:
                return UnreadableImage(name, error.reason)
            return self._predict(image, top, name)

        for _, result in parallel_map(predict_file, files):
            yield result

    def explain(
        self,
        source: ImageSource,
        label: str | None = None,
        top: int = 5,
        *,
        data_format: str = "channels_last",
        value_range: Sequence[float] | None = None,
    ) -> Explanation:
        """Predict the class of an image, and show where the evidence for a class is.

        Args:
            source, top, data_format, value_range: as for `predict`, but one image.
            label: the class to explain; by default the most probable one.

        Raises:
            ImageReadError: the image cannot be read.
            UsageError: not one of these types, or the model has no such class.
        """
        source = as_array(source)
        pixels, size = self._fit(source, data_format=data_format, value_range=value_range)
        raw = self._opened.run(pixels[None], self._opened.graph.outputs)
        outputs = _name_outputs(raw)
        prediction = self._to_prediction(outputs, size, top, path=path_of(source))
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

    def decode(self, data: bytes, name: str) -> Image.Image:
        """A file's bytes as the upright RGB image that this model sees, in its own size."""
        return decode(data, name, bit_depth=self.input.bit_depth)

    def _fit(self, source: Any, name: str = "the image", **arguments: Any) -> _FittedImage:
        image = source_to_image(
            source, name, bit_depth=self.input.bit_depth, keep_grey=True, **arguments
        )
        return self._fit_decoded(image)

    def _fit_decoded(self, image: Image.Image) -> _FittedImage:
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


def _reopen(path: str, coverage: float, sha256: str) -> Model:
    """The model of a copy, which must be the one that was copied."""
    try:
        opened = open_model(path)
    except (UsageError, ModelError) as error:
        raise type(error)(f"a copy of a model opens it again from its path: {error}") from None
    if opened.sha256 != sha256:
        raise ModelError(f"{path} is not the model that was copied: it has changed; load it again")
    return Model(opened, coverage if "unknown_score" in opened.graph.outputs else None)


def _name_outputs(raw: dict[str, Any]) -> ModelOutputs:
    return ModelOutputs(
        raw["probs"], raw.get("box"), raw.get("unknown_score"), raw.get("box_score")
    )


def find_images(paths: Iterable[Path], ignored: Counter[str] | None = None) -> Iterator[ImageFile]:
    """The files to predict: files as given, folders searched, in natural order.

    Args:
        ignored: receives the number of files in these folders that are no images, by suffix.

    Yields:
        (printable name, file). A missing path is yielded too; reading it will fail.
        What the search rejects (pipes, links out of the folder) comes as `UnreadableImage`.
    """
    for path in paths:
        if not path.exists():
            refuse_address(str(path).replace(":/", "://", 1))  # a path has one slash of the two
        if not path.is_dir():
            yield printable(str(path)), path
            continue
        listing = walk_images(path)
        for relative, file in listing.files:
            yield printable(str(path / relative)), file
        for item in listing.rejected:
            yield UnreadableImage(printable(str(path / original_name(item.path))), item.reason)
        if ignored is not None:
            ignored.update(listing.ignored)
