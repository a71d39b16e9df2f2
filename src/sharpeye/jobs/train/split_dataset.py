"""Split a set of images, after what cannot be decoded was left out."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from sharpeye.core.config import Config
from sharpeye.core.tables import read_table
from sharpeye.core.types import Rejected, SampleSet
from sharpeye.data.file_walk import natural_key
from sharpeye.data.near_duplicates import duplicate_groups, find_near_duplicates
from sharpeye.data.split import assign_splits, fractions_to_split
from sharpeye.data.split_cache import SplitCache
from sharpeye.data.split_rules import ContentRule, PathRule, SplitRule
from sharpeye.data.thumbnail import load_thumbnails
from sharpeye.errors import DataError
from sharpeye.jobs.train.context import TrainContext
from sharpeye.runs import layout
from sharpeye.runs.run_directory import RunWriter


def split_and_record(
    context: TrainContext, samples: SampleSet, rejected: Sequence[Rejected]
) -> SampleSet:
    """Split as `split_dataset` does, and write `labels.txt`, `split.csv` and `quarantine.csv`.

    Raises:
        DataError: as `split_dataset`; or a resumed run was begun with other images.
    """
    record = partial(_record, context.run_dir, context.config)
    return split_dataset(samples, rejected, context.config, record=record)


def split_dataset(
    samples: SampleSet,
    rejected: Sequence[Rejected],
    config: Config,
    *,
    record: Callable[[SampleSet], None] = lambda _: None,
) -> SampleSet:
    """Leave out what cannot be decoded, and split the rest.

    Args:
        samples: with digests.
        rejected: what cannot be decoded.
        record: called with the images, before an error is raised too: the user then finds in
            `quarantine.csv` which files are meant.

    Raises:
        DataError: too few readable images, or an unreadable one under `data.strict`.
    """
    samples = _without_rejected(samples, rejected)
    try:
        _require_readable(samples, config)
        samples = _split(samples, config)
    finally:
        record(samples)
    return samples


def _without_rejected(samples: SampleSet, rejected: Sequence[Rejected]) -> SampleSet:
    """Leave out what cannot be decoded, and the classes that have no image left."""
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


def _require_readable(samples: SampleSet, config: Config) -> None:
    first = f"{samples.rejected[0].path}: {samples.rejected[0].reason}" if samples.rejected else ""
    if samples.rejected and config.data.strict:
        raise DataError(
            f"{len(samples.rejected)} files cannot be used, and --strict was given; "
            f"the first is {first}; quarantine.csv has them all"
        )
    if len(samples.class_names) < 2:
        count = "only one class has" if samples.class_names else "no class has"
        raise DataError(f"{count} pictures that can be read; the first that cannot is {first}")


def _split(samples: SampleSet, config: Config) -> SampleSet:
    if samples.given_splits:
        _require_training_images(samples)
    shares = fractions_to_split(samples, config.split.validation, config.split.test)
    drop_small = config.data.drop_small
    if config.split.rule == "path":
        rule: SplitRule = PathRule(config.data.folder, shares)
        return assign_splits(samples, shares, rule, drop_small=drop_small)
    cache = SplitCache(config.seed, shares)
    cached = cache.read()
    # The split of an earlier run holds on every machine; this machine's cache does not.
    known = {} if samples.pinned else cached
    rule = ContentRule(config.seed, shares)
    if config.split.near_duplicates:
        samples = replace(samples, near_duplicates=_near_duplicates(samples))
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


def _near_duplicates(samples: SampleSet) -> tuple[tuple[str, ...], ...]:
    """Digests of files that are nearly the same, group by group."""
    loaded = load_thumbnails([sample for sample in samples if sample.row is None])
    groups = duplicate_groups(find_near_duplicates(loaded.thumbnails))
    return tuple(tuple(loaded.samples[i].sha256 for i in group) for group in groups)


def _require_training_images(samples: SampleSet) -> None:
    trained = {s.label for s in samples if s.split == "train"}
    missing = [name for name in samples.class_names if name not in trained]
    if missing:
        raise DataError(
            f"no pictures in train/ for {', '.join(missing[:10])}, which other parts have; "
            "add some, or take the class out of the other parts"
        )


def _record(run_dir: RunWriter, config: Config, samples: SampleSet) -> None:
    if run_dir.resumed and run_dir.file(layout.CHECKPOINTS).exists():
        _require_same_images(run_dir, samples)
    run_dir.write_samples(samples)
    run_dir.keep = run_dir.keep or (config.data.strict and bool(samples.rejected))


def _require_same_images(run_dir: RunWriter, samples: SampleSet) -> None:
    """Refuse to resume on other images than those that the network was trained on.

    Raises:
        DataError: some were added, changed, renamed or removed.
    """
    file = run_dir.file(layout.SPLIT)
    columns = ("path", "label", "part", "sha256")
    before = (
        {tuple(row[c] for c in columns) for row in read_table(file)} if file.exists() else set()
    )
    now = {(s.path, s.label, str(s.split), s.sha256) for s in samples}
    changed = sorted({row[0] for row in before ^ now})
    if before and changed:
        raise DataError(
            f"the pictures are not those that the run in {run_dir.path} was begun with: "
            f"{len(changed)} differ, such as {changed[0]}; bring them back, or leave --resume out"
        )
