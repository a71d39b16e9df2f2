"""The page of a check: `check.html`, one self-contained file in the style of a run's report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sharpeye.core.types import Sample, Split
from sharpeye.data.issues import Issue, count_by_kind
from sharpeye.data.sample_image import read_image
from sharpeye.errors import ImageReadError
from sharpeye.report.page_images import SHOWN_AT, data_address, is_tiny, shrink
from sharpeye.report.templating import environment
from sharpeye.report.wording import plural

# What the page shows of each kind with images, and lists of those without; the table has all.
_MAX_SHOWN = 60
_MAX_LISTED = 200

_MEANING = {
    "unreadable": ("Files that cannot be used", "They are left out of training and of tests."),
    "leak": (
        "The same picture in two parts",
        "A model that has seen a test picture in training gets a score that is too good.",
    ),
    "label_conflict": (
        "The same picture in two classes",
        "One of the labels is wrong, or the two classes are one.",
    ),
    "mislabelled": (
        "Probably in the wrong class",
        "A head that did not see the picture takes it for another class, the most certain first. "
        "Go through them by eye: some are right and just unusual.",
    ),
    "small_class": ("Classes with few pictures", "Their scores say little."),
    "exact_duplicate": (
        "The same file twice in a class",
        "It counts twice in training; it stays in one part of the split.",
    ),
    "near_duplicate": (
        "Nearly the same picture in a class",
        "Resized or recompressed copies, or a burst: they stay in one part of the split.",
    ),
    "blank": ("Blank pictures", "There is nothing in them."),
    "dark": ("Very dark pictures", ""),
    "bright": ("Very bright pictures", ""),
    "blurred": ("Blurred pictures", "Nothing in them is sharp."),
    "odd_aspect": ("Pictures of a strange shape", "Padding takes much of what a model sees."),
}


@dataclass(frozen=True)
class CheckData:
    """Everything that the page shows.

    Attributes:
        title: of the page, such as the name of the folder.
        facts: (name, value) pairs for the head.
        issues: the gravest kinds first.
        samples: the images that can be read, by path.
        counts: images by class.
        parts: images by class and given part; empty where the folder gives none.
        commands: (what it does, command) pairs: what to do next.
    """

    title: str
    facts: Sequence[tuple[str, str]]
    issues: Sequence[Issue]
    samples: Mapping[str, Sample]
    counts: Mapping[str, int] = field(default_factory=dict)
    parts: Mapping[str, Mapping[Split, int]] = field(default_factory=dict)
    commands: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, slots=True)
class Shown:
    """An image on the page: its path, class, part, and its thumbnail or None."""

    path: str
    label: str
    part: str
    image: str | None
    tiny: bool


@dataclass(frozen=True, slots=True)
class Finding:
    """An issue with its images: one, or two side by side."""

    issue: Issue
    images: tuple[Shown, ...]


@dataclass(frozen=True, slots=True)
class Section:
    """The issues of one kind: those shown with images, those listed, and how many are left."""

    kind: str
    title: str
    meaning: str
    count: int
    shown: tuple[Finding, ...]
    listed: tuple[Issue, ...]
    rest: int


def render_check(data: CheckData) -> str:
    """The page as HTML that loads nothing from anywhere.

    Raises:
        MissingExtra: Jinja2 is not installed.
    """
    template = environment().get_template("check.html.j2")
    most = max(data.counts.values(), default=1)
    return template.render(
        data=data,
        verdict=verdict(data),
        sections=[_section(data, kind) for kind in count_by_kind(data.issues)],
        classes=[
            (label, count, count / most, data.parts.get(label, {}))
            for label, count in data.counts.items()
        ],
        parts=list(next(iter(data.parts.values()), {})),
    )


def verdict(data: CheckData) -> str:
    """The sentence that a reader takes away."""
    if not data.issues:
        return f"Nothing was found to be wrong with {plural(len(data.samples), 'picture')}."
    serious = sum(issue.serious for issue in data.issues)
    found = f"{plural(len(data.issues), 'finding')} in {plural(len(data.samples), 'picture')}"
    if not serious:
        return f"{found}, none of them serious."
    verb = "makes" if serious == 1 else "make"
    return f"{found}; {serious:,} of them {verb} scores wrong or cannot be used in training."


def _section(data: CheckData, kind: str) -> Section:
    own = [issue for issue in data.issues if issue.kind == kind]
    pictured = [issue for issue in own if issue.path in data.samples]
    listed = [issue for issue in own if issue.path not in data.samples]
    title, meaning = _MEANING[kind]
    shown = pictured[:_MAX_SHOWN]
    rest = len(own) - len(shown) - len(listed[:_MAX_LISTED])
    return Section(
        kind,
        title,
        meaning,
        len(own),
        tuple(_finding(data, issue) for issue in shown),
        tuple(listed[:_MAX_LISTED]),
        rest,
    )


def _finding(data: CheckData, issue: Issue) -> Finding:
    paths = [path for path in (issue.path, issue.related) if path in data.samples]
    return Finding(issue, tuple(_shown(data.samples[path]) for path in paths))


def _shown(sample: Sample) -> Shown:
    image, tiny = None, False
    try:
        decoded = read_image(sample, SHOWN_AT)
        tiny = is_tiny(decoded)
        shrink(decoded)
        image = data_address(decoded, tiny=tiny)
    except ImageReadError:
        pass  # it was there a moment ago; the page says so
    return Shown(sample.path, sample.label, sample.split or "", image, tiny)
