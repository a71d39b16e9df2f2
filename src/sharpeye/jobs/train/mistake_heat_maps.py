"""Heat maps for the report: the evidence for wrongly predicted classes."""

import numpy as np
from PIL import Image

from sharpeye.core.arrays import Floats
from sharpeye.core.parallel import parallel_map
from sharpeye.data.sample_image import read_image
from sharpeye.errors import ImageReadError
from sharpeye.predict.predictor import Model
from sharpeye.report.evaluation import Evaluation, ScoredPrediction

# Each map adds about 10 kB to the report, and more maps would hardly be read.
MAX_MAPS = 12
# The longer side of a map in pixels: it covers a thumbnail.
_SIDE = 200
# A model file without maps needs about 82 predictions per image (`predict.explain.occlusion`),
# which takes minutes with larger inputs.
_MAX_OCCLUDED_SIDE = 64


def mistake_heat_maps(
    model: Model, evaluation: Evaluation, limit: int = MAX_MAPS
) -> dict[str, Floats]:
    """Heat maps of the predicted classes of the worst mistakes, by the image's path.

    float32[h,w], 0..1, over the upright image; without images that are no longer readable; empty if
    it would take too long.
    """
    if not model.has_heat and max(model.input.height, model.input.width) > _MAX_OCCLUDED_SIDE:
        return {}

    def explain(prediction: ScoredPrediction) -> Floats | None:
        try:
            image = read_image(prediction.sample)
        except ImageReadError:
            return None
        heat = Image.fromarray(model.explain(image, prediction.predicted).heat)
        heat.thumbnail((_SIDE, _SIDE), Image.Resampling.BILINEAR, reducing_gap=None)
        return np.asarray(heat)

    worst = evaluation.mistakes[: max(0, min(limit, MAX_MAPS))]
    maps = parallel_map(explain, worst)
    return {prediction.path: heat for prediction, heat in maps if heat is not None}
