"""Find which folders of a data set are its splits: as the user says, by their names, or not at all.

photos/{Training,Testing}/cat/1.jpg        the splits' folders at the top
photos/{seg_train/seg_train,...}/cat/1.jpg  in each, the same name or `images/` once more
photos/cat/{train,test}/1.jpg              the splits' folders in each class's folder
photos/train/cat/1.jpg  photos/unlabeled/7.jpg   one split beside images without classes

`data.splits` says it: `train=A`, `test=B`, several folders for a split in several entries, or
`none`: no folder is a split. Without it, names decide (`split_names.py`). If they say nothing, but
most folders hold sub-folders of the same names, as splits do, it is an error: a model must not
learn to tell one split from another.
"""

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sharpeye.core.formatting import name_list
from sharpeye.core.types import SPLITS, Split
from sharpeye.data.ambiguous_splits import (
    refuse_ambiguous_folders,
    refuse_differing_classes,
)
from sharpeye.data.file_walk import printable
from sharpeye.data.folder_tree import FolderTree
from sharpeye.data.split_names import (
    NO_SPLITS,
    has_labels,
    has_no_labels,
    is_filler,
    split_of_name,
)
from sharpeye.errors import ConfigError, DataError

_SHORT = {"val": "validation", "valid": "validation"}
_MAX_WRAPPERS = 3  # folders between a split's folder and those of its classes
_SHOWN = 4


@dataclass(frozen=True)
class SplitFolders:
    """The folders of a data set that are splits.

    Attributes:
        by_folder: the split of each folder, by its path below the root, or, if `class_first`, by
            its name in a class's folder.
        class_first: whether the splits' folders lie in the classes' folders.
    """

    by_folder: Mapping[str, Split] = field(default_factory=dict)
    class_first: bool = False

    def __bool__(self) -> bool:
        return bool(self.by_folder)

    def locate(self, relative: str) -> tuple[Split | None, str] | None:
        """The split of a file, and its path without the split's folder.

        None if there are splits, and it lies in none of their folders.
        """
        if not self.by_folder:
            return None, relative
        pieces = relative.split("/")
        if self.class_first:
            split = self.by_folder.get(pieces[1]) if len(pieces) > 2 else None
            return (split, "/".join([pieces[0], *pieces[2:]])) if split else None
        for depth in range(min(len(pieces) - 1, _MAX_WRAPPERS + 1), 0, -1):
            split = self.by_folder.get("/".join(pieces[:depth]))
            if split:
                return split, "/".join(pieces[depth:])
        return None

    def class_depth(self, relative: str) -> int:
        """The index of the class's folder in a path that `locate` finds."""
        located = self.locate(relative)
        if self.class_first or located is None:
            return 0
        return relative.count("/") - located[1].count("/")

    def describe(self) -> str:
        """The folders, for messages: `train, test`."""
        return ", ".join(map(printable, self.by_folder))


def find_split_folders(
    paths: Sequence[str], chosen: Sequence[str] = (), *, in_class_folders: bool = True
) -> SplitFolders:
    """The splits among the folders that hold images.

    Args:
        paths: of the images, below the root, with forward slashes.
        chosen: `data.splits`.
        in_class_folders: whether the classes are folders; else file names or annotations give them,
            and only names tell splits.

    Raises:
        ConfigError: an entry of `chosen` has another form.
        DataError: a folder in `chosen` holds no images; or the folders look like splits, but their
            names do not say which.
    """
    if list(chosen) == [NO_SPLITS]:
        return SplitFolders()
    if chosen:
        return _chosen_folders(parse_splits(chosen), FolderTree(paths))
    named = named_split_folders(paths, in_class_folders=in_class_folders)
    if in_class_folders and named and not named.class_first:
        refuse_differing_classes(FolderTree(paths), named.by_folder)
    elif in_class_folders and not named:
        refuse_ambiguous_folders(FolderTree(paths))
    return named


def named_split_folders(paths: Sequence[str], *, in_class_folders: bool = True) -> SplitFolders:
    """The splits that the folders' names tell; none if they tell nothing."""
    tree = FolderTree(paths)
    return _named_at_top(tree, in_class_folders) or _named_in_classes(tree)


def parse_splits(chosen: Iterable[str]) -> dict[str, Split]:
    """`data.splits` as the split of each folder, or ConfigError."""
    splits: dict[str, Split] = {}
    for entry in chosen:
        split, _, folder = entry.partition("=")
        folder = folder.strip().strip("/")
        split = _SHORT.get(split.strip(), split.strip())
        if split not in SPLITS or not folder:
            raise ConfigError(
                f"data.splits must have entries SPLIT=FOLDER with {', '.join(SPLITS)} as SPLIT, or "
                f"be {NO_SPLITS!r} if no folder is a split. Received: {entry!r}"
            )
        splits[folder] = split
    return splits


def _chosen_folders(splits: Mapping[str, Split], tree: FolderTree) -> SplitFolders:
    tops = tree.below("")
    known = {_normal(path): path for path in (*tree.direct, *tree.folders) if path}
    if all(_normal(folder) in known for folder in splits):
        return SplitFolders({known[_normal(f)]: split for f, split in splits.items()})
    inner = {_normal(name): name for top in tops for name in tree.below(top)}
    if all(_normal(folder) in inner for folder in splits):
        by_name = {inner[_normal(f)]: split for f, split in splits.items()}
        return SplitFolders(by_name, class_first=True)
    missing = next(f for f in splits if _normal(f) not in known and _normal(f) not in inner)
    raise DataError(
        f"data.splits names the folder {missing!r}, in which there are no images; the folders with "
        f"images are {name_list(tops, _SHOWN)}"
    )


def _normal(name: str) -> str:
    return unicodedata.normalize("NFC", printable(name))


def _named_at_top(tree: FolderTree, in_class_folders: bool) -> SplitFolders:
    tops = tree.below("")
    by_rest: dict[tuple[str, ...], dict[str, Split]] = defaultdict(dict)
    for top in tops:
        named = split_of_name(top)
        if named:
            by_rest[named[1]][top] = named[0]
    complete = {
        rest: splits
        for rest, splits in by_rest.items()
        if "train" in splits.values() and len(set(splits.values())) > 1
    }
    if not complete and in_class_folders:
        return _train_folder_alone(tree)
    if () not in complete and len(complete) != 1:
        return SplitFolders()
    splits = complete.get(()) or next(iter(complete.values()))
    bases = {_base(top, split, tree): split for top, split in splits.items()}
    plain = len(splits) == len(tops) and () in complete
    # Else a class may be called so: `train` beside `bus`. In a split's folder there are classes.
    if not plain and in_class_folders:
        classes = {n for base, split in bases.items() if split == "train" for n in tree.below(base)}
        if len(classes) < 2:
            return SplitFolders()
    return SplitFolders(bases)


def _train_folder_alone(tree: FolderTree) -> SplitFolders:
    """`train/` with the folders of classes, beside images without any: `unlabeled/`, `pred/`."""
    tops = tree.below("")
    named = {top: split_of_name(top) for top in tops}
    trains = [t for t, value in named.items() if (value and value[0] == "train") or has_labels(t)]
    if len(trains) != 1:
        return SplitFolders()
    train = trains[0]
    rest = (named[train] or ("train", ()))[1]
    base = _base(train, "train", tree)
    others = [top for top in tops if top != train]
    flat = others and not any(tree.below(tree.innermost(top)) for top in others)
    if len(tree.below(base)) > 1 and flat and all(has_no_labels(top, rest) for top in others):
        return SplitFolders({base: "train"})
    return SplitFolders()


def _base(folder: str, split: Split, tree: FolderTree) -> str:
    """The folder of the classes: `seg_train/seg_train` of `seg_train`, if nothing else is in it."""
    for _ in range(_MAX_WRAPPERS):
        names = tree.below(folder)
        if len(names) != 1 or tree.direct[folder]:
            break
        inner, name = f"{folder}/{names[0]}", folder.rpartition("/")[2]
        named = split_of_name(names[0])
        same = names[0].casefold() == name.casefold() or (named and named[0] == split)
        if not same and not (is_filler(names[0]) and tree.below(inner)):
            break
        folder = inner
    return folder


def _named_in_classes(tree: FolderTree) -> SplitFolders:
    tops = tree.below("")
    splits: dict[str, Split] = {}
    direct = deeper = 0
    for top in tops:
        names = tree.below(top)
        named = {name: split_of_name(name) for name in names}
        if not names or not all(value is not None and not value[1] for value in named.values()):
            return SplitFolders()
        splits |= {name: value[0] for name, value in named.items() if value}
        direct += sum(tree.direct[f"{top}/{name}"] > 0 for name in names)
        deeper += sum(bool(tree.below(f"{top}/{name}")) for name in names)
    if len(tops) < 2 or deeper >= direct or len(set(splits.values())) < 2:
        return SplitFolders()
    return SplitFolders(splits, class_first=True) if "train" in splits.values() else SplitFolders()
