"""Render `check.html`, the page of a check: one self-contained file in the style of a report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sharpeye.core.types import Sample, Split
from sharpeye.data.issues import Issue, count_by_kind
from sharpeye.report.page_images import page_image
from sharpeye.report.templating import render
from sharpeye.report.wording import plural

# The page shows this many issues of each kind with images, and lists so many without.
_MAX_SHOWN = 60
_MAX_LISTED = 200

# Title and meaning of each kind of issue.
_KINDS = {
    "unreadable": ("Files that cannot be used", "They are left out of training and of tests."),
    "leak": (
        "The same image in two splits",
        "A model that has seen a test image in training gets a score that is too good.",
    ),
    "label_conflict": (
        "The same image in two classes",
        "One of the labels is wrong, or the two classes are one.",
    ),
    "mislabelled": (
        "Probably in the wrong class",
        "A head that did not see the image takes it for another class, the most certain first. "
        "Go through them by eye: some are right and just unusual.",
    ),
    "small_class": ("Classes with few images", "Their scores say little."),
    "exact_duplicate": (
        "The same file twice in a class",
        "It counts twice in training; it stays in one split.",
    ),
    "near_duplicate": (
        "Nearly the same image in a class",
        "Resized or recompressed copies, or a burst: they stay in one split.",
    ),
    "blank": ("Blank images", "There is nothing in them."),
    "dark": ("Very dark images", ""),
    "bright": ("Very bright images", ""),
    "blurred": ("Blurred images", "Nothing in them is sharp."),
    "odd_aspect": ("Images of a strange shape", "Padding takes much of what a model sees."),
}


@dataclass(frozen=True)
class CheckData:
    """Everything that the page shows; `counts` and `splits` are numbers of images by class."""

    title: str  # such as the name of the folder
    summary: Sequence[tuple[str, str]]  # (name, value) pairs for the head
    issues: Sequence[Issue]  # the most serious kinds first
    samples: Mapping[str, Sample]  # the readable images, by path
    counts: Mapping[str, int] = field(default_factory=dict)
    splits: Mapping[str, Mapping[Split, int]] = field(default_factory=dict)  # if the folder has any
    commands: Sequence[tuple[str, str]] = ()  # (purpose, command) pairs: what to do next


def render_check(data: CheckData) -> str:
    """The page as self-contained HTML; MissingExtra without Jinja2."""
    max_count = max(data.counts.values(), default=1)
    return render(
        "check.html.j2",
        data=data,
        headline=_headline(data),
        sections=[_section(data, kind) for kind in count_by_kind(data.issues)],
        classes=[
            (label, count, count / max_count, data.splits.get(label, {}))
            for label, count in data.counts.items()
        ],
        splits=list(next(iter(data.splits.values()), {})),
    )


def _headline(data: CheckData) -> str:
    images = plural(len(data.samples), "image")
    if not data.issues:
        return f"Nothing was found to be wrong with {images}."
    serious = sum(issue.serious for issue in data.issues)
    findings = f"{plural(len(data.issues), 'finding')} in {images}"
    if not serious:
        return f"{findings}, none of them serious."
    verb = "makes" if serious == 1 else "make"
    return f"{findings}; {serious:,} of them {verb} scores wrong or cannot be used in training."


def _section(data: CheckData, kind: str) -> dict[str, Any]:
    """The issues of one kind: the first ones with one or two images, more without images."""
    issues = [issue for issue in data.issues if issue.kind == kind]
    shown = [issue for issue in issues if issue.path in data.samples][:_MAX_SHOWN]
    listed = [issue for issue in issues if issue.path not in data.samples][:_MAX_LISTED]
    images = [
        [page_image(data.samples[path]) for path in (i.path, i.related) if path in data.samples]
        for i in shown
    ]
    title, meaning = _KINDS[kind]
    return {
        "kind": kind,
        "title": title,
        "meaning": meaning,
        "count": len(issues),
        "shown": list(zip(shown, images, strict=True)),
        "listed": listed,
        "more": len(issues) - len(shown) - len(listed),
    }
