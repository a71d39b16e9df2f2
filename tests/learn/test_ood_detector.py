"""How odd an image is: what the conformal score promises, and what it is made of."""

import numpy as np
import pytest

from sharpeye.learn.heads.logistic import softmax
from sharpeye.learn.ood.detector import OodDetector, fit_ood_detector, stratified_indices, unit

CENTRES = np.random.default_rng(9).uniform(0, 4, (3, 24))


def images(count: int, seed: int, spread: float = 0.5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features float32[N,24], classes int[N] and probabilities float[N,3] of known images."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, 3, count)
    features = np.abs(CENTRES[truth] + random.normal(0, spread, (count, 24))).astype(np.float32)
    logits = 8 * unit(features, root=True) @ unit(CENTRES, root=True).T * 4
    return features, truth, softmax(logits + random.normal(0, 0.3, logits.shape))


def fitted(count: int = 60, seed: int = 0, coverage: float = 0.95) -> OodDetector:
    """Compared with, and calibrated by, the same images, each left out in its turn."""
    features, truth, probs = images(count, seed)
    own = features, truth, np.arange(count)
    return fit_ood_detector(*own, *own, probs, coverage)


@pytest.mark.parametrize("coverage", [0.8, 0.95])
def test_known_images_are_rejected_no_more_often_than_was_asked(coverage: float) -> None:
    shares = []
    for seed in range(60):
        unknown = fitted(count=80, seed=seed, coverage=coverage)
        features, _, probs = images(60, seed=1000 + seed)
        shares.append((unknown.score(features, probs) > coverage).mean())
    assert 0.3 * (1 - coverage) < np.mean(shares) < 1 - coverage + 0.015


def test_the_score_is_never_above_the_share_of_known_images_that_are_less_odd() -> None:
    features, truth, probs = images(70, seed=3)
    bank, _, _ = images(50, seed=4)
    groups = np.arange(50)
    unknown = fit_ood_detector(
        bank, images(50, seed=4)[1], groups, features, truth, 100 + np.arange(70), probs, 0.9
    )
    known = unknown.ood_score(features, probs)  # none of them is in the bank
    others, _, other_probs = images(200, seed=5, spread=0.8)
    odd = unknown.ood_score(others, other_probs)
    less = (known[None, :] < odd[:, None]).sum(axis=1) / (len(known) + 1)
    score = unknown.score(others, other_probs)
    assert (score <= less + 1e-6).all()
    assert (less - score).max() < 0.15  # and not far below either
    assert (np.diff(score[np.argsort(odd)]) >= 0).all()


def test_what_is_like_nothing_is_unknown_and_an_image_beyond_all_is_told_from_a_nearer_one() -> (
    None
):
    unknown = fitted()
    features, _, probs = images(100, seed=8)
    strange = np.abs(np.random.default_rng(1).normal(0, 1, (50, 24))).astype(np.float32) ** 4
    flat = np.full((50, 3), 1 / 3)
    assert (unknown.score(strange, flat) > 0.95).mean() > 0.9
    assert (unknown.score(features, probs) > 0.95).mean() < 0.15
    odd, score = unknown.ood_score(strange, flat), unknown.score(strange, flat)
    beyond = np.argsort(odd)[odd[np.argsort(odd)] > unknown.knots[-1]]
    assert len(beyond) > 5
    assert (np.diff(score[beyond]) > 0).all()
    assert score.max() <= 60 / 61 + 1e-6


@pytest.mark.parametrize(("count", "told"), [(19, False), (40, True)])
def test_too_few_images_call_nothing_unknown(count: int, told: bool) -> None:
    unknown = fitted(count)
    strange = np.zeros((1, 24), np.float32)
    assert (unknown.score(strange, np.full((1, 3), 1 / 3))[0] > 0.95) == told


def test_copies_of_an_image_are_not_what_it_is_compared_with() -> None:
    features, truth, probs = images(40, seed=2, spread=2.5)
    groups = np.arange(40)
    once = fit_ood_detector(features, truth, groups, features, truth, groups, probs, 0.95)
    twice = [np.concatenate([each, each]) for each in (features, truth, groups)]
    copied = fit_ood_detector(*twice, features, truth, groups, probs, 0.95)
    assert copied.distance_weight == pytest.approx(once.distance_weight)
    assert copied.mean_weight == pytest.approx(once.mean_weight, rel=0.02)
    alone = fit_ood_detector(*twice[:2], np.arange(80), features, truth, groups, probs, 0.95)
    assert once.distance_weight < 80
    assert alone.distance_weight == 100  # as of the least deviation: copies are at a distance of 0


def test_the_own_class_mean_is_without_the_image() -> None:
    features, truth, probs = images(30, seed=6)
    own = features, truth, np.arange(30)
    unknown = fit_ood_detector(*own, *own, probs, 0.95)
    vectors = unit(features, root=True)
    expected = []
    for i in range(30):
        rest = np.arange(30) != i
        means = np.stack([vectors[rest & (truth == c)].sum(axis=0) for c in range(3)])
        expected.append(1 - (unit(means, root=False) @ vectors[i]).max())
    assert 0.5 / unknown.mean_weight == pytest.approx(max(np.std(expected), 0.01), rel=0.02)


def test_a_class_with_one_image_and_images_all_alike_give_finite_scores() -> None:
    features = np.ones((25, 24), np.float32)
    truth = np.array([0] * 24 + [1])
    own = features, truth, np.arange(25)
    unknown = fit_ood_detector(*own, *own, np.tile([0.9, 0.1], (25, 1)), 0.95)
    score = unknown.score(np.eye(24, dtype=np.float32), np.full((24, 2), 0.5))
    assert np.isfinite(score).all()
    assert (score > 0.9).all()


def test_spread_rows_take_as_many_of_each_class_as_there_are_for_all() -> None:
    truth = np.array([0] * 50 + [1] * 3 + [2] * 20)
    rows = stratified_indices(truth, 20, seed=0)
    assert np.bincount(truth[rows]).tolist() == [9, 3, 8] or np.bincount(truth[rows]).tolist() == [
        8,
        3,
        9,
    ]
    assert (np.diff(rows) > 0).all()
    assert stratified_indices(truth, 1000, seed=0).tolist() == list(range(73))
    assert (stratified_indices(truth, 20, seed=0) == rows).all()
