"""Heat maps for the report: where a model saw the answers that are wrong."""

import numpy as np
import numpy.typing as npt
from PIL import Image

from sharpeye.core.parallel import parallel_map
from sharpeye.data.sample_image import read_image
from sharpeye.errors import ImageReadError
from sharpeye.predict.predictor import Model
from sharpeye.report.evaluation import Evaluation, ScoredPrediction

Heat = npt.NDArray[np.float32]

# As many as a reader looks at; a report grows by some 10 kB with each.
MAX_MAPS = 12
# The longer side of a map in pixels: it lies over a thumbnail.
_SIDE = 200
# Without maps in the model file an image is asked about 82 times (`predict.explain.occlusion`):
# with larger inputs that takes minutes, for a report that nobody may read.
_MAX_OCCLUDED = 64


def mistake_heat_maps(model: Model, scored: Evaluation, limit: int = MAX_MAPS) -> dict[str, Heat]:
    """Heat maps of the predicted classes of the worst mistakes.

    Args:
        model: the one that gave these answers.
        limit: images at most.

    Returns:
        float32[h,w], 0..1, over the upright image, by its path. What cannot be read any more is
        left out; so are all where it would take too long.
    """
    if not model.has_heat and max(model.input.height, model.input.width) > _MAX_OCCLUDED:
        return {}

    def work(answer: ScoredPrediction) -> Heat | None:
        try:
            image = read_image(answer.sample)
        except ImageReadError:
            return None
        heat = Image.fromarray(model.explain(image, answer.predicted).heat)
        heat.thumbnail((_SIDE, _SIDE), Image.Resampling.BILINEAR, reducing_gap=None)
        return np.asarray(heat)

    worst = scored.mistakes[: max(0, min(limit, MAX_MAPS))]
    return {answer.path: heat for answer, heat in parallel_map(work, worst) if heat is not None}
