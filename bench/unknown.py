"""How well images of a class that was never seen are told: `python -m bench.unknown DATA`.

Each class in turn is left out of a head on frozen features; the test images of the others are
held against all images of that class, by several scores. Area under the ROC curve, mean over
classes and splits; of ours also how many known test images are called unknown, and how many of
the others are. Features come from the cache.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bench import arguments
from bench.measure import report
from sharpeye.core.inference import available_cores
from sharpeye.core.metrics import auroc
from sharpeye.core.numerics import softmax
from sharpeye.core.types import SampleSet
from sharpeye.data.digest import add_digests
from sharpeye.data.features import extract_features
from sharpeye.data.image_folder import scan_folder
from sharpeye.data.split import assign_splits, fractions_to_split
from sharpeye.data.split_rules import ContentRule
from sharpeye.learn.heads.head import FittedHead, fit_head, square_root
from sharpeye.learn.ood.detector import KnownImages, OodDetector, fit_ood_detector, unit_vectors
from sharpeye.learn.ood.left_out_classes import left_out_auroc
from sharpeye.models.backbone import BackboneConfig, load_backbone

SPLITS, COVERAGE = 12, 0.95
Array = np.ndarray
Score = Callable[[Array], Array]  # features float32[N,D] to float[N], the larger the less known


@dataclass(frozen=True)
class Case:
    """One class left out of one split: features and classes by part, and copies by group."""

    features: dict[str, Array]
    targets: dict[str, Array]
    groups: dict[str, Array]
    strange: Array


def main(folder: Path) -> None:
    samples = add_digests(scan_folder(folder), available_cores())
    backbone = load_backbone(BackboneConfig("efficientnet_lite0"))
    features = extract_features(samples.samples, backbone).features
    result: dict[str, dict[str, list[float]]] = {}
    called: dict[str, list[float]] = {"known": [], "strange": [], "estimated_auroc": []}
    for seed in range(SPLITS):
        called["estimated_auroc"] += estimate(prepare(samples, "", features, seed), seed)
        for label in samples.class_names:
            case = prepare(samples, label, features, seed)
            head, unknown = fit(case, seed)
            tested = case.features["test"]
            for name, score in scores(case, head, unknown).items():
                value = auroc(score(tested), score(case.strange))
                result.setdefault(name, {}).setdefault(label, []).append(value)
            for who, images in (("known", tested), ("strange", case.strange)):
                own = unknown.unknown_score(images, head.final_head.probabilities(images))
                called[who].append(float((own > COVERAGE).mean()))
    table = {name: summary(values) for name, values in result.items()}
    ordered = dict(sorted(table.items(), key=lambda item: -item[1]["mean"]))
    for name, row in ordered.items():
        print(f"{name:24} {row['mean']:.3f}  +- {row['deviation_of_splits']:.3f}")
    shares = {who: round(float(np.mean(values)), 4) for who, values in called.items()}
    about = {"data": Path(folder).name, "pictures": len(samples), "coverage": COVERAGE}
    report("unknown", about | {"auroc": ordered, "called_unknown": shares})


def prepare(samples: SampleSet, left_out: str, features: dict[str, Array], seed: int) -> Case:
    """The split that a run with that seed would make of the other classes."""
    labels = tuple(label for label in samples.class_names if label != left_out)
    known = replace(
        samples, samples=tuple(s for s in samples if s.label != left_out), class_names=labels
    )
    shares = fractions_to_split(known, 0.15, 0.15)
    known = assign_splits(known, shares, ContentRule(seed, shares))
    own = {part: [s for s in known if s.split == part] for part in ("train", "validation", "test")}
    names = sorted({s.group or s.sha256 for s in known})
    number = {name: i for i, name in enumerate(names)}
    strange = [features[s.sha256] for s in samples if s.label == left_out]
    return Case(
        {part: np.stack([features[s.sha256] for s in rows]) for part, rows in own.items()},
        {part: np.array([labels.index(s.label) for s in rows]) for part, rows in own.items()},
        {part: np.array([number[s.group or s.sha256] for s in rows]) for part, rows in own.items()},
        np.array(strange),
    )


def fit(case: Case, seed: int) -> tuple[FittedHead, OodDetector]:
    f, t = case.features, case.targets
    classes = int(max(t["train"])) + 1
    head = fit_head(
        f["train"],
        t["train"],
        f["validation"],
        validation_targets=t["validation"],
        classes=classes,
        seed=seed,
    )
    known = np.concatenate([f["train"], f["validation"]])
    groups = np.concatenate([case.groups["train"], case.groups["validation"]])
    targets = np.concatenate([t["train"], t["validation"]])
    left_out = [head.out_of_fold_probs, head.validation_head.probabilities(f["validation"])]
    probs, own = np.concatenate(left_out), (known, targets, groups)
    return head, fit_ood_detector(KnownImages(*own), KnownImages(*own), probs, coverage=COVERAGE)


def estimate(case: Case, seed: int) -> list[float]:
    """What the report says of classes never seen, from one run with all of them."""
    head, unknown = fit(case, seed)
    known = np.concatenate([case.features["train"], case.features["validation"]])
    targets = np.concatenate([case.targets["train"], case.targets["validation"]])
    tested = case.features["test"], case.targets["test"]
    return list(
        left_out_auroc((known, targets), tested, head.final_head, detector=unknown).values()
    )


def scores(case: Case, fitted: FittedHead, unknown: OodDetector) -> dict[str, Score]:
    """Ours, its parts, and what others propose, by name."""
    head = fitted.final_head
    selected = square_root(np.concatenate([case.features["train"], case.features["validation"]]))
    targets = np.concatenate([case.targets["train"], case.targets["validation"]])
    bank = unit_vectors(selected, root=False)
    centres = np.stack([selected[targets == c].mean(axis=0) for c in range(head.classes)])

    def logits(x: Array) -> Array:
        return square_root(x) @ head.weights.astype(np.float64) + head.bias

    def energy(x: Array) -> Array:
        z = logits(x)
        return -np.log(np.exp(z - z.max(1, keepdims=True)).sum(1)) - z.max(1)

    def entropy(x: Array) -> Array:
        p = softmax(logits(x))
        return -(p * np.log(p + 1e-12)).sum(1)

    def neighbour(k: int) -> Score:
        return lambda x: 1 - np.sort(unit_vectors(x, root=True) @ bank.T, axis=1)[:, -k]

    return {
        "ours": lambda x: unknown.ood_score(x, head.probabilities(x)),
        "ours, as answered": lambda x: unknown.unknown_score(x, head.probabilities(x)),
        "largest probability": lambda x: 1 - softmax(logits(x)).max(1),
        "largest logit": lambda x: -logits(x).max(1),
        "entropy": entropy,
        "energy": energy,
        "nearest": neighbour(1),
        "5th nearest": neighbour(5),
        "nearest class mean": lambda x: (
            1 - (unit_vectors(x, root=True) @ unit_vectors(centres, root=False).T).max(1)
        ),
        "Mahalanobis": mahalanobis(selected, targets, centres),
        "ViM": vim(selected, head.weights, head.bias, energy),
    }


def mahalanobis(selected: Array, targets: Array, centres: Array, shrink: float = 0.5) -> Score:
    """To the nearest class mean (Lee et al. 2018), half of the covariance shrunk to a ball."""
    _, sizes, axes = np.linalg.svd(selected - centres[targets], full_matrices=False)
    variance = sizes**2 / len(selected)
    ball = shrink * variance.sum() / selected.shape[1]

    def score(x: Array) -> Array:
        result = []
        for centre in centres:
            away = square_root(x) - centre
            inside = away @ axes.T
            rest = (away**2).sum(1) - (inside**2).sum(1)
            result.append((inside**2 / ((1 - shrink) * variance + ball)).sum(1) + rest / ball)
        return np.min(result, axis=0)

    return score


def vim(selected: Array, weights: Array, bias: Array, energy: Score, rank: int = 64) -> Score:
    """Virtual-logit matching (Wang et al. 2022): what lies outside the main axes, and energy."""
    origin = -np.linalg.pinv(weights.T.astype(np.float64)) @ bias
    axes = np.linalg.svd(selected - origin, full_matrices=False)[2][:rank]

    def outside(rooted: Array) -> Array:
        away = rooted - origin
        return np.sqrt(np.maximum((away**2).sum(1) - ((away @ axes.T) ** 2).sum(1), 0))

    factor = (selected @ weights + bias).max(1).mean() / outside(selected).mean()
    return lambda x: factor * outside(square_root(x)) + energy(x)


def summary(values: dict[str, list[float]]) -> dict[str, object]:
    table = np.array(list(values.values()))  # class, split
    return {
        "mean": round(float(table.mean()), 4),
        "deviation_of_splits": round(float(table.mean(axis=0).std()), 4),
        "n": table.size,
        "per_class": {label: round(float(np.mean(v)), 3) for label, v in values.items()},
    }


if __name__ == "__main__":
    arguments.run(main, __doc__, folder={"type": arguments.folder})
