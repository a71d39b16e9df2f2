"""Write predictions as Pascal VOC files, one an image, for a person to correct."""

from collections.abc import Iterable
from pathlib import Path

from sharpeye.core.storage import make_folder, write_bytes
from sharpeye.core.types import Prediction
from sharpeye.errors import UsageError
from sharpeye.images.boxes import from_pixels
from sharpeye.images.voc_xml import voc_object, write_voc
from sharpeye.predict.output_paths import ImageWriter, OutputPaths
from sharpeye.predict.predictor import Model


def voc_writer(
    model: Model, folder: Path, sources: Iterable[Path], *, overwrite: bool = False
) -> ImageWriter:
    """A writer of each image's box and most probable class, to a file of the image's name.

    Raises:
        UsageError: the model is no localizer.
    """
    if not model.localizes:
        raise UsageError(
            "this model says what is in a picture, not where, so there is no box to write; "
            "train one with --task localize"
        )
    # Annotations belong to images by name: a numbered name would belong to another image.
    paths = OutputPaths(folder, sources, overwrite=overwrite, numbered=False)
    return ImageWriter(paths, lambda _: ".xml", _write)


def _write(prediction: Prediction, image: Path, target: Path) -> None:
    if prediction.box is None or prediction.size is None:
        return
    box = from_pixels(prediction.box, prediction.size)
    annotation = voc_object(prediction.label, box, prediction.size)
    make_folder(target.parent)
    write_bytes(
        target, write_voc(image.parent.name, image.name, prediction.size, objects=[annotation])
    )
