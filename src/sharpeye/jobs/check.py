"""A folder of pictures against what commonly is wrong with them; nothing in it is changed."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from sharpeye.config import Config
from sharpeye.data.audit import (
    Issue,
    class_issues,
    copy_issues,
    counts_of,
    in_order,
    odd_issues,
    unreadable,
)
from sharpeye.data.digest import add_digests
from sharpeye.data.near import find_near, near_groups
from sharpeye.data.scan import scan_for
from sharpeye.evaluation.check_page import CheckData, render_check
from sharpeye.imaging.formats import sniff
from sharpeye.inference import available_cores
from sharpeye.jobs.doubts import mislabelled
from sharpeye.pipeline.looks import Seen, see
from sharpeye.runs.rundir import RunFolder
from sharpeye.storage import make_folder
from sharpeye.training.prepare import Progress, teller
from sharpeye.types import Sample, SampleSet

ISSUES_CSV, ISSUES_JSON, PAGE = "issues.csv", "issues.json", "check.html"


@dataclass(frozen=True)
class Checked:
    """What `check` found.

    Attributes:
        samples: the pictures that can be read, with digests, and the files that cannot.
        issues: the gravest kinds first.
        facts: (name, value) pairs in words.
        files: every picture that was found, also those that cannot be read, by path.
        seconds: how long it took.
    """

    samples: SampleSet
    issues: tuple[Issue, ...]
    facts: tuple[tuple[str, str], ...]
    files: dict[str, Sample]
    seconds: float

    @property
    def counts(self) -> dict[str, int]:
        """Number of issues by kind, gravest first."""
        return counts_of(self.issues)

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
) -> Checked:
    """Look for what is wrong with a folder of pictures.

    Args:
        data: one sub-folder of pictures a class, or `train/ test/` with these inside, or array
            files, or Pascal VOC files with a configuration that says so.
        labels: a run directory: its frozen network is used to find wrong labels.
        quick: only what makes scores wrong or training impossible, and copies; not odd pictures.
        config: how the folder is read (`task`, `data.*`).
        progress: called with (stage, done, total).

    Raises:
        DataError: no such folder, or no picture in it.
        UsageError: `labels` is a run without a pretrained network.
    """
    started = time.perf_counter()
    root = Path(data)
    config = config or Config()
    found = scan_for(config, root, least_classes=1)
    files = {sample.path: sample for sample in found}
    samples = add_digests(found, available_cores())
    seen = see(samples.samples, teller(progress, "pictures"))
    samples = _readable(samples, seen)
    pairs = find_near(seen.looks)
    issues = [
        *unreadable(samples.rejected),
        *class_issues(samples),
        *copy_issues(samples, seen.looks, seen.samples, pairs),
    ]
    if not quick:
        issues += odd_issues(seen.looks, seen.samples)
    if labels is not None:
        groups = [
            [seen.samples[row].sha256 for row in rows] for rows in near_groups(seen.looks, pairs)
        ]
        blank = {issue.path for issue in issues if issue.kind == "blank"}
        doubts = mislabelled(samples, Path(labels), groups, progress)
        issues += [issue for issue in doubts if issue.path not in blank]
    facts = _facts(samples, seen)
    seconds = time.perf_counter() - started
    return Checked(samples, tuple(in_order(issues)), facts, files, seconds)


def _readable(samples: SampleSet, seen: Seen) -> SampleSet:
    gone = {one.path for one in seen.rejected}
    return replace(
        samples,
        samples=tuple(s for s in samples if s.path not in gone),
        rejected=(*samples.rejected, *seen.rejected),
    )


def _facts(samples: SampleSet, seen: Seen) -> tuple[tuple[str, str], ...]:
    counts = samples.count_by_label()
    facts = [("Pictures", f"{len(samples):,} in {len(counts)} classes")]
    if counts:
        few, many = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
        spread = f"{counts[few]:,} ({few}) to {counts[many]:,} ({many})"
        if counts[few] == counts[many]:
            spread = f"{counts[few]:,} pictures, each"
        facts.append(("A class has", spread))
    parts = Counter(sample.part for sample in samples if sample.part)
    if parts:
        facts.append(("Parts", ", ".join(f"{part} {count:,}" for part, count in parts.items())))
    if len(seen.looks):
        sides = np.sort(np.maximum(seen.looks["width"], seen.looks["height"]))
        facts.append(
            (
                "Longer side",
                f"{sides[0]:,.0f} to {sides[-1]:,.0f} pixels, half have "
                f"{sides[len(sides) // 2]:,.0f} or more",
            )
        )
    formats = Counter(_format(sample) for sample in seen.samples)
    facts.append(("Formats", ", ".join(f"{k} {n:,}" for k, n in formats.most_common())))
    if samples.ignored:
        ignored = ", ".join(f"{n} {suffix}" for suffix, n in sorted(samples.ignored.items()))
        facts.append(("Other files", ignored))
    return tuple(facts)


def _format(sample: Sample) -> str:
    if sample.row is not None:
        return "rows of array files"
    try:
        with sample.file.open("rb") as file:
            return sniff(file.read(32)) or "unknown"
    except OSError:
        return "unknown"


def write_check(output: Path, checked: Checked, commands: Sequence[tuple[str, str]] = ()) -> None:
    """Write `issues.csv`, `issues.json` and `check.html` into a folder.

    Raises:
        EnvironmentFault: it cannot be written.
        MissingExtra: Jinja2, for the page, is not installed.
    """
    folder = RunFolder(make_folder(output))
    folder.write_csv(
        ISSUES_CSV,
        ("path", "kind", "related", "detail"),
        ((i.path, i.kind, i.related, i.detail) for i in checked.issues),
    )
    record: dict[str, Any] = {
        "folder": str(checked.samples.root),
        "pictures": len(checked.samples),
        "classes": checked.samples.count_by_label(),
        "facts": dict(checked.facts),
        "counts": checked.counts,
        "serious": checked.serious,
        "seconds": checked.seconds,
        "issues": [asdict(issue) for issue in checked.issues],
    }
    folder.write_json(ISSUES_JSON, record)
    data = CheckData(
        title=checked.samples.root.resolve().name or "pictures",
        facts=checked.facts,
        issues=checked.issues,
        samples={sample.path: sample for sample in checked.samples},
        counts=checked.samples.count_by_label(),
        commands=commands,
    )
    folder.write_text(PAGE, render_check(data))
