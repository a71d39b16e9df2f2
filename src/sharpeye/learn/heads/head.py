"""Fit a linear classifier on frozen features: a ridge path first, then logistic regression.

1. The features are pooled, non-negative and far from normal: their square root, smoothed at 0,
   reduces rare strong activations (the Hellinger map; Arandjelovic and Zisserman 2012). It gained 1
   to 1.5 points of accuracy over plain features.
2. A ridge path with exact leave-one-out error takes milliseconds; it estimates the accuracy of a
   linear head, and gives a warm start.
3. Logistic regression searches L2 in half decades while the held-out log loss falls: on five folds
   at once, with the images of a group in one fold; or on the validation split if folds would cost
   too much, or if no class has two groups.
4. A temperature (Guo et al. 2017) is fitted on predictions for held-out images.
5. With `refit` the head is fitted again, with the same L2, on training and validation images.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sharpeye.core.arrays import Floats, Ints
from sharpeye.core.numerics import softmax
from sharpeye.core.progress import Progress
from sharpeye.errors import DivergedError
from sharpeye.learn.heads.folds import draw_folds, is_predictable
from sharpeye.learn.heads.l2_search import L2Search, Row, history_row
from sharpeye.learn.heads.logistic import NOT_FINITE, LogisticFit, fit_logistic
from sharpeye.learn.heads.ridge import Basis, decompose
from sharpeye.learn.heads.temperature import fit_temperature

SMOOTHING = 1e-3  # see `square_root`
SQUARE_ROOT_AT_ZERO = float(np.sqrt(np.float32(SMOOTHING)))

# Above this number of images times classes, the validation split replaces folds.
_MAX_FOLD_PROBLEM = 200_000


@dataclass(frozen=True)
class Head:
    """A linear classifier on pooled features.

    Attributes:
        weights, bias: float32[D,C] and float32[C], already divided by the temperature.
        square_root: whether the head takes the square root of the features.
    """

    weights: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]
    temperature: float
    l2: float
    square_root: bool = True

    @property
    def classes(self) -> int:
        return len(self.bias)

    def probabilities(self, features: Floats) -> Floats:
        """float64[N,C] for pooled features float32[N,D]; the rows sum to 1."""
        inputs = square_root(features) if self.square_root else features
        logits = inputs @ self.weights + self.bias
        return softmax(logits.astype(np.float64))


@dataclass(frozen=True)
class FittedHead:
    """A head for the model file, and its validation.

    Attributes:
        validation_head: the head that predicts the validation images, fitted without them.
        out_of_fold_probs: float64[N,C], probabilities for each training image by a head that was
            not fitted to it or its group, NaN where no such head knows its class; None if L2 was
            chosen on the validation split.
        history: a row per stage: stage, l2, log_loss, accuracy, steps, seconds.
    """

    final_head: Head
    validation_head: Head
    out_of_fold_probs: Floats | None
    history: tuple[Row, ...]


def square_root(features: Floats) -> npt.NDArray[np.float32]:
    """float32[N,D]: sqrt(f + s) - sqrt(s), with `SMOOTHING` for s.

    The plain root has an infinite slope at 0: a rounding difference between engines in a feature
    near 0 would change predictions.
    """
    smooth = np.maximum(features, 0.0, dtype=np.float32) + np.float32(SMOOTHING)
    return np.sqrt(smooth) - np.float32(SQUARE_ROOT_AT_ZERO)


# Of the effective number of images of a class.
_BETA = 0.999


def class_weights(targets: Ints, classes: int, balance: str) -> npt.NDArray[np.float64]:
    """float64[N]: sample weights of mean 1. They give each class the same total; with `effective` a
    total by the effective number of its images (Cui et al. 2019, arXiv:1901.05555, beta 0.999);
    all are 1 for `none`.
    """
    if balance == "none":
        return np.ones(len(targets))
    counts = np.bincount(targets, minlength=classes)
    if balance == "effective":
        effective = (1 - _BETA ** np.maximum(counts, 1)) / (1 - _BETA)
        by_image = (1 / effective)[targets]
        return np.asarray(by_image / by_image.mean())
    weights: npt.NDArray[np.float64] = (len(targets) / classes / np.maximum(counts, 1))[targets]
    return weights


def fit_head(
    train: Floats,
    train_targets: Ints,
    validation: Floats,
    *,
    validation_targets: Ints,
    classes: int,
    groups: Ints | None = None,
    views: Sequence[Floats] = (),
    balance: str = "weights",
    refit: bool = True,
    seed: int = 0,
    progress: Progress | None = None,
) -> FittedHead:
    """Fit a head, choose L2, calibrate it, and refit it.

    Args:
        train, validation: float32[N,D] and float32[M,D], pooled features.
        train_targets, validation_targets: int[N] and int[M], class indices below `classes`.
        groups: int[N], equal for training images that must stay in one fold; by default each image
            is a group of its own.
        views: more float32[N,D], other views of the same training images.
        balance: `none`, or any other value to give each class the same total weight.
        refit: whether the final head is fitted to the validation images too.
        seed: the seed of the folds.
        progress: called before each fit, see `L2Search`.

    Raises:
        DivergedError: the features are not finite.
    """
    if not all(np.isfinite(features).all() for features in (train, validation, *views)):
        raise DivergedError(NOT_FINITE)
    history: list[Row] = []
    stacked = square_root(np.concatenate([train, *views]) if views else train)
    targets = np.tile(train_targets, 1 + len(views))
    basis = decompose(stacked, class_weights(targets, classes, balance))
    search = L2Search(
        basis, targets, classes, image_count=len(train), history=history, progress=progress
    )
    search.fit_ridge_path()
    folds = draw_folds(train_targets, classes, seed, groups=groups)
    predictable = is_predictable(train_targets, folds, classes)
    use_folds = len(targets) * classes <= _MAX_FOLD_PROBLEM and bool(predictable.any())
    held_out = square_root(validation), validation_targets
    if use_folds:
        search.use_folds(folds, held_out)
    else:
        search.use_validation(*held_out)
    best = search.search()
    validation_head = _as_head(basis, best, temperature=1.0)
    out_of_fold = search.out_of_fold_probs(best) if use_folds else None
    probs, probs_targets = validation_head.probabilities(validation), validation_targets
    if out_of_fold is not None:
        probs = np.concatenate([probs, out_of_fold[predictable]])
        probs_targets = np.concatenate([validation_targets, train_targets[predictable]])
    temperature = fit_temperature(np.log(np.maximum(probs, 1e-30)), probs_targets)
    validation_head = _as_head(basis, best, temperature)
    if out_of_fold is not None:
        out_of_fold = softmax(np.log(np.maximum(out_of_fold, 1e-30)) / temperature)
        out_of_fold[~predictable] = np.nan
    if not refit:
        return FittedHead(validation_head, validation_head, out_of_fold, tuple(history))
    all_features = np.concatenate([stacked, square_root(validation)])
    all_targets = np.concatenate([targets, validation_targets])
    new_basis = decompose(all_features, class_weights(all_targets, classes, balance))
    final_head, row = _refit(new_basis, all_targets, basis, best=best, temperature=temperature)
    return FittedHead(final_head, validation_head, out_of_fold, (*history, row))


def _refit(
    basis: Basis, targets: Ints, old_basis: Basis, *, best: LogisticFit, temperature: float
) -> tuple[Head, Row]:
    """Fit again with the L2 of `best`, starting from its solution."""
    started = time.perf_counter()
    plain = old_basis.to_features(best.solution[-1], best.intercept[-1])
    solution, intercept = basis.from_features(*plain)
    fit = fit_logistic(
        basis,
        targets,
        best.intercept.shape[1],
        l2=best.l2,
        start=(solution[None], intercept[None]),
    )
    row = history_row("refit", best.l2, steps=fit.steps, started=started)
    return _as_head(basis, fit, temperature), row


def _as_head(basis: Basis, fit: LogisticFit, temperature: float) -> Head:
    weights, bias = basis.to_features(fit.solution[-1], fit.intercept[-1])
    return Head(
        weights=(weights / temperature).astype(np.float32),
        bias=(bias / temperature).astype(np.float32),
        temperature=temperature,
        l2=fit.l2,
    )
