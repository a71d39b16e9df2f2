"""Find the images and the Pascal VOC annotations of a folder, in any common layout.

photos/1.jpg, photos/1.xml              LabelImg's: side by side, in one folder or many
photos/images/1.jpg,                    in sibling folders, see `voc_pairs.py`
photos/Annotations/1.xml
photos/{train,val,test}/1.jpg, 1.xml    splits as given, see `split_folders.py`
photos/Annotations/1.xml                Pascal VOC's own; the lists, one name a line, give
photos/JPEGImages/1.jpg                 the splits if there is one for training and another
photos/ImageSets/Main/{train,val,trainval,test}.txt
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sharpeye.core.types import Rejected, Split
from sharpeye.data.file_walk import ImageListing, printable, stem_of, walk_images
from sharpeye.data.image_folder import outside_splits
from sharpeye.data.split_folders import find_split_folders
from sharpeye.data.voc_pairs import FolderRoles, pair_by_name
from sharpeye.errors import ImageReadError
from sharpeye.images.decode import read_file

_DEVKIT = re.compile(r"((?:[^/]+/){0,2})(Annotations|JPEGImages)/")
_LISTS = ("train", "val", "trainval", "test")

Files = Sequence[tuple[str, Path]]


@dataclass(frozen=True, slots=True)
class VocImage:
    """One image.

    Attributes:
        relative: its path below the root, with forward slashes.
        key: the key of its annotation in `VocListing.annotations`.
        inner: its path below the folder of its split or of the images, else below the root.
        problem: why it has no annotation, if more is known than that.
    """

    relative: str
    path: Path
    key: str
    inner: str
    split: Split | None
    problem: str = ""


@dataclass
class VocListing:
    """The images and annotations of a folder, not matched yet.

    Attributes:
        annotations: (path below the root, path) by key.
        ignored: number of other files by suffix.
    """

    rejected: list[Rejected]
    images: list[VocImage] = field(default_factory=list)
    annotations: dict[str, tuple[str, Path]] = field(default_factory=dict)
    ignored: Counter[str] = field(default_factory=Counter)
    given_splits: bool = False

    def reject(self, relative: str, reason: str) -> None:
        self.rejected.append(Rejected(printable(relative), reason))

    def add_annotation(self, relative: str, path: Path, key: str) -> None:
        if key in self.annotations:
            self.reject(relative, "a second annotation of the same name")
        else:
            self.annotations[key] = (relative, path)


def find_annotated_images(
    root: Path, *, follow_links: bool = False, splits: Sequence[str] = ()
) -> VocListing:
    """List images and annotations; only the lists of splits are read.

    `splits` is `data.splits`; errors are those of `find_split_folders`.
    """
    files = walk_images(root, follow_links=follow_links)
    listing = VocListing(files.rejected, ignored=Counter(files.ignored))
    both = [*files.files, *files.others]
    folders = {match.groups() for relative, _ in both if (match := _DEVKIT.match(relative))}
    # The folder, "" or "VOC2012/", in which both `Annotations/` and `JPEGImages/` lie.
    bases = [base for base, count in Counter(base for base, _ in folders).items() if count == 2]
    if len(bases) == 1:
        _list_devkit(files, bases[0], listing)
    else:
        _list_by_name(files, listing, splits)
    return listing


def _list_by_name(files: ImageListing, listing: VocListing, chosen: Sequence[str]) -> None:
    for relative, path in files.others:
        if path.suffix.casefold() == ".xml":
            listing.ignored[path.suffix.casefold()] -= 1
            listing.add_annotation(relative, path, stem_of(relative))
    listing.ignored += Counter()  # without zeros
    annotations = [relative for relative, _ in listing.annotations.values()]
    roles = FolderRoles(annotations)
    plain = {relative: roles.remove(relative) for relative, _ in files.files}
    folders = find_split_folders(list(plain.values()), chosen, in_class_folders=False)
    listing.given_splits = bool(folders)
    pairs, problems = pair_by_name(list(plain), annotations)
    for relative, path in files.files:
        located = folders.locate(plain[relative])
        if located is None:
            listing.reject(relative, outside_splits(folders))
            annotation = pairs.get(relative, "")
            if listing.annotations.pop(stem_of(annotation), None):
                listing.reject(annotation, outside_splits(folders))
            continue
        key = stem_of(pairs.get(relative, relative))
        split, inner = located
        problem = problems.get(relative, "")
        listing.images.append(VocImage(relative, path, key, inner, split, problem))


def _list_devkit(files: ImageListing, base: str, listing: VocListing) -> None:
    splits = _listed_splits(dict(_read_lists(files.others, base, listing)))
    listing.given_splits = bool(splits)
    for relative, path in files.others:
        folder, _, inner = relative.removeprefix(base).partition("/")
        if folder == "Annotations" and path.suffix.casefold() == ".xml":
            listing.ignored[path.suffix.casefold()] -= 1
            listing.add_annotation(relative, path, stem_of(inner))
    for relative, path in files.files:
        folder, _, inner = relative.removeprefix(base).partition("/")
        key = stem_of(inner)
        if folder != "JPEGImages":
            listing.ignored[path.suffix.casefold()] += 1
        elif splits and key not in splits:
            listing.reject(relative, "stands in no list of ImageSets/Main")
        else:
            listing.images.append(VocImage(relative, path, key, inner, splits.get(key)))
    listing.ignored += Counter()  # without zeros


def _read_lists(files: Files, base: str, listing: VocListing) -> Iterator[tuple[str, set[str]]]:
    lists = {f"{base}ImageSets/Main/{name}.txt": name for name in _LISTS}
    for relative, path in files:
        if relative not in lists:
            continue
        try:
            data = read_file(path, printable(relative))
        except ImageReadError as error:
            listing.reject(relative, error.reason)
            continue
        lines = data.decode("utf-8", "surrogateescape").removeprefix("\ufeff").split("\n")
        yield lists[relative], {line.strip() for line in lines if line.strip()}


def _listed_splits(lists: dict[str, set[str]]) -> dict[str, Split]:
    """The split of each listed name. A name in two lists is held out."""
    validation, test = lists.get("val", set()), lists.get("test", set())
    train = lists.get("train", set()) or lists.get("trainval", set()) - validation
    if not train or not (validation or test):
        return {}
    splits: dict[str, Split] = dict.fromkeys(train, "train")
    return splits | dict.fromkeys(validation, "validation") | dict.fromkeys(test, "test")
