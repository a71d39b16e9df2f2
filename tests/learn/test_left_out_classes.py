"""The estimate for classes never seen: a class that is left out leaves no trace."""

from dataclasses import replace

import numpy as np
import pytest

from sharpeye.learn.heads.head import Head, fit_head
from sharpeye.learn.ood.detector import OodDetector, fit_ood_detector
from sharpeye.learn.ood.left_out_classes import left_out_auroc

Set = tuple[np.ndarray, np.ndarray]


def blobs(per_class: int, seed: int, classes: int = 4, apart: float = 3.0) -> Set:
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(1).uniform(0, apart, (classes, 16))
    truth = np.repeat(np.arange(classes), per_class)
    features = centres[truth] + random.normal(0, 0.5, (len(truth), 16))
    return np.abs(features).astype(np.float32), truth


def learned(train: Set, classes: int = 4) -> tuple[Head, OodDetector]:
    found = fit_head(*train, *blobs(3, 7, classes), classes)
    assert found.out_of_fold_probs is not None
    own = *train, np.arange(len(train[1]))
    return found.final_head, fit_ood_detector(*own, *own, found.out_of_fold_probs, 0.95)


def test_classes_that_are_far_apart_are_told_and_equal_ones_are_not() -> None:
    train = blobs(12, 0)
    found = left_out_auroc(*train, *blobs(6, 2), *learned(train))
    assert list(found) == [0, 1, 2, 3]
    assert min(found.values()) > 0.95
    same = blobs(12, 0, apart=0.0)
    found = left_out_auroc(*same, *blobs(6, 2, apart=0.0), *learned(same))
    assert 0.3 < np.mean(list(found.values())) < 0.7


def test_the_class_left_out_leaves_no_trace_in_what_is_learned_without_it() -> None:
    train, held = blobs(12, 0, apart=0.8), blobs(6, 2, apart=0.8)
    head, unknown = learned(train)
    before = left_out_auroc(*train, *held, head, unknown)[1]
    # Only what is tested may change: so all images of the class move to the held-out part.
    kept = train[1] != 1
    filler = np.zeros((12, 16), np.float32)  # in the class's place, but far away
    filler[:, 3] = 30
    changed = train[0].copy()
    changed[~kept] = filler
    moved = np.concatenate([held[0], train[0][~kept]]), np.concatenate([held[1], train[1][~kept]])
    after = left_out_auroc(changed, train[1], *moved, head, unknown)[1]
    # The 12 far ones are found for certain; the other 18 are as before.
    share_before = before * 18
    assert after * 30 == pytest.approx(share_before + 12, abs=1e-6)


def test_two_classes_or_too_much_work_give_nothing() -> None:
    train = blobs(12, 0, classes=2)
    head, unknown = learned(train, classes=2)
    assert left_out_auroc(*train, *blobs(6, 2, classes=2), head, unknown) == {}
    many = 5000
    wide = replace(head, weights=np.zeros((16, many), np.float32), bias=np.zeros(many, np.float32))
    rows = np.zeros((4000, 16), np.float32), np.arange(4000) % many
    assert left_out_auroc(*rows, *rows, wide, unknown) == {}
