"""Leave out undecodable images, and split the rest."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sharpeye.core.config import Config
from sharpeye.core.formatting import counted, name_list
from sharpeye.core.tables import read_table
from sharpeye.core.types import Rejected, SampleSet
from sharpeye.data.duplicate_groups import find_duplicate_groups
from sharpeye.data.file_walk import natural_key
from sharpeye.data.split import assign_splits, fractions_to_split
from sharpeye.data.split_cache import SplitCache
from sharpeye.data.split_rules import ContentRule, PathRule, SplitRule
from sharpeye.errors import DataError
from sharpeye.runs import layout
from sharpeye.runs.run_directory import RunWriter

log = logging.getLogger(__name__)

_MAX_NAMES = 10


def split_dataset(
    samples: SampleSet,
    rejected: Sequence[Rejected],
    config: Config,
    *,
    run_dir: RunWriter | None = None,
) -> SampleSet:
    """Leave out undecodable images, and split the rest.

    Args:
        samples: with digests.
        run_dir: gets `labels.txt`, `split.csv` and `quarantine.csv`, even before an error is
            raised: `quarantine.csv` then shows which files caused it.

    Raises:
        DataError: too few readable images, an unreadable one under `data.strict`, or images that
            differ from those of the resumed run.
    """
    samples = _without_rejected(samples, rejected)
    _warn_of_transient(samples.rejected)
    try:
        _require_usable(samples, config)
        samples = _split(samples, config)
    finally:
        if run_dir is not None:
            _record(run_dir, samples, config)
    return samples


def _without_rejected(samples: SampleSet, rejected: Sequence[Rejected]) -> SampleSet:
    """Leave out undecodable images, and classes without remaining images."""
    rejected_paths = {item.path for item in rejected}
    readable = tuple(s for s in samples if s.path not in rejected_paths)
    present = {s.label for s in readable}
    all_rejected = sorted((*samples.rejected, *rejected), key=lambda item: natural_key(item.path))
    return replace(
        samples,
        samples=readable,
        class_names=tuple(name for name in samples.class_names if name in present),
        rejected=tuple(all_rejected),
    )


def _warn_of_transient(rejected: Sequence[Rejected]) -> None:
    """Name the images that may be good: without them, the run is another one."""
    transient = [item for item in rejected if item.transient]
    if transient:
        names = name_list([f"{item.path} ({item.reason})" for item in transient], _MAX_NAMES)
        log.warning(
            "%d images may be good but could not be read just now, and are left out: %s; train "
            "again to use them",
            len(transient),
            names,
        )


def _require_usable(samples: SampleSet, config: Config) -> None:
    first = f"{samples.rejected[0].path}: {samples.rejected[0].reason}" if samples.rejected else ""
    if samples.rejected and config.data.strict:
        raise DataError(
            f"{counted(len(samples.rejected), 'file')} cannot be used, and --strict was given; "
            f"the first is {first}; quarantine.csv has them all"
        )
    if len(samples.class_names) < 2:
        count = "only one class has" if samples.class_names else "no class has"
        raise DataError(f"{count} images that can be read; the first that cannot is {first}")
    trained = {s.label for s in samples if s.split == "train"}
    missing = [name for name in samples.class_names if name not in trained]
    if samples.given_splits and missing:
        raise DataError(
            f"no images in train/ for {', '.join(missing[:10])}, which other splits have; "
            "add some, or take the class out of the other splits"
        )


def _split(samples: SampleSet, config: Config) -> SampleSet:
    shares = fractions_to_split(samples, config.split.validation, config.split.test)
    shares = replace(shares, fold=config.split.fold)
    drop_small = config.data.drop_small
    if config.split.rule == "path":
        rule: SplitRule = PathRule(config.data.folder, shares)
        return assign_splits(samples, shares, rule, drop_small=drop_small)
    cache = SplitCache(config.split_seed, shares)
    cached = cache.read()
    # An earlier run's split is the same on every machine; this machine's cache is not.
    known = {} if samples.pinned else cached
    rule = ContentRule(config.split_seed, shares)
    if config.split.near_duplicates:
        duplicates = find_duplicate_groups([sample for sample in samples if sample.row is None])
        samples = replace(samples, near_duplicates=duplicates.groups, blank=duplicates.blank)
    samples = assign_splits(
        samples,
        shares,
        rule,
        earlier_splits=known,
        near_duplicates=samples.near_duplicates,
        drop_small=drop_small,
    )
    if len(shares.required_splits()) > 1:
        cache.add((s for s in samples if s.group), cached)
    return samples


def _record(run_dir: RunWriter, samples: SampleSet, config: Config) -> None:
    """Write the split; a partly trained network must not continue with other images."""
    if run_dir.resumed and run_dir.file(layout.CHECKPOINTS).exists():
        require_same_images(run_dir.file(layout.SPLIT), samples)
    run_dir.write_samples(samples)
    run_dir.keep = run_dir.keep or (config.data.strict and bool(samples.rejected))


def require_same_images(file: Path, samples: SampleSet) -> None:
    """Raise DataError if a run that goes on was begun with other images, or with another split.

    Args:
        file: its `split.csv`; without that file nothing is compared.
    """
    columns = ("path", "label", "part", "sha256")
    before = {tuple(row[c] for c in columns) for row in (read_table(file) if file.exists() else ())}
    now = {(s.path, s.label, str(s.split), s.sha256) for s in samples}
    changed = sorted({row[0] for row in before ^ now})
    if before and changed:
        raise DataError(
            f"the images are not those that the run in {file.parent} was begun with: "
            f"{len(changed)} differ, such as {changed[0]}; bring them back, or leave --resume out"
        )
