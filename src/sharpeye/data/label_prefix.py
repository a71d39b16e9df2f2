"""Scan images whose names begin with their class: `rose_1.jpg`, in any folder or none.

photos/rose_1.jpg                    the class is what stands before the first _
photos/{train,val,test}/rose_1.jpg   splits as given, as in `image_folder.py`
"""

import re
from collections import Counter
from pathlib import Path

from sharpeye.core.types import Rejected, Sample, SampleSet
from sharpeye.data.file_walk import is_image, printable, walk_files
from sharpeye.data.image_folder import (
    given_splits,
    make_sample_set,
    require_classes,
    require_folder,
    top_folders,
)

# Control characters and line breaks: a table of labels has one a line.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_MAX_LABEL_CHARACTERS = 255


def prefix_of(name: str) -> str:
    """The class that a file's name begins with; empty if there is none."""
    prefix, separator, _ = name.rpartition("/")[2].partition("_")
    return printable(prefix) if separator else ""


def label_problem(label: str) -> str:
    """Why a text that came with an image can be no class name; empty if it can."""
    if _CONTROL.search(label):
        return f"the class {label[:40]!r} has a control character in its name"
    if len(label) > _MAX_LABEL_CHARACTERS:
        allowed = _MAX_LABEL_CHARACTERS
        return f"the class's name has {len(label):,} characters; {allowed} are allowed"
    return ""


def scan_prefixes(root: Path, *, follow_links: bool = False, min_classes: int = 2) -> SampleSet:
    """List the images of a folder by the class in their names; see `scan_folder`."""
    require_folder(root)
    files, rejected = walk_files(root, follow_links=follow_links)
    splits = given_splits(top_folders(files))
    samples: list[Sample] = []
    ignored: Counter[str] = Counter()
    for relative, path in files:
        name, label = printable(relative), prefix_of(relative)
        split = splits.get(relative.split("/", 1)[0])
        problem = label_problem(label)
        if not is_image(path):
            ignored[path.suffix.casefold()] += 1
        elif splits and split is None:
            rejected.append(Rejected(name, "lies in no part's folder"))
        elif not label:
            reason = "its name has no class before a _, as rose_1.jpg has"
            rejected.append(Rejected(name, reason))
        elif problem:
            rejected.append(Rejected(name, problem))
        else:
            samples.append(Sample(name, path, label, split))
    dataset = make_sample_set(root, samples, rejected, ignored=ignored, given_splits=bool(splits))
    advice = "a picture's name begins with its class, such as rose_1.jpg"
    require_classes(dataset, min_classes, advice)
    return dataset
