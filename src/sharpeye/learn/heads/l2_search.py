"""Choose L2 by the log loss of held-out images."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from sharpeye.core.arrays import Bools, Floats, Ints
from sharpeye.core.numerics import softmax
from sharpeye.core.progress import Progress
from sharpeye.learn.heads.folds import FOLDS, is_predictable
from sharpeye.learn.heads.logistic import LogisticFit, fit_logistic
from sharpeye.learn.heads.ridge import Basis, fit_ridge
from sharpeye.learn.heads.temperature import fit_temperature

Row = dict[str, Any]

_RIDGE_PATH = 10.0 ** np.arange(1.0, -6.1, -0.5)
_FACTOR = 10.0**0.5
# The best L2 was within a decade of this on every tested data set of 140 to 2,000 images.
_INITIAL_L2 = 1e-5
_L2_RANGE = (1e-8, 10.0)
# The search continues for another half decade if the log loss falls by this share: it is flat near
# its minimum, and the more regularized of two equal heads is the better choice.
_MIN_IMPROVEMENT = 0.005
# The ridge scores times this are the best start for the logits: it halves the steps.
_RIDGE_TO_LOGITS = 8.0


class L2Search:
    """Searches the L2 with the least held-out log loss.

    K problems are fitted at once: one without each fold, and last one with all images. `progress`
    is called before each fit with the numbers of fits without it and with it: how many are needed
    is not known before.
    """

    def __init__(
        self,
        basis: Basis,
        targets: Ints,
        classes: int,
        *,
        image_count: int,
        history: list[Row],
        progress: Progress | None = None,
    ) -> None:
        self._progress, self._fit_count = progress, 0
        self.basis, self.targets, self.classes = basis, targets, classes
        self.image_count, self.history = image_count, history
        self.masks = np.ones((1, len(targets)))
        self._start: tuple[Floats, Floats] | None = None
        self._folds: Ints
        self.predictable: Bools
        self._score_fit: Callable[[LogisticFit], tuple[float, float]]

    def fit_ridge_path(self) -> None:
        started = time.perf_counter()
        self.ridge_fit = fit_ridge(self.basis, self.targets, self.classes, path=_RIDGE_PATH)
        for l2, error, accuracy in self.ridge_fit.path:
            row = history_row("ridge", l2, accuracy=accuracy, steps=0, started=started)
            self.history.append(row | {"squared_error": error})
            started = time.perf_counter()

    def use_folds(self, folds: Ints, validation: tuple[Floats, Ints] | None = None) -> None:
        """Choose L2 on the images of each left-out fold.

        Args:
            folds: int[image_count], from `draw_folds`.
            validation: float32[M,D] and int[M], other images, in the head's input format. They are
                used only if some class is in one fold alone: such a class cannot be predicted
                without that fold.
        """
        self._folds = folds
        self.predictable = is_predictable(self.targets[: self.image_count], folds, self.classes)
        tiled = np.tile(folds, len(self.targets) // self.image_count)
        left_out = tiled[None, :] == np.arange(FOLDS)[:, None]
        self.masks = np.concatenate([~left_out, np.ones((1, len(tiled)), bool)]).astype(np.float64)
        known = self.predictable
        weights, targets = self.basis.weights[: self.image_count], self.targets[: self.image_count]
        weights, targets = weights[known], targets[known]
        score_validation = None
        if validation is not None and not known.all():
            points = self._points(validation[0])
            targets = np.concatenate([targets, validation[1]])
            weights = np.concatenate([weights, self._class_weights(validation[1])])
            score_validation = partial(_predict_with_last, points)

        def score(fit: LogisticFit) -> tuple[float, float]:
            probs = self.out_of_fold_probs(fit)[known]
            if score_validation:
                probs = np.concatenate([probs, score_validation(fit)])
            return _score(probs, targets, weights)

        self._score_fit = score

    def use_validation(self, features: Floats, targets: Ints) -> None:
        """Choose L2 on other images; call `fit_ridge_path` first.

        Args:
            features: float32[M,D], in the head's input format.
        """
        # The ridge solution was fitted to every image: folds must not start from it.
        solution, intercept = self.ridge_fit.solution, self.ridge_fit.intercept
        self._start = _RIDGE_TO_LOGITS * solution[None], _RIDGE_TO_LOGITS * intercept[None]
        points, weights = self._points(features), self._class_weights(targets)

        def score(fit: LogisticFit) -> tuple[float, float]:
            return _score(_predict_with_last(points, fit), targets, weights)

        self._score_fit = score

    def _points(self, features: Floats) -> Floats:
        """float[M,R]: other features on the axes of the basis."""
        points: Floats = (features - self.basis.mean) / self.basis.scale @ self.basis.axes
        return points

    def _class_weights(self, targets: Ints) -> Floats:
        """float64[M]: the weights of the training images of the same classes."""
        weights = np.zeros(self.classes)
        weights[self.targets] = self.basis.weights  # All images of a class have one weight.
        return weights[targets]

    def out_of_fold_probs(self, fit: LogisticFit) -> Floats:
        """float64[image_count,C]: each image's probabilities by the head without its fold."""
        points = self.basis.points[: self.image_count]
        probs = np.empty((self.image_count, self.classes))
        for fold in range(FOLDS):
            held_out = self._folds == fold
            logits = points[held_out] @ fit.solution[fold] + fit.intercept[fold]
            probs[held_out] = softmax(logits)
        return probs

    def search(self) -> LogisticFit:
        """The fit with the lowest log loss, found by descent in half decades."""
        first = best = self._fit(_INITIAL_L2, self._start)
        for factor in (1 / _FACTOR, _FACTOR):
            fit = first
            while _L2_RANGE[0] <= fit[0].l2 * factor <= _L2_RANGE[1]:
                fit = self._fit(fit[0].l2 * factor, (fit[0].solution, fit[0].intercept))
                if fit[1] > best[1] * (1 - _MIN_IMPROVEMENT):
                    break
                best = fit
            if best is not first:
                break
        return best[0]

    def fit_at(self, l2: float, start: tuple[Floats, Floats] | None = None) -> LogisticFit:
        """The fit at one L2, by default started from zero."""
        return fit_logistic(
            self.basis, self.targets, self.classes, l2=l2, masks=self.masks, start=start
        )

    def _fit(self, l2: float, start: tuple[Floats, Floats] | None) -> tuple[LogisticFit, float]:
        started = time.perf_counter()
        if self._progress:
            self._progress(self._fit_count, self._fit_count + 1)
        fit = self.fit_at(l2, start)
        self._fit_count += 1
        loss, accuracy = self._score_fit(fit)
        scores = {"log_loss": loss, "accuracy": accuracy}
        self.history.append(history_row("logistic", l2, steps=fit.steps, started=started, **scores))
        return fit, loss


def _predict_with_last(points: Floats, fit: LogisticFit) -> Floats:
    """float64[M,C]: probabilities by the head with all training images."""
    return softmax(points @ fit.solution[-1] + fit.intercept[-1])


def _score(probs: Floats, targets: Ints, weights: Floats) -> tuple[float, float]:
    """Weighted log loss at the best temperature, and accuracy.

    A head's temperature is fitted anyway; without it, the score would reward calibration. Measured
    on 8 classes of 25 images: log loss on the test split 0.389 without, 0.356 with.
    """
    log_probs = np.log(np.maximum(probs, 1e-30))
    calibrated = softmax(log_probs / fit_temperature(log_probs, targets))
    chosen = np.log(np.maximum(calibrated[np.arange(len(targets)), targets], 1e-12))
    loss = float(-(weights * chosen).sum() / weights.sum())
    return loss, float((probs.argmax(axis=1) == targets).mean())


def history_row(stage: str, l2: float, *, steps: int, started: float, **scores: float) -> Row:
    """A row of `history.csv`. `started`: `time.perf_counter()` when the stage began."""
    row: Row = {"stage": stage, "l2": l2, "log_loss": None, "accuracy": None} | scores
    return row | {"steps": steps, "seconds": time.perf_counter() - started}
