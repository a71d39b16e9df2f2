"""The out-of-distribution detector: what its calibration guarantees, and the parts of its score."""

import numpy as np
import pytest

from sharpeye.core.numerics import softmax
from sharpeye.learn.ood.detector import (
    KnownImages,
    OodDetector,
    fit_ood_detector,
    stratified_indices,
    unit_vectors,
)

CENTRES = np.random.default_rng(9).uniform(0, 4, (3, 24))


def images(count: int, seed: int, spread: float = 0.5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features float32[N,24], targets int[N] and probabilities float[N,3] of known images."""
    random = np.random.default_rng(seed)
    targets = random.integers(0, 3, count)
    features = np.abs(CENTRES[targets] + random.normal(0, spread, (count, 24))).astype(np.float32)
    logits = 8 * unit_vectors(features, root=True) @ unit_vectors(CENTRES, root=True).T * 4
    return features, targets, softmax(logits + random.normal(0, 0.3, logits.shape))


def fitted(count: int = 60, seed: int = 0, coverage: float = 0.95) -> OodDetector:
    """A detector whose bank calibrates it, leaving out one image at a time."""
    features, targets, probs = images(count, seed)
    known = KnownImages(features, targets, np.arange(count))
    return fit_ood_detector(known, known, probs, coverage=coverage)


@pytest.mark.parametrize("coverage", [0.8, 0.95])
def test_known_images_are_rejected_no_more_often_than_the_coverage_allows(coverage: float) -> None:
    shares = []
    for seed in range(60):
        detector = fitted(count=80, seed=seed, coverage=coverage)
        features, _, probs = images(60, seed=1000 + seed)
        shares.append((detector.unknown_score(features, probs) > coverage).mean())
    assert 0.3 * (1 - coverage) < np.mean(shares) < 1 - coverage + 0.015


def test_the_unknown_score_is_at_most_the_share_of_known_images_with_a_lower_ood_score() -> None:
    features, targets, probs = images(70, seed=3)
    bank_features, bank_targets, _ = images(50, seed=4)
    detector = fit_ood_detector(
        KnownImages(bank_features, bank_targets, np.arange(50)),
        KnownImages(features, targets, 100 + np.arange(70)),
        probs,
        coverage=0.9,
    )
    known = detector.ood_score(features, probs)  # None of these images is in the bank.
    new, _, new_probs = images(200, seed=5, spread=0.8)
    ood = detector.ood_score(new, new_probs)
    lower = (known[None, :] < ood[:, None]).sum(axis=1) / (len(known) + 1)
    score = detector.unknown_score(new, new_probs)
    assert (score <= lower + 1e-6).all()
    assert (lower - score).max() < 0.15
    assert (np.diff(score[np.argsort(ood)]) >= 0).all()


def test_unlike_images_are_unknown_and_the_score_grows_beyond_the_last_knot() -> None:
    detector = fitted()
    features, _, probs = images(100, seed=8)
    unlike = np.abs(np.random.default_rng(1).normal(0, 1, (50, 24))).astype(np.float32) ** 4
    flat = np.full((50, 3), 1 / 3)
    assert (detector.unknown_score(unlike, flat) > 0.95).mean() > 0.9
    assert (detector.unknown_score(features, probs) > 0.95).mean() < 0.15
    ood, score = detector.ood_score(unlike, flat), detector.unknown_score(unlike, flat)
    beyond = np.argsort(ood)[ood[np.argsort(ood)] > detector.knots[-1]]
    assert len(beyond) > 5
    assert (np.diff(score[beyond]) > 0).all()
    assert score.max() <= 60 / 61 + 1e-6


@pytest.mark.parametrize(("count", "is_unknown"), [(19, False), (40, True)])
def test_with_too_few_calibration_images_nothing_is_unknown(count: int, is_unknown: bool) -> None:
    unlike = np.zeros((1, 24), np.float32)
    score = fitted(count).unknown_score(unlike, np.full((1, 3), 1 / 3))[0]
    assert (score > 0.95) == is_unknown


def test_an_image_is_not_compared_with_its_copies() -> None:
    features, targets, probs = images(40, seed=2, spread=2.5)
    once = KnownImages(features, targets, np.arange(40))
    twice = KnownImages(*(np.concatenate([x, x]) for x in (features, targets, np.arange(40))))
    ungrouped = KnownImages(twice.features, twice.targets, np.arange(80))
    plain, copied, separate = (
        fit_ood_detector(bank, once, probs, coverage=0.95) for bank in (once, twice, ungrouped)
    )
    assert copied.distance_weight == pytest.approx(plain.distance_weight)
    assert copied.mean_weight == pytest.approx(plain.mean_weight, rel=0.02)
    assert plain.distance_weight < 80
    assert separate.distance_weight == 100  # Copies are at distance 0: the floor applies.


def test_the_mean_of_the_own_class_leaves_out_the_image() -> None:
    features, targets, probs = images(30, seed=6)
    known = KnownImages(features, targets, np.arange(30))
    detector = fit_ood_detector(known, known, probs, coverage=0.95)
    vectors = unit_vectors(features, root=True)
    expected = []
    for i in range(30):
        rest = np.arange(30) != i
        means = np.stack([vectors[rest & (targets == c)].sum(axis=0) for c in range(3)])
        expected.append(1 - (unit_vectors(means, root=False) @ vectors[i]).max())
    assert 0.5 / detector.mean_weight == pytest.approx(max(np.std(expected), 0.01), rel=0.02)


def test_a_class_with_one_image_and_equal_images_give_finite_scores() -> None:
    known = KnownImages(np.ones((25, 24), np.float32), np.array([0] * 24 + [1]), np.arange(25))
    probs = np.tile([0.9, 0.1], (25, 1))
    detector = fit_ood_detector(known, known, probs, coverage=0.95)
    score = detector.unknown_score(np.eye(24, dtype=np.float32), np.full((24, 2), 0.5))
    assert np.isfinite(score).all()
    assert (score > 0.9).all()


def test_stratified_indices_take_as_many_of_each_class_as_all_classes_have() -> None:
    targets = np.array([0] * 50 + [1] * 3 + [2] * 20)
    indices = stratified_indices(targets, 20, seed=0)
    assert np.bincount(targets[indices]).tolist() in ([9, 3, 8], [8, 3, 9])
    assert (np.diff(indices) > 0).all()
    assert stratified_indices(targets, 1000, seed=0).tolist() == list(range(73))
    assert (stratified_indices(targets, 20, seed=0) == indices).all()
