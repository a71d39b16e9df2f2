"""Scan a folder of images whose paths give their classes, by folder or by file name.

    photos/rose/1.jpg                    `scan_folder`: the first folder below the root is the
    photos/rose/garden/2.jpg             class; deeper folders belong to it
    photos/rose_1.jpg                    `scan_prefixes`: what stands before the first _
    photos/train/...                     splits as given, if every top folder is named like one:
    photos/{val,valid,validation}/...    train, val | valid | validation, test
    photos/test/...

Content decides the type of a file: the scan opens only files without an image suffix, to find
images among them, and leaves the rest to the decoder.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from sharpeye.core.types import Rejected, Sample, SampleSet, Split
from sharpeye.data.array_files import scan_array_files
from sharpeye.data.file_walk import is_image, natural_key, printable, walk_files
from sharpeye.errors import DataError

_SPLIT_FOLDERS: dict[str, Split] = {
    "train": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}
# Control characters and line breaks: a table of labels has one per line.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_MAX_LABEL_CHARACTERS = 255


def scan_folder(root: Path, *, follow_links: bool = False, min_classes: int = 2) -> SampleSet:
    """List the images of a folder by class: files, or rows of array files; without digests.

    Args:
        min_classes: 2 to train; 1 to evaluate a model.

    Raises:
        DataError: no such folder, no image in it, too few classes, or a damaged array file.
    """
    require_folder(root)
    samples = scan_array_files(root, follow_links=follow_links)
    if samples is None:
        samples = _scan_class_folders(root, follow_links)
    if len(samples.class_names) >= min_classes:
        return samples
    if samples.class_names:
        raise DataError(
            f"only one class in {root}: {samples.class_names[0]}, with {len(samples)} files; "
            "a classifier needs two or more, one sub-folder each"
        )
    if samples.ignored.get(".xml"):
        raise DataError(
            f"no images in a class's folder in {root}, but {samples.ignored['.xml']} XML files; "
            "if they are Pascal VOC annotations: --task localize learns their classes and boxes, "
            "--label-from xml the classes alone"
        )
    raise DataError(
        f"no images in {root}{_left_out_note(samples)}; "
        "put them into one sub-folder a class, such as photos/rose/1.jpg"
    )


def _scan_class_folders(root: Path, follow_links: bool) -> SampleSet:
    files, rejected = walk_files(root, follow_links=follow_links)
    splits = given_splits(top_folders(files))
    class_depth = 1 if splits else 0
    samples: list[Sample] = []
    ignored: Counter[str] = Counter()
    for relative, path in files:
        suffix = path.suffix.casefold()
        if suffix and not is_image(path):
            ignored[suffix] += 1
            continue
        name, folders = printable(relative), relative.split("/")[:-1]
        if len(folders) <= class_depth:
            parent = "the split's folder" if splits else "the folder"
            rejected.append(Rejected(name, f"lies in {parent}, not in a class's"))
            continue
        label = printable(folders[class_depth])
        if any(ord(c) < 32 for c in label):
            raise DataError(
                f"the class folder {label!r} has a control character in its name; rename it"
            )
        samples.append(Sample(name, path, label, splits.get(folders[0])))
    return make_sample_set(root, samples, rejected, ignored=ignored, given_splits=bool(splits))


def scan_prefixes(root: Path, *, follow_links: bool = False, min_classes: int = 2) -> SampleSet:
    """List the images of a folder by the class in their file names; see `scan_folder`."""
    require_folder(root)
    files, rejected = walk_files(root, follow_links=follow_links)
    splits = given_splits(top_folders(files))
    samples: list[Sample] = []
    ignored: Counter[str] = Counter()
    for relative, path in files:
        name, label = printable(relative), prefix_of(relative)
        split = splits.get(relative.split("/", 1)[0])
        if not is_image(path):
            ignored[path.suffix.casefold()] += 1
        elif splits and split is None:
            rejected.append(Rejected(name, "lies in no split's folder"))
        elif not label:
            rejected.append(Rejected(name, "its name has no class before a _, as rose_1.jpg has"))
        elif problem := label_problem(label):
            rejected.append(Rejected(name, problem))
        else:
            samples.append(Sample(name, path, label, split))
    dataset = make_sample_set(root, samples, rejected, ignored=ignored, given_splits=bool(splits))
    advice = "an image's name begins with its class, such as rose_1.jpg"
    require_classes(dataset, min_classes, advice)
    return dataset


def require_folder(root: Path) -> None:
    """Raise DataError unless `root` is a folder."""
    if not root.is_dir():
        what = f"{root} is a file" if root.exists() else f"no such folder: {root}"
        raise DataError(f"{what}; give a folder that holds one sub-folder of images a class")


def top_folders(files: Iterable[tuple[str, Path]]) -> set[str]:
    """The names of the folders directly below the root, from the files of `walk_files`."""
    return {relative.split("/", 1)[0] for relative, _ in files if "/" in relative}


def given_splits(top: set[str]) -> dict[str, Split]:
    """The split of each top folder, if all of them are named like splits; else empty."""
    splits = {
        name: _SPLIT_FOLDERS[name.casefold()] for name in top if name.casefold() in _SPLIT_FOLDERS
    }
    return splits if len(splits) == len(top) > 1 and "train" in splits.values() else {}


def prefix_of(name: str) -> str:
    """The class that a file's name begins with; empty if there is none."""
    prefix, separator, _ = name.rpartition("/")[2].partition("_")
    return printable(prefix) if separator else ""


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
    """A sample set with the classes of its samples, in natural order."""
    samples = tuple(samples)
    labels = tuple(sorted({s.label for s in samples}, key=natural_key))
    return SampleSet(root, samples, labels, tuple(rejected), dict(ignored), given_splits)


def require_classes(samples: SampleSet, min_classes: int, advice: str) -> None:
    """Raise DataError, which ends with `advice`, unless there are so many classes."""
    if len(samples.class_names) >= min_classes:
        return
    problem = f"no usable image in {samples.root}"
    if samples.class_names:
        problem = f"only one class in {samples.root}: {samples.class_names[0]}"
    raise DataError(f"{problem}{_left_out_note(samples)}; {advice}")


def _left_out_note(samples: SampleSet) -> str:
    if not samples.rejected:
        return ""
    first = samples.rejected[0]
    return f" ({len(samples.rejected)} files left out, such as {first.path}: {first.reason})"
