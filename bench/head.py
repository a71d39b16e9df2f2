"""Fit a head as training does, over one fit of scikit-learn's logistic regression.

Both get the same 2,000 images of 10 classes in 1,280 features, in one process and with one thread
of matrix products. SharpEye's fit searches L2 on five folds and calibrates; scikit-learn's fits one
C to features that were standardized before. The two take turns.
"""

import time
from collections.abc import Callable

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from bench import arguments
from bench.measure import report, spread
from sharpeye.learn.heads.head import fit_head, square_root

IMAGES, VALIDATION, FEATURES, CLASSES = 2000, 300, 1280, 10
KINDS, FACTORS = 6, 30
ROUNDS = 7


def main() -> None:
    features, targets = draw_features()
    train, validation = slice(VALIDATION, None), slice(VALIDATION)
    standard = StandardScaler().fit_transform(square_root(features[train]))

    def ours() -> None:
        fit_head(
            features[train],
            targets[train],
            features[validation],
            validation_targets=targets[validation],
            classes=CLASSES,
        )

    def theirs() -> None:
        LogisticRegression(C=1.0, solver="lbfgs", max_iter=1000).fit(standard, targets[train])

    ratios, seconds = [], {"ours": [], "theirs": []}
    with threadpool_limits(1, user_api="blas"):
        ours(), theirs()  # The first calls import and allocate.
        for _ in range(ROUNDS):
            pair = seconds_of(ours), seconds_of(theirs)
            ratios.append(pair[0] / pair[1])
            for values, value in zip(seconds.values(), pair, strict=True):
                values.append(value)
    each = {f"seconds_{name}": spread(values) for name, values in seconds.items()}
    report("head_over_sklearn", {"ratio": spread(ratios), **each, "goal": "<= 40"})


def draw_features() -> tuple[np.ndarray, np.ndarray]:
    """Features as a network pools them: not negative, many near 0, correlated, a few large.

    Each class has a few kinds of images. Of held-out images a linear head is right on nine of ten,
    and its best L2 is near that of photographs. Returns float32[N,D] and int64[N].
    """
    random = np.random.default_rng(0)
    targets = np.arange(IMAGES) % CLASSES
    kinds = targets * KINDS + random.integers(0, KINDS, IMAGES)
    centres = random.normal(0, 1, (CLASSES * KINDS, FACTORS))
    factors = centres[kinds] + random.normal(0, 1, (IMAGES, FACTORS))
    mixed = factors @ random.normal(0, 0.15, (FACTORS, FEATURES))
    mixed += random.normal(-0.5, 0.2, mixed.shape)
    return np.maximum(np.expm1(mixed), 0).astype(np.float32), targets


def seconds_of(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    arguments.run(main, __doc__)
