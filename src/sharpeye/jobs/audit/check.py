"""Check a folder of images for common problems, and write the issues.

Only `quarantine_files` changes the folder: it moves files out, without deleting or overwriting.
"""

import hashlib
import logging
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from sharpeye.core.arrays import Ints
from sharpeye.core.config import Config
from sharpeye.core.inference import available_cores
from sharpeye.core.paths import require_outside
from sharpeye.core.progress import StageProgress, of_stage
from sharpeye.core.storage import make_folder
from sharpeye.core.tables import write_new_table
from sharpeye.core.types import Sample, SampleSet
from sharpeye.data.digest import add_digests
from sharpeye.data.duplicate_issues import duplicate_issues
from sharpeye.data.feature_duplicates import feature_duplicate_pairs
from sharpeye.data.file_walk import original_name, printable
from sharpeye.data.issues import (
    Issue,
    class_issues,
    count_by_kind,
    quality_issues,
    sort_issues,
    unreadable_issues,
)
from sharpeye.data.moves import finish_move, free_path, is_copied, move_file
from sharpeye.data.near_duplicates import NO_PAIRS, duplicate_groups, find_near_duplicates
from sharpeye.data.sample_image import read_image_and_size
from sharpeye.data.scan import scan_dataset
from sharpeye.data.summary import counts_by_split, dataset_name, summarize_dataset
from sharpeye.data.thumbnail import DISPLAY_SIZE, Thumbnails, load_thumbnails
from sharpeye.data.thumbnail_comparison import concatenate
from sharpeye.data.turned_copies import class_numbers, find_turned_copies
from sharpeye.errors import ImageReadError
from sharpeye.images.decode import read_file
from sharpeye.images.decode_limits import configured_limits, use_limits
from sharpeye.jobs.audit.check_labels import (
    features_by_digest,
    frozen_network_config,
    label_error_issues,
)
from sharpeye.report.check_page import CheckData, render_check
from sharpeye.runs.run_directory import ResultWriter

log = logging.getLogger(__name__)

MOVED_COLUMNS = ("from", "to", "reason")
_MAX_NAMES = 10
ISSUES_JSON, PAGE = "issues.json", "check.html"


@dataclass(frozen=True)
class CheckResult:
    """The issues of a data set.

    Attributes:
        samples: the images that can be decoded, with digests, and the files that cannot.
        issues: by kind, the gravest first.
        summary: a description of the data set, in words by topic.
        unreadable: the images that cannot be decoded, by path; with digests if they have been read.
    """

    samples: SampleSet
    issues: tuple[Issue, ...]
    summary: dict[str, str]
    unreadable: dict[str, Sample]
    seconds: float

    @property
    def counts(self) -> dict[str, int]:
        """Number of issues by kind, the most serious first."""
        return count_by_kind(self.issues)

    @property
    def serious(self) -> int:
        """Number of issues that make scores wrong or training impossible."""
        return sum(issue.serious for issue in self.issues)


def check(
    data: str | Path,
    *,
    labels: str | Path | None = None,
    quick: bool = False,
    config: Config | None = None,
    progress: StageProgress | None = None,
) -> CheckResult:
    """Find the issues of a folder of images.

    Args:
        data: a folder with one sub-folder of images per class, or with `train/ test/`, or array
            files, or Pascal VOC files if the configuration says so.
        labels: a run directory, whose frozen network is used to find wrong labels.
        quick: skip the search for images of poor quality, and for duplicates by cached features.
        config: `task` and `data.*` define how the folder is read.
        progress: called with (stage, done, total).

    Raises:
        DataError: no such folder, or it has no image.
        UsageError: `labels` is a run without a pretrained network.
    """
    started = time.perf_counter()
    config = config or Config()
    features = run_config = None
    with use_limits(configured_limits(config.images)):
        samples, loaded, unreadable = _load(Path(data), config, progress)
        if labels is not None:
            run_config = frozen_network_config(Path(labels))
            features = features_by_digest(samples, run_config, progress)
    pairs = find_near_duplicates(loaded.thumbnails, _categories(samples, loaded))
    turned = find_turned_copies(loaded.thumbnails, class_numbers(loaded.samples), pairs)
    pairs = concatenate([pairs, turned])
    feature_pairs = NO_PAIRS if quick else feature_duplicate_pairs(loaded, pairs, features)
    issues = [
        *unreadable_issues(samples.rejected),
        *class_issues(samples),
        *duplicate_issues(
            samples, loaded.thumbnails, loaded.samples, pairs=pairs, feature_pairs=feature_pairs
        ),
    ]
    poor_quality = quality_issues(loaded.thumbnails, loaded.samples)
    if not quick:
        issues += poor_quality
    if run_config is not None and features is not None:
        blank_paths = {issue.path for issue in poor_quality if issue.kind == "blank"}
        issues += label_error_issues(
            samples,
            features,
            run_config,
            near_duplicates=[
                [loaded.samples[index].sha256 for index in group]
                for group in duplicate_groups(pairs, feature_pairs)
            ],
            blank={s.sha256 for s in loaded.samples if s.path in blank_paths},
        )
    summary = summarize_dataset(samples, loaded.thumbnails)
    seconds = time.perf_counter() - started
    return CheckResult(samples, tuple(sort_issues(issues)), summary, unreadable, seconds)


def _load(
    root: Path, config: Config, progress: StageProgress | None
) -> tuple[SampleSet, Thumbnails, dict[str, Sample]]:
    """The images that can be decoded, their thumbnails, and the images that cannot, by path."""
    scanned = scan_dataset(config, root, min_classes=1)
    samples = add_digests(scanned, available_cores())
    samples_with_digests = samples.samples
    loaded = load_thumbnails(samples.samples, of_stage(progress, "pictures"))
    rejected = (*samples.rejected, *loaded.rejected)
    paths = {item.path for item in rejected}
    if loaded.rejected:
        decoded = tuple(sample for sample in samples if sample.path not in paths)
        samples = replace(samples, samples=decoded, rejected=rejected)
    with_digests = {sample.path: sample for sample in samples_with_digests}
    unreadable = (with_digests.get(s.path, s) for s in scanned if s.path in paths)
    return samples, loaded, {sample.path: sample for sample in unreadable}


def _categories(samples: SampleSet, loaded: Thumbnails) -> Ints:
    """int64[N]: a number for the classes and splits of each thumbnail's image.

    All near-duplicates across two categories are found.
    """
    members: dict[str, set[tuple[str, str | None]]] = defaultdict(set)
    for sample in samples:
        members[sample.sha256].add((sample.label, sample.split))
    numbers: dict[frozenset[tuple[str, str | None]], int] = {}
    keys = (frozenset(members[sample.sha256]) for sample in loaded.samples)
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int64)


def write_check(
    output: Path, result: CheckResult, commands: Sequence[tuple[str, str]] = ()
) -> None:
    """Write `issues.csv`, `issues.json` and `check.html` into a folder.

    Args:
        commands: (purpose, command) pairs for the page: what to do next.

    Raises:
        EnvironmentFault: it cannot be written.
        MissingExtra: Jinja2 is not installed.
    """
    folder = ResultWriter(make_folder(output))
    samples, classes = result.samples, result.samples.count_by_class()
    splits = counts_by_split(samples) if samples.given_splits else {}
    columns = ("path", "kind", "related", "detail")
    rows = ([getattr(issue, name) for name in columns] for issue in result.issues)
    folder.write_csv("issues.csv", columns, rows)
    record = {
        "folder": str(samples.root),
        "pictures": len(samples),
        "classes": classes,
        "parts": splits,
        "facts": result.summary,
        "counts": result.counts,
        "serious": result.serious,
        "seconds": result.seconds,
        "issues": [asdict(issue) for issue in result.issues],
    }
    folder.write_json(ISSUES_JSON, record)
    data = CheckData(
        title=dataset_name(samples.root),
        summary=tuple(result.summary.items()),
        issues=result.issues,
        samples={sample.path: sample for sample in samples},
        counts=classes,
        splits=splits,
        commands=commands,
    )
    folder.write_text(PAGE, render_check(data))


def quarantine_files(result: CheckResult, folder: Path) -> int:
    """Move the undecodable files into `folder`, and return their number.

    They keep their paths relative to the data set. Links, pipes and files outside of the classes
    stay, and so does a file that failed for a passing reason: each is read again before it is
    moved, and a warning names those that stay. `moved.csv`, written before the first move, lists
    each file with its target and the reason.

    Raises:
        UsageError: `folder` lies in the data set, where its files would be read as images again.
        EnvironmentFault: a file cannot be moved.
    """
    require_outside(folder, result.samples.root, "--quarantine")
    reasons = {rejected.path: rejected.reason for rejected in result.samples.rejected}
    moves: list[tuple[Path, Path, str]] = []
    staying: list[str] = []
    for sample in result.unreadable.values():
        if sample.row is not None or sample.file.is_symlink():
            continue
        if reason := _lasting_reason(sample, reasons[sample.path]):
            target = folder / original_name(sample.path)
            target = target if is_copied(sample.file, target) else free_path(target)
            moves.append((sample.file, target, reason))
        else:
            staying.append(sample.path)
    if staying:
        log.warning(
            "%d files stay, as they may be good but could not be read before: %s%s; check again",
            len(staying),
            ", ".join(staying[:_MAX_NAMES]),
            ", ..." if len(staying) > _MAX_NAMES else "",
        )
    if moves:
        make_folder(folder)
        rows = [(printable(str(source)), printable(str(to)), why) for source, to, why in moves]
        # Another process may write its table at the same time.
        while not write_new_table(free_path(folder / "moved.csv"), MOVED_COLUMNS, rows):
            pass
    for source, target, _ in moves:
        if not finish_move(source, target):
            move_file(source, target)
    return len(moves)


def _lasting_reason(sample: Sample, reason: str) -> str:
    """Why a file that could not be read for `reason` cannot be read now either; empty if it can,
    or if the reason may pass.

    A file that has changed since is probably just being written, and no damaged one.
    """
    try:
        data = read_file(sample.file, sample.path)
        if hashlib.sha256(data).hexdigest() != sample.sha256:
            return ""
        read_image_and_size(sample, DISPLAY_SIZE)
    except ImageReadError as error:
        has_changed = not sample.sha256 and error.reason != reason
        return "" if error.transient or has_changed else error.reason
    return ""
