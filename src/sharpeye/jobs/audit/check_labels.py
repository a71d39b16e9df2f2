"""Find images in a wrong class with the frozen network of a run."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np

from sharpeye.core.arrays import Floats, Ints
from sharpeye.core.config import Config, load_toml
from sharpeye.core.config_paths import features_path
from sharpeye.core.progress import StageProgress, of_stage
from sharpeye.core.types import Sample, SampleSet
from sharpeye.data.features import extract_features
from sharpeye.data.issues import Issue
from sharpeye.data.near_duplicates import DisjointSets
from sharpeye.data.split_rules import families
from sharpeye.errors import DataError, UsageError
from sharpeye.learn.heads.label_errors import find_label_errors
from sharpeye.learn.nets.training_arrays import class_indices
from sharpeye.models.backbone import BackboneConfig, load_backbone
from sharpeye.runs import layout


def frozen_network_config(run: Path) -> Config:
    """The configuration of a run with a pretrained network.

    Raises:
        UsageError: it is not a run directory, or its network was trained from scratch.
    """
    file = run / layout.CONFIG
    if not file.is_file():
        raise UsageError(
            f"--labels takes a run directory, and {run} has no {layout.CONFIG}; "
            "make one with: sharpeye train DIR"
        )
    config = load_toml(file)
    if config.from_scratch:
        raise UsageError(
            f"the network of {run} has learned the labels that are to be checked; give a run on a "
            "pretrained network, such as: sharpeye train DIR"
        )
    return config


def features_by_digest(
    samples: SampleSet, config: Config, progress: StageProgress | None = None
) -> Mapping[str, Floats]:
    """float32[D] by digest: features of decodable images from the frozen network of a run."""
    backbone = load_backbone(BackboneConfig.from_config(config, maps=False))
    return extract_features(
        samples.samples,
        backbone.with_bit_depth(samples.bit_depth),
        progress=of_stage(progress, "features"),
        root=features_path(config),
    ).features


def label_error_issues(
    samples: SampleSet,
    features: Mapping[str, Floats],
    config: Config,
    *,
    near_duplicates: Sequence[Sequence[str]] = (),
    blank: Collection[str] = (),
) -> list[Issue]:
    """Images that are probably mislabelled, the most certain first; `related` is the better class.

    Args:
        samples: with digests.
        features: by digest; images without features are left out.
        config: from `frozen_network_config`.
        near_duplicates: groups of digests.
        blank: digests of blank images, which belong to no class.

    Raises:
        DataError: fewer than two classes have two images; classes with one image are left out.
    """
    usable = [s for s in samples if s.sha256 in features and s.sha256 not in blank]
    counts = Counter(sample.label for sample in usable)
    # A head fitted without an image needs another image of its class.
    class_names = [name for name in samples.class_names if counts[name] >= 2]
    usable = [sample for sample in usable if counts[sample.label] >= 2]
    if len(class_names) < 2:
        raise DataError(
            "wrong labels can be found where two classes have 2 images or more that can be read; "
            f"{samples.root} has {len(class_names)} such; add images"
        )
    targets = class_indices(usable, class_names)
    copies = _group_duplicates(usable, near_duplicates)
    conflicting = [group for group in copies if len({targets[index] for index in group}) > 1]
    errors = find_label_errors(
        np.stack([features[sample.sha256] for sample in usable]),
        targets,
        len(class_names),
        groups=_fold_groups(usable, copies),
        excluded=[index for group in conflicting for index in group],
        balance=config.data.balance,
        seed=config.seed,
    )
    return [
        Issue(
            usable[error.index].path,
            "mislabelled",
            class_names[error.suggested],
            f"more like {class_names[error.suggested]} ({error.suggested_score:.2f}) than "
            f"{usable[error.index].label} ({error.given_score:.2f})",
        )
        for error in errors
    ]


def _group_duplicates(
    samples: Sequence[Sample], near_duplicates: Sequence[Sequence[str]]
) -> list[list[int]]:
    """Groups of indices of equal images, then of near-duplicates."""
    indices: dict[str, list[int]] = {}
    for index, sample in enumerate(samples):
        indices.setdefault(sample.sha256, []).append(index)
    groups = [equal for equal in indices.values() if len(equal) > 1]
    groups += [
        [i for digest in group for i in indices.get(digest, ())] for group in near_duplicates
    ]
    return [group for group in groups if group]


def _fold_groups(samples: Sequence[Sample], copies: Sequence[Sequence[int]]) -> Ints:
    """int64[N]: equal for copies, and for images whose names mark them as versions of one image.

    `check` splits nothing, so the samples have no group.
    """
    sets = DisjointSets[int]()
    for group in copies:
        sets.join(*group)
    first_of: dict[str, int] = {}
    for index, names in enumerate(families(samples)):
        for name in names:
            sets.join(first_of.setdefault(name, index), index)
    return np.array([sets.find(index) for index in range(len(samples))], np.int64)
