"""The head: each formula against a slow reference, and the whole on data with a known answer."""

from typing import Any

import numpy as np
import pytest

from sharpeye.core.numerics import softmax
from sharpeye.errors import DivergedError
from sharpeye.learn.heads import head, logistic
from sharpeye.learn.heads.folds import FOLDS, draw_folds
from sharpeye.learn.heads.head import SQUARE_ROOT_AT_ZERO, class_weights, fit_head, square_root
from sharpeye.learn.heads.logistic import LogisticFit, fit_logistic
from sharpeye.learn.heads.ridge import Basis, decompose, fit_ridge
from sharpeye.learn.heads.temperature import fit_temperature

Array = np.ndarray[Any, Any]


def blobs(count: int, width: int, classes: int, gap: float, seed: int = 0) -> tuple[Array, Array]:
    """Features of 0 or more, as after a ReLU: float32[N,D], int[N]; every class occurs."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(99).uniform(1, 1 + gap, (classes, width))
    targets = np.arange(count) % classes
    features = centres[targets] + random.normal(0, 0.3, (count, width))
    return np.maximum(features, 0).astype(np.float32), targets


def uneven(count: int = 30, width: int = 10) -> tuple[Array, Array, Array]:
    random = np.random.default_rng(3)
    features = random.normal(size=(count, width)) * np.geomspace(5, 0.2, width) + 2
    return features.astype(np.float32), random.integers(0, 3, count), random.uniform(0.3, 3, count)


# --- the basis ---------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(30, 10), (10, 30), (20, 20)])
def test_points_have_the_weighted_covariance_that_the_basis_says(shape: tuple[int, int]) -> None:
    features, _, weights = uneven(*shape)
    basis = decompose(features, weights)
    points = basis.points.astype(np.float64)
    assert basis.weights.mean() == pytest.approx(1)
    assert np.abs(basis.weights @ points).max() < 1e-4
    covariance = (points * basis.weights[:, None]).T @ points / len(points)
    assert np.allclose(covariance, np.diag(basis.variance), atol=1e-5)
    assert (np.diff(basis.variance) <= 1e-12).all()
    assert len(basis.variance) == min(shape[0] - 1, shape[1])


def test_axes_without_variance_are_dropped() -> None:
    features, _, weights = uneven()
    doubled = np.concatenate([features, features, np.ones((30, 4), np.float32)], axis=1)
    assert decompose(doubled, weights).points.shape == (30, 10)


@pytest.mark.parametrize("shape", [(30, 10), (10, 30)])
def test_a_map_on_points_is_the_same_map_on_features(shape: tuple[int, int]) -> None:
    features, _, weights = uneven(*shape)
    basis = decompose(features, weights)
    random = np.random.default_rng(0)
    solution = random.normal(size=(basis.points.shape[1], 4))
    intercept = random.normal(size=4)
    mapped, bias = basis.to_features(solution, intercept)
    assert mapped.shape == (shape[1], 4)
    direct = basis.points @ solution + intercept
    assert np.allclose(features @ mapped + bias, direct, atol=1e-4)
    back, back_intercept = basis.from_features(mapped, bias)
    assert np.allclose(back, solution, atol=1e-4)
    assert np.allclose(back_intercept, intercept, atol=1e-6)


# --- ridge -------------------------------------------------------------------------------------


def solve_ridge(points: Array, one_hot: Array, weights: Array, count: int, l2: float) -> Array:
    """argmin over b, a of sum_i w_i |y_i - x_i b - a|^2 / count + l2 |b|^2, by normal equations.

    Returns:
        float64[R+1,C]; the last row is the intercept a.
    """
    design = np.concatenate([points, np.ones((len(points), 1))], axis=1)
    penalty = np.diag([l2] * points.shape[1] + [0.0]) * count
    normal = (design * weights[:, None]).T @ design + penalty
    return np.linalg.solve(normal, (design * weights[:, None]).T @ one_hot)


# With more features than images the leverages come near to 1, which magnifies rounding.
@pytest.mark.parametrize(("shape", "tolerance"), [((30, 10), 1e-6), ((12, 20), 3e-5)])
def test_leave_one_out_equals_refitting_without_each_image(
    shape: tuple[int, int], tolerance: float
) -> None:
    features, targets, weights = uneven(*shape)
    basis = decompose(features, weights)
    points, count, one_hot = basis.points.astype(np.float64), shape[0], np.eye(3)[targets]
    path = (10.0, 1.0, 0.1, 1e-2, 1e-3)
    result = fit_ridge(basis, targets, 3, path=path)
    for (l2, error, accuracy), l2_tried in zip(result.path, path, strict=True):
        assert l2 == l2_tried
        predictions = np.empty((count, 3))
        for i in range(count):
            rest = np.arange(count) != i
            fit = solve_ridge(points[rest], one_hot[rest], basis.weights[rest], count, l2)
            predictions[i] = points[i] @ fit[:-1] + fit[-1]
        squared = (basis.weights[:, None] * (one_hot - predictions) ** 2).sum() / count
        assert error == pytest.approx(squared, abs=tolerance)
        assert accuracy == (predictions.argmax(axis=1) == targets).mean()
    assert result.l2 == min(result.path, key=lambda row: row[1])[0]


def test_the_ridge_solution_is_that_of_the_normal_equations() -> None:
    features, targets, weights = uneven()
    basis = decompose(features, weights)
    result = fit_ridge(basis, targets, 3, path=[0.05])
    points = basis.points.astype(np.float64)
    fit = solve_ridge(points, np.eye(3)[targets], basis.weights, 30, 0.05)
    assert np.allclose(result.solution, fit[:-1], atol=1e-5)
    assert np.allclose(result.intercept, fit[-1], atol=1e-5)


def test_a_path_without_values_is_refused() -> None:
    features, targets, weights = uneven()
    with pytest.raises(ValueError, match="`path` must hold at least one value"):
        fit_ridge(decompose(features, weights), targets, 3, path=[])


# --- logistic regression -----------------------------------------------------------------------


def zeros(basis: Basis, classes: int, problems: int = 1) -> tuple[Array, Array]:
    rank = basis.points.shape[1]
    return np.zeros((problems, rank, classes)), np.zeros((problems, classes))


def loss_of(basis: Basis, targets: Array, fit: LogisticFit, mask: Array, k: int = 0) -> float:
    """What `fit_logistic` says that it minimizes, written down plainly."""
    logits = basis.points.astype(np.float64) @ fit.solution[k] + fit.intercept[k]
    nats = -np.log(softmax(logits)[np.arange(len(targets)), targets])
    weights = basis.weights * mask
    mean = float((weights * nats).sum() / weights.sum())
    return mean + fit.l2 / 2 * float((fit.solution[k] ** 2).sum())


def reference(basis: Basis, targets: Array, l2: float, mask: Array) -> LogisticFit:
    """scikit-learn's answer to the same problem: it minimizes C sum_i s_i nats_i + |w|^2 / 2."""
    linear_model = pytest.importorskip("sklearn.linear_model")
    weights = basis.weights * mask
    model = linear_model.LogisticRegression(C=1 / (l2 * weights.sum()), tol=1e-10, max_iter=10_000)
    remaining = mask > 0
    model.fit(
        basis.points[remaining].astype(np.float64),
        targets[remaining],
        sample_weight=weights[remaining],
    )
    return LogisticFit(l2, model.coef_.T[None], model.intercept_[None], 0)


@pytest.mark.parametrize("l2", [1.0, 1e-2, 1e-4])
@pytest.mark.parametrize("shape", [(60, 10), (20, 30)])
def test_the_logistic_solution_is_the_minimum(
    shape: tuple[int, int], l2: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    features, targets, weights = uneven(*shape)
    basis = decompose(features, weights)
    whole = np.ones(len(targets))
    expected = reference(basis, targets, l2, whole)
    least = loss_of(basis, targets, expected, whole)
    usual = fit_logistic(basis, targets, 3, l2=l2, masks=whole[None], start=zeros(basis, 3))
    assert loss_of(basis, targets, usual, whole) < least + 2e-4
    monkeypatch.setattr(logistic, "_TOLERANCE", 0.0)
    exact = fit_logistic(basis, targets, 3, l2=l2, masks=whole[None], start=zeros(basis, 3))
    assert loss_of(basis, targets, exact, whole) == pytest.approx(least, abs=1e-6)
    probs = [softmax(basis.points @ f.solution[0] + f.intercept[0]) for f in (exact, expected)]
    assert np.abs(probs[0] - probs[1]).max() < 5e-3


def test_folds_are_fitted_without_the_images_that_they_leave_out() -> None:
    features, targets, weights = uneven(60, 10)
    basis = decompose(features, weights)
    masks = np.ones((3, 60))
    masks[0, :20] = masks[1, 20:45] = 0
    result = fit_logistic(basis, targets, 3, l2=0.01, masks=masks, start=zeros(basis, 3, 3))
    assert result.solution.shape == (3, 10, 3) and result.intercept.shape == (3, 3)
    for k, mask in enumerate(masks):
        least = loss_of(basis, targets, reference(basis, targets, 0.01, mask), mask)
        assert loss_of(basis, targets, result, mask, k) < least + 2e-4
        assert loss_of(basis, targets, result, masks[(k + 1) % 3], k) > least + 1e-3


def test_features_that_are_not_finite_are_said_so_by_the_solver() -> None:
    features, targets, weights = uneven()
    basis = decompose(features, weights)
    basis.points[3, 3] = np.nan
    with pytest.raises(DivergedError, match="not finite"), np.errstate(all="ignore"):
        fit_logistic(basis, targets, 3, l2=0.01, masks=np.ones((1, 30)), start=zeros(basis, 3))


# --- the parts of the head ---------------------------------------------------------------------


def test_the_root_of_features_is_smooth_at_0_and_never_nan() -> None:
    selected = square_root(np.array([[4.0, -1e-3, 0.0, 1e-6]], np.float32))[0]
    assert selected[0] == pytest.approx(2 - SQUARE_ROOT_AT_ZERO, abs=1e-3)
    assert selected[1] == selected[2] == 0
    assert 0 < selected[3] < 2e-5  # the plain root makes 1e-3 of it


def test_class_weights_make_classes_count_the_same() -> None:
    targets = np.array([0] * 6 + [1] * 3 + [2])
    weights = class_weights(targets, 3, "weights")
    assert [weights[targets == c].sum() for c in range(3)] == pytest.approx([10 / 3] * 3)
    assert weights.sum() == pytest.approx(10)
    assert (class_weights(targets, 3, "none") == 1).all()


def test_folds_spread_each_class_evenly() -> None:
    targets = np.repeat([0, 1, 2, 3], [50, 13, 5, 2])
    folds = draw_folds(targets, 4, seed=0)
    for c in range(4):
        sizes = np.bincount(folds[targets == c], minlength=FOLDS)
        assert sizes.max() - sizes.min() <= 1
    assert (folds == draw_folds(targets, 4, seed=0)).all()
    assert (folds != draw_folds(targets, 4, seed=1)).any()


@pytest.mark.parametrize("known", [0.5, 1.0, 3.0])
def test_the_temperature_is_found(known: float) -> None:
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, (20_000, 4))
    drawn = random.uniform(size=(20_000, 1))
    targets = (softmax(logits).cumsum(axis=1) < drawn).sum(axis=1).clip(0, 3)
    confident = np.log(softmax(logits * known))
    assert fit_temperature(confident, targets) == pytest.approx(known, rel=0.03)


def test_the_temperature_stays_within_its_bounds() -> None:
    certain = np.log(softmax(np.eye(3) * 5))
    assert fit_temperature(certain, np.arange(3)) == pytest.approx(0.2, rel=0.01)
    assert fit_temperature(certain, np.array([1, 2, 0])) == pytest.approx(5.0, rel=0.01)


# --- the whole ---------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(60, 12), (24, 40)])
@pytest.mark.parametrize("refit", [True, False])
def test_blobs_that_lie_apart_are_told_apart(shape: tuple[int, int], refit: bool) -> None:
    train, targets = blobs(*shape, 3, gap=5)
    held, held_targets = blobs(15, shape[1], 3, gap=5, seed=1)
    test, test_targets = blobs(90, shape[1], 3, gap=5, seed=2)
    result = fit_head(train, targets, held, validation_targets=held_targets, classes=3, refit=refit)
    for fitted in (result.final_head, result.validation_head):
        probs = fitted.probabilities(test)
        assert (probs.argmax(axis=1) == test_targets).all()
        assert np.allclose(probs.sum(axis=1), 1) and fitted.classes == 3
        assert fitted.weights.dtype == np.float32 and fitted.weights.shape == (shape[1], 3)
    assert (result.final_head is result.validation_head) == (not refit)
    assert result.out_of_fold_probs is not None and result.out_of_fold_probs.shape == (shape[0], 3)
    assert (result.out_of_fold_probs.argmax(axis=1) == targets).all()
    stages = [row["stage"] for row in result.history]
    assert stages[0] == "ridge" and "logistic" in stages
    assert (stages[-1] == "refit") == refit


def test_the_judged_head_never_saw_the_validation_images() -> None:
    """Labels of the validation part that are wrong must not change what it learned."""
    train, targets = blobs(60, 12, 3, gap=1)
    held, held_targets = blobs(15, 12, 3, gap=1, seed=1)
    honest = fit_head(train, targets, held, validation_targets=held_targets, classes=3)
    lied = fit_head(train, targets, held, validation_targets=(held_targets + 1) % 3, classes=3)
    assert np.allclose(
        honest.validation_head.weights * honest.validation_head.temperature,
        lied.validation_head.weights * lied.validation_head.temperature,
        rtol=1e-5,
    )
    assert not np.allclose(honest.final_head.weights, lied.final_head.weights, rtol=0.05)


def test_left_out_answers_are_honest_where_there_is_nothing_to_learn() -> None:
    """With random labels a head fits what it saw; the images left out must show that."""
    random = np.random.default_rng(0)
    train = random.uniform(0, 1, (90, 200)).astype(np.float32)
    targets = random.permutation(np.arange(90) % 3)
    result = fit_head(train, targets, train[:9], validation_targets=targets[:9], classes=3)
    assert result.out_of_fold_probs is not None
    assert (result.out_of_fold_probs.argmax(axis=1) == targets).mean() < 0.55


def test_balance_helps_a_rare_class() -> None:
    random = np.random.default_rng(0)

    def draw(common: int, rare: int) -> tuple[Array, Array]:
        targets = np.repeat([0, 1], [common, rare])
        centre = np.where(targets == 0, 2.0, 2.6)[:, None]
        return np.maximum(centre + random.normal(0, 0.6, (common + rare, 3)), 0).astype(
            np.float32
        ), targets

    train, targets = draw(400, 20)
    held, held_targets = draw(100, 5)
    test, test_targets = draw(1000, 1000)
    recall = {}
    for balance in ("weights", "none"):
        result = fit_head(
            train, targets, held, validation_targets=held_targets, classes=2, balance=balance
        )
        predictions = result.final_head.probabilities(test).argmax(axis=1)
        recall[balance] = [(predictions[test_targets == c] == c).mean() for c in range(2)]
    assert recall["weights"][1] > recall["none"][1] + 0.2
    assert np.mean(recall["weights"]) > np.mean(recall["none"]) + 0.05


def test_both_ways_to_the_axes_agree() -> None:
    train, targets = blobs(60, 40, 3, gap=1)
    held, held_targets = blobs(15, 40, 3, gap=1, seed=1)
    test, _ = blobs(30, 40, 3, gap=1, seed=2)
    narrow = fit_head(train, targets, held, validation_targets=held_targets, classes=3)

    def widen(features: Array) -> Array:
        return np.pad(features, ((0, 0), (0, 60)))  # 100 features for 60 images

    wide = fit_head(widen(train), targets, widen(held), validation_targets=held_targets, classes=3)
    assert wide.final_head.l2 == narrow.final_head.l2
    gap = wide.final_head.probabilities(widen(test)) - narrow.final_head.probabilities(test)
    assert np.abs(gap).max() < 1e-3
    gap = wide.validation_head.probabilities(widen(test)) - narrow.validation_head.probabilities(
        test
    )
    assert np.abs(gap).max() < 1e-3


def test_the_same_twice_is_the_same_bit_for_bit() -> None:
    train, targets = blobs(60, 12, 3, gap=1)
    held, held_targets = blobs(15, 12, 3, gap=1, seed=1)
    first, second = (
        fit_head(train, targets, held, validation_targets=held_targets, classes=3, seed=5)
        for _ in range(2)
    )
    assert first.final_head.weights.tobytes() == second.final_head.weights.tobytes()
    assert first.final_head.bias.tobytes() == second.final_head.bias.tobytes()
    assert first.final_head.temperature == second.final_head.temperature


def test_views_of_an_image_are_left_out_together() -> None:
    """A copy as a view would give the answer away if it stayed in while the image is out."""
    random = np.random.default_rng(1)
    train = random.uniform(0, 1, (60, 150)).astype(np.float32)
    targets = random.permutation(np.arange(60) % 2)
    result = fit_head(
        train,
        targets,
        train[:6],
        validation_targets=targets[:6],
        classes=2,
        views=[train.copy(), train.copy()],
    )
    assert result.out_of_fold_probs is not None and result.out_of_fold_probs.shape == (60, 2)
    assert (result.out_of_fold_probs.argmax(axis=1) == targets).mean() < 0.7
    visited = result.validation_head.probabilities(train).argmax(axis=1)
    assert (visited == targets).mean() > 0.95


def test_views_that_only_repeat_the_images_change_nothing() -> None:
    train, targets = blobs(60, 12, 3, gap=1)
    held, held_targets = blobs(15, 12, 3, gap=1, seed=1)
    plain = fit_head(train, targets, held, validation_targets=held_targets, classes=3, refit=False)
    twice = fit_head(
        train,
        targets,
        held,
        validation_targets=held_targets,
        classes=3,
        refit=False,
        views=[train.copy()],
    )
    gap = plain.final_head.probabilities(held) - twice.final_head.probabilities(held)
    assert np.abs(gap).max() < 5e-3


def test_many_images_are_judged_on_the_validation_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "_MAX_FOLD_PROBLEM", 100)
    train, targets = blobs(60, 12, 3, gap=5)
    held, held_targets = blobs(15, 12, 3, gap=5, seed=1)
    result = fit_head(train, targets, held, validation_targets=held_targets, classes=3)
    assert result.out_of_fold_probs is None
    assert (result.final_head.probabilities(held).argmax(axis=1) == held_targets).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("where", ["train", "validation", "views"])
def test_features_that_are_not_finite_end_in_divergence(bad: float, where: str) -> None:
    train, targets = blobs(30, 8, 3, gap=1)
    held, held_targets = blobs(9, 8, 3, gap=1, seed=1)
    view = train.copy()
    {"train": train, "validation": held, "views": view}[where][2, 2] = bad
    for refit in (True, False):
        with pytest.raises(DivergedError, match=r"not finite.*cache clear"):
            fit_head(
                train,
                targets,
                held,
                validation_targets=held_targets,
                classes=3,
                views=[view],
                refit=refit,
            )


def test_features_without_any_variance_give_the_shares_of_the_classes() -> None:
    nothing = np.zeros((30, 8), np.float32)
    result = fit_head(
        nothing, np.arange(30) % 3, nothing[:9], validation_targets=np.arange(9) % 3, classes=3
    )
    assert np.allclose(result.final_head.probabilities(nothing[:2]), 1 / 3, atol=0.01)


def test_the_least_that_a_split_gives_is_enough() -> None:
    """One training and one validation image a class."""
    train, targets = blobs(2, 8, 2, gap=5)
    validation, held_out = blobs(2, 8, 2, gap=5, seed=1)
    result = fit_head(train, targets, validation, validation_targets=held_out, classes=2)
    test, test_targets = blobs(40, 8, 2, gap=5, seed=2)
    assert (result.final_head.probabilities(test).argmax(axis=1) == test_targets).all()
