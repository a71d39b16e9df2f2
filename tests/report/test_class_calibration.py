"""The report names classes whose predictions are right less often than they claim."""

import numpy as np

from sharpeye.report.class_calibration import class_calibration_findings, overconfident_classes

NAMES = ("good", "defect")


def overlapping(balanced: bool) -> tuple[np.ndarray, np.ndarray]:
    """360 good and 40 defect, with scores by equal shares or by those of the classes."""
    random = np.random.default_rng(0)
    targets = np.repeat([0, 1], [360, 40])
    x = random.normal(targets, 1.0)
    logit = x - 0.5 + (0 if balanced else np.log(40 / 360))
    defect = 1 / (1 + np.exp(-logit))
    return targets, np.stack([1 - defect, defect], axis=1)


def test_the_scores_of_a_rare_class_are_too_high_with_equal_weights() -> None:
    targets, probs = overlapping(balanced=True)
    (item,) = overconfident_classes(targets, probs, NAMES)
    predicted = probs[:, 1] > 0.5
    assert (item.label, item.count, item.support) == ("defect", int(predicted.sum()), 40)
    assert item.accuracy == targets[predicted].mean() < 0.35
    assert item.confidence == probs[predicted, 1].mean() > 0.6
    first, second = class_calibration_findings(targets, probs, NAMES)
    assert "“defect”" in first and f"of {item.count} predictions" in first.replace("\u00a0", " ")
    assert "data.balance=none" in second


def test_scores_that_fit_are_not_complained_about() -> None:
    assert overconfident_classes(*overlapping(balanced=False), NAMES) == []
    assert class_calibration_findings(*overlapping(balanced=False), NAMES) == []
    nothing = np.empty(0, np.int64), np.empty((0, 2))
    assert class_calibration_findings(*nothing, NAMES) == []


def test_a_common_class_that_is_too_sure_gets_no_advice_about_rare_ones() -> None:
    targets = np.array([0] * 60 + [1] * 20)
    probs = np.tile([0.97, 0.03], (80, 1))
    (sentence,) = class_calibration_findings(targets, probs, NAMES)
    assert "“good”" in sentence and "data.balance" not in sentence
