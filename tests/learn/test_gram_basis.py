"""A head fitted to inner products is the head fitted to the features."""

import numpy as np
import pytest

from sharpeye.learn.heads.gram_basis import decompose_gram
from sharpeye.learn.heads.head import class_weights
from sharpeye.learn.heads.logistic import fit_logistic
from sharpeye.learn.heads.ridge import decompose


def images(count: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Correlated features float32[N,D] far from 0, and the targets of three uneven classes."""
    random = np.random.default_rng(0)
    targets = np.arange(count) ** 2 % 7 % 3
    factors = random.normal(0, 1, (count, 8)) + 1.5 * np.eye(3, 8)[targets]
    features = factors @ random.normal(0, 1, (8, width)) + random.normal(0, 0.3, (count, width)) + 5
    return features.astype(np.float32), targets


@pytest.mark.parametrize(("count", "width"), [(60, 90), (90, 60)])
@pytest.mark.parametrize("balance", ["weights", "none"])
def test_logits_are_those_of_a_fit_to_the_features(count: int, width: int, balance: str) -> None:
    features, targets = images(count + 20, width)
    train, test = features[:count], features[count:]
    weights = class_weights(targets[:count], 3, balance)
    basis, gram = decompose(train, weights), train.astype(np.float64) @ train.T
    from_gram = decompose_gram(gram, weights)
    assert len(from_gram.variance) == len(basis.variance)
    np.testing.assert_allclose(from_gram.variance, basis.variance, rtol=1e-3)
    fits = [fit_logistic(b, targets[:count], 3, l2=1e-3) for b in (basis, from_gram)]
    plain, bias = basis.to_features(fits[0].solution[0], fits[0].intercept[0])
    coefficients, intercept = from_gram.to_products(fits[1].solution[0], fits[1].intercept[0])
    expected = test @ plain + bias
    products = test.astype(np.float64) @ train.T
    np.testing.assert_allclose(products @ coefficients + intercept, expected, atol=1e-3)
    assert np.ptp(expected) > 5


def test_equal_images_have_no_axes() -> None:
    gram = np.full((6, 6), 7.3)
    basis = decompose_gram(gram, np.ones(6))
    assert basis.points.shape == (6, 0)
    fit = fit_logistic(basis, np.arange(6) % 2, 2, l2=1e-3)
    coefficients, intercept = basis.to_products(fit.solution[0], fit.intercept[0])
    np.testing.assert_allclose(gram @ coefficients + intercept, 0, atol=1e-6)
