"""`data.folder` and the folders that were added to it, as one set.

An image of an added folder is named by its way from `data.folder`, as in `../new/rose/1.jpg`: such
a name is no other's, and leads to the file as any other does.
"""

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from sharpeye.core.config import Config
from sharpeye.core.types import Rejected, SampleSet
from sharpeye.data.image_folder import natural_key, printable
from sharpeye.data.scan import scan_dataset


def scan_folders(config: Config) -> dict[str, SampleSet]:
    """List the images of each of the folders; one that is named twice is read once.

    Args:
        config: `task` and `data.*` are looked at.

    Returns:
        by `base_of`, in their order: sets whose samples have no digest yet.

    Raises:
        DataError: there is no such folder, or no image in it.
    """
    found: dict[str, SampleSet] = {}
    for name in (config.data.folder, *config.data.added):
        base = base_folder(config, name)
        if base not in found:
            found[base] = _named(scan_dataset(config, Path(name), least_classes=1), base)
    return found


def base_folder(config: Config, folder: str) -> str:
    """How paths begin in an added folder: its way from `data.folder`, empty for that one itself."""
    root, place = Path(config.data.folder).resolve(), Path(folder).resolve()
    try:
        way = Path(os.path.relpath(place, root)).as_posix()
    except ValueError:  # on another drive
        way = place.as_posix()
    return "" if way == "." else printable(way)


def _named(found: SampleSet, base: str) -> SampleSet:
    if not base:
        return found
    return replace(
        found,
        samples=tuple(replace(s, path=f"{base}/{s.path}", base=base) for s in found),
        rejected=tuple(Rejected(f"{base}/{r.path}", r.reason) for r in found.rejected),
    )


def joined(root: Path, sets: Iterable[SampleSet]) -> SampleSet:
    """Several sets as one, in natural order of the paths."""
    sets = list(sets)
    samples = sorted((s for each in sets for s in each), key=lambda s: natural_key(s.path))
    ignored = sum((Counter(each.ignored) for each in sets), Counter[str]())
    return SampleSet(
        root=root,
        samples=tuple(samples),
        class_names=tuple(sorted({s.label for s in samples}, key=natural_key)),
        rejected=tuple(r for each in sets for r in each.rejected),
        ignored=dict(ignored),
        given_splits=any(each.given_splits for each in sets),
    )
