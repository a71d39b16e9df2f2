"""Writes answers as Pascal VOC files, one an image: a model labels, a person then corrects."""

from collections.abc import Iterable
from pathlib import Path

from sharpeye.core.storage import make_folder, write_bytes
from sharpeye.core.types import Prediction
from sharpeye.errors import UsageError
from sharpeye.images.boxes import from_pixels
from sharpeye.images.voc_xml import object_of, write_voc
from sharpeye.predict.output_paths import OutputPaths
from sharpeye.predict.predictor import Model


class Annotations:
    """Writes the box of each image with its most probable class, in a file of the image's name.

    Raises:
        UsageError: the model knows no boxes.
    """

    def __init__(
        self, model: Model, folder: Path, sources: Iterable[Path], *, overwrite: bool = False
    ) -> None:
        if not model.localizes:
            raise UsageError(
                "this model says what is in a picture, not where, so there is no box to write; "
                "train one with --task localize"
            )
        # A number would make the file another image's: annotations belong by name.
        self.places = OutputPaths(folder, sources, overwrite=overwrite, numbered=False)

    def suffix(self, image: Path) -> str:
        """Always `.xml`, whatever the image is."""
        return ".xml"

    def write(self, answer: Prediction, image: Path, target: Path) -> None:
        """Write one file.

        Raises:
            EnvironmentFault: it cannot be written.
        """
        if answer.box is None or answer.size is None:
            return
        found = object_of(answer.label, from_pixels(answer.box, answer.size), answer.size)
        make_folder(target.parent)
        write_bytes(target, write_voc(image.parent.name, image.name, answer.size, [found]))
