"""The estimate for unseen classes: a model without a class holds no trace of it."""

from dataclasses import replace

import numpy as np
import pytest

from sharpeye.learn.heads.head import Head, fit_head
from sharpeye.learn.ood.detector import KnownImages, OodDetector, fit_ood_detector
from sharpeye.learn.ood.left_out_classes import left_out_auroc

Labelled = tuple[np.ndarray, np.ndarray]


def blobs(per_class: int, seed: int, classes: int = 4, apart: float = 3.0) -> Labelled:
    """Features float32[N,16] around a centre a class, and targets int[N]."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(1).uniform(0, apart, (classes, 16))
    targets = np.repeat(np.arange(classes), per_class)
    features = centres[targets] + random.normal(0, 0.5, (len(targets), 16))
    return np.abs(features).astype(np.float32), targets


def fitted(train: Labelled, classes: int = 4) -> tuple[Head, OodDetector]:
    validation, held_out = blobs(3, 7, classes)
    head = fit_head(*train, validation, validation_targets=held_out, classes=classes)
    assert head.out_of_fold_probs is not None
    known = KnownImages(*train, np.arange(len(train[1])))
    detector = fit_ood_detector(known, known, head.out_of_fold_probs, coverage=0.95)
    return head.final_head, detector


def auroc_of(train: Labelled, test: Labelled, model: tuple[Head, OodDetector]) -> dict[int, float]:
    return left_out_auroc(train, test, model[0], detector=model[1])


def test_distant_classes_are_detected_and_equal_ones_are_not() -> None:
    train = blobs(12, 0)
    auroc = auroc_of(train, blobs(6, 2), fitted(train))
    assert list(auroc) == [0, 1, 2, 3]
    assert min(auroc.values()) > 0.95
    same = blobs(12, 0, apart=0.0)
    auroc = auroc_of(same, blobs(6, 2, apart=0.0), fitted(same))
    assert 0.3 < np.mean(list(auroc.values())) < 0.7


def test_a_class_that_is_left_out_leaves_no_trace_in_the_model() -> None:
    (features, targets), test = blobs(12, 0, apart=0.8), blobs(6, 2, apart=0.8)
    model = fitted((features, targets))
    before = auroc_of((features, targets), test, model)[1]
    # The model without class 1 must not change, so its images move to the test images.
    is_left_out = targets == 1
    distant = np.zeros((12, 16), np.float32)
    distant[:, 3] = 30
    changed = features.copy()
    changed[is_left_out] = distant
    moved = (
        np.concatenate([test[0], features[is_left_out]]),
        np.concatenate([test[1], targets[is_left_out]]),
    )
    after = auroc_of((changed, targets), moved, model)[1]
    # The 12 distant ones are detected for certain; the other 18 are scored as before.
    assert after * 30 == pytest.approx(before * 18 + 12, abs=1e-6)


def test_two_classes_or_too_much_work_give_nothing() -> None:
    train = blobs(12, 0, classes=2)
    head, detector = fitted(train, classes=2)
    assert auroc_of(train, blobs(6, 2, classes=2), (head, detector)) == {}
    many = 5000
    wide = replace(head, weights=np.zeros((16, many), np.float32), bias=np.zeros(many, np.float32))
    images = np.zeros((4000, 16), np.float32), np.arange(4000) % many
    assert auroc_of(images, images, (wide, detector)) == {}
