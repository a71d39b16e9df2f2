"""Fit a head to images that are given by their inner products alone (the kernel trick).

Problems with subsets of some images share the products, and none of them multiplies the features
again: ten fits to 450 of 500 images took half of the processor time, eight to 150 images 40 %.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sharpeye.core.arrays import Floats
from sharpeye.learn.heads.ridge import MIN_SQUARE, Projection

# Below this share of the mean product of an image with itself, all images are the same.
_MIN_SPREAD = 1e-12


@dataclass(frozen=True)
class GramBasis(Projection):
    """A projection whose axes are weighted sums of the images.

    Attributes:
        combinations: float64[N,R], the weights of those sums.
        mean_products: float64[N], the product of each image with the weighted mean image.
    """

    combinations: npt.NDArray[np.float64]
    mean_products: npt.NDArray[np.float64]

    def to_products(self, solution: Floats, intercept: Floats) -> tuple[Floats, Floats]:
        """Coefficients float64[N,C] and an intercept float64[C] on products with the N images.

        They are for products of features that are not centred.
        """
        coefficients = self.combinations @ solution
        coefficients -= self.weights[:, None] / len(self.weights) * coefficients.sum(axis=0)
        return coefficients, intercept - self.mean_products @ coefficients


def decompose_gram(gram: Floats, sample_weights: Floats) -> GramBasis:
    """The axes that `ridge.decompose` finds, from products float64[N,N] of the images.

    Args:
        sample_weights: float64[N], positive.
    """
    count = len(gram)
    weights = sample_weights * (count / sample_weights.sum())
    shares, roots = weights / count, np.sqrt(weights)
    mean_products = gram @ shares
    centred = gram - mean_products[:, None] - mean_products + shares @ mean_products
    spread = float(np.trace(centred)) / count
    if spread <= _MIN_SPREAD * float(np.trace(gram)) / count:
        centred, spread = np.zeros_like(centred), 1.0
    squares, axes = np.linalg.eigh(centred * (roots[:, None] * roots / spread))
    significant = squares > max(squares[-1], 1e-12) * MIN_SQUARE
    squares, axes = squares[significant][::-1], axes[:, significant][:, ::-1]
    variance = squares / count
    return GramBasis(
        variance=np.sqrt(variance),
        points=(axes * (np.sqrt(squares) * variance**-0.25) / roots[:, None]).astype(np.float32),
        weights=weights,
        combinations=axes * roots[:, None] / (np.sqrt(squares) * variance**0.25 * spread),
        mean_products=mean_products,
    )
