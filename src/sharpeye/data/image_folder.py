"""Scan a folder of images whose paths give their classes, by folder or by file name.

    photos/rose/1.jpg                    `scan_folder`: the first folder below the root is the
    photos/rose/garden/2.jpg             class; deeper folders belong to it
    photos/rose_1.jpg                    `scan_prefixes`: see `file_prefixes.py`
    photos/{Training,Testing}/...        splits as given: see `split_folders.py`

Content decides the type of a file: the scan opens only files without an image suffix, to find
images among them, and leaves the rest to the decoder.
"""

import logging
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from sharpeye.core.formatting import name_list
from sharpeye.core.types import Rejected, Sample, SampleSet
from sharpeye.data.array_files import scan_array_files
from sharpeye.data.class_names import spelling_by_name
from sharpeye.data.file_prefixes import choose_prefix_rule
from sharpeye.data.file_walk import (
    ImageListing,
    is_run_directory,
    natural_key,
    printable,
    walk_images,
)
from sharpeye.data.layout_advice import require_classes
from sharpeye.data.split_folders import SplitFolders, find_split_folders
from sharpeye.errors import DataError

log = logging.getLogger(__name__)

# Control characters and line breaks: a table of labels has one per line.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_MAX_LABEL_CHARACTERS = 255


def scan_folder(
    root: Path, *, follow_links: bool = False, splits: Sequence[str] = (), min_classes: int = 2
) -> SampleSet:
    """List the images of a folder by class: files, or rows of array files; without digests.

    Args:
        splits: `data.splits`, see `split_folders.py`.
        min_classes: 2 to train; 1 to evaluate a model.

    Raises:
        ConfigError: `splits` has another form.
        DataError: no such folder, no image in it, too few classes, a damaged array file, or folders
            that look like splits without names that say so.
    """
    require_folder(root)
    samples = scan_array_files(root, follow_links=follow_links)
    if samples is None:
        listing = walk_images(root, follow_links=follow_links)
        samples = _scan_class_folders(root, listing, splits)
    advice = "put them into one sub-folder a class, such as photos/rose/1.jpg"
    require_classes(samples, min_classes, advice, from_folders=True)
    return samples


def _scan_class_folders(root: Path, listing: ImageListing, chosen: Sequence[str]) -> SampleSet:
    rejected = list(listing.rejected)
    folders = find_split_folders([relative for relative, _ in listing.files], chosen)
    samples: list[Sample] = []
    left_out = _left_out_classes(listing, folders)
    for relative, path in listing.files:
        name, located = printable(relative), folders.locate(relative)
        if located is None:
            rejected.append(Rejected(name, outside_splits(folders)))
            continue
        split, inner = located
        folder, slash, _ = inner.partition("/")
        label = printable(folder)
        if not slash:
            parent = "the split's folder" if folders else "the folder"
            rejected.append(Rejected(name, f"lies in {parent}, not in a class's"))
        elif problem := label_problem(label):
            problem += "; rename its folder"
            left_out[label] = f"{problem}, else it is left out"
            rejected.append(Rejected(name, problem))
        else:
            depth = folders.class_depth(relative)
            samples.append(Sample(name, path, label, split, class_depth=depth))
    _warn_of_folders_outside([relative for relative, _ in listing.files], folders)
    for label in left_out.keys() - {sample.label for sample in samples}:
        log.warning("%s", left_out[label])
    return make_sample_set(
        root, samples, rejected, ignored=listing.ignored, given_splits=bool(folders)
    )


def _left_out_classes(listing: ImageListing, folders: SplitFolders) -> dict[str, str]:
    """Class folders that cannot be read as a whole, and why: those are said, not only counted."""
    reasons: dict[str, str] = {}
    for item in listing.rejected_folders:
        located = folders.locate(f"{item.path}/_")
        if located is not None and located[1].count("/") == 1:
            label = located[1].partition("/")[0]
            reasons[label] = f"the class {label!r} is left out: {item.reason}"
    return reasons


def _warn_of_folders_outside(paths: Sequence[str], folders: SplitFolders) -> None:
    """Name the top folders that are left out: a split's name may not be recognized as one."""
    outside = Counter(path.split("/")[0] for path in paths if folders.locate(path) is None)
    inside = {path.split("/")[0] for path in paths if folders.locate(path) is not None}
    names = [name for name in sorted(outside, key=natural_key) if name not in inside]
    tops = [name for name in names if any(path.startswith(f"{name}/") for path in paths)]
    if tops:
        count = sum(outside[name] for name in tops)
        log.warning(
            "%s: %d images are left out, as no folder of the splits holds them (%s); --splits "
            "names others",
            name_list(list(map(printable, tops)), 4),
            count,
            folders.describe(),
        )


def outside_splits(folders: SplitFolders) -> str:
    """Why an image beside the folders of the splits is left out."""
    return f"lies in no split's folder ({folders.describe()})"


def scan_prefixes(
    root: Path, *, follow_links: bool = False, splits: Sequence[str] = (), min_classes: int = 2
) -> SampleSet:
    """List the images of a folder by the class in their file names; see `scan_folder`."""
    require_folder(root)
    listing = walk_images(root, follow_links=follow_links)
    names = [relative for relative, _ in listing.files]
    folders = find_split_folders(names, splits, in_class_folders=False)
    prefix_of = choose_prefix_rule(names)
    samples: list[Sample] = []
    rejected = list(listing.rejected)
    for relative, path in listing.files:
        name, label, located = printable(relative), prefix_of(relative), folders.locate(relative)
        if located is None:
            rejected.append(Rejected(name, outside_splits(folders)))
        elif not label:
            rejected.append(Rejected(name, "its name has no class before a _, as rose_1.jpg has"))
        elif problem := label_problem(label):
            rejected.append(Rejected(name, problem))
        else:
            samples.append(Sample(name, path, label, located[0]))
    dataset = make_sample_set(
        root, samples, rejected, ignored=listing.ignored, given_splits=bool(folders)
    )
    advice = "an image's name begins with its class, such as rose_1.jpg or rose.1.jpg"
    require_classes(dataset, min_classes, advice)
    return dataset


def require_folder(root: Path) -> None:
    """Raise DataError unless `root` is a folder, and not one that SharpEye wrote."""
    if not root.is_dir():
        what = f"{root} is a file" if root.exists() else f"no such folder: {root}"
        raise DataError(f"{what}; give a folder that holds one sub-folder of images a class")
    if is_run_directory(root):
        raise DataError(f"{root} is a run directory of SharpEye; give the folder of images")


def label_problem(label: str) -> str:
    """The reason why a text from outside cannot be a class name; empty if it can."""
    if _CONTROL.search(label):
        return f"the class {label[:40]!r} has a control character in its name"
    if len(label) > _MAX_LABEL_CHARACTERS:
        allowed = _MAX_LABEL_CHARACTERS
        return f"the class's name has {len(label):,} characters; {allowed} are allowed"
    return ""


def make_sample_set(
    root: Path,
    samples: Iterable[Sample],
    rejected: Iterable[Rejected],
    *,
    ignored: Mapping[str, int],
    given_splits: bool,
) -> SampleSet:
    """A sample set with the classes of its samples, in natural order.

    Classes whose names differ only in their Unicode form are one class.
    """
    samples = tuple(samples)
    spellings = spelling_by_name({sample.label for sample in samples})
    others = [name for name, spelling in spellings.items() if name != spelling]
    if others:
        log.info("folders with one name in two Unicode forms are one class: %s", name_list(others))
        samples = tuple(replace(sample, label=spellings[sample.label]) for sample in samples)
    labels = tuple(sorted(set(spellings.values()), key=natural_key))
    return SampleSet(root, samples, labels, tuple(rejected), dict(ignored), given_splits)
