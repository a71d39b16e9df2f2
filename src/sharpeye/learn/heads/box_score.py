"""Estimate how well a predicted box overlaps the object: the expected IoU of one image's box.

The box head predicts a box in each cell and averages them, weighted by the softmax of their logits
(see `models.box_heads`). Where the cells agree, the mean is accurate: on 156 images of unseen
objects, the correlation of their agreement with the IoU was 0.45, that of the class probability
0.13. A line that is fitted to the validation images turns the agreement into the expected IoU.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sharpeye.core.arrays import Floats

# Validation images that count as evidence for a slope of 0: ten images alone do not give a line.
_PRIOR_IMAGES = 10


@dataclass(frozen=True)
class BoxScoreLine:
    """The expected IoU: `intercept + slope * agreement`, clipped to 0..1."""

    intercept: float
    slope: float

    def expected_iou(self, agreement: Floats) -> npt.NDArray[np.float64]:
        """float64[N], 0..1, for the agreement float[N] of N images."""
        return np.clip(self.intercept + self.slope * np.asarray(agreement, np.float64), 0.0, 1.0)


def fit_box_score(agreement: Floats, ious: Floats) -> BoxScoreLine:
    """The line of the least squares, with a slope that is shrunk towards 0 for few images.

    Args:
        agreement: float[N] of the validation images.
        ious: float[N], overlap of their predicted boxes with the true ones; N >= 1.
    """
    agreement, ious = np.asarray(agreement, np.float64), np.asarray(ious, np.float64)
    centred = agreement - agreement.mean()
    spread = (centred**2).sum()
    count = len(agreement)
    slope = 0.0
    if spread > 0:
        slope = float((centred * ious).sum() / spread) * count / (count + _PRIOR_IMAGES)
    return BoxScoreLine(float(ious.mean() - slope * agreement.mean()), slope)
