"""Scan a folder of images: one sub-folder a class, or `train/` and `test/` folders of such.

    photos/rose/1.jpg                    the class is the first folder below the root;
    photos/rose/garden/2.jpg             deeper folders belong to it
    photos/train/rose/1.jpg              splits as given, if every top folder is named like one:
    photos/{val,valid,validation}/...    train, val | valid | validation, test
    photos/test/...

A folder of array files (CIFAR, MNIST) is read by `array_files.py` instead.

Content decides what a file is: the scan opens only files whose suffix is no image's, to find
images among them, and leaves the rest to the decoder.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
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


def scan_folder(root: Path, *, follow_links: bool = False, min_classes: int = 2) -> SampleSet:
    """List the images of a folder by class: files, or rows of array files.

    Args:
        min_classes: 2 to train; 1 where a model's predictions for one class are of use.

    Returns:
        a SampleSet whose samples have no digest yet.

    Raises:
        DataError: no such folder, no image in it, too few classes, or a damaged array file.
    """
    require_folder(root)
    samples = scan_array_files(root, follow_links=follow_links)
    if samples is None:
        samples = _scan_image_files(root, follow_links)
    if len(samples.class_names) < min_classes:
        raise _too_few_classes(root, samples)
    return samples


def require_folder(root: Path) -> None:
    """Raise DataError unless `root` is a folder."""
    if not root.is_dir():
        what = f"{root} is a file" if root.exists() else f"no such folder: {root}"
        raise DataError(f"{what}; give a folder that holds one sub-folder of pictures a class")


def top_folders(files: Iterable[tuple[str, Path]]) -> set[str]:
    """The names of the folders right below the root, of files from `walk_files`."""
    return {relative.split("/", 1)[0] for relative, _ in files if "/" in relative}


def given_splits(top: set[str]) -> dict[str, Split]:
    """The split of each top folder, if all of them are named like splits; else nothing."""
    splits = {
        name: _SPLIT_FOLDERS[name.casefold()] for name in top if name.casefold() in _SPLIT_FOLDERS
    }
    return splits if len(splits) == len(top) > 1 and "train" in splits.values() else {}


def _scan_image_files(root: Path, follow_links: bool) -> SampleSet:
    files, rejected = walk_files(root, follow_links=follow_links)
    splits = given_splits(top_folders(files))
    ignored: Counter[str] = Counter()
    samples = list(_image_samples(files, splits, rejected, ignored=ignored))
    return make_sample_set(root, samples, rejected, ignored=ignored, given_splits=bool(splits))


def make_sample_set(
    root: Path,
    samples: Sequence[Sample],
    rejected: Iterable[Rejected],
    *,
    ignored: Mapping[str, int],
    given_splits: bool,
) -> SampleSet:
    """A set whose classes are those of its samples, in natural order."""
    return SampleSet(
        root=root,
        samples=tuple(samples),
        class_names=tuple(sorted({s.label for s in samples}, key=natural_key)),
        rejected=tuple(rejected),
        ignored=dict(ignored),
        given_splits=given_splits,
    )


def _image_samples(
    files: list[tuple[str, Path]],
    splits: dict[str, Split],
    rejected: list[Rejected],
    *,
    ignored: Counter[str],
) -> Iterator[Sample]:
    class_depth = 1 if splits else 0
    for relative, path in files:
        suffix = path.suffix.casefold()
        if suffix and not is_image(path):
            ignored[suffix] += 1
            continue
        pieces = relative.split("/")
        if len(pieces) < class_depth + 2:
            folder = "the part's folder" if splits else "the folder"
            rejected.append(Rejected(printable(relative), f"lies in {folder}, not in a class's"))
            continue
        label = printable(pieces[class_depth])
        if any(ord(c) < 32 for c in label):
            raise DataError(
                f"the class folder {label!r} has a control character in its name; rename it"
            )
        yield Sample(printable(relative), path, label, splits.get(pieces[0]))


def _too_few_classes(root: Path, samples: SampleSet) -> DataError:
    if samples.class_names:
        return DataError(
            f"only one class in {root}: {samples.class_names[0]}, with {len(samples)} files; "
            "a classifier needs two or more, one sub-folder each"
        )
    if samples.ignored.get(".xml"):
        return DataError(
            f"no pictures in a class's folder in {root}, but {samples.ignored['.xml']} XML files; "
            "if they are Pascal VOC annotations: --task localize learns their classes and boxes, "
            "--label-from xml the classes alone"
        )
    return DataError(
        f"no pictures in {root}{_left_out_note(samples)}; "
        "put them into one sub-folder a class, such as photos/rose/1.jpg"
    )


def require_classes(samples: SampleSet, min_classes: int, advice: str) -> None:
    """Raise DataError, which ends with `advice`, unless there are so many classes."""
    if len(samples.class_names) >= min_classes:
        return
    problem = f"no usable picture in {samples.root}"
    if samples.class_names:
        problem = f"only one class in {samples.root}: {samples.class_names[0]}"
    raise DataError(f"{problem}{_left_out_note(samples)}; {advice}")


def _left_out_note(samples: SampleSet) -> str:
    if not samples.rejected:
        return ""
    first = samples.rejected[0]
    return f" ({len(samples.rejected)} files left out, such as {first.path}: {first.reason})"
