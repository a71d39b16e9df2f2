"""Writes heat maps over images: where the model saw what speaks for its answer."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from sharpeye.core.types import Prediction
from sharpeye.images.decode import decode, read_file
from sharpeye.images.heat_overlay import colorize
from sharpeye.predict.draw import draw_answer, drawing_suffix, save_drawing
from sharpeye.predict.explain import class_index
from sharpeye.predict.output_paths import OutputPaths
from sharpeye.predict.predictor import Model


class HeatMaps:
    """Writes each image with the heat map of a class over it, with class and score.

    Args:
        label: the class; by default the one that is answered.

    Raises:
        UsageError: the model does not know that class.
    """

    def __init__(
        self,
        model: Model,
        folder: Path,
        sources: Iterable[Path],
        *,
        label: str | None = None,
        overwrite: bool = False,
    ) -> None:
        if label is not None:
            class_index(model.labels, label)
        self._model, self._label = model, label
        self.places = OutputPaths(folder, sources, overwrite=overwrite)

    def suffix(self, image: Path) -> str:
        """That of a drawing."""
        return drawing_suffix(image)

    def write(self, answer: Prediction, image: Path, target: Path) -> None:
        """Read the image again, ask once more, and write it upright with its heat map.

        Raises:
            ImageReadError: it cannot be read any more.
            EnvironmentFault: the drawing cannot be written.
        """
        name = answer.path or str(image)
        data = read_file(image, name)
        found = self._model.explain(data, self._label or answer.label)
        heated = colorize(decode(data, name), found.heat)
        shown = replace(answer, label=found.label, score=found.score)
        save_drawing(draw_answer(heated, shown), target)
