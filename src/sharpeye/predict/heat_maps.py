"""Write images with a heat map over them: where the evidence for a class is."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from sharpeye.core.types import Prediction
from sharpeye.images.decode import decode, read_file
from sharpeye.images.heat_overlay import colorize
from sharpeye.predict.draw import draw_prediction, drawing_suffix, save_drawing
from sharpeye.predict.explain import class_index
from sharpeye.predict.output_paths import OutputPaths
from sharpeye.predict.predictor import Model


class HeatMapWriter:
    """Writes each image with the heat map, name and score of a class.

    Args:
        label: the class; by default the predicted one.

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
        self.paths = OutputPaths(folder, sources, overwrite=overwrite)

    def suffix(self, image: Path) -> str:
        """The suffix of a drawing."""
        return drawing_suffix(image)

    def write(self, prediction: Prediction, image: Path, target: Path) -> None:
        """Read the image again, explain it, and write it upright at its own size.

        Raises:
            ImageReadError: the image has become unreadable.
            EnvironmentFault: the drawing cannot be written.
        """
        name = prediction.path or str(image)
        data = read_file(image, name)
        explanation = self._model.explain(data, self._label or prediction.label)
        heated = colorize(decode(data, name), explanation.heat)
        explained = replace(prediction, label=explanation.label, score=explanation.score)
        save_drawing(draw_prediction(heated, explained), target)
