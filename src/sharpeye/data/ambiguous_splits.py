"""Refuse folders that may be splits of a data set, or its classes: names and structure do not say.

Read as classes, splits would teach a model to tell one split from another. Each message has the
user's folders, what they look like, and the option or the change that makes them clear.
"""

import logging
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from sharpeye.core.formatting import name_list
from sharpeye.core.paths import shell_quote
from sharpeye.core.types import Split
from sharpeye.data.file_walk import natural_key
from sharpeye.data.folder_tree import FolderTree
from sharpeye.data.split_names import NO_SPLITS, is_filler, split_of_name
from sharpeye.errors import DataError

log = logging.getLogger(__name__)

_SHOWN = 4


def refuse_ambiguous_folders(tree: FolderTree) -> None:
    """Raise DataError if folders that names do not tell as splits look like splits."""
    _refuse_train_folder_beside_another(tree)
    _refuse_splits_of_some_classes(tree)
    _refuse_repeated_folders(tree)
    _refuse_splits_in_class_names(tree)


def refuse_differing_classes(tree: FolderTree, splits: Mapping[str, Split]) -> None:
    """Raise DataError if the splits spell a class differently: `Cats`, `train_cats`/`test_cats`.

    Args:
        splits: the split of each folder that holds the classes' folders.
    """
    spellings: dict[str, dict[str, str]] = defaultdict(dict)  # by class: the folder of a spelling
    for folder in splits:
        for name in tree.below(folder):
            spellings[_class_key(name)].setdefault(name, folder)
    for by_name in spellings.values():
        if len(by_name) > 1 and len(set(by_name.values())) > 1:
            paths = [f"{folder}/{name}" for name, folder in by_name.items()]
            raise DataError(
                f"{name_list(paths, _SHOWN)} look like one class with {len(by_name)} names: give "
                "its folders one name in all splits, else each name is a class"
            )


def _class_key(name: str) -> str:
    named = split_of_name(name)
    return " ".join(named[1]) if named and named[1] else name.casefold()


def _refuse_train_folder_beside_another(tree: FolderTree) -> None:
    """Raise DataError for `train/`, with two or more sub-folders, beside one folder without any."""
    tops = tree.below("")
    trains = [top for top in tops if split_of_name(top) == ("train", ())]
    if len(tops) != 2 or len(trains) != 1:
        return
    train, other = trains[0], next(top for top in tops if top not in trains)
    inner = tree.innermost(train)
    if len(tree.below(inner)) < 2 or tree.below(tree.innermost(other)):
        return
    raise DataError(
        f"{train} holds sub-folders, and {other} beside it holds none: if the classes are the "
        f"folders in {inner}, --splits {shell_quote(f'train={inner}')} reads them, without "
        f"{other}; if {train} and {other} are two classes: --splits {NO_SPLITS}"
    )


def _refuse_splits_of_some_classes(tree: FolderTree) -> None:
    """Raise DataError for `cats/{train,test}` and `dogs/{train,test}` beside `cows/1.jpg`."""
    tops = tree.below("")
    regular, inner = list[str](), set[str]()
    for top in tops:
        named = {name: split_of_name(name) for name in tree.below(top)}
        splits = {value[0] for value in named.values() if value and not value[1]}
        flat = all(tree.direct[f"{top}/{name}"] for name in named)
        if flat and len(splits) > 1 and "train" in splits and all(named.values()):
            regular.append(top)
            inner |= named.keys()
    others = [top for top in tops if top not in regular]
    if len(regular) < 2 or not others:
        return
    example = next(name for name in sorted(inner) if (split_of_name(name) or ("",))[0] == "train")
    holds = "holds" if len(others) == 1 else "hold"
    raise DataError(
        f"{name_list(regular, _SHOWN)} hold splits ({name_list(sorted(inner), _SHOWN)}), but "
        f"{name_list(others, _SHOWN)} {holds} images outside of such folders: sort these into "
        f"splits, such as {others[0]}/{example}, or move {others[0]} away; if "
        f"{name_list(sorted(inner), _SHOWN)} are no splits: --splits {NO_SPLITS}"
    )


def _refuse_splits_in_class_names(tree: FolderTree) -> None:
    """Raise DataError for `cats_train dogs_train cats_test dogs_test`."""
    by_class: dict[tuple[str, ...], dict[str, Split]] = defaultdict(dict)
    for top in tree.below(""):
        named = split_of_name(top)
        if named and named[1]:
            by_class[named[1]][top] = named[0]
    complete = {
        rest: splits
        for rest, splits in by_class.items()
        if "train" in splits.values() and len(set(splits.values())) > 1
    }
    if len(complete) < 2:
        return
    folders = sorted((top for splits in complete.values() for top in splits), key=natural_key)
    label = " ".join(next(iter(complete)))
    splits = sorted({split for of_class in complete.values() for split in of_class.values()})
    targets = " and ".join(f"{split}/{label}" for split in splits)
    raise DataError(
        f"{name_list(folders, _SHOWN)} have a split and a class in one name: sort them into a "
        f"folder a split, with a folder a class in it, such as {targets}; if each of them is a "
        f"class: --splits {NO_SPLITS}"
    )


def _warn_of_one_repeated_name(
    tops: Sequence[str], names: Mapping[str, set[str]], counts: Mapping[str, int]
) -> None:
    """Warn of `batch1/{cats,dogs}` and `batch2/{cats,cows}`, which are read as two classes."""
    repeated = {name for name in counts if counts[name] > 1 and not is_filler(name)}
    similar = [top for top in tops if len(names[top]) > 1 and names[top] & repeated]
    if len(similar) < 2 or 2 * len(similar) <= len(tops):
        return
    common = sorted(set[str]().union(*(names[top] & repeated for top in similar)), key=natural_key)
    log.warning(
        "%s are read as classes, but hold sub-folders of the same name (%s): if the sub-folders "
        "are the classes, copy those of one name into one folder",
        name_list(similar, _SHOWN),
        name_list(common, _SHOWN),
    )


def _refuse_repeated_folders(tree: FolderTree) -> None:
    """Raise DataError if most top folders hold sub-folders of the same names, two or more."""
    tops = tree.below("")
    names = {top: {name.casefold() for name in tree.below(top)} for top in tops}
    counts = Counter(name for of_top in names.values() for name in of_top)
    repeated_tops = []
    for top in tops:
        repeated = {name for name in names[top] if counts[name] > 1}
        if len(repeated) > 1 and 2 * len(repeated) >= len(names[top]):
            repeated_tops.append(top)
    if len(repeated_tops) < 2 or 2 * len(repeated_tops) <= len(tops):
        _warn_of_one_repeated_name(tops, names, counts)
        return
    common = [n for n in tree.below(repeated_tops[0]) if counts[n.casefold()] > 1]
    first, second = repeated_tops[:2]
    meaning = f"say which is which: --splits {shell_quote(f'train={first},test={second}')}"
    if all(map(split_of_name, common)):
        meaning = "give one of them alone, as each has splits itself"
    raise DataError(
        f"{name_list(repeated_tops, _SHOWN)} hold sub-folders of the same names "
        f"({name_list(common, _SHOWN)}), as the splits of one data set do; if they are splits, "
        f"{meaning}; if they are classes: --splits {NO_SPLITS}"
    )
