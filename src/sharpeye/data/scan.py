"""Scan the folders of a configuration: `data.folder` and those that were added to it.

task        data.label_from   reader
classify    auto, folder      scan_folder: one folder a class, or array files
classify    prefix            scan_prefixes: the class begins the file's name
classify    xml               scan_voc
localize    any; auto is xml  scan_voc: every image needs a box

An image in an added folder has a path relative to `data.folder`, such as `../new/rose/1.jpg`: it is
unique, and opens like any other.
"""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from sharpeye.core.config import Config
from sharpeye.core.config_paths import locate
from sharpeye.core.types import Rejected, SampleSet
from sharpeye.data.file_walk import natural_key, printable
from sharpeye.data.image_folder import make_sample_set, scan_folder, scan_prefixes
from sharpeye.data.pascal_voc import scan_voc
from sharpeye.data.split_folders import parse_splits
from sharpeye.data.split_names import NO_SPLITS


def scan_dataset(config: Config, root: Path, *, min_classes: int = 2) -> SampleSet:
    """List the images of a folder with the reader that `task` and `data.*` ask for."""
    follow_links, label_from = config.data.follow_links, config.data.label_from
    splits = config.data.splits
    if splits and not _names_folder_in(splits, root) and not _is_data_folder(config, root):
        splits = ()  # of another folder: of an evaluated one, or of an added one
    if config.task == "localize" or label_from == "xml":
        return scan_voc(
            root,
            label_from="xml" if label_from == "auto" else label_from,
            box_choice=config.data.box_choice,
            follow_links=follow_links,
            splits=splits,
            min_classes=min_classes,
        )
    scan = scan_prefixes if label_from == "prefix" else scan_folder
    return scan(root, follow_links=follow_links, splits=splits, min_classes=min_classes)


def _is_data_folder(config: Config, root: Path) -> bool:
    return locate(config, config.data.folder).resolve() == root.resolve()


def _names_folder_in(splits: Sequence[str], root: Path) -> bool:
    """Whether `data.splits` may be meant for a folder: it names no folder, or one in it."""
    if list(splits) == [NO_SPLITS]:
        return True
    names = parse_splits(splits)
    return any((root / name).is_dir() for name in names)


def scan_folders(config: Config) -> dict[str, SampleSet]:
    """By `base_folder`, the images of `data.folder` and of each added folder, in their order.

    Samples have no digest yet. Errors are those of `scan_folder`.
    """
    sets: dict[str, SampleSet] = {}
    for folder in (config.data.folder, *config.data.added):
        base = base_folder(config, folder)
        if base not in sets:
            scanned = scan_dataset(config, locate(config, folder), min_classes=1)
            if base:
                samples = [replace(s, path=f"{base}/{s.path}", base=base) for s in scanned]
                rejected = [Rejected(f"{base}/{r.path}", r.reason) for r in scanned.rejected]
                scanned = replace(scanned, samples=tuple(samples), rejected=tuple(rejected))
            sets[base] = scanned
    return sets


def base_folder(config: Config, folder: str) -> str:
    """The path of an added folder relative to `data.folder`; empty for `data.folder` itself."""
    root = locate(config, config.data.folder).resolve()
    absolute = locate(config, folder).resolve()
    try:
        base = Path(os.path.relpath(absolute, root)).as_posix()
    except ValueError:  # on another drive
        base = absolute.as_posix()
    return "" if base == "." else printable(base)


def merge_sample_sets(root: Path, sets: Iterable[SampleSet]) -> SampleSet:
    """Merge several sets, in natural order of the paths."""
    sets = list(sets)
    samples = sorted((s for part in sets for s in part), key=lambda s: natural_key(s.path))
    ignored = sum((Counter(part.ignored) for part in sets), Counter[str]())
    rejected = [r for part in sets for r in part.rejected]
    given_splits = any(part.given_splits for part in sets)
    return make_sample_set(root, samples, rejected, ignored=ignored, given_splits=given_splits)
