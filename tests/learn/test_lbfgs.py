"""The optimizer of heads finds the minimum that SciPy finds."""

import numpy as np
import pytest

from sharpeye.core.arrays import Floats
from sharpeye.core.numerics import softmax
from sharpeye.errors import DivergedError
from sharpeye.learn.heads import logistic
from sharpeye.learn.heads.lbfgs import minimize_lbfgs
from sharpeye.learn.heads.logistic import fit_logistic
from sharpeye.learn.heads.ridge import Projection, decompose


def test_a_quadratic_has_its_known_minimum() -> None:
    random = np.random.default_rng(0)
    scales, target = np.geomspace(1e-3, 1, 40), random.normal(size=40)

    def function(x: Floats) -> tuple[float, Floats]:
        return float(0.5 * (scales * (x - target) ** 2).sum()), scales * (x - target)

    options = {"max_steps": 500, "tolerance": 0.0, "min_gradient": 1e-9}
    minimum = minimize_lbfgs(function, np.zeros(40), **options)
    assert np.abs(minimum.x - target).max() < 1e-5
    assert minimum.value < 1e-12
    assert minimize_lbfgs(function, target, **options).steps == 0
    assert minimize_lbfgs(function, np.zeros(40), **(options | {"max_steps": 3})).steps == 3


@pytest.mark.parametrize("l2", [1e-5, 1e-2])
def test_heads_are_those_of_scipy(l2: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """SciPy minimizes the same mean cross-entropy, in other coordinates and a problem at a time."""
    optimize = pytest.importorskip("scipy.optimize")
    random = np.random.default_rng(1)
    targets = np.arange(120) % 12
    centres = random.normal(0, 0.6, (12, 30))
    features = (centres[targets] + random.normal(0, 0.5, (120, 30))).astype(np.float32)
    basis = decompose(features, np.ones(120))
    points = np.asarray(basis.points, np.float64)
    masks = np.ones((3, 120))
    masks[0, :20] = masks[1, 20:50] = 0
    monkeypatch.setattr(logistic, "_TOLERANCE", 1e-9)
    fit = fit_logistic(basis, targets, 12, l2=l2, masks=masks)
    for k, mask in enumerate(masks):
        shares = mask / mask.sum()

        def loss_and_gradient(flat: Floats, shares: Floats = shares) -> tuple[float, Floats]:
            weights, intercept = flat[:-12].reshape(-1, 12), flat[-12:]
            probs = softmax(points @ weights + intercept)
            loss = -float((shares * np.log(probs[np.arange(120), targets])).sum())
            errors = (probs - np.eye(12)[targets]) * shares[:, None]
            gradient = points.T @ errors + l2 * weights
            return loss + l2 / 2 * float((weights**2).sum()), np.append(gradient, errors.sum(0))

        start, options = np.zeros((points.shape[1] + 1) * 12), {"maxiter": 9000, "ftol": 0.0}
        method = {"method": "L-BFGS-B", "options": options | {"gtol": 1e-8}}
        exact = optimize.minimize(loss_and_gradient, start, jac=True, **method).x
        expected = softmax(points @ exact[:-12].reshape(-1, 12) + exact[-12:])
        fitted = softmax(points @ fit.solution[k] + fit.intercept[k])
        assert np.abs(fitted - expected).max() < 0.01


def test_features_that_are_not_finite_are_refused() -> None:
    ones = np.ones(4)
    points = np.array([[1.0], [np.nan], [2.0], [0.5]], np.float32)
    basis = Projection(np.ones(1), points, ones)
    with pytest.raises(DivergedError):
        fit_logistic(basis, np.array([0, 1, 0, 1]), 2, l2=1e-3)
