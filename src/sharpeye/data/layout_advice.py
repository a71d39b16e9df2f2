"""Say what to do with a folder in which fewer classes were found than needed.

It is often one level too high (`archive/PetImages/cat`), or flat, with the classes in the names of
its files or in a table. The advice names the user's own folders and files.
"""

from collections import Counter
from pathlib import Path

from sharpeye.core.formatting import counted, name_list
from sharpeye.core.paths import shell_quote
from sharpeye.core.types import SampleSet
from sharpeye.data.file_prefixes import choose_prefix_rule
from sharpeye.data.file_walk import natural_key, printable, walk_files, walk_images
from sharpeye.errors import DataError

_TABLES = {".csv", ".tsv", ".xls", ".xlsx", ".ods", ".parquet", ".jsonl"}
_MAX_PREFIXES = 0.5  # classes per image; more are names, not classes


def require_classes(
    samples: SampleSet, min_classes: int, advice: str, *, from_folders: bool = False
) -> None:
    """Raise DataError unless there are so many classes.

    Args:
        advice: how the images should lie, for a folder that gives no better hint; may be empty.
        from_folders: whether the classes were read from folders, so that they may be elsewhere.
    """
    if len(samples.class_names) >= min_classes:
        return
    root = samples.root
    if not samples.class_names:
        problem = f"no usable image in {root}" if samples.rejected else f"no images in {root}"
        problem += _left_out_note(samples)
    else:
        problem = (
            f"only one class in {root}: {samples.class_names[0]}, with {len(samples)} images; "
            "a classifier needs two or more"
        )
    hints: list[str] = []
    if from_folders:
        hints = [inner_folder_advice(root), _table(root), _prefixes(root), _annotations(samples)]
    hints = [hint for hint in hints if hint] or [advice]
    raise DataError("; ".join(filter(None, [problem, *hints])))


def _left_out_note(samples: SampleSet) -> str:
    if not samples.rejected:
        return ""
    first, files = samples.rejected[0], counted(len(samples.rejected), "file")
    return f" ({files} left out, such as {first.path}: {first.reason})"


def class_folder_below(root: Path) -> Path | None:
    """The folder below, in which the classes are, if each one above holds nothing else."""
    folders = {relative.rpartition("/")[0] for relative, _ in walk_images(root).files}
    pieces: list[str] = []
    while True:
        names = {
            folder.split("/")[len(pieces)]
            for folder in folders
            if folder.split("/")[: len(pieces)] == pieces and folder.count("/") >= len(pieces)
            if folder
        }
        if len(names) > 1:
            return root.joinpath(*pieces) if pieces else None
        if not names:
            return None
        pieces.append(names.pop())


def inner_folder_advice(root: Path) -> str:
    """To give the folder below that holds the folders of classes; empty if there is none."""
    inner = class_folder_below(root)
    if inner is None:
        return ""
    names = sorted((p.name for p in inner.iterdir() if p.is_dir()), key=natural_key)
    shown = name_list([printable(name) for name in names], 3)
    return f"give {shell_quote(inner)}, which holds the folders {shown}"


def _table(root: Path) -> str:
    files = [relative for relative, path in walk_files(root)[0] if path.suffix.lower() in _TABLES]
    if not files:
        return ""
    return (
        f"{printable(files[0])} may be a table of labels, which is not read: copy each image into "
        "a sub-folder named after its class"
    )


def _prefixes(root: Path) -> str:
    names = [relative for relative, _ in walk_images(root).files]
    rule = choose_prefix_rule(names)
    classes = Counter(rule(name) for name in names if rule(name) and name.isprintable())
    if not 2 <= len(classes) <= max(2, _MAX_PREFIXES * len(names)):
        return ""
    example = next(name for name in names if rule(name) in classes)
    return (
        f"--label-from prefix takes the class from the file's name ({rule(example)} from "
        f"{printable(example).rpartition('/')[2]}; {len(classes)} classes: "
        f"{name_list(sorted(classes, key=natural_key), 3)})"
    )


def _annotations(samples: SampleSet) -> str:
    count = samples.ignored.get(".xml")
    if not count:
        return ""
    return (
        f"if its {count} XML files are Pascal VOC annotations: --label-from xml takes their "
        "classes, sharpeye train --task localize also their boxes"
    )
