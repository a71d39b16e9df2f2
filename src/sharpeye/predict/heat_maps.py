"""Write images with a heat map over them: where the evidence for a class is."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from sharpeye.core.types import Prediction
from sharpeye.images.decode import decode, read_file
from sharpeye.images.heat_overlay import colorize
from sharpeye.predict.draw import draw_prediction, drawing_suffix, save_drawing
from sharpeye.predict.explain import class_index
from sharpeye.predict.output_paths import ImageWriter, OutputPaths
from sharpeye.predict.predictor import Model


def heat_map_writer(
    model: Model,
    folder: Path,
    sources: Iterable[Path],
    *,
    label: str | None = None,
    overwrite: bool = False,
) -> ImageWriter:
    """A writer of each image, upright at its own size, with a class's heat map, name and score.

    Args:
        label: the class; by default the predicted one.

    Raises:
        UsageError: the model does not know that class.
    """
    if label is not None:
        class_index(model.labels, label)

    def write(prediction: Prediction, image: Path, target: Path) -> None:
        name = prediction.path or str(image)
        data = read_file(image, name)
        explanation = model.explain(data, label or prediction.label)
        heated = colorize(decode(data, name), explanation.heat)
        explained = replace(prediction, label=explanation.label, score=explanation.score)
        save_drawing(draw_prediction(heated, explained), target)

    return ImageWriter(OutputPaths(folder, sources, overwrite=overwrite), drawing_suffix, write)
