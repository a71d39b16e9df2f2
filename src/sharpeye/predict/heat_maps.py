"""Writes heat maps over pictures: where the model saw what speaks for its answer."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from sharpeye.core.types import Prediction
from sharpeye.images.decode import decode, read_file
from sharpeye.images.heat_overlay import paint
from sharpeye.predict.draw import draw_answer, drawing_suffix, save_drawing
from sharpeye.predict.explain import class_index
from sharpeye.predict.output_paths import Places
from sharpeye.predict.predictor import Model


class HeatMaps:
    """Writes each picture with the heat map of a class over it, with class and score.

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
        self.places = Places(folder, sources, overwrite=overwrite)

    def suffix(self, picture: Path) -> str:
        """That of a drawing."""
        return drawing_suffix(picture)

    def write(self, answer: Prediction, picture: Path, target: Path) -> None:
        """Read the picture again, ask once more, and write it upright with its heat map.

        Raises:
            ImageReadError: it cannot be read any more.
            EnvironmentFault: the drawing cannot be written.
        """
        name = answer.path or str(picture)
        data = read_file(picture, name)
        found = self._model.explain(data, self._label or answer.label)
        heated = paint(decode(data, name), found.heat)
        shown = replace(answer, label=found.label, score=found.score)
        save_drawing(draw_answer(heated, shown), target)
