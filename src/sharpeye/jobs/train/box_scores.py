"""Score the boxes of a network whose box head makes proposals."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sharpeye.core.arrays import Floats
from sharpeye.core.numerics import softmax
from sharpeye.core.types import Split
from sharpeye.images.boxes import iou
from sharpeye.learn.heads.box_score import BoxScoreLine, fit_box_score
from sharpeye.learn.nets.training_arrays import TrainingArrays


@dataclass(frozen=True)
class BoxScores:
    """The expected IoU of predicted boxes.

    Attributes:
        line: fitted to the validation images.
        test: float64[N], 0..1, the score of each test image's box.
    """

    line: BoxScoreLine
    test: Floats


def score_boxes(
    outputs: Mapping[Split, Mapping[str, Floats]], arrays: TrainingArrays
) -> BoxScores | None:
    """Fit the score of a box to the validation images; None if there are no proposals.

    Args:
        outputs: what the network predicts for the validation and the test images.
    """
    if "proposals" not in outputs["validation"]:
        return None
    agreement = {s: proposal_agreement(o["proposals"], o["box"]) for s, o in outputs.items()}
    ious = iou(outputs["validation"]["box"], arrays.boxes["validation"])
    line = fit_box_score(agreement["validation"], ious)
    return BoxScores(line, line.expected_iou(agreement["test"]))


def proposal_agreement(proposals: Floats, boxes: Floats) -> npt.NDArray[np.float64]:
    """The mean IoU of the cells' boxes with the predicted box, weighted as that box is: float64[N].

    Args:
        proposals: float[N,M,7]: each cell's logit, four edges, and its position (not used).
        boxes: float[N,4], the predicted boxes, in the same unit as the edges.
    """
    weights = softmax(np.asarray(proposals[..., 0], np.float64))
    return np.asarray((weights * iou(proposals[..., 1:5], boxes[:, None])).sum(axis=1), np.float64)
