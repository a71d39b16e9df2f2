"""Find the classes whose predictions are right less often than their scores say.

With `data.balance` other than `none`, each class counts the same in training: scores are those of
a world in which all classes are equally frequent. Where classes overlap, the scores of rare ones
are then too high for images as they come. Of a class with 40 of 400 drawn points that overlaps the
other (12 splits), predictions with a score of 0.5 or more had a mean score of 0.75 and were right
in 43 %. A bias for each class, fitted to left-out images, lowered the log loss from 0.32 to 0.25,
and the recall of the rare class from 0.61 to 0.27; the shares of the classes as a prior, to 0.15.
On photographs (classes of 20 among 410, 8 splits, and of 6 to 19 among 203, 20 splits) such scores
are right, and neither changes the log loss by more than 0.03. So the report warns, and does not
correct.
"""

from dataclasses import dataclass

import numpy as np

from sharpeye.core.arrays import Floats, Ints
from sharpeye.core.formatting import percent
from sharpeye.core.metrics import wilson_interval
from sharpeye.report.wording import plural

_MIN_PREDICTIONS = 5
_Z = 3.0  # The gap must be this certain: several classes are tested.
_MAX_LISTED = 3


@dataclass(frozen=True)
class OverconfidentClass:
    """The predictions of one class.

    Attributes:
        count: number of images that it is predicted for.
        confidence, accuracy: 0..1, their mean score, and the share of them that is right.
        support: number of images of the class.
    """

    label: str
    count: int
    confidence: float
    accuracy: float
    support: int


def overconfident_classes(
    targets: Ints, probs: Floats, class_names: tuple[str, ...]
) -> list[OverconfidentClass]:
    """The classes with a mean score above what chance explains, the largest gap first.

    Args:
        targets: int[N], class indices.
        probs: float[N,C].
    """
    if not len(targets):
        return []
    predicted, scores = probs.argmax(axis=1), probs.max(axis=1)
    classes = []
    for c in np.unique(predicted).tolist():
        of_class = predicted == c
        count, hits = int(of_class.sum()), int((targets[of_class] == c).sum())
        confidence = float(scores[of_class].mean())
        if count >= _MIN_PREDICTIONS and confidence > wilson_interval(hits, count, _Z)[1]:
            support = int((targets == c).sum())
            name = class_names[c]
            classes.append(OverconfidentClass(name, count, confidence, hits / count, support))
    return sorted(classes, key=lambda item: item.accuracy - item.confidence)


def class_calibration_findings(
    targets: Ints, probs: Floats, class_names: tuple[str, ...]
) -> list[str]:
    """Sentences about these classes; what to do, if rare ones are among them."""
    classes = overconfident_classes(targets, probs, class_names)
    sentences = [
        f"Do not trust the scores of “{item.label}”: of {plural(item.count, 'prediction')} with a "
        f"mean score of {percent(item.confidence)}, {percent(item.accuracy)} are right."
        for item in classes[:_MAX_LISTED]
    ]
    fair_share = len(targets) / len(class_names)
    if any(item.support < fair_share for item in classes):
        sentences.append(
            "Each class counts the same in training, so that rare classes are found; their scores "
            "are then too high. Trained with --set data.balance=none, scores fit the shares "
            "of the classes, and fewer of the rare ones are found."
        )
    return sentences
