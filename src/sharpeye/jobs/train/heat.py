"""Heat maps for the report: where a model saw the answers that are wrong."""

import numpy as np
import numpy.typing as npt
from PIL import Image

from sharpeye.core.parallel import stream
from sharpeye.data.read_image import read_picture
from sharpeye.errors import ImageReadError
from sharpeye.predict.predictor import Model
from sharpeye.report.evaluation import Answer, Scored

Heat = npt.NDArray[np.float32]

# As many as a reader looks at; a report grows by some 10 kB with each.
MOST_MAPS = 12
# The longer side of a map in pixels: it lies over a thumbnail.
_SIDE = 200
# Without maps in the model file a picture is asked about 82 times (`predict.explain.occlusion`):
# with larger inputs that takes minutes, for a report that nobody may read.
_MOST_OCCLUDED = 64


def heat_of_mistakes(model: Model, scored: Scored, limit: int = MOST_MAPS) -> dict[str, Heat]:
    """Heat maps of the predicted classes of the worst mistakes.

    Args:
        model: the one that gave these answers.
        limit: pictures at most.

    Returns:
        float32[h,w], 0..1, over the upright picture, by its path. What cannot be read any more is
        left out; so are all where it would take too long.
    """
    if not model.has_heat and max(model.input.height, model.input.width) > _MOST_OCCLUDED:
        return {}

    def work(answer: Answer) -> Heat | None:
        try:
            image = read_picture(answer.sample)
        except ImageReadError:
            return None
        heat = Image.fromarray(model.explain(image, answer.predicted).heat)
        heat.thumbnail((_SIDE, _SIDE), Image.Resampling.BILINEAR, reducing_gap=None)
        return np.asarray(heat)

    worst = scored.mistakes[: max(0, min(limit, MOST_MAPS))]
    return {answer.path: heat for answer, heat in stream(work, worst) if heat is not None}
