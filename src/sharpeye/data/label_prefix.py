"""Images whose names begin with their class: `rose_1.jpg`, in any folder or none.

photos/rose_1.jpg                    the class is what stands before the first _
photos/{train,val,test}/rose_1.jpg   parts as given, as in `image_folder.py`
"""

import re
from collections import Counter
from pathlib import Path

from sharpeye.core.types import Rejected, Sample, SampleSet
from sharpeye.data.image_folder import (
    IMAGE_SUFFIXES,
    given_splits,
    looks_like_image,
    natural_key,
    printable,
    require_folder,
    walk_files,
)
from sharpeye.errors import DataError

# Control characters and line breaks: a table of labels has one a line.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_MAX_LABEL = 255


def prefix_of(name: str) -> str:
    """The class that a file's name begins with; empty if there is none."""
    prefix, separator, _ = name.rpartition("/")[2].partition("_")
    return printable(prefix) if separator else ""


def label_problem(label: str) -> str:
    """Why a text that came with an image can be no class name; empty if it can."""
    if _CONTROL.search(label):
        return f"the class {label[:40]!r} has a control character in its name"
    if len(label) > _MAX_LABEL:
        return f"the class's name has {len(label):,} characters; {_MAX_LABEL} are allowed"
    return ""


def is_image(path: Path) -> bool:
    """Whether a file promises by its suffix to be an image, or is one."""
    return path.suffix.casefold() in IMAGE_SUFFIXES or looks_like_image(path)


def scan_prefixes(root: Path, *, follow_links: bool = False, least_classes: int = 2) -> SampleSet:
    """List the images of a folder; their names give their classes.

    Args:
        least_classes: 2 to train; 1 where a model's answers for one class are of use.

    Returns:
        a SampleSet whose samples have no digest yet.

    Raises:
        DataError: no such folder, or too few classes in it.
    """
    require_folder(root)
    files, rejected = walk_files(root, follow_links=follow_links)
    given = given_splits({relative.split("/", 1)[0] for relative, _ in files if "/" in relative})
    samples: list[Sample] = []
    ignored: Counter[str] = Counter()
    for relative, path in files:
        name, label = printable(relative), prefix_of(relative)
        part = given.get(relative.split("/", 1)[0])
        if not is_image(path):
            ignored[path.suffix.casefold()] += 1
        elif given and part is None:
            rejected.append(Rejected(name, "lies in no part's folder"))
        elif not label or label_problem(label):
            reason = label_problem(label) or "its name has no class before a _, as rose_1.jpg has"
            rejected.append(Rejected(name, reason))
        else:
            samples.append(Sample(path=name, file=path, label=label, split=part))
    labels = tuple(sorted({sample.label for sample in samples}, key=natural_key))
    if len(labels) < least_classes:
        raise too_few(
            root, labels, rejected, "a picture's name begins with its class, such as rose_1.jpg"
        )
    return SampleSet(root, tuple(samples), labels, tuple(rejected), dict(ignored), bool(given))


def too_few(
    root: Path, labels: tuple[str, ...], rejected: list[Rejected], wanted: str
) -> DataError:
    """What to say of a folder with fewer than two classes."""
    found = f"only one class in {root}: {labels[0]}" if labels else f"no usable picture in {root}"
    aside = ""
    if rejected:
        first = rejected[0]
        aside = f" ({len(rejected)} files left out, such as {first.path}: {first.reason})"
    return DataError(f"{found}{aside}; {wanted}")
