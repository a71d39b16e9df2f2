"""How images and their Pascal VOC annotations lie in a folder.

photos/1.jpg, photos/1.xml              LabelImg's: side by side, in one folder or many
photos/{train,val,test}/1.jpg, 1.xml    parts as given, as in `image_folder.py`
photos/Annotations/1.xml                Pascal VOC's own; the lists, one name a line, give
photos/JPEGImages/1.jpg                 the parts if there is one for training and another
photos/ImageSets/Main/{train,val,trainval,test}.txt
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sharpeye.core.types import Rejected, Split
from sharpeye.data.image_folder import given_splits, printable, walk_files
from sharpeye.data.label_prefix import is_image
from sharpeye.errors import ImageReadError
from sharpeye.images.decode import read_file

_DEVKIT = re.compile(r"((?:[^/]+/){0,2})(Annotations|JPEGImages)/")
_LISTS = ("train", "val", "trainval", "test")

Files = Sequence[tuple[str, Path]]


@dataclass(frozen=True, slots=True)
class VocImage:
    """One image; `key` is also its annotation's, `inner` its path below root or part."""

    relative: str
    path: Path
    key: str
    inner: str
    part: Split | None


@dataclass
class VocListing:
    """What lies in the folder, before anything is matched."""

    rejected: list[Rejected]
    images: list[VocImage] = field(default_factory=list)
    annotations: dict[str, tuple[str, Path]] = field(default_factory=dict)
    ignored: Counter[str] = field(default_factory=Counter)
    given: bool = False

    def reject(self, relative: str, reason: str) -> None:
        self.rejected.append(Rejected(printable(relative), reason))

    def annotation(self, relative: str, path: Path, key: str) -> None:
        if key in self.annotations:
            self.reject(relative, "a second annotation of the same name")
        else:
            self.annotations[key] = (relative, path)


def find_annotated_images(root: Path, *, follow_links: bool = False) -> VocListing:
    """List images and annotations; nothing but the lists of parts is opened to its end."""
    files, rejected = walk_files(root, follow_links=follow_links)
    found = VocListing(rejected)
    base = _devkit_base(files)
    if base is None:
        _side_by_side(files, found)
    else:
        _devkit(files, base, found)
    return found


def _stem(relative: str) -> str:
    folder, slash, name = relative.rpartition("/")
    return folder + slash + (name.rpartition(".")[0] or name)


def _devkit_base(files: Files) -> str | None:
    """Where `Annotations/` and `JPEGImages/` lie: "" or "VOC2012/"; None if it is no such set."""
    seen: dict[str, set[str]] = defaultdict(set)
    for relative, _ in files:
        match = _DEVKIT.match(relative)
        if match:
            seen[match[1]].add(match[2])
    bases = [base for base, names in seen.items() if len(names) == 2]
    return bases[0] if len(bases) == 1 else None


def _side_by_side(files: Files, found: VocListing) -> None:
    given = given_splits({relative.split("/", 1)[0] for relative, _ in files if "/" in relative})
    found.given = bool(given)
    for relative, path in files:
        top, _, rest = relative.partition("/")
        xml = path.suffix.casefold() == ".xml"
        if not xml and not is_image(path):
            found.ignored[path.suffix.casefold()] += 1
        elif given and (top not in given or not rest):
            found.reject(relative, "lies in no part's folder")
        elif xml:
            found.annotation(relative, path, _stem(relative))
        else:
            inner = rest if given else relative
            found.images.append(VocImage(relative, path, _stem(relative), inner, given.get(top)))


def _devkit(files: Files, base: str, found: VocListing) -> None:
    listed = dict(_lists(files, base, found))
    parts = _listed_parts(listed)
    found.given = bool(parts)
    for relative, path in files:
        folder, _, inner = relative.removeprefix(base).partition("/")
        key = _stem(inner)
        if folder == "Annotations" and path.suffix.casefold() == ".xml":
            found.annotation(relative, path, key)
        elif folder != "JPEGImages" or not is_image(path):
            found.ignored[path.suffix.casefold()] += 1
        elif parts and key not in parts:
            found.reject(relative, "stands in no list of ImageSets/Main")
        else:
            found.images.append(VocImage(relative, path, key, inner, parts.get(key)))


def _lists(files: Files, base: str, found: VocListing) -> Iterator[tuple[str, set[str]]]:
    """Each list that can be read: its name and the names in it."""
    for relative, path in files:
        for name in _LISTS:
            if relative != f"{base}ImageSets/Main/{name}.txt":
                continue
            try:
                data = read_file(path, printable(relative))
            except ImageReadError as error:
                found.reject(relative, error.reason)
                continue
            lines = data.decode("utf-8", "surrogateescape").removeprefix("\ufeff").split("\n")
            yield name, {line.strip() for line in lines if line.strip()}


def _listed_parts(listed: dict[str, set[str]]) -> dict[str, Split]:
    """The part of each listed name. What stands in two lists is held out."""
    validation, test = listed.get("val", set()), listed.get("test", set())
    train = listed.get("train", set()) or listed.get("trainval", set()) - validation
    if not train or not (validation or test):
        return {}
    parts: dict[str, Split] = dict.fromkeys(train, "train")
    return parts | dict.fromkeys(validation, "validation") | dict.fromkeys(test, "test")
