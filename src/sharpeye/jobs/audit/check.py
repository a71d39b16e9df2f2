"""A folder of images against what commonly is wrong with them; nothing in it is changed."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sharpeye.core.config import Config
from sharpeye.core.inference import available_cores
from sharpeye.core.progress import StageProgress as Progress
from sharpeye.core.progress import of_stage as stage_progress
from sharpeye.core.storage import make_folder
from sharpeye.core.types import Sample, SampleSet
from sharpeye.data.digest import add_digests
from sharpeye.data.duplicate_issues import duplicate_issues
from sharpeye.data.feature_duplicates import feature_duplicate_pairs
from sharpeye.data.issues import (
    Issue,
    class_issues,
    count_by_kind,
    quality_issues,
    sort_issues,
    unreadable_issues,
)
from sharpeye.data.near_duplicates import NO_PAIRS, duplicate_groups, find_near_duplicates
from sharpeye.data.scan import scan_dataset
from sharpeye.data.summary import counts_by_split, summarize_dataset
from sharpeye.data.thumbnail_store import Thumbnails, load_thumbnails
from sharpeye.errors import UsageError
from sharpeye.jobs.audit.label_errors import features_for, mislabelled
from sharpeye.report.check_page import CheckData, render_check
from sharpeye.runs.run_directory import RunFolder

ISSUES_CSV, ISSUES_JSON, PAGE = "issues.csv", "issues.json", "check.html"
COLUMNS = ("path", "kind", "related", "detail")


@dataclass(frozen=True)
class CheckResult:
    """What `check` found.

    Attributes:
        samples: the images that can be read, with digests, and the files that cannot.
        issues: the gravest kinds first.
        facts: what is said of the set, in words, by what it is about.
        bad: the files that were taken for images and cannot be read, by path.
        seconds: how long it took.
    """

    samples: SampleSet
    issues: tuple[Issue, ...]
    facts: dict[str, str]
    bad: dict[str, Sample]
    seconds: float

    @property
    def counts(self) -> dict[str, int]:
        """Number of issues by kind, gravest first."""
        return count_by_kind(self.issues)

    @property
    def serious(self) -> int:
        """How many make scores wrong or training impossible."""
        return sum(issue.serious for issue in self.issues)


def check(
    data: str | Path,
    *,
    labels: str | Path | None = None,
    quick: bool = False,
    config: Config | None = None,
    progress: Progress | None = None,
) -> CheckResult:
    """Look for what is wrong with a folder of images.

    Args:
        data: one sub-folder of images a class, or `train/ test/` with these inside, or array
            files, or Pascal VOC files with a configuration that says so.
        labels: a run directory: its frozen network is used to find wrong labels.
        quick: only what makes scores wrong or training impossible, and copies; not odd images,
            nor copies that only a network's features in the cache tell.
        config: how the folder is read (`task`, `data.*`).
        progress: called with (stage, done, total).

    Raises:
        DataError: no such folder, or no image in it.
        UsageError: `labels` is a run without a pretrained network.
    """
    started = time.perf_counter()
    samples, seen, bad = _look(Path(data), config or Config(), progress)
    features = None if labels is None else features_for(samples, Path(labels), progress)
    pairs = find_near_duplicates(seen.thumbnails, _sorts(samples, seen))
    to_network = NO_PAIRS if quick else feature_duplicate_pairs(seen, pairs, features)
    issues = [
        *unreadable_issues(samples.rejected),
        *class_issues(samples),
        *duplicate_issues(samples, seen.thumbnails, seen.samples, pairs, to_network),
    ]
    odd = quality_issues(seen.thumbnails, seen.samples)
    if not quick:
        issues += odd
    if labels is not None and features is not None:
        paths = {issue.path for issue in odd if issue.kind == "blank"}
        blank = {sample.sha256 for sample in seen.samples if sample.path in paths}
        groups = duplicate_groups(pairs, to_network)
        near = [[seen.samples[row].sha256 for row in rows] for rows in groups]
        issues += mislabelled(samples, features, near, Path(labels), blank)
    facts = summarize_dataset(samples, seen.thumbnails)
    seconds = time.perf_counter() - started
    return CheckResult(samples, tuple(sort_issues(issues)), facts, bad, seconds)


def _look(
    root: Path, config: Config, progress: Progress | None
) -> tuple[SampleSet, Thumbnails, dict[str, Sample]]:
    """The images that can be read, their looks, and the files that cannot be read, by path."""
    found = scan_dataset(config, root, least_classes=1)
    samples = add_digests(found, available_cores())
    seen = load_thumbnails(samples.samples, stage_progress(progress, "pictures"))
    gone = {one.path for one in seen.rejected}
    rejected = (*samples.rejected, *seen.rejected)
    paths = {one.path for one in rejected}
    bad = {sample.path: sample for sample in found if sample.path in paths}
    if gone:
        kept = tuple(sample for sample in samples if sample.path not in gone)
        samples = replace(samples, samples=kept, rejected=rejected)
    return samples, seen, bad


def _sorts(samples: SampleSet, seen: Thumbnails) -> npt.NDArray[np.int64]:
    """int64 of each image that was seen: its class and part, so that no copy across is missed."""
    numbers: dict[frozenset[tuple[str, str | None]], int] = {}
    homes: dict[str, frozenset[tuple[str, str | None]]] = {}
    for sample in samples:
        home = frozenset({(sample.label, sample.split)})
        known = homes.get(sample.sha256, home)
        homes[sample.sha256] = known if home <= known else known | home
    rows = (homes[sample.sha256] for sample in seen.samples)
    return np.array([numbers.setdefault(home, len(numbers)) for home in rows], np.int64)


def require_outside(folder: Path | None, data: Path, option: str) -> None:
    """Refuse a folder to write to that lies in the set: it would be read as a class.

    Raises:
        UsageError: it does.
    """
    if folder is not None and folder.resolve().is_relative_to(data.resolve()):
        raise UsageError(f"{folder} lies in {data}; give {option} a folder outside of it")


def write_check(
    output: Path, checked: CheckResult, commands: Sequence[tuple[str, str]] = ()
) -> None:
    """Write `issues.csv`, `issues.json` and `check.html` into a folder.

    Raises:
        EnvironmentFault: it cannot be written.
        MissingExtra: Jinja2, for the page, is not installed.
    """
    folder = RunFolder(make_folder(output))
    folder.write_csv(
        ISSUES_CSV,
        COLUMNS,
        ((i.path, i.kind, i.related, i.detail) for i in checked.issues),
    )
    record: dict[str, Any] = {
        "folder": str(checked.samples.root),
        "pictures": len(checked.samples),
        "classes": checked.samples.count_by_class(),
        "parts": counts_by_split(checked.samples) if checked.samples.given_splits else {},
        "facts": checked.facts,
        "counts": checked.counts,
        "serious": checked.serious,
        "seconds": checked.seconds,
        "issues": [asdict(issue) for issue in checked.issues],
    }
    folder.write_json(ISSUES_JSON, record)
    data = CheckData(
        title=checked.samples.root.resolve().name or "pictures",
        facts=tuple(checked.facts.items()),
        issues=checked.issues,
        samples={sample.path: sample for sample in checked.samples},
        counts=checked.samples.count_by_class(),
        parts=counts_by_split(checked.samples) if checked.samples.given_splits else {},
        commands=commands,
    )
    folder.write_text(PAGE, render_check(data))
