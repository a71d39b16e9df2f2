"""Store the split of each image in the cache, so that the image stays in it.

One text file per (seed, fractions) has a line `<sha256> <split>` per image, and after those that
were appended together a line `# <CRC-32>` of all lines since the checksum before it. Earlier
versions wrote no checksums, and skip them.

Without the file, the split is still the same except for the few exceptions that `split.py` makes.
Damage of the file may thus change the split of an image: it costs a warning, and the file is
written anew.
"""

import logging
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from sharpeye.core.storage import FileLock, cache_root, os_errors_at, write_text
from sharpeye.core.types import SPLITS, Sample, Split
from sharpeye.data.split_rules import SplitFractions
from sharpeye.errors import EnvironmentFault

log = logging.getLogger(__name__)

_DIGEST_LENGTH = 64


class _Content(NamedTuple):
    """What a file says.

    Attributes:
        known: the split by digest.
        unchecked: the lines after the last checksum.
        is_intact: whether all lines are as they were written, as far as checksums tell.
    """

    known: dict[str, Split]
    unchecked: str = ""
    is_intact: bool = True


class SplitCache:
    """The stored splits for one seed and one pair of fractions."""

    def __init__(self, seed: int, fractions: SplitFractions, folder: Path | None = None) -> None:
        folder = folder or cache_root() / "splits"
        fold = f"-fold{fractions.fold}" if fractions.fold else ""
        name = f"seed{seed}-val{fractions.validation:g}-test{fractions.test:g}{fold}.txt"
        self.path = folder / name
        self._is_intact = True  # when it was read

    def read(self) -> dict[str, Split]:
        """The split by digest; empty if none is stored. A damaged file costs a warning."""
        content = self._read()
        self._is_intact = content.is_intact
        if not content.is_intact:
            log.warning(
                "%s is damaged: images whose lines are lost may come into another split", self.path
            )
        return content.known

    def add(self, samples: Iterable[Sample], known: Mapping[str, Split]) -> None:
        """Append the splits that are not in `known`, the result of `read`."""
        new = {s.sha256: s.split for s in samples if s.split and known.get(s.sha256) != s.split}
        if not new and self._is_intact:
            return
        try:
            with FileLock(self.path.with_suffix(".lock")), os_errors_at(self.path):
                content = self._read()
                if content.is_intact:
                    with self.path.open("a", encoding="ascii", newline="\n") as file:
                        lines = _format_lines(new)
                        file.write(lines + _checksum(content.unchecked + lines))
                else:
                    lines = _format_lines(content.known | new)
                    write_text(self.path, lines + _checksum(lines))
        except EnvironmentFault as error:
            log.warning("the split is not remembered: %s", error)

    def _read(self) -> _Content:
        try:
            return _parse(self.path.read_text(encoding="ascii", errors="replace"))
        except OSError:
            return _Content({})


def _format_lines(splits: Mapping[str, Split]) -> str:
    return "".join(f"{digest} {split}\n" for digest, split in splits.items())


def _checksum(lines: str) -> str:
    return f"# {zlib.crc32(lines.encode()):08x}\n"


def _parse(text: str) -> _Content:
    known: dict[str, Split] = {}
    unchecked = ""
    is_intact = not text or text.endswith("\n")
    for line in text.split("\n")[:-1]:
        digest, _, split = line.partition(" ")
        if digest == "#":
            is_intact = is_intact and _checksum(unchecked) == f"{line}\n"
            unchecked = ""
            continue
        unchecked += f"{line}\n"
        if len(digest) == _DIGEST_LENGTH and digest.isascii() and split in SPLITS:
            known[digest] = split  # the last line of a digest counts
        else:
            is_intact = False
    return _Content(known, unchecked, is_intact)
