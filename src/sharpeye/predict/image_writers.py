"""Write drawings, heat maps and Pascal VOC files of predicted images, one file per image."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from PIL import Image

from sharpeye.core.storage import atomic_path, make_folder, write_bytes
from sharpeye.core.types import Prediction
from sharpeye.errors import UsageError
from sharpeye.images.boxes import from_pixels
from sharpeye.images.decode import read_file
from sharpeye.images.heat_overlay import colorize
from sharpeye.images.voc_xml import voc_object, write_voc
from sharpeye.predict.draw import draw_prediction
from sharpeye.predict.explain import class_index
from sharpeye.predict.output_paths import ImageWriter, OutputPaths
from sharpeye.predict.predictor import Model

_JPEG_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif")


def drawing_writer(
    model: Model, folder: Path, sources: Iterable[Path], *, overwrite: bool = False
) -> ImageWriter:
    """A writer of upright images with their predictions: a JPEG as JPEG, any other as PNG."""

    def write(prediction: Prediction, image: Path, target: Path) -> None:
        name = prediction.path or str(image)
        _save(draw_prediction(model.decode(read_file(image, name), name), prediction), target)

    return ImageWriter(OutputPaths(folder, sources, overwrite=overwrite), _drawing_suffix, write)


def heat_map_writer(
    model: Model,
    folder: Path,
    sources: Iterable[Path],
    *,
    label: str | None = None,
    overwrite: bool = False,
) -> ImageWriter:
    """A writer of upright full-size images with the heat map, name and score of a class.

    Args:
        label: the class; by default the predicted one.

    Raises:
        UsageError: the model has no such class.
    """
    if label is not None:
        class_index(model.labels, label)

    def write(prediction: Prediction, image: Path, target: Path) -> None:
        name = prediction.path or str(image)
        data = read_file(image, name)
        explanation = model.explain(data, label or prediction.label)
        heated = colorize(model.decode(data, name), explanation.heat)
        explained = replace(prediction, label=explanation.label, score=explanation.score)
        _save(draw_prediction(heated, explained), target)

    return ImageWriter(OutputPaths(folder, sources, overwrite=overwrite), _drawing_suffix, write)


def voc_writer(
    model: Model, folder: Path, sources: Iterable[Path], *, overwrite: bool = False
) -> ImageWriter:
    """A writer of boxes and most probable classes, for a person to correct.

    Raises:
        UsageError: the model is not a localizer.
    """
    if not model.localizes:
        raise UsageError(
            "this model says what is in an image, not where, so there is no box to write; "
            "train one with --task localize"
        )

    def write(prediction: Prediction, image: Path, target: Path) -> None:
        if prediction.box is None or prediction.size is None:
            return
        box = from_pixels(prediction.box, prediction.size)
        objects = [voc_object(prediction.label, box, prediction.size)]
        make_folder(target.parent)
        write_bytes(
            target, write_voc(image.parent.name, image.name, prediction.size, objects=objects)
        )

    # Annotations belong to images by name: a numbered name would belong to another image.
    paths = OutputPaths(folder, sources, overwrite=overwrite, numbered=False)
    return ImageWriter(paths, lambda _: ".xml", write)


def _drawing_suffix(image: Path) -> str:
    return image.suffix if image.suffix.casefold() in _JPEG_SUFFIXES else ".png"


def _save(image: Image.Image, target: Path) -> None:
    make_folder(target.parent)
    with atomic_path(target) as temporary:
        if target.suffix == ".png":
            image.save(temporary, "PNG")
        else:
            # Colours at full resolution keep the frame's edges sharp.
            image.save(temporary, "JPEG", quality=95, subsampling=0)
